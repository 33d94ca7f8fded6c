/// One step of a program: what it reads and writes, what it costs, how it runs, and its own adjoint.
///
/// An op is a small value type in its own folder under `Ops/`; its arithmetic on the CPU stands in `<Op>+CPU.swift`.
package protocol Op: Sendable {
    /// The name in listings, e.g. `linear` or `linear.backward`.
    var kind: String { get }
    /// Values read. A value that is both read and written (in place, or added to) stands in both lists.
    var reads: [ValueID] { get }
    /// Values written, scratch included: scratch is a transient that only this op names.
    var writes: [ValueID] { get }
    /// What a reader of the listing wants to know beside the shapes, e.g. the weights' names; may be empty.
    var detail: String { get }

    /// Matrix FLOPs and bytes for the shapes in `values`.
    func cost(_ values: ValueTable) -> Cost
    /// Emits the backward ops of this op, reading the gradients of its outputs and setting those of its inputs.
    func differentiate(_ backward: inout Differentiation)
    /// An op that writes `output` again into `copy` from values that are kept, or nil when that would cost too much.
    func recomputation(of output: ValueID, into copy: ValueID) -> (any Op)?
    /// The same op on other values, so that a block can run again; nil for ops that never do.
    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)?
    /// Runs on the CPU.
    func run(_ context: borrowing CPURun)
    /// Runs on a card: asks for kernels and products, which run later in the same order.
    func run(_ context: borrowing DeviceRun) throws
}

extension Op {
    package var detail: String { "" }
    package func differentiate(_ backward: inout Differentiation) {}
    package func recomputation(of output: ValueID, into copy: ValueID) -> (any Op)? { nil }
    package func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? { nil }
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
}
