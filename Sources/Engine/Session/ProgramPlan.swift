import LorikeetModelFiles
import Synchronization

/// The inputs of a plan beside the model.
package struct ProgramRequest: Sendable {
    package var storage: BaseStorage
    package var lora: LoRASettings?
    package var optimiser: any Optimiser.Type = AdamWSettings.self
    package var sizes: SessionSizes
    package var target: ProgramTarget
    /// Sequences at a time and tokens of each in `generate`; 0 where nothing is generated.
    package var slots = 0
    package var positions = 0
    package var passes = PassPolicy.norms
    /// See `DevicePlan.embeddingOnHost`.
    package var embeddingOnHost = false

    package init(storage: BaseStorage, lora: LoRASettings?, sizes: SessionSizes, target: ProgramTarget) {
        self.storage = storage
        self.lora = lora
        self.sizes = sizes
        self.target = target
    }
}

/// What a session will need and do, from its programs alone: nothing is loaded. A program is made when something is first asked of it.
package struct ProgramPlan: Sendable {
    /// Bytes of the frozen weights in their storage; those read in place from the mapped file are counted too.
    package let weightBytes: Int
    /// Elements of all matrices that multiply tokens, the head included.
    package let matrixParameters: Int
    /// Elements of all frozen tensors.
    package let parameters: Int
    package let trainableParameters: Int
    /// The optimiser's update.
    package let step: Program
    /// See `Workload.storedBytes`.
    package let storedBytes: [String: Int]
    fileprivate let programs: ModelPrograms
    fileprivate let request: ProgramRequest
    fileprivate let layout: TrainedLayout

    /// Trained parameters, gradients, the optimiser's moments and the step state: the step program's persistent values.
    package var adapterBytes: Int { step.persistentBytes }
    /// What a checkpoint holds of them, and the trained parameters alone.
    package var checkpointBytes: Int { step.checkpointValues.reduce(0) { $0 + $1.byteCount } }
    package var parameterBytes: Int { step.checkpointValues.first?.byteCount ?? 0 }
    /// The arena that training and evaluation share, and replicas divide.
    package var arenaBytes: Int {
        let alone = request.sizes.trainsAlone ? training?.arenaBytes ?? 0 : 0
        return max(alone, replicaArenas.reduce(0, +), evaluation.arenaBytes, step.arenaBytes)
    }
    /// Of the replicas' own gradients.
    package var replicaGradientBytes: Int { replicaArenas.count * 4 * layout.elementCount }
    /// Bytes of the replicas' arenas; empty where there is one session.
    private var replicaArenas: [Int] {
        guard request.sizes.training > 0, request.sizes.replicas.count > 1, case .cpu(let threads) = request.target else { return [] }
        let sizes = request.sizes.ofReplica
        return (0..<request.sizes.replicas.count).map { replica in
            let target = ProgramTarget.cpu(threads: request.sizes.replicas.threads(of: replica, all: threads))
            return programs.program(
                .init(
                    purpose: .training, rows: Session.batchRows(sizes.training, target), lora: request.lora, target: target, headChunk: sizes.headChunk,
                    passes: request.passes), layout
            ).arenaBytes
        }
    }
    /// The arena of a session that only evaluates and decodes.
    package var evaluationArenaBytes: Int { max(evaluation.arenaBytes, reading?.arenaBytes ?? 0) }
    /// KV cache of one group of sequences in `generate`.
    package var cacheBytes: Int { reading?.values.values.filter { $0.kind == .persistent }.reduce(0) { $0 + $1.byteCount } ?? 0 }

    /// For the largest training micro-batch; nil where nothing is trained.
    package var training: Program? { request.sizes.training > 0 ? program(.training, rows(request.sizes.training)) : nil }
    /// For the largest evaluation batch.
    package var evaluation: Program { program(.evaluation, rows(request.sizes.evaluation)) }
    /// For one new token of every sequence; nil where nothing is generated.
    package var decoding: Program? { request.slots > 0 ? decoding(rows: request.slots) : nil }
    /// For the prompts of all sequences, or as many of their tokens as are read at a time.
    private var reading: Program? {
        let most = min(Session.roundedUp(request.sizes.evaluation), request.slots * Session.roundedUp(request.positions))
        return request.slots > 0 ? decoding(rows: rows(most)) : nil
    }

    private func rows(_ tokens: Int) -> Int { Session.batchRows(tokens, request.target) }

    private func decoding(rows: Int) -> Program {
        let purpose = ProgramPurpose.decoding(slots: request.slots + 1, positions: Session.roundedUp(request.positions), outputRows: request.slots)
        return program(purpose, rows, headChunk: HeadBlock.chunk)
    }

    private func program(_ purpose: ProgramPurpose, _ rows: Int, headChunk: Int? = nil) -> Program {
        programs.program(
            .init(
                purpose: purpose, rows: rows, lora: request.lora, target: request.target, headChunk: headChunk ?? request.sizes.headChunk,
                passes: purpose == .training ? request.passes : request.passes.ofForward), layout)
    }

    /// Seconds of one run of `program` on such data.
    package func seconds(_ program: Program, _ data: Workload, _ model: DeviceModel) -> Double {
        var load = data
        load.storedBytes = storedBytes
        return model.seconds(program.work(load))
    }
}

