/// One step of a program: what it reads and writes, its work, how it runs on each device, and its adjoint.
///
/// An op is a small value type in its own folder under `Ops/`: `<Op>+CPU.swift` has the arithmetic, `<Op>+CUDA.swift` launches kernels.
/// An op does not depend on which ops precede or follow it; only the fusion table (`Passes/Fuse.swift`) joins ops.
package protocol Op: Sendable {
    /// The name in listings, e.g. `linear` or `linear.backward`.
    var kind: String { get }
    /// Values read. A value that is both read and written (changed in place, or added to) is in both lists.
    var reads: [ValueID] { get }
    /// Values written, scratch included: scratch is a transient that only this op names.
    var writes: [ValueID] { get }
    /// Text for the listing beside kind and shapes, e.g. the weights' names; may be empty.
    var detail: String { get }
    /// Incomplete values (`Program.incomplete`) that this op completes: it adds the missing term in place. Fusion makes a value incomplete when
    /// it moves the op that adds the last term, such as LoRA's B product, into a later op.
    var completes: [ValueID] { get }
    /// Incomplete values that this op reads correctly: it adds the missing term to what it reads and leaves the value as it is.
    var supplies: [ValueID] { get }

    /// States the shapes and element types that the operands must have.
    func check(_ operands: inout OperandCheck)
    /// The op's work on the target, for the shapes, data and stored weights of `context`.
    func work(_ context: WorkContext) -> [Work]
    /// Emits the backward ops of this op, reading the gradients of its outputs and contributing to those of its inputs.
    func differentiate(_ backward: inout Differentiation)
    /// An op that computes `output` again into `copy` from values that are kept until the backward pass; nil where there is none that is cheap.
    func recomputation(of output: ValueID, into copy: ValueID) -> (any Op)?
    /// Replaces the number of every value that the op refers to.
    mutating func rename(_ name: Renaming)
    /// Runs on the CPU.
    ///
    /// - Throws: when a weight or value that the op needs has no memory; never for the numbers in it.
    func run(_ context: borrowing CPURun) throws
    /// Runs on a card: enqueues kernels and matrix products, which the card executes in that order.
    ///
    /// - Throws: as on the CPU, and exit 4 when the card fails.
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
