import LorikeetDevices

/// The addition of a block's result to the residual stream, or of two contributions to one gradient.
///
///     out = a + b            all [T, C]; out and a have one type, b has that type or the activations'
///
/// Overwrites out. The gradient of out is the gradient of a and, converted to the activations' type, that of b.
struct Add: Op {
    var a: ValueID
    var b: ValueID
    var out: ValueID
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

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(2 * values[out].byteCount + values[b].byteCount)) }

    func differentiate(_ backward: inout Differentiation) {
        guard let gradient = backward.gradient(of: out) else { return }
        if backward.needsGradient(a) { backward.contribute(gradient, to: a) }
        guard backward.needsGradient(b) else { return }
        // The products behind b take operands of the activations' type.
        backward.contribute(backward.converted(gradient, of: b), to: b)
    }

    func run(_ context: borrowing CPURun) throws {
        let (a, b, out) = (try context.floats(a), try context.floats(b), try context.floats(self.out))
        let shape = context.values[self.out].shape
        let columns = shape[1]
        context.cpu.parallelRanges(over: shape[0]) { rows, _ in
            for row in rows {
                let start = row * columns
                eachEight(columns) { i in
                    store8(load8(a + start + i) + load8(b + start + i), out + start + i)
                } rest: { i, lanes in
                    storePartly(loadPartly(a + start + i, lanes) + loadPartly(b + start + i, lanes), out + start + i, lanes)
                }
            }
        }
    }

    func run(_ context: borrowing DeviceRun) throws {
        // The kernel's three types: residual + residual, residual + element, element + element.
        let kernel = context.type(out) == context.element ? "add_elements" : context.type(b) == context.element ? "add_to_residual" : "add_residuals"
        let shape = context.values[out].shape
        try context.launch("add", kernel, blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128) {
            $0.add(try context.address(a))
            $0.add(try context.address(b))
            $0.add(try context.address(out))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
        }
    }
}
