import LorikeetDevices
import LorikeetGround

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
    /// The name of what this is a gradient or a copy of. Names are put together when somebody reads them: making a program is faster so.
    private let stem: String
    private var gradients = 0
    private var copies = 0
    package private(set) var shape: [Int]
    package private(set) var elementCount: Int
    package private(set) var type: ValueType
    package private(set) var kind: ValueKind
    /// For parameters and their gradients the first element's index in the flat buffer; for parked values the first byte in their memory.
    package private(set) var flatOffset: Int

    fileprivate init(_ name: String, _ shape: [Int], _ type: ValueType, _ kind: ValueKind, flatOffset: Int) {
        (stem, self.shape, self.type, self.kind, self.flatOffset) = (name, shape, type, kind, flatOffset)
        elementCount = shape.reduce(1, *)
    }

    /// A gradient of this value, `d.` before its name.
    fileprivate func gradient(_ shape: [Int], _ type: ValueType, _ kind: ValueKind) -> Value {
        var value = self
        value.gradients += 1
        (value.shape, value.elementCount, value.type, value.kind) = (shape, shape.reduce(1, *), type, kind)
        return value
    }

    /// The same once more: a transient with a mark behind its name, or what is parked of it.
    fileprivate func copy(_ kind: ValueKind, flatOffset: Int) -> Value {
        var value = self
        if kind == .transient { value.copies += 1 }
        (value.kind, value.flatOffset) = (kind, flatOffset)
        return value
    }

    package var name: String { String(repeating: "d.", count: gradients) + stem + String(repeating: "'", count: copies) }
    package var byteCount: Int { elementCount * type.byteCount }
    /// Whether it has an offset in the arena. Inputs and outputs do too, for the whole run.
    package var livesInArena: Bool { kind == .transient || kind == .input || kind == .output }
}

/// The values of a program, by `ValueID`.
package struct ValueTable: Sendable {
    package private(set) var values: [Value] = []
    /// Of each copy in the order in which they were added, what it is a copy of; passes add nothing else.
    private var copied: [ValueID] = []

    package subscript(id: ValueID) -> Value { values[id.index] }
    package var ids: [ValueID] { values.indices.map { ValueID(index: $0) } }

    private mutating func add(_ value: Value) -> ValueID {
        values.append(value)
        return ValueID(index: values.count - 1)
    }

    package mutating func add(_ name: String, _ shape: [Int], _ type: ValueType = .f32, _ kind: ValueKind, flatOffset: Int = 0) -> ValueID {
        add(Value(name, shape, type, kind, flatOffset: flatOffset))
    }

    /// Adds a gradient of `id`, named after it.
    mutating func addGradient(of id: ValueID, _ shape: [Int], _ type: ValueType, _ kind: ValueKind) -> ValueID {
        add(self[id].gradient(shape, type, kind))
    }

    /// Adds a transient with the shape and type of `id`, named after it.
    mutating func addCopy(of id: ValueID) -> ValueID {
        copied.append(id)
        return add(self[id].copy(.transient, flatOffset: 0))
    }

    /// Adds a place for `id` in the host's memory, behind those that were added before.
    ///
    /// - Parameter alignment: of the places.
    mutating func addParked(_ id: ValueID, alignment: Int) -> ValueID {
        let before = parkedBytes.roundedUp(toMultipleOf: alignment)
        copied.append(id)
        return add(self[id].copy(.parked, flatOffset: before))
    }

    /// Bytes of the host's memory that parked values take.
    var parkedBytes: Int { values.last { $0.kind == .parked }.map { $0.flatOffset + $0.byteCount } ?? 0 }

    /// The values of a program of another size whose ops are the same: its own, and the copies that passes have added here.
    ///
    /// - Parameters:
    ///   - other: the values of that program before the passes.
    ///   - alignment: see `addParked`.
    func resized(to other: ValueTable, alignment: Int) -> ValueTable {
        var table = other
        table.values.reserveCapacity(values.count)
        // Copies that the program had before the passes are among its own.
        let added = max(0, values.count - other.values.count)
        for (id, value) in zip(copied.suffix(added), values.suffix(added)) {
            _ = value.kind == .parked ? table.addParked(id, alignment: alignment) : table.addCopy(of: id)
        }
        return table
    }
}
