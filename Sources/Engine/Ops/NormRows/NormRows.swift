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
    let input: ValueID
    /// May be `input`: then the parts are normalised in place.
    let output: ValueID
    /// What the parts were, for the backward pass; nil where `input` keeps them, or nothing is trained.
    let kept: ValueID?
    let inverseRMS: ValueID
    let parts: [NormPart]
    let epsilon: Float
    let weightOffset: Float

    static let mostParts = 2
    var groups: Int { parts.reduce(0) { $0 + $1.groups } }

    var kind: String { "norm_rows" }
    var reads: [ValueID] { [input] }
    var writes: [ValueID] { [output, inverseRMS] + (kept.map { [$0] } ?? []) }
    var detail: String { parts.map(\.weight).joined(separator: " ") }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: parts.bytes(values, of: input) * (kept == nil ? 2 : 3)) }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        NormRows(
            input: name(input), output: name(output), kept: kept.map(name), inverseRMS: name(inverseRMS), parts: parts, epsilon: epsilon,
            weightOffset: weightOffset)
    }

    /// With g = dy * (weight + offset):  dx = r * (g - x * r² * mean_c(g * x)); in place where the norm was.
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(input), let dy = backward.gradient(of: output) else { return }
        var dx = dy
        if output != input { dx = backward.transient("d.\(backward.values[input].name)", backward.values[input].shape, backward.target.element) }
        backward.append(
            NormRowsBackward(dy: dy, x: kept ?? input, inverseRMS: inverseRMS, dx: dx, parts: parts, weightOffset: weightOffset))
        backward.setGradient(of: input, to: dx)
    }

    func run(_ context: borrowing CPURun) {
        NormRowsKernels.forward(
            NormRowsKernels.Rows(context, input), into: NormRowsKernels.Rows(context, output), kept: kept.map { NormRowsKernels.Rows(context, $0) },
            inverseRMS: context.floats(inverseRMS), parts: parts.compactMap { context.weighted($0) }, epsilon: epsilon, weightOffset: weightOffset,
            rows: context.values[input].shape[0], cpu: context.cpu)
    }
}

/// See `NormRows.differentiate`. dy and dx have the activations' type, x its own. Overwrites the parts' columns of dx, which may be dy.
struct NormRowsBackward: Op {
    let dy: ValueID
    let x: ValueID
    let inverseRMS: ValueID
    let dx: ValueID
    let parts: [NormPart]
    let weightOffset: Float

    var kind: String { "norm_rows.backward" }
    var reads: [ValueID] { [dy, x, inverseRMS] }
    var writes: [ValueID] { [dx] }
    var detail: String { parts.map(\.weight).joined(separator: " ") }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: parts.bytes(values, of: dy) * 2 + parts.bytes(values, of: x)) }

    func run(_ context: borrowing CPURun) {
        NormRowsKernels.backward(
            dy: NormRowsKernels.Rows(context, dy), x: NormRowsKernels.Rows(context, x), inverseRMS: context.floats(inverseRMS),
            dx: NormRowsKernels.Rows(context, dx), parts: parts.compactMap { context.weighted($0) }, weightOffset: weightOffset,
            rows: context.values[dy].shape[0], cpu: context.cpu)
    }
}

extension [NormPart] {
    /// The bytes of the parts' columns of a value.
    fileprivate func bytes(_ values: ValueTable, of id: ValueID) -> Double {
        reduce(0) { $0 + Double($1.groups * $1.columns) } * Double(values[id].shape[0] * values[id].type.byteCount)
    }
}

extension CPURun {
    fileprivate func weighted(_ part: NormPart) -> NormRowsKernels.Part? {
        weights.vector(part.weight).map { NormRowsKernels.Part(weight: $0, firstColumn: part.firstColumn, groups: part.groups, columns: part.columns) }
    }
}
