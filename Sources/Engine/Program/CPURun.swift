import LorikeetDevices
import LorikeetGround

/// Where a running program's values are, and what ops may use: the arena, the weights, the adapters, the processor.
package struct CPURun: ~Copyable {
    package let cpu: CPU
    package let values: ValueTable
    package let weights: WeightTable
    /// Whether adapters are applied; without them the same program computes the base model.
    package let adapterOn: Bool
    let offsets: [Int?]
    let arena: UnsafeMutableRawPointer
    let parameters: UnsafeMutablePointer<Float>?
    let gradients: UnsafeMutablePointer<Float>?
    /// Persistent values by value index.
    let persistent: [Int: UnsafeMutableRawPointer]

    /// The first element of a float32 value; for weights use `matrix` and `vector`.
    ///
    /// - Throws: where the value has no place, which `Program.verify` finds beforehand.
    package func floats(_ id: ValueID) throws -> UnsafeMutablePointer<Float> {
        try pointer(id).assumingMemoryBound(to: Float.self)
    }

    /// The same of a value that only the processor's programs have.
    package func floats(_ id: ValueID?, _ what: String) throws -> UnsafeMutablePointer<Float> {
        guard let id else { throw Self.missing(what) }
        return try floats(id)
    }

    /// The first element of an int32 value.
    package func integers(_ id: ValueID) throws -> UnsafeMutablePointer<Int32> {
        try pointer(id).assumingMemoryBound(to: Int32.self)
    }

    /// The same of a value that only the processor's programs have.
    func integers(_ id: ValueID?, _ what: String) throws -> UnsafeMutablePointer<Int32> {
        guard let id else { throw Self.missing(what) }
        return try integers(id)
    }

    /// The first element of a float64 value.
    func doubles(_ id: ValueID) throws -> UnsafeMutablePointer<Double> {
        try pointer(id).assumingMemoryBound(to: Double.self)
    }

    /// A frozen matrix by its tensor's name.
    func matrix(_ name: String) throws -> any WeightStore {
        guard let store = weights.matrix(name) else { throw Self.missing("the weight \(name)") }
        return store
    }

    /// The first element of a frozen float32 vector by its tensor's name.
    func vector(_ name: String) throws -> UnsafePointer<Float> {
        guard let vector = weights.vector(name) else { throw Self.missing("the weight \(name)") }
        return vector
    }

    static func missing(_ what: String) -> LorikeetError {
        .machine("the program asks for \(what), which this model does not hold", fix: "report this with lorikeet plan --explain's output")
    }

    private func pointer(_ id: ValueID) throws -> UnsafeMutableRawPointer {
        switch values[id].kind {
        case .parameter:
            if let parameters { return UnsafeMutableRawPointer(parameters + values[id].flatOffset) }
        case .parameterGradient:
            if let gradients { return UnsafeMutableRawPointer(gradients + values[id].flatOffset) }
        case .persistent:
            if let place = persistent[id.index] { return place }
        default:
            if let offset = offsets[id.index] { return arena + offset }
        }
        throw Self.missing("a place for the value \(values[id].name)")
    }
}
