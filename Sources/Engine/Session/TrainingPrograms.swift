import LorikeetDevices
import LorikeetGround

/// What was made for earlier questions to a `DevicePlanner`: it is the same for every use of the host's memory and every cap.
final class KnownPrograms {
    private var programs: [TrainingPrograms] = []
    /// Bytes of the arena of evaluations, by rows and head chunk.
    private var evaluations: [SessionSizes: Int] = [:]

    /// The training programs of these sizes.
    func programs(_ planner: DevicePlanner, _ sizes: SessionSizes) -> TrainingPrograms {
        if let known = programs.first(where: { $0.sizes == sizes }) { return known }
        let made = TrainingPrograms(planner, sizes, evaluationArena: evaluationArena(planner, sizes))
        programs.append(made)
        return made
    }

    private func evaluationArena(_ planner: DevicePlanner, _ sizes: SessionSizes) -> Int {
        let key = SessionSizes(training: 0, evaluation: sizes.evaluation, headChunk: sizes.headChunk)
        if let known = evaluations[key] { return known }
        let bytes = planner.program(.evaluation, Session.batchRows(sizes.evaluation, .device(planner.element)), sizes, planner.policy(0)).arenaBytes
        evaluations[key] = bytes
        return bytes
    }
}

/// What training programs of given sizes cost, by what they recompute; each is made when it is first needed.
final class TrainingPrograms {
    /// What a plan needs of a program.
    private struct Cost {
        let arenaBytes: Int
        let parkedBytes: Int
        /// Seconds with linears kept expanded or not, and with the embedding in the host's memory or not, as far as they were asked for.
        var seconds: [Placement: Double] = [:]
    }

    private struct Placement: Hashable {
        let keepsExpanded: Bool
        let embeddingOnHost: Bool
    }

    let sizes: SessionSizes
    private let common: DifferentiatedProgram
    private let evaluationArena: Int
    private lazy var largestBlockBytes = common.largestBlockBytes
    private var known: [PassPolicy: Cost] = [:]

    init(_ planner: DevicePlanner, _ sizes: SessionSizes, evaluationArena: Int) {
        (self.sizes, self.evaluationArena) = (sizes, evaluationArena)
        common = planner.family.differentiated(
            .training, tokens: sizes.training, adapters: planner.layout, target: .device(planner.element), headChunk: sizes.headChunk)
    }

    /// - Parameter places: for which seconds are wanted now; a program is made again where others are wanted later.
    private func cost(_ planner: DevicePlanner, _ policy: PassPolicy, _ places: [Placement]) -> Cost {
        if let cost = known[policy], places.allSatisfy({ cost.seconds[$0] != nil }) { return cost }
        let program = common.program(policy)
        var cost = Cost(arenaBytes: program.arenaBytes, parkedBytes: program.parkedBytes)
        for place in places {
            cost.seconds[place] = planner.seconds(program, keepsExpanded: place.keepsExpanded, embeddingOnHost: place.embeddingOnHost)
        }
        known[policy] = cost
        return cost
    }

