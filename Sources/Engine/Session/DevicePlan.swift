import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// The bytes of a session on a card, by use. Their sum is the predicted use of the card's memory.
package struct DeviceBytes: Sendable, Equatable {
    /// What the card holds before anything is loaded, and the driver's memory for this process: context, kernels, workspace of products.
    package var context: Int
    /// The frozen weights as they are stored.
    package var weights: Int
    /// The linears once more, dequantised to the activations' type, where the plan keeps them so.
    package var expanded: Int
    /// Trained parameters, gradients, moments, step state: the step program's persistent values.
    package var adapters: Int
    package var arena: Int
    /// Keys and values of sequences in `generate`.
    package var cache = 0
    /// The host's pinned memory that the card works with: the embedding and parked values, where the plan has them there. Not of the card.
    package var pinned = 0

    package var total: Int { context + weights + expanded + adapters + arena + cache }
}

/// How a training session runs on a card.
package struct DevicePlan: Sendable {
    package let sizes: SessionSizes
    package internal(set) var passes: PassPolicy
    /// Whether quantised linears are dequantised once, at loading, and kept in the activations' type; else they are dequantised for every
    /// product. Both give the same bits.
    package let keepsExpanded: Bool
    /// Whether the embedding lies in the host's memory, from where the card reads rows of it. The same bits.
    package let embeddingOnHost: Bool
    package internal(set) var bytes: DeviceBytes
    /// Predicted seconds of one micro-batch of `sizes.training` tokens.
    package internal(set) var stepSeconds: Double
    package var secondsPerToken: Double { stepSeconds / Double(sizes.training) }
    /// What lies in the host's pinned memory, in words; empty where nothing does.
    package var pinnedParts: String {
        [embeddingOnHost ? "embedding" : "", passes.parks ? "what recomputed blocks keep" : ""].filter { !$0.isEmpty }.joined(separator: ", ")
    }
}

/// What a plan has in the host's memory instead of the card's, each more than the one before. Nothing of it changes a result's bits.
package enum HostUse {
    case nothing
    /// The embedding, where no head shares its table.
    case embedding
    /// Also what recomputed blocks keep (`PassPolicy.parks`).
    case parking
}

