import LorikeetDevices

/// The number of a value in its program's table.
package struct ValueID: Hashable, Sendable {
    package let index: Int
}

/// What a value is to the program, which decides where it lives and for how long.
package enum ValueKind: Sendable, Hashable {
    /// Filled by the caller before each run; lives as long as the program runs.
    case input
    /// Read by the caller after each run; lives as long as the program runs.
    case output
    /// Written and read inside a run: an offset in the arena for its lifetime.
    case transient
    /// Frozen and held by the model, by name.
    case weight
    /// Trained: a range of the adapters' flat float32 buffer.
    case parameter
    /// The gradient of a parameter: the same range of the flat gradient buffer, always added to.
    case parameterGradient
    /// Outlives a run and is shared by name between programs: trained parameters, their gradients and moments, the step state; the KV
    /// caches of the decoding programs.
    case persistent
    /// Written and read inside a run, in the host's pinned memory: a copy of a transient, while that has no place on the card.
    case parked
}

/// Element types of values in a program; frozen weights keep their own storage format.
package enum ValueType: String, Sendable {
    case f32, i32, f16, bf16, f64

    package var byteCount: Int {
        switch self {
        case .f16, .bf16: 2
        case .f32, .i32: 4
        case .f64: 8
        }
    }

    init(_ element: DeviceElement) { self = [.f32, .f16, .bf16][Int(element.rawValue)] }
}

/// One value of a step program: a name, a shape (row-major, last index fastest), a type and a kind.
package struct Value: Sendable {
    package let name: String
    package let shape: [Int]
    package let type: ValueType
    package let kind: ValueKind
    /// For parameters and their gradients the first element's index in the flat buffer; for parked values the first byte in their memory.
    package let flatOffset: Int

    package var elementCount: Int { shape.reduce(1, *) }
    package var byteCount: Int { elementCount * type.byteCount }
    /// Whether it has an offset in the arena. Inputs and outputs do too, for the whole run.
    package var livesInArena: Bool { kind == .transient || kind == .input || kind == .output }
}

/// The values of a program, by `ValueID`.
package struct ValueTable: Sendable {
    package private(set) var values: [Value] = []

    package subscript(id: ValueID) -> Value { values[id.index] }
    package var ids: [ValueID] { values.indices.map { ValueID(index: $0) } }

    package mutating func add(_ name: String, _ shape: [Int], _ type: ValueType = .f32, _ kind: ValueKind, flatOffset: Int = 0) -> ValueID {
        values.append(Value(name: name, shape: shape, type: type, kind: kind, flatOffset: flatOffset))
        return ValueID(index: values.count - 1)
    }

    /// Adds a transient with the shape and type of `id`, named after it.
    mutating func addCopy(of id: ValueID) -> ValueID { add(self[id].name + "'", self[id].shape, self[id].type, .transient) }
}