extension PassPolicy {
    /// What of the policy matters to a program without a backward pass.
    fileprivate var ofForward: PassPolicy {
        var policy = PassPolicy.norms
        policy.fuse = fuse
        return policy
    }
}

/// The programs of one model, each made when it is first asked for: the parts of a plan ask for many of them more than once.
package final class ModelPrograms: Sendable {
    package let configuration: ModelConfiguration
    private let known = Mutex<(programs: [Key: Program], layouts: [LoRASettings?: TrainedLayout])>(([:], [:]))

    package init(_ configuration: ModelConfiguration) { self.configuration = configuration }

    fileprivate struct Key: Hashable {
        let purpose: ProgramPurpose
        let rows: Int
        let lora: LoRASettings?
        let target: ProgramTarget
        let headChunk: Int
        let passes: PassPolicy
    }

    /// How many programs were made.
    package var count: Int { known.withLock { $0.programs.count } }

    fileprivate func program(_ key: Key, _ layout: TrainedLayout) -> Program {
        if let program = known.withLock({ $0.programs[key] }) { return program }
        let program = configuration.family.program(
            key.purpose, tokens: key.rows, adapters: layout, target: key.target, headChunk: key.headChunk, passes: key.passes)
        known.withLock { $0.programs[key] = program }
        return program
    }

    private func layout(_ lora: LoRASettings?) throws -> TrainedLayout {
        if let layout = known.withLock({ $0.layouts[lora] }) { return layout }
        let layout = try TrainedLayout(lora, weights: configuration.weights)
        known.withLock { $0.layouts[lora] = layout }
        return layout
    }

    /// - Parameter stored: a tensor's element type in the file; float32 where it says nil.
    /// - Throws: exit 2 where the adapter's settings do not fit the model.
    package func plan(_ request: ProgramRequest, stored: (String) -> ElementType?) throws -> ProgramPlan {
        let layout = try layout(request.lora)
        let (weights, matrix) = weightBytes(request.storage, stored)
        return ProgramPlan(
            weightBytes: weights, matrixParameters: matrix, parameters: configuration.weights.reduce(0) { $0 + $1.shape.reduce(1, *) },
            trainableParameters: layout.elementCount,
            step: StepProgram.build(count: layout.elementCount, optimiser: request.optimiser, target: request.target),
            storedBytes: configuration.storedBytes(request.storage, request.target, stored: stored), programs: self, request: request, layout: layout)
    }

    private func weightBytes(_ storage: BaseStorage, _ stored: (String) -> ElementType?) -> (bytes: Int, matrixParameters: Int) {
        var (bytes, matrix, head) = (0, 0, 0)
        for declaration in configuration.weights {
            let elements = declaration.shape.reduce(1, *)
            let type = stored(declaration.tensor) ?? .f32
            switch declaration.role {
            case .linear:
                matrix += elements
                bytes += storage.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
            case .table:
                // The last table named is the head; tied to the embedding it still multiplies every token.
                head = elements
                bytes += BaseStorage.stored.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
            case .vector: bytes += elements * 4
            }
        }
        return (bytes, matrix + head)
    }
}

extension Session {
    /// - Parameter stored: a tensor's element type in the file; float32 where it says nil.
    package static func plan(
        _ configuration: ModelConfiguration, _ request: ProgramRequest, stored: (String) -> ElementType?
    ) throws -> ProgramPlan { try ModelPrograms(configuration).plan(request, stored: stored) }
}

extension ModelConfiguration {
    /// See `Workload.storedBytes`: the linears that are not stored in the activations' type.
    package func storedBytes(_ storage: BaseStorage, _ target: ProgramTarget, stored: (String) -> ElementType?) -> [String: Int] {
        var result: [String: Int] = [:]
        for declaration in weights {
            guard case .linear = declaration.role else { continue }
            let type = stored(declaration.tensor) ?? .f32
            let bytes =
                switch target {
                case .cpu: storage.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
                case .device(let element): DeviceWeights.bytes(declaration, storage: storage, stored: type, element: element)
                }
            if bytes < declaration.shape.reduce(1, *) * target.element.byteCount { result[declaration.tensor] = bytes }
        }
        return result
    }
}