    /// The fastest plan that fits in `cap` bytes, of those with the fewest recomputed blocks for each way of recomputing a block: each such block
    /// makes the arena smaller and the step longer. More of the host's memory than the blocks' inputs is taken where that is faster by `hostGain`.
    ///
    /// - Parameters:
    ///   - choices: the values of `keepsExpanded` that are asked for with these programs.
    ///   - limit: seconds that the step has to stay below.
    func plan(_ planner: DevicePlanner, keepsExpanded: Bool, of choices: [Bool], _ use: HostUse, cap: Int, limit: Double) -> DevicePlanner.Outcome {
        let onHost = use != .nothing && planner.embeddingBytes > 0
        // Parked values go with the embedding; all other programs are asked for with it on the card first, and then in the host's memory.
        let embedded = planner.embeddingBytes == 0 ? [false] : use == .parking ? [true] : [false, true]
        let places = embedded.flatMap { onHost in choices.map { Placement(keepsExpanded: $0, embeddingOnHost: onHost) } }
        func policy(_ blocks: Int, _ repeated: PassPolicy.Repeated = .everything) -> PassPolicy {
            planner.policy(blocks, blocks > 0 ? repeated : .everything, parks: use == .parking && blocks > 0)
        }
        func plan(_ policy: PassPolicy) -> DevicePlan {
            let cost = cost(planner, policy, places)
            let bytes = DeviceBytes(
                context: planner.contextBytes, weights: planner.weightBytes - (onHost ? planner.embeddingBytes : 0),
                expanded: keepsExpanded ? planner.expandedBytes : 0, adapters: planner.step.persistentBytes,
                arena: max(cost.arenaBytes, evaluationArena, planner.step.arenaBytes), pinned: cost.parkedBytes + (onHost ? planner.embeddingBytes : 0))
            return DevicePlan(
                sizes: sizes, passes: policy, keepsExpanded: keepsExpanded, embeddingOnHost: onHost, bytes: bytes,
                stepSeconds: cost.seconds[Placement(keepsExpanded: keepsExpanded, embeddingOnHost: onHost)] ?? .infinity)
        }
        func fits(_ plan: DevicePlan) -> Bool { plan.bytes.total <= cap && (use == .nothing || plan.bytes.pinned <= planner.hostCap) }
        let nothing = plan(policy(0))
        /// The plan with the fewest blocks that fits and stays below the limit.
        func least(_ repeated: PassPolicy.Repeated, limit: Double) -> DevicePlanner.Outcome {
            let most = plan(policy(planner.blockCount, repeated))
            guard fits(most) else { return .doesNotFit }
            // No block frees more than it keeps, so at least so many are recomputed, each for about the same time.
            let fewest = Double(nothing.bytes.total - cap) / (Self.freeing * Double(max(1, largestBlockBytes)))
            let perBlock = (most.stepSeconds - nothing.stepSeconds) / Double(planner.blockCount)
            guard nothing.stepSeconds + Self.lengthening * fewest * perBlock < limit else { return .slower }
            // Making a program takes most of the time. Each block makes the arena smaller by about the same bytes, so the search begins at the number of
            // blocks that follows from them, and widens its steps from there.
            let freed = Double(nothing.bytes.arena - most.bytes.arena) / Double(planner.blockCount)
            var (low, high, step) = (1, planner.blockCount, 1)
            var next = freed > 0 ? Int((Double(nothing.bytes.total - cap) / freed).rounded(.up)) : high
            while low < high {
                next = min(max(next, low), high - 1)
                let tried = plan(policy(next, repeated))
                if fits(tried) {
                    high = next
                    next -= step
                } else {
                    guard tried.stepSeconds < limit else { return .slower }
                    low = next + 1
                    next += step
                }
                step *= 2
            }
            let found = plan(policy(low, repeated))
            return found.stepSeconds < limit ? .plan(found) : .slower
        }
        guard nothing.stepSeconds < limit else { return fits(nothing) || fits(plan(policy(planner.blockCount))) ? .slower : .doesNotFit }
        if fits(nothing) { return .plan(nothing) }
        var best = DevicePlanner.Outcome.doesNotFit
        for repeated in PassPolicy.Repeated.allCases {
            // What is kept beside a block's input lies in the host's memory too. With all but the gates there, a step on an H100 was predicted to be 3 %
            // faster and was measured 1.5 % slower (decision 17).
            if use == .parking, repeated == .gates { continue }
            let gain = use == .parking && repeated != .everything ? DevicePlanner.hostGain : 0
            switch least(repeated, limit: best.plan.map { (1 - gain) * $0.stepSeconds } ?? limit) {
            case .plan(let plan): best = .plan(plan)
            case .slower: if case .doesNotFit = best { best = .slower }
            case .doesNotFit: break
            }
        }
        return best
    }

    /// By how much more than its values' bytes a recomputed block may free, for others then fit together better; and the share of the mean block's time
    /// that each block takes at least.
    private static let (freeing, lengthening) = (1.15, 0.9)
}

extension DifferentiatedProgram {
    /// Bytes of the values of a block that are kept from the forward pass to the backward pass, of the block with the most.
    fileprivate var largestBlockBytes: Int {
        let firstBackward = list.firstBackward
        var kept = Set<ValueID>()
        for entry in list.entries[firstBackward...] { kept.formUnion(entry.op.reads) }
        return blocks.map { block in
            Set(list.entries[block].flatMap(\.op.writes)).intersection(kept).reduce(0) {
                $0 + list.values[$1].byteCount.roundedUp(toMultipleOf: list.target.alignment)
            }
        }.max() ?? 0
    }
}