/// Chooses micro-batches, head chunk, recomputation and whether linears are kept dequantised, for the least time a token under a memory cap.
/// The host's memory is used where nothing fits without it, or where that is predicted clearly faster (`DevicePlanner.hostGain`).
package struct DevicePlanner {
    let family: any ModelFamily
    let layout: TrainedLayout
    private let storage: BaseStorage
    let element: DeviceElement
    /// What choices are made by.
    private let model: DeviceModel
    /// What predictions are made by.
    private let predicting: DeviceModel
    private let workload: Workload
    private let storedBytes: [String: Int]
    /// See `DeviceBytes.context`, `weights` and `expanded`.
    let contextBytes: Int
    let weightBytes: Int
    let expandedBytes: Int
    /// Bytes of the embedding, where it may lie in the host's memory; else 0.
    let embeddingBytes: Int
    /// The optimiser's update.
    private(set) var step: Program
    let blockCount: Int
    package var optimiser: any Optimiser.Type = AdamWSettings.self { didSet { step = Self.step(optimiser, layout, element) } }
    /// Whether programs are fused; see `PassPolicy.fuse`.
    package var fuse = true
    /// Bytes of the host's memory that may be pinned.
    package var hostCap = Int.max
    let known = KnownPrograms()
    /// By what part a token's time has to be shorter with the host's memory than without, where both fit. A step is predicted too long by about
    /// the same share in either form, which cancels in their ratio: on an H100 that was predicted as 0.944 and 0.961 and measured as 0.955 and 0.942. So gains below
    /// 3 % may be errors of the prediction, and a smaller use of the machine's memory is preferred.
    package static let hostGain = 0.03

    /// - Parameters:
    ///   - element: the activations' type.
    ///   - workload: the training data, as segments and targets.
    ///   - contextBytes: what the opened card holds before anything is loaded; `card.bytesToRun` is added here.
    ///   - stored: a tensor's type in the file; nil is taken as float32.
    /// - Throws: exit 2 where the adapter's settings do not fit the model.
    package init(
        _ configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, card: AcceleratorProperties, element: DeviceElement,
        workload: Workload, contextBytes: Int, stored: (String) -> ElementType?
    ) throws {
        family = configuration.family
        layout = try TrainedLayout(lora, weights: configuration.weights)
        self.storage = storage
        self.element = element
        self.contextBytes = contextBytes + card.bytesToRun
        model = TableModel(card, element).model
        predicting = DeviceModel.predicting(card, element)
        blockCount = configuration.blockCount
        var (weights, expanded) = (DeviceWeights.overheadBytes, 0)
        self.workload = workload
        storedBytes = configuration.storedBytes(storage, .device(element), stored: stored)
        for declaration in configuration.weights {
            let bytes = DeviceWeights.bytes(declaration, storage: storage, stored: stored(declaration.tensor) ?? .f32, element: element)
            weights += bytes
            if storedBytes[declaration.tensor] != nil { expanded += declaration.shape.reduce(1, *) * element.bytes }
        }
        (weightBytes, expandedBytes) = (weights, expanded)
        embeddingBytes =
            configuration.embeddingOnly.map { DeviceWeights.bytes($0, storage: storage, stored: stored($0.tensor) ?? .f32, element: element) } ?? 0
        step = Self.step(optimiser, layout, element)
    }

    private static func step(_ optimiser: any Optimiser.Type, _ layout: TrainedLayout, _ element: DeviceElement) -> Program {
        StepProgram.build(count: layout.elementCount, optimiser: optimiser, target: .device(element))
    }

    /// The result of a search for a plan.
    package enum Outcome {
        case plan(DevicePlan)
        /// Nothing that fits is faster than the given limit; where even the step that needs the most memory is not, nobody asks whether another fits.
        case slower
        case doesNotFit

        package var plan: DevicePlan? { if case .plan(let plan) = self { plan } else { nil } }
    }

    /// The fastest plan for micro-batches of `tokens` within `cap` bytes of the card's memory.
    ///
    /// - Parameters:
    ///   - onHost: what may lie in the host's memory; of several the first is taken where it is as fast.
    ///   - evaluation: rows of the largest evaluation batch.
    ///   - headChunk: the largest head chunk (`SessionSizes.headChunk`) to try. Smaller ones are tried too, because they may save the
    ///     recomputation of blocks.
    ///   - fasterThan: seconds a token that the plan has to stay below.
    package func plan(tokens: Int, onHost uses: [HostUse], evaluation: Int, headChunk: Int, cap: Int, fasterThan: Double) -> Outcome {
        let rows = Session.batchRows(tokens, .device(element))
        var chunks: [Int] = []
        for chunk in [headChunk, headChunk / 2, headChunk / 4, headChunk / 16].map({ min(max(128, $0), headChunk, rows) }) where chunk != chunks.last {
            chunks.append(chunk)
        }
        let sizes = chunks.map { SessionSizes(training: rows, evaluation: evaluation, headChunk: $0) }
        var best = Outcome.doesNotFit
        for use in uses {
            if let plan = best.plan, plan.passes.blocks == 0 { break }
            switch plan(sizes, use, cap: cap, limit: best.plan?.stepSeconds ?? fasterThan * Double(rows)) {
            case .plan(let plan): best = .plan(plan)
            case .slower: if case .doesNotFit = best { best = .slower }
            case .doesNotFit: break
            }
        }
        return best
    }

    /// The fastest plan with this much in the host's memory.
    ///
    /// - Parameters:
    ///   - sizes: by head chunk, the largest first; programs are made of those that are looked at.
    ///   - limit: seconds that the step has to stay below.
    private func plan(_ sizes: [SessionSizes], _ use: HostUse, cap: Int, limit: Double) -> Outcome {
        let weights = weightBytes - (use == .nothing ? 0 : embeddingBytes)
        let mayKeepExpanded = expandedBytes > 0 && contextBytes + weights + expandedBytes + step.persistentBytes <= cap
        var (best, limit) = (Outcome.doesNotFit, limit)
        for sizes in sizes {
            let program = known.programs(self, sizes)
            for keeps in mayKeepExpanded ? [true, false] : [false] {
                switch program.plan(self, keepsExpanded: keeps, use, cap: cap, limit: limit) {
                case .plan(let plan): (best, limit) = (.plan(plan), plan.stepSeconds)
                case .slower: if case .doesNotFit = best { best = .slower }
                case .doesNotFit: break
                }
            }
            if let best = best.plan, best.passes.blocks == 0, best.keepsExpanded || !mayKeepExpanded { break }
        }
        return best
    }

    /// The plan without any recomputation, where it recomputes no block and that too fits within `cap` bytes; else the plan as it is.
    ///
    /// Sizes are chosen before, with cheap values recomputed: the prediction takes small micro-batches for nearly as fast as large ones, and
    /// would give up rows for what recomputation saves, about 3 % of a step.
    package func withoutRecomputation(_ plan: DevicePlan, cap: Int) -> DevicePlan {
        guard plan.passes.blocks == 0 else { return plan }
        var keeping = plan
        keeping.passes.cheap = false
        let program = footprint(plan.sizes.training, plan.sizes, keeping.passes)
        keeping.bytes.arena = max(plan.bytes.arena, program.arenaBytes())
        keeping.stepSeconds = seconds(program, keepsExpanded: plan.keepsExpanded, embeddingOnHost: plan.embeddingOnHost)
        return keeping.bytes.total <= cap && keeping.stepSeconds < plan.stepSeconds ? keeping : plan
    }

    /// A plan for one of several micro-batch sizes: the smallest size whose time a token is within 2 % of the fastest's. The prediction leaves
    /// out the card's cache, which smaller sizes use better, and a smaller size leaves memory to other processes.
    ///
    /// - Throws: exit 3 with the smallest sufficient cap, where no size fits.
    package func plan(among tokens: [Int], evaluation: Int, headChunk: Int, cap: Int) throws -> DevicePlan {
        let chosen = Self.withHost(\.self) { uses, limit in
            fastest(among: tokens, onHost: uses, evaluation: evaluation, headChunk: headChunk, cap: cap, fasterThan: limit)
        }
        if let chosen { return withoutRecomputation(chosen, cap: cap) }
        let least = smallestBytes(tokens: tokens.min() ?? Session.granularity, evaluation: evaluation, headChunk: headChunk)
        throw LorikeetError(
            .doesNotFit, "micro-batches of \(tokens.min() ?? 0) tokens do not fit in \(Units.formatBytes(Int64(cap))) of the card's memory", at: "gpu_memory",
            fix: "gpu_memory of \(Units.enoughMebibytes(least)) would do, or a smaller max_length")
    }

    /// The fastest without the host's memory, or with it where that is faster by `hostGain`.
    ///
    /// - Parameters:
    ///   - plan: the plan in a result of `fastest`.
    ///   - fastest: the fastest whose parts may lie in the host's memory as given, and whose seconds a token are below a limit.
    package static func withHost<Found>(_ plan: KeyPath<Found, DevicePlan>, _ fastest: (_ uses: [HostUse], _ limit: Double) -> Found?) -> Found? {
        let plain = fastest([.nothing], .infinity)
        // Without recomputation there is nothing to gain.
        if let plain, plain[keyPath: plan].passes.blocks == 0 { return plain }
        return fastest([.embedding, .parking], plain.map { (1 - hostGain) * $0[keyPath: plan].secondsPerToken } ?? .infinity) ?? plain
    }

    /// The smallest of several sizes whose time a token is within 2 % of the fastest's; nil where none fits, or is faster than `fasterThan` seconds a token.
    private func fastest(
        among tokens: [Int], onHost uses: [HostUse], evaluation: Int, headChunk: Int, cap: Int, fasterThan: Double = .infinity
    ) -> DevicePlan? {
        // Each is faster a token than those before it. A size that is not cannot be the result: a smaller one is at least as fast.
        var plans: [DevicePlan] = []
        search: for count in tokens.sorted() {
            let limit = plans.last?.secondsPerToken ?? fasterThan
            switch plan(tokens: count, onHost: uses, evaluation: min(evaluation, count), headChunk: headChunk, cap: cap, fasterThan: limit) {
            case .plan(let plan): plans.append(plan)
            case .slower: continue
            case .doesNotFit: break search
            }
        }
        let fastest = plans.last?.secondsPerToken ?? 0
        return plans.first { $0.secondsPerToken <= 1.02 * fastest }
    }

    /// Bytes of the arena for an evaluation batch of `tokens`.
    package func evaluationArenaBytes(tokens: Int, headChunk: Int) -> Int {
        known.evaluationArena(self, rows: tokens, headChunk: headChunk)
    }

    /// Bytes of the card's memory that training micro-batches of `tokens` takes at least: with every block recomputed, a small head chunk, and what
    /// can lie in the host's memory there.
    package func smallestBytes(tokens: Int, evaluation: Int, headChunk: Int) -> Int {
        let sizes = SessionSizes(training: Session.batchRows(tokens, .device(element)), evaluation: min(evaluation, tokens), headChunk: min(headChunk, 256))
        let parking = footprint(sizes.training, sizes, policy(blockCount, parks: true))
        let parks = parking.parkedBytes + embeddingBytes <= hostCap
        let training = parks ? parking : footprint(sizes.training, sizes, policy(blockCount))
        let evaluation = evaluationArenaBytes(tokens: sizes.evaluation, headChunk: sizes.headChunk)
        let weights = weightBytes - (embeddingBytes <= hostCap ? embeddingBytes : 0)
        return contextBytes + weights + step.persistentBytes + max(training.arenaBytes(), evaluation, step.arenaBytes)
    }

    /// Predicted seconds of training micro-batches under `plan`.
    ///
    /// Programs of at most four sizes are priced, and those between by straight lines: a size costs its rows' work and, whatever its rows, its launches.
    ///
    /// - Parameter counts: by tokens, the number of micro-batches.
    package func predictedSeconds(_ plan: DevicePlan, counts: [Int: Int]) -> Double {
        var sizes: [Int: Int] = [:]
        for (tokens, count) in counts { sizes[Session.batchRows(tokens, .device(element)), default: 0] += count }
        guard let least = sizes.keys.min(), let most = sizes.keys.max() else { return 0 }
        let target = ProgramTarget.device(element)
        let priced = Set([0, 1, 2, 3].map { min(most, Session.batchRows(least + (most - least) * $0 / 3, target)) }).union([least]).sorted()
        var load = workload
        if !plan.keepsExpanded { load.storedBytes = storedBytes }
        load.embeddingOnHost = plan.embeddingOnHost
        let known = priced.map { rows in
            (rows: rows, seconds: predicting.seconds(footprint(rows, plan.sizes, plan.passes).work(load)) + DeviceModel.submissionSeconds)
        }
        func seconds(_ rows: Int) -> Double {
            guard let above = known.first(where: { $0.rows >= rows }) else { return known.last?.seconds ?? 0 }
            guard let below = known.last(where: { $0.rows < rows }) else { return above.seconds }
            return below.seconds + (above.seconds - below.seconds) * Double(rows - below.rows) / Double(above.rows - below.rows)
        }
        return sizes.sorted { $0.key < $1.key }.reduce(0) { $0 + Double($1.value) * seconds($1.key) }
    }

    /// Predicted seconds of one update by the optimiser.
    package var predictedUpdateSeconds: Double { predicting.seconds(step.work()) }

    /// Predicted seconds of one run of `program` on the workload.
    func seconds(_ program: PassedProgram.Footprint, keepsExpanded: Bool, embeddingOnHost: Bool) -> Double {
        var load = workload
        load.embeddingOnHost = embeddingOnHost
        if !keepsExpanded { load.storedBytes = storedBytes }
        return model.seconds(program.work(load))
    }

    func policy(_ blocks: Int, _ repeated: PassPolicy.Repeated = .everything, parks: Bool = false) -> PassPolicy {
        var policy = PassPolicy(blocks: blocks, repeated: repeated, parks: parks)
        policy.fuse = fuse
        return policy
    }

    /// A training program of so many rows.
    private func footprint(_ rows: Int, _ sizes: SessionSizes, _ passes: PassPolicy) -> PassedProgram.Footprint {
        known.footprint(of: differentiated(.training, rows, headChunk: sizes.headChunk), passes)
    }

    func differentiated(_ purpose: ProgramPurpose, _ rows: Int, headChunk: Int) -> DifferentiatedProgram {
        family.differentiated(purpose, tokens: rows, adapters: layout, target: .device(element), headChunk: headChunk)
    }
}
