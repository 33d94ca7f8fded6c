import LorikeetModelFiles

/// What a session will need and do, from its programs alone: nothing is loaded.
package struct ProgramPlan: Sendable {
    /// Bytes of the frozen weights in their storage; those read in place from the mapped file are counted too.
    package let weightBytes: Int
    /// Trained parameters, gradients, the optimiser's moments and the step state: the step program's persistent values.
    package let adapterBytes: Int
    /// What a checkpoint holds of them, and the trained parameters alone.
    package let checkpointBytes: Int
    package let parameterBytes: Int
    /// The arena that training and evaluation share.
    package let arenaBytes: Int
    /// The arena of a session that only evaluates and decodes.
    package let evaluationArenaBytes: Int
    /// KV cache of one group of sequences in `generate`.
    package let cacheBytes: Int
    package let trainableParameters: Int
    /// Elements of all matrices that multiply tokens, the head included.
    package let matrixParameters: Int
    /// Elements of all frozen tensors.
    package let parameters: Int
    /// For the largest training micro-batch; nil where nothing is trained.
    package let training: Program?
    /// For the largest evaluation batch.
    package let evaluation: Program
    /// For one new token of every sequence; nil where nothing is generated.
    package let decoding: Program?
    /// The optimiser's update.
    package let step: Program
    /// See `Workload.storedBytes`.
    package let storedBytes: [String: Int]

    /// Seconds of one run of `program` on such data.
    package func seconds(_ program: Program, _ data: Workload, _ model: DeviceModel) -> Double {
        var load = data
        load.storedBytes = storedBytes
        return model.seconds(program.work(load))
    }
}

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

extension Session {
    /// - Parameter stored: a tensor's element type in the file; float32 where it says nil.
    package static func plan(
        _ configuration: ModelConfiguration, _ request: ProgramRequest, stored: (String) -> ElementType?
    ) throws -> ProgramPlan {
        let family = configuration.family
        let layout = try TrainedLayout(request.lora, weights: family.weights())
        func program(_ purpose: ProgramPurpose, _ tokens: Int) -> Program {
            family.program(
                purpose, tokens: batchRows(tokens, request.target), adapters: layout, target: request.target, headChunk: request.sizes.headChunk,
                passes: request.passes)
        }
        let training = request.sizes.training > 0 ? program(.training, request.sizes.training) : nil
        let evaluation = program(.evaluation, request.sizes.evaluation)
        let step = StepProgram.build(count: layout.elementCount, optimiser: request.optimiser, target: request.target)
        var (evaluating, cache) = (evaluation.arenaBytes, 0)
        var nextTokens: Program?
        if request.slots > 0 {
            let length = roundedUp(request.positions)
            func decoding(_ rows: Int) -> Program {
                family.program(
                    .decoding(slots: request.slots + 1, positions: length, outputRows: request.slots), tokens: rows, adapters: layout,
                    target: request.target, passes: request.passes)
            }
            let reading = decoding(batchRows(min(roundedUp(request.sizes.evaluation), request.slots * length), request.target))
            evaluating = max(evaluating, reading.arenaBytes)
            cache = reading.values.values.filter { $0.kind == .persistent }.reduce(0) { $0 + $1.byteCount }
            nextTokens = decoding(request.slots)
        }
        let (weights, matrix) = weightBytes(family, request.storage, stored)
        let parameters = family.weights().reduce(0) { $0 + $1.shape.reduce(1, *) }
        return ProgramPlan(
            weightBytes: weights, adapterBytes: step.persistentBytes, checkpointBytes: step.checkpointValues.reduce(0) { $0 + $1.byteCount },
            parameterBytes: step.checkpointValues.first?.byteCount ?? 0,
            arenaBytes: max(training?.arenaBytes ?? 0, evaluation.arenaBytes, step.arenaBytes), evaluationArenaBytes: evaluating, cacheBytes: cache,
            trainableParameters: layout.elementCount, matrixParameters: matrix, parameters: parameters, training: training, evaluation: evaluation,
            decoding: nextTokens,
            step: step, storedBytes: family.storedBytes(request.storage, request.target, stored: stored))
    }

    private static func weightBytes(
        _ family: any ModelFamily, _ storage: BaseStorage, _ stored: (String) -> ElementType?
    ) -> (bytes: Int, matrixParameters: Int) {
        var (bytes, matrix, head) = (0, 0, 0)
        for declaration in family.weights() {
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

extension ModelFamily {
    /// See `Workload.storedBytes`: the linears that are not stored in the activations' type.
    package func storedBytes(_ storage: BaseStorage, _ target: ProgramTarget, stored: (String) -> ElementType?) -> [String: Int] {
        var result: [String: Int] = [:]
        for declaration in weights() {
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
