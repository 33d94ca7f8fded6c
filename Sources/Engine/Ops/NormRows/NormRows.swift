import LorikeetDevices

/// Columns of a row that are normalised in groups, with one weight for each of the groups' columns.
package struct NormPart: Sendable, Equatable {
    /// [columns], as the file has it.
    package let weight: String
    /// The first group's first column.
    package let firstColumn: Int
    /// One behind the other: heads, or one for all.
    package let groups: Int
    package let columns: Int

    package init(weight: String, firstColumn: Int = 0, groups: Int = 1, columns: Int) {
        self.weight = weight
        self.firstColumn = firstColumn
        self.groups = groups
        self.columns = columns
    }
}

/// Root-mean-square normalisation of parts of rows, without a residual addition: heads of q and k in the joint buffer (Qwen 3), all of q
/// and of k (OLMo 2), or a sublayer's output (Gemma 2, OLMo 2).
///
///     r = 1 / sqrt(mean_c x² + epsilon)      [T, all groups]     over the columns c of each group of each part
///     y = x * r * (weight[c] + weightOffset)                      in the same columns
///
/// input [T, C], output [T, C'], kept [T, C''], of one type: the activations' or the residual stream's. Overwrites inverseRMS, and of
/// output and kept the parts' columns alone. At most two parts, of different columns.
struct NormRows: Op {
    var input: ValueID
    /// May be `input`: then the parts are normalised in place.
    var output: ValueID
    /// What the parts were, for the backward pass; nil where `input` keeps them, or nothing is trained.
    var kept: ValueID?
    var inverseRMS: ValueID
    let parts: [NormPart]
    let epsilon: Float
    let weightOffset: Float

    static let maximumParts = 2
    var groups: Int { parts.reduce(0) { $0 + $1.groups } }

    var kind: String { "norm_rows" }
    var reads: [ValueID] { [input] }
    var writes: [ValueID] { [output, inverseRMS] + (kept.map { [$0] } ?? []) }
    var detail: String { parts.map(\.weight).joined(separator: " ") }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: parts.bytes(context.values, of: input) * (kept == nil ? 2 : 3)) }

    mutating func rename(_ name: Renaming) {
        name(&input)
        name(&output)
        name(&kept)
        name(&inverseRMS)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(input)
        for (id, name) in [(input, "input"), (output, "output")] { operands.expect(id, name, nil, .activationOrResidual) }
        operands.expect(kept, "kept", nil, .activationOrResidual)
        operands.expect(inverseRMS, "1/rms", [shape[0], groups], .f32)
        operands.require(operands.values[input].type == operands.values[output].type, "input and output have different element types")
        parts.check(&operands, input)
    }

    /// With g = dy * (weight + offset):  dx = r * (g - x * r² * mean_c(g * x)); in place where the norm was.
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(input), let dy = backward.gradient(of: output) else { return }
        // Where the norm was in place, so is its adjoint.
        let inPlace = output == input
        let dx = inPlace ? dy : backward.transient("d.\(backward.values[input].name)", backward.values[input].shape, backward.target.element)
        backward.append(
            NormRowsBackward(dy: dy, x: kept ?? input, inverseRMS: inverseRMS, dx: dx, parts: parts, weightOffset: weightOffset))
        if !inPlace { backward.contribute(dx, to: input) }
    }

    func run(_ context: borrowing CPURun) throws {
        NormRowsKernels.forward(
            try NormRowsKernels.Rows(context, input), into: try NormRowsKernels.Rows(context, output),
            kept: try kept.map { try NormRowsKernels.Rows(context, $0) }, inverseRMS: try context.floats(inverseRMS),
            parts: try parts.map { try context.weighted($0) }, epsilon: epsilon, weightOffset: weightOffset,
            rows: context.values[input].shape[0], cpu: context.cpu)
    }
}

/// See `NormRows.differentiate`. dy and dx have the activations' type, x its own. Overwrites the parts' columns of dx, which may be dy.
struct NormRowsBackward: Op {
    var dy: ValueID
    var x: ValueID
    var inverseRMS: ValueID
    var dx: ValueID
    let parts: [NormPart]
    let weightOffset: Float

    var kind: String { "norm_rows.backward" }
    var reads: [ValueID] { [dy, x, inverseRMS] }
    var writes: [ValueID] { [dx] }
    var detail: String { parts.map(\.weight).joined(separator: " ") }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: parts.bytes(context.values, of: dy) * 2 + parts.bytes(context.values, of: x)) }

    mutating func rename(_ name: Renaming) {
        name(&dy)
        name(&x)
        name(&inverseRMS)
        name(&dx)
    }

    func check(_ operands: inout OperandCheck) {
        operands.expect(dy, "dy", nil, .activation)
        operands.expect(x, "x", nil, .activationOrResidual)
        operands.expect(inverseRMS, "1/rms", [operands.shape(dy)[0], parts.reduce(0) { $0 + $1.groups }], .f32)
        operands.expect(dx, "dx", nil, .activation)
        parts.check(&operands, dy)
    }

    func run(_ context: borrowing CPURun) throws {
        NormRowsKernels.backward(
            dy: try NormRowsKernels.Rows(context, dy), x: try NormRowsKernels.Rows(context, x), inverseRMS: try context.floats(inverseRMS),
            dx: try NormRowsKernels.Rows(context, dx), parts: try parts.map { try context.weighted($0) }, weightOffset: weightOffset,
            rows: context.values[dy].shape[0], cpu: context.cpu)
    }
}

extension [NormPart] {
    fileprivate func check(_ operands: inout OperandCheck, _ id: ValueID) {
        for part in self {
            operands.require(
                part.firstColumn + part.groups * part.columns <= operands.shape(id)[1], "\(part.weight) normalises columns that are not there")
        }
    }

    /// The bytes of the parts' columns of a value.
    fileprivate func bytes(_ values: ValueTable, of id: ValueID) -> Double {
        reduce(0) { $0 + Double($1.groups * $1.columns) } * Double(values[id].shape[0] * values[id].type.byteCount)
    }
}

extension CPURun {
    fileprivate func weighted(_ part: NormPart) throws -> NormRowsKernels.Part {
        NormRowsKernels.Part(weight: try vector(part.weight), firstColumn: part.firstColumn, groups: part.groups, columns: part.columns)
    }
}
