import LorikeetDevices
import LorikeetModelFiles

extension Session {
    /// What a model that evaluates and decodes takes on a card beside the context: its frozen weights, its adapters, the arena of the
    /// larger of both programs, and the cache of one group of sequences.
    ///
    /// - Parameters:
    ///   - element: the type of activations; the request's target has the same.
    ///   - stored: a tensor's type in the file; float32 where it says nil.
    package static func deviceBytes(
        _ configuration: ModelConfiguration, _ request: ProgramRequest, element: DeviceElement, stored: (String) -> ElementType?
    ) throws -> DeviceBytes {
        let program = try plan(configuration, request, stored: stored)
        let weights = configuration.family.weights().reduce(DeviceWeights.overheadBytes) {
            $0 + DeviceWeights.bytes($1, storage: request.storage, stored: stored($1.tensor) ?? .f32, element: element)
        }
        return DeviceBytes(
            context: 0, weights: weights, expanded: 0, adapters: program.adapterBytes,
            arena: program.evaluationArenaBytes, cache: program.cacheBytes)
    }
}
