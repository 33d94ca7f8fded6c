import LorikeetModelFiles

/// What a session will need and do, from its programs alone: nothing is loaded.
package struct ProgramPlan: Sendable {
    /// Bytes of the frozen weights in their storage; those read in place from the mapped file are counted too.
    package let weightBytes: Int
    /// Adapters, gradients and AdamW's moments, float32.
    package let adapterBytes: Int
    /// The arena that training, evaluation and decoding share.
    package let arenaBytes: Int
    /// KV cache of one group of sequences in `generate`.
    package let cacheBytes: Int
    package let trainableParameters: Int
    /// Elements of all matrices that multiply tokens, the head included.
    package let matrixParameters: Int
    /// One micro-batch of `tokens`, every token trained.
    package let training: Cost
    package let evaluation: Cost
    package let tokens: Int
    /// The training program, for `plan --explain`.
    package let program: Program
}

extension Session {
    /// - Parameters:
    ///   - tokens: rows of the largest micro-batch.
    ///   - workers: threads that will run it.
    ///   - slots, positions: sequences and tokens of a decoding group; 0 where nothing is generated.
    package static func plan(
        source: ModelSource, storage: BaseStorage, lora: LoRASettings?, tokens: Int, workers: Int, slots: Int = 0, positions: Int = 0,
        recompute: RecomputePolicy = .norms
    ) throws -> ProgramPlan {
        try plan(source.configuration, storage: storage, lora: lora, tokens: tokens, workers: workers, slots: slots, positions: positions, recompute: recompute) {
            source.tensor($0)?.type
        }
    }

    /// The same from a configuration; `stored` names a tensor's element type in the file (float32 where it says nil).
    package static func plan(
        _ configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, tokens: Int, workers: Int, slots: Int = 0, positions: Int = 0,
        recompute: RecomputePolicy = .norms, stored: (String) -> ElementType?
    ) throws -> ProgramPlan {
        let family = try Families.family(for: configuration)
        let layout = try lora.map { try AdapterLayout($0, linears: family.linears()) } ?? .none
        let rows = roundedUp(tokens)
        let training = family.program(.training, tokens: rows, adapters: layout, workers: workers, recompute: recompute)
        let evaluation = family.program(.evaluation, tokens: rows, adapters: layout, workers: workers)
        var arena = max(training.arenaBytes, evaluation.arenaBytes)
        var cache = 0
        if slots > 0 {
            let length = roundedUp(positions)
            let decoding = family.program(
                .decoding(slots: slots + 1, positions: length, outputRows: slots), tokens: min(rows, slots * length), adapters: layout, workers: workers)
            arena = max(arena, decoding.arenaBytes)
            cache = decoding.values.values.filter { $0.kind == .state }.reduce(0) { $0 + $1.byteCount }
        }
        var weights = 0
        var matrix = 0
        for declaration in family.weights() {
            let elements = declaration.shape.reduce(1, *)
            let type = stored(declaration.tensor) ?? .f32
            switch declaration.role {
            case .linear:
                matrix += elements
                weights += storage.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
            case .table:
                weights += BaseStorage.stored.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
            case .vector: weights += elements * 4
            }
        }
        // The head multiplies every token, be it tied to the embedding or not.
        matrix += family.vocabularySize * configuration.hiddenSize
        return ProgramPlan(
            weightBytes: weights, adapterBytes: AdapterSet.bytes(elementCount: layout.elementCount), arenaBytes: arena, cacheBytes: cache,
            trainableParameters: layout.elementCount, matrixParameters: matrix, training: training.cost, evaluation: evaluation.cost,
            tokens: rows, program: training)
    }
}
