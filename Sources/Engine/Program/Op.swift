/// One step of a program: what it reads and writes, what it costs, how it runs, and its own adjoint.
///
/// An op is a small value type in its own folder under `Ops/`; its arithmetic on the CPU stands in `<Op>+CPU.swift`. Ops do not know
/// each other: what joins two of them is a row of the fusion table (`Passes/Fuse.swift`).
package protocol Op: Sendable {
    /// The name in listings, e.g. `linear` or `linear.backward`.
    var kind: String { get }
    /// Values read. A value that is both read and written (in place, or added to) stands in both lists.
    var reads: [ValueID] { get }
    /// Values written, scratch included: scratch is a transient that only this op names.
    var writes: [ValueID] { get }
    /// What a reader of the listing wants to know beside the shapes, e.g. the weights' names; may be empty.
    var detail: String { get }
    /// Values that lack a term when this op reads them and that it completes in place.
    var completes: [ValueID] { get }
    /// Values that lack a term when this op reads them, where the op adds that term itself without changing the value.
    var supplies: [ValueID] { get }

    /// States the shapes and element types that the operands must have.
    func check(_ operands: inout OperandCheck)
    /// What the op does on a device, for the shapes, data and stored weights of `context`.
    func work(_ context: WorkContext) -> [Work]
    /// Emits the backward ops of this op, reading the gradients of its outputs and contributing to those of its inputs.
    func differentiate(_ backward: inout Differentiation)
    /// An op that writes `output` again into `copy` from values that are kept, or nil when that would cost too much.
    func recomputation(of output: ValueID, into copy: ValueID) -> (any Op)?
    /// Replaces every value that the op names.
    mutating func rename(_ name: Renaming)
    /// Runs on the CPU.
    ///
    /// - Throws: when a weight or value that the op needs has no place; never for the numbers in them.
    func run(_ context: borrowing CPURun) throws
    /// Runs on a card: enqueues kernels and matrix products, which the card executes in the same order.
    func run(_ context: borrowing DeviceRun) throws
}

extension Op {
    package var detail: String { "" }
    package var completes: [ValueID] { [] }
    package var supplies: [ValueID] { [] }
    package func differentiate(_ backward: inout Differentiation) {}
    package func recomputation(of output: ValueID, into copy: ValueID) -> (any Op)? { nil }

    /// The same op on other values.
    func renamed(_ name: @escaping (ValueID) -> ValueID) -> any Op {
        var copy = self
        copy.rename(Renaming(name))
        return copy
    }
}

/// Replaces value numbers in an op's stored properties.
package struct Renaming {
    private let name: (ValueID) -> ValueID

    init(_ name: @escaping (ValueID) -> ValueID) { self.name = name }

    package func callAsFunction(_ id: inout ValueID) { id = name(id) }
    package func callAsFunction(_ id: inout ValueID?) { id = id.map(name) }
}

/// The values of a program by number.
package struct ValueTable: Sendable {
    package private(set) var values: [Value] = []

    package subscript(id: ValueID) -> Value { values[id.index] }
    package var ids: [ValueID] { values.indices.map { ValueID(index: $0) } }

    package mutating func add(_ name: String, _ shape: [Int], _ type: ValueType = .f32, _ kind: ValueKind, flatOffset: Int = 0) -> ValueID {
        values.append(Value(name: name, shape: shape, type: type, kind: kind, flatOffset: flatOffset))
        return ValueID(index: values.count - 1)
    }

    /// A transient with the shape and type of `id`, named after it.
    mutating func addCopy(of id: ValueID) -> ValueID { add(self[id].name + "'", self[id].shape, self[id].type, .transient) }
}
