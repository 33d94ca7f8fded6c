import LorikeetDevices
import LorikeetModelFiles

extension ModelPrograms {
    /// What a model that evaluates and decodes takes on a card beside the context: its frozen weights, its adapters, the arena of the
    /// larger of both programs, and the cache of one group of sequences.
    ///
    /// - Parameters:
    ///   - element: the type of activations; the request's target has the same.
    ///   - stored: a tensor's type in the file; float32 where it says nil.
    package func deviceBytes(_ request: ProgramRequest, element: DeviceElement, stored: (String) -> ElementType?) throws -> DeviceBytes {
        let program = try plan(request, stored: stored)
        func bytes(_ declaration: WeightDeclaration) -> Int {
            DeviceWeights.bytes(declaration, storage: request.storage, stored: stored(declaration.tensor) ?? .f32, element: element)
        }
        let weights = configuration.weights.reduce(DeviceWeights.overheadBytes) { $0 + bytes($1) }
        let onHost = request.embeddingOnHost ? configuration.embeddingOnly.map(bytes) ?? 0 : 0
        return DeviceBytes(
            context: 0, weights: weights - onHost, expanded: 0, adapters: program.adapterBytes,
            arena: program.evaluationArenaBytes, cache: program.cacheBytes, pinned: onHost)
    }
}
