import LorikeetDevices
import LorikeetGround

/// What was made for earlier questions to a `DevicePlanner`: it is the same for every use of the host's memory and every cap.
final class KnownPrograms {
    private var programs: [TrainingPrograms] = []
    /// Bytes of the arena of evaluations, by rows and head chunk.
    private var evaluations: [SessionSizes: Int] = [:]
    /// Programs after the passes, which serve for all sizes.
    private var passed: [Form: PassedProgram] = [:]
    /// How often passes were run, and how many programs were made before them.
    private(set) var passesRun = 0
    var programsMade: Int { programs.count + evaluations.count }

    private struct Form: Hashable {
        let purpose: ProgramPurpose
        let policy: PassPolicy
    }

    /// The training programs of these sizes.
    func programs(_ planner: DevicePlanner, _ sizes: SessionSizes) -> TrainingPrograms {
        if let known = programs.first(where: { $0.sizes == sizes }) { return known }
        let made = TrainingPrograms(planner, sizes)
        programs.append(made)
        return made
    }

    /// Bytes of the arena of an evaluation of so many rows.
    func evaluationArena(_ planner: DevicePlanner, rows: Int, headChunk: Int) -> Int {
        let key = SessionSizes(training: 0, evaluation: rows, headChunk: headChunk)
        if let known = evaluations[key] { return known }
        let program = planner.differentiated(.evaluation, Session.batchRows(rows, .device(planner.element)), headChunk: headChunk)
        let bytes = footprint(of: program, planner.policy(0)).arenaBytes()
        evaluations[key] = bytes
        return bytes
    }

    /// What a program takes under a policy.
    func footprint(of program: DifferentiatedProgram, _ policy: PassPolicy) -> PassedProgram.Footprint {
        let form = Form(purpose: program.purpose, policy: policy)
        if let known = passed[form]?.footprint(of: program) { return known }
        passesRun += 1
        let made = program.passed(policy)
        passed[form] = made
        return made.own
    }
}

/// What training programs of given sizes cost, by what they recompute; each is looked at when that is first needed.
final class TrainingPrograms {
    private struct Placement: Hashable {
        let policy: PassPolicy
        /// Linears are kept expanded.
        let keepsExpanded: Bool
        let embeddingOnHost: Bool
    }

    let sizes: SessionSizes
    private let common: DifferentiatedProgram
    private lazy var largestBlockBytes = common.largestBlockBytes
    private var knownFootprints: [PassPolicy: PassedProgram.Footprint] = [:]
    private var knownArenas: [PassPolicy: Int] = [:]
    private var knownSeconds: [Placement: Double] = [:]

    init(_ planner: DevicePlanner, _ sizes: SessionSizes) {
        self.sizes = sizes
        common = planner.differentiated(.training, sizes.training, headChunk: sizes.headChunk)
    }

    private func footprint(_ planner: DevicePlanner, _ policy: PassPolicy) -> PassedProgram.Footprint {
        if let known = knownFootprints[policy] { return known }
        let footprint = planner.known.footprint(of: common, policy)
        knownFootprints[policy] = footprint
        return footprint
    }

    private func arenaBytes(_ planner: DevicePlanner, _ policy: PassPolicy) -> Int {
        if let known = knownArenas[policy] { return known }
        let bytes = footprint(planner, policy).arenaBytes()
        knownArenas[policy] = bytes
        return bytes
    }

    private func seconds(_ planner: DevicePlanner, _ place: Placement) -> Double {
        if let known = knownSeconds[place] { return known }
        let seconds = planner.seconds(footprint(planner, place.policy), keepsExpanded: place.keepsExpanded, embeddingOnHost: place.embeddingOnHost)
        knownSeconds[place] = seconds
        return seconds
    }

