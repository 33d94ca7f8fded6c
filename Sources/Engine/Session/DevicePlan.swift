import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// Where the bytes of a training session on a card go. Their sum is what the card is predicted to hold.
package struct DeviceBytes: Sendable, Equatable {
    /// What the driver takes for a process: context, pinned staging, kernels, workspace of products.
    package var context: Int
    /// The frozen weights as they are stored.
    package var weights: Int
    /// The linears again in the activations' type, where they are kept so.
    package var expanded: Int
    /// Adapters, gradients, moments.
    package var adapters: Int
    package var arena: Int
    /// Keys and values of sequences in `generate`.
    package var cache = 0

    package var total: Int { context + weights + expanded + adapters + arena + cache }
}

/// How a session on a card is to run.
package struct DevicePlan: Sendable {
    package let sizes: SessionSizes
    package let passes: PassPolicy
    /// Stored linears are expanded once and kept in the activations' type: their bits are those of every expansion.
    package let keepsExpanded: Bool
    package let bytes: DeviceBytes
    /// Predicted for one micro-batch of `sizes.training` tokens.
    package let stepSeconds: Double
    package var secondsPerToken: Double { stepSeconds / Double(sizes.training) }
}

/// Chooses micro-batches, what is computed again and what stays expanded, for the least time a token under a cap.
package struct DevicePlanner {
    private let family: any ModelFamily
    private let layout: TrainedLayout
    private let storage: BaseStorage
    private let element: DeviceElement
    private let model: DeviceModel
    private let workload: Workload
    private let storedBytes: [String: Int]
    private let contextBytes: Int
    private let weightBytes: Int
    private let expandedBytes: Int
    private var step: Program
    private let blockCount: Int
    package var optimiser: any Optimiser.Type = AdamWSettings.self { didSet { step = Self.step(optimiser, layout, element) } }
    /// Whether programs are fused; see `PassPolicy.fuse`.
    package var fuse = true

    /// - Parameters:
    ///   - workload: the training data, as segments and targets.
    ///   - contextBytes: what the opened card holds before anything is loaded; what running adds to it is counted here.
    ///   - stored: a tensor's type in the file; float32 where it says nil.
    package init(
        _ configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, card: AcceleratorProperties, element: DeviceElement,
        workload: Workload, contextBytes: Int, stored: (String) -> ElementType?
    ) throws {
        family = configuration.family
        layout = try TrainedLayout(lora, weights: family.weights())
        self.storage = storage
        self.element = element
        self.contextBytes = contextBytes + card.bytesToRun
        model = TableModel(card, element).model
        blockCount = family.blockCount
        var (weights, expanded) = (DeviceWeights.overheadBytes, 0)
        self.workload = workload
        storedBytes = family.storedBytes(storage, .device(element), stored: stored)
        for declaration in family.weights() {
            let bytes = DeviceWeights.bytes(declaration, storage: storage, stored: stored(declaration.tensor) ?? .f32, element: element)
            weights += bytes
            if storedBytes[declaration.tensor] != nil { expanded += declaration.shape.reduce(1, *) * element.bytes }
        }
        (weightBytes, expandedBytes) = (weights, expanded)
        step = Self.step(optimiser, layout, element)
    }

    private static func step(_ optimiser: any Optimiser.Type, _ layout: TrainedLayout, _ element: DeviceElement) -> Program {
        StepProgram.build(
            count: layout.elementCount, optimiser: optimiser, settings: optimiser.init(OptimiserSettings()), target: .device(element))
    }

    /// What a search for a plan finds.
    package enum Outcome {
        case plan(DevicePlan)
        /// Something fits, but nothing is faster than asked for.
        case slower
        case doesNotFit

        package var plan: DevicePlan? { if case .plan(let plan) = self { plan } else { nil } }
    }

    /// The fastest way to train micro-batches of `tokens` within `cap` bytes.
    ///
    /// - Parameters:
    ///   - headChunk: trained tokens whose logits exist at a time, at most; halved where that spares blocks from running again.
    ///   - fasterThan: seconds a token that the plan has to stay below.
    package func plan(tokens: Int, evaluation: Int, headChunk: Int, cap: Int, fasterThan: Double = .infinity) -> Outcome {
        let rows = Session.batchRows(tokens, .device(element))
        let mayKeepExpanded = expandedBytes > 0 && contextBytes + weightBytes + expandedBytes + step.persistentBytes <= cap
        var (best, limit, last) = (Outcome.doesNotFit, fasterThan * Double(rows), 0)
        for chunk in [headChunk, headChunk / 2, headChunk / 4, headChunk / 16].map({ min(max(128, $0), headChunk, rows) }) where chunk != last {
            last = chunk
            let programs = TrainingPrograms(self, SessionSizes(training: rows, evaluation: evaluation, headChunk: chunk))
            for keeps in mayKeepExpanded ? [true, false] : [false] {
                switch programs.plan(keepsExpanded: keeps, cap: cap, limit: limit) {
                case .plan(let plan): (best, limit) = (.plan(plan), plan.stepSeconds)
                case .slower: if case .doesNotFit = best { best = .slower }
                case .doesNotFit: break
                }
            }
            if let best = best.plan, best.passes.blocks == 0, best.keepsExpanded || !mayKeepExpanded { break }
        }
        return best
    }

    /// The training programs of one size, by how many blocks run again; each is made when it is first asked for.
    private final class TrainingPrograms {
        private let planner: DevicePlanner
        private let sizes: SessionSizes
        private var known: [Int: Program] = [:]
        private lazy var evaluationArena = planner.program(
            .evaluation, Session.batchRows(sizes.evaluation, .device(planner.element)), sizes, planner.policy(0)
        ).arenaBytes

        init(_ planner: DevicePlanner, _ sizes: SessionSizes) { (self.planner, self.sizes) = (planner, sizes) }

        private func program(_ blocks: Int) -> Program {
            if let program = known[blocks] { return program }
            let program = planner.program(.training, sizes.training, sizes, planner.policy(blocks))
            known[blocks] = program
            return program
        }

        /// The fewest blocks that run again within `cap` bytes, for each makes the arena smaller and the step longer.
        ///
        /// - Parameter limit: seconds that the step has to stay below.
        func plan(keepsExpanded: Bool, cap: Int, limit: Double) -> Outcome {
            func seconds(_ blocks: Int) -> Double { planner.seconds(program(blocks), keepsExpanded: keepsExpanded) }
            func bytes(_ blocks: Int) -> DeviceBytes {
                DeviceBytes(
                    context: planner.contextBytes, weights: planner.weightBytes, expanded: keepsExpanded ? planner.expandedBytes : 0,
                    adapters: planner.step.persistentBytes, arena: max(program(blocks).arenaBytes, evaluationArena, planner.step.arenaBytes))
            }
            guard seconds(0) < limit else { return .slower }
            var (low, high) = (0, bytes(0).total <= cap ? 0 : planner.blockCount)
            guard bytes(high).total <= cap else { return .doesNotFit }
            while low < high {
                let middle = (low + high) / 2
                if bytes(middle).total <= cap {
                    high = middle
                } else {
                    guard seconds(middle) < limit else { return .slower }
                    low = middle + 1
                }
            }
            let time = seconds(low)
            guard time < limit else { return .slower }
            return .plan(
                DevicePlan(sizes: sizes, passes: planner.policy(low), keepsExpanded: keepsExpanded, bytes: bytes(low), stepSeconds: time))
        }
    }

    /// The fastest of several micro-batch sizes a token; of those within 2 % of it the smallest, for what fits the card's cache better is
    /// not in the costs, and memory is left to others.
    ///
    /// - Throws: exit 3 with the smallest cap that would do, where none fits.
    package func plan(among tokens: [Int], evaluation: Int, headChunk: Int, cap: Int) throws -> DevicePlan {
        // Each faster a token than those before it: no other can be the smallest within 2 % of the fastest.
        var plans: [DevicePlan] = []
        search: for count in tokens.sorted() {
            let fasterThan = plans.last?.secondsPerToken ?? .infinity
            switch plan(tokens: count, evaluation: min(evaluation, count), headChunk: headChunk, cap: cap, fasterThan: fasterThan) {
            case .plan(let plan): plans.append(plan)
            case .slower: continue
            case .doesNotFit: break search
            }
        }
        let fastest = plans.last?.secondsPerToken ?? 0
        if let chosen = plans.first(where: { $0.secondsPerToken <= 1.02 * fastest }) { return chosen }
        let least = smallestBytes(tokens: tokens.min() ?? Session.granularity, evaluation: evaluation, headChunk: headChunk)
        throw LorikeetError(
            .doesNotFit, "micro-batches of \(tokens.min() ?? 0) tokens do not fit in \(Units.formatBytes(Int64(cap))) of the card's memory", at: "gpu_memory",
            fix: "gpu_memory of \(Units.formatBytes(Int64(least))) would do, or a smaller max_length")
    }

    /// The arena of an evaluation batch of `tokens`.
    package func evaluationArenaBytes(tokens: Int, headChunk: Int) -> Int {
        let sizes = SessionSizes(training: 0, evaluation: tokens, headChunk: headChunk)
        return program(.evaluation, Session.batchRows(tokens, .device(element)), sizes, policy(0)).arenaBytes
    }

    /// What the leanest way to train micro-batches of `tokens` takes.
    package func smallestBytes(tokens: Int, evaluation: Int, headChunk: Int) -> Int {
        let sizes = SessionSizes(training: Session.batchRows(tokens, .device(element)), evaluation: min(evaluation, tokens), headChunk: min(headChunk, 256))
        let training = program(.training, sizes.training, sizes, policy(blockCount))
        let evaluation = program(.evaluation, Session.batchRows(sizes.evaluation, .device(element)), sizes, policy(0))
        return contextBytes + weightBytes + step.persistentBytes + max(training.arenaBytes, evaluation.arenaBytes, step.arenaBytes)
    }

    private func seconds(_ program: Program, keepsExpanded: Bool) -> Double {
        var load = workload
        if !keepsExpanded { load.storedBytes = storedBytes }
        return model.seconds(program.work(load))
    }

    private func policy(_ blocks: Int) -> PassPolicy {
        var policy = PassPolicy(blocks: blocks)
        policy.fuse = fuse
        return policy
    }

    private func program(_ purpose: ProgramPurpose, _ tokens: Int, _ sizes: SessionSizes, _ passes: PassPolicy) -> Program {
        family.program(
            purpose, tokens: tokens, adapters: layout, target: .device(element), headChunk: sizes.headChunk, passes: passes)
    }
}
