import LorikeetDevices

/// The addition of a block's result to the residual stream, or of two contributions to one gradient.
///
///     out = a + scale * b    all [T, C]; out and a have one type, b has that type or the activations'
///
/// Overwrites out. The gradient of out is the gradient of a and, multiplied and in the activations' type, that of b.
struct Add: Op {
    var a: ValueID
    var b: ValueID
    var out: ValueID
    /// Of a sublayer's result (Granite).
    var scale: Float = 1
    /// Distinguishes the sum of two gradients in listings.
    var isGradient = false

    var kind: String { isGradient ? "add.gradients" : "add" }
    var reads: [ValueID] { [a, b] }
    var writes: [ValueID] { [out] }

    mutating func rename(_ name: Renaming) {
        name(&a)
        name(&b)
        name(&out)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(out)
        operands.expect(out, "out", shape, .activationOrResidual)
        operands.expect(a, "a", shape, .activationOrResidual)
        operands.expect(b, "b", shape, .activationOrResidual)
        operands.require(operands.values[a].type == operands.values[out].type, "a and out have different element types")
        let type = operands.values[b].type
        operands.require(type == operands.values[out].type || type == operands.target.element, "b has neither out's type nor the activations'")
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: 2 * context.bytes(out) + context.bytes(b)) }

    func differentiate(_ backward: inout Differentiation) {
        guard let gradient = backward.gradient(of: out) else { return }
        if backward.needsGradient(a) { backward.contribute(gradient, to: a) }
        guard backward.needsGradient(b) else { return }
        // The products behind b take operands of the activations' type.
        backward.contribute(backward.converted(gradient, of: b, scale: scale), to: b)
    }

    func run(_ context: borrowing CPURun) throws {
        let (a, b, out) = (try context.floats(a), try context.floats(b), try context.floats(self.out))
        context.cpu.parallelRanges(over: context.values[self.out].elementCount, grain: 4096) { range, _ in
            ResidualKernels.add(a + range.lowerBound, b + range.lowerBound, scale, into: out + range.lowerBound, range.count)
        }
    }

    func run(_ context: borrowing DeviceRun) throws {
        let (sum, term) = (context.type(out), context.type(b))
        // residual.cu: types that differ in float16 alone have kernels of their own.
        let residual: DeviceElement = context.element == .f16 ? .f32 : context.element
        let kernel = sum != residual ? "element_add" : term == residual ? "residual_add" : "residual_add_narrow"
        try context.residual(kernel, count: context.values[out].elementCount, scale) {
            for id in [a, b, out] { $0.add(try context.address(id)) }
        }
    }
}