    /// The fastest plan that fits in `cap` bytes, of those with the fewest recomputed blocks for each way of recomputing a block: each such block
    /// makes the arena smaller and the step longer. More of the host's memory than the blocks' inputs is taken where that is faster by `hostGain`.
    ///
    /// - Parameter limit: seconds that the step has to stay below.
    func plan(_ planner: DevicePlanner, keepsExpanded: Bool, _ use: HostUse, cap: Int, limit: Double) -> DevicePlanner.Outcome {
        let onHost = use != .nothing && planner.embeddingBytes > 0
        func policy(_ blocks: Int, _ repeated: PassPolicy.Repeated = .everything) -> PassPolicy {
            planner.policy(blocks, blocks > 0 ? repeated : .everything, parks: use == .parking && blocks > 0)
        }
        func seconds(_ policy: PassPolicy) -> Double {
            self.seconds(planner, Placement(policy: policy, keepsExpanded: keepsExpanded, embeddingOnHost: onHost))
        }
        func fits(_ bytes: DeviceBytes) -> Bool { bytes.total <= cap && (use == .nothing || bytes.pinned <= planner.hostCap) }
        /// What a policy takes at least: more only where its arena has gaps.
        func least(_ policy: PassPolicy) -> DeviceBytes {
            let footprint = footprint(planner, policy)
            var bytes = DeviceBytes(
                context: planner.contextBytes, weights: planner.weightBytes - (onHost ? planner.embeddingBytes : 0),
                expanded: keepsExpanded ? planner.expandedBytes : 0, adapters: planner.step.persistentBytes,
                arena: max(footprint.leastArenaBytes(), planner.step.arenaBytes), pinned: footprint.parkedBytes + (onHost ? planner.embeddingBytes : 0))
            // Evaluation shares the arena.
            if fits(bytes) { bytes.arena = max(bytes.arena, planner.known.evaluationArena(planner, rows: sizes.evaluation, headChunk: sizes.headChunk)) }
            return bytes
        }
        /// The plan with this policy; nil where it does not fit.
        func plan(_ policy: PassPolicy) -> DevicePlan? {
            var bytes = least(policy)
            guard fits(bytes) else { return nil }
            bytes.arena = max(bytes.arena, arenaBytes(planner, policy))
            guard fits(bytes) else { return nil }
            return DevicePlan(
                sizes: sizes, passes: policy, keepsExpanded: keepsExpanded, embeddingOnHost: onHost, bytes: bytes, stepSeconds: seconds(policy))
        }
        let nothing = policy(0)
        guard seconds(nothing) < limit else { return .slower }
        if let plan = plan(nothing) { return .plan(plan) }
        let unfitting = least(nothing)
        /// The plan with the fewest blocks that fits and stays below the limit.
        func fewest(_ repeated: PassPolicy.Repeated, limit: Double) -> DevicePlanner.Outcome {
            let all = policy(planner.blockCount, repeated)
            let most = least(all)
            guard fits(most) else { return .doesNotFit }
            // No block frees more than it keeps, so at least so many are recomputed, each for about the same time.
            let blocks = Double(unfitting.total - cap) / (Self.freeing * Double(max(1, largestBlockBytes)))
            let perBlock = (seconds(all) - seconds(nothing)) / Double(planner.blockCount)
            guard seconds(nothing) + Self.lengthening * blocks * perBlock < limit else { return .slower }
            // Making a program takes most of the time. Each block makes the arena smaller by about the same bytes, so the search begins at the number of
            // blocks that follows from them, and widens its steps from there.
            let freed = Double(unfitting.arena - most.arena) / Double(planner.blockCount)
            var (low, high, step) = (1, planner.blockCount, 1)
            var next = freed > 0 ? Int((Double(unfitting.total - cap) / freed).rounded(.up)) : high
            while low < high {
                next = min(max(next, low), high - 1)
                let tried = policy(next, repeated)
                if fits(least(tried)) {
                    high = next
                    next -= step
                } else {
                    guard seconds(tried) < limit else { return .slower }
                    low = next + 1
                    next += step
                }
                step *= 2
            }
            // A layout with gaps may take more than that.
            while low <= planner.blockCount {
                let found = policy(low, repeated)
                guard seconds(found) < limit else { return .slower }
                if let plan = plan(found) { return .plan(plan) }
                low += 1
            }
            return .doesNotFit
        }
        var best = DevicePlanner.Outcome.doesNotFit
        for repeated in PassPolicy.Repeated.allCases {
            // What is kept beside a block's input lies in the host's memory too. With all but the gates there, a step on an H100 was predicted to be 3 %
            // faster and was measured 1.5 % slower (decision 17).
            if use == .parking, repeated == .gates { continue }
            let gain = use == .parking && repeated != .everything ? DevicePlanner.hostGain : 0
            switch fewest(repeated, limit: best.plan.map { (1 - gain) * $0.stepSeconds } ?? limit) {
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
        for entry in list.entries[firstBackward...] { kept.formUnion(entry.reads) }
        return blocks.map { block in
            Set(list.entries[block].flatMap(\.writes)).intersection(kept).reduce(0) {
                $0 + list.values[$1].byteCount.roundedUp(toMultipleOf: list.target.alignment)
            }
        }.max() ?? 0
    }
}
