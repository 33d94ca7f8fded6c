import LorikeetDevices

/// Where a running program's values are, and what ops may use: the arena, the weights, the adapters, the processor.
package struct CPURun: ~Copyable {
    package let cpu: CPU
    package let values: ValueTable
    package let weights: WeightTable
    /// alpha / r for every adapter while the adapter is on; 0 gives the base model by the same program.
    package let adapterOn: Bool
    let offsets: [Int?]
    let arena: UnsafeMutableRawPointer
    let parameters: UnsafeMutablePointer<Float>?
    let gradients: UnsafeMutablePointer<Float>?
    /// Persistent states by value index.
    let states: [Int: UnsafeMutablePointer<Float>]

    /// The first element of a float32 value; for weights use `weights`.
    package func floats(_ id: ValueID) -> UnsafeMutablePointer<Float> {
        pointer(id).assumingMemoryBound(to: Float.self)
    }

    /// The first element of an int32 value.
    package func integers(_ id: ValueID) -> UnsafeMutablePointer<Int32> {
        pointer(id).assumingMemoryBound(to: Int32.self)
    }

    private func pointer(_ id: ValueID) -> UnsafeMutableRawPointer {
        switch values[id].kind {
        case .parameter:
            if let parameters { return UnsafeMutableRawPointer(parameters + values[id].flatOffset) }
        case .parameterGradient:
            if let gradients { return UnsafeMutableRawPointer(gradients + values[id].flatOffset) }
        case .state:
            if let state = states[id.index] { return UnsafeMutableRawPointer(state) }
        default:
            if let offset = offsets[id.index] { return arena + offset }
        }
        // A value without a place is a mistake in an op's reads/writes, never in a user's input.
        preconditionFailure("value \(values[id].name) has no place")
    }
}
