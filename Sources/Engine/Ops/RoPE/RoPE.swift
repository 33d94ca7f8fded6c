import LorikeetDevices

/// The angles' inverse frequencies and scale, per model (and per layer kind where a family has two).
package struct RoPETable: Sendable, Equatable {
    /// One per rotated pair: theta^(-2i/d) in the plain form (Su et al. 2021, arXiv:2104.09864), scaled in the long-context forms.
    package let inverseFrequencies: [Float]
    /// Multiplies cos and sin (1 but for YaRN and LongRoPE).
    package let attentionScale: Float
    /// LongRoPE's second table, for sequences longer than the original context; nil for other forms.
    package var long: Long?

    package struct Long: Sendable, Equatable {
        /// As many as the table's own.
        package let inverseFrequencies: [Float]
        /// Positions of the original context.
        package let originalPositions: Int
    }

    package init(inverseFrequencies: [Float], attentionScale: Float = 1, long: Long? = nil) {
        self.inverseFrequencies = inverseFrequencies
        self.attentionScale = attentionScale
        self.long = long
    }
}

/// cos, sin [T, d/2] = attentionScale * cos/sin(positions[t] * inverseFrequencies[i]). Overwrites both; once a program and table.
///
/// A LongRoPE table has a second list, which holds for rows t with lengths[t] > the original context.
struct RoPEAngles: Op {
    var positions: ValueID
    /// Positions of each row's whole sequence, for a LongRoPE table.
    var lengths: ValueID?
    var cos: ValueID
    var sin: ValueID
    let table: RoPETable

    var kind: String { "rope.angles" }
    var reads: [ValueID] { [positions] + (lengths.map { [$0] } ?? []) }
    var writes: [ValueID] { [cos, sin] }

    mutating func rename(_ name: Renaming) {
        name(&positions)
        name(&lengths)
        name(&cos)
        name(&sin)
    }

    func check(_ operands: inout OperandCheck) {
        let tokens = operands.shape(positions)[0]
        operands.expect(positions, "positions", nil, .i32)
        operands.expect(lengths, "lengths", [tokens], .i32)
        operands.require((lengths != nil) == (table.long != nil), "the lengths of sequences belong to a LongRoPE table")
        operands.expect(cos, "cos", [tokens, table.inverseFrequencies.count], .f32)
        operands.expect(sin, "sin", [tokens, table.inverseFrequencies.count], .f32)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: 2 * context.bytes(cos)) }

    func run(_ context: borrowing CPURun) throws {
        RoPEKernels.table(
            table, positions: try context.integers(positions), lengths: try lengths.map { try context.integers($0) }, cos: try context.floats(cos),
            sin: try context.floats(sin), rows: context.values[cos].shape[0])
    }
}

/// Rotates the first `heads` heads of each row of a joint buffer, in place:
///
///     x1' = x1 cos - x2 sin,  x2' = x2 cos + x1 sin
///
/// x1, x2: the two halves of a head's rotated dimensions, or where `interleaved` its dimensions 2i and 2i + 1.
///
/// The rotation is orthogonal, so its adjoint is the inverse rotation of the gradient, in place too.
struct RoPE: Op {
    var joint: ValueID
    var cos: ValueID
    var sin: ValueID
    let heads: Int
    let headDimension: Int
    let inverse: Bool
    /// Pairs of neighbours (GPT-J, GLM), not of halves (Hugging Face's form of Llama's weights).
    var interleaved = false
    /// LoRA's second product, which the linear's output still lacks: added to all columns before the rotation (see the fusion table).
    var update: LowRankUpdate?

    /// Whether the kernel that adds and rotates (lora_up.cu) takes these heads: whole ones, in units of 64 columns.
    func takesUpdate(pairs: Int) -> Bool { !interleaved && headDimension % 64 == 0 && 2 * pairs == headDimension }

    var kind: String { inverse ? "rope.backward" : "rope" }
    var reads: [ValueID] { [joint, cos, sin] + (update?.reads ?? []) }
    var writes: [ValueID] { [joint] }
    var completes: [ValueID] { update == nil ? [] : [joint] }

    mutating func rename(_ name: Renaming) {
        name(&joint)
        name(&cos)
        name(&sin)
        update?.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let (shape, angles) = (operands.shape(joint), operands.shape(cos))
        operands.expect(joint, "joint", nil, .activation)
        operands.expect(cos, "cos", [shape[0], angles[1]], .f32)
        operands.expect(sin, "sin", angles, .f32)
        operands.require(heads * headDimension <= shape[1], "\(heads) heads of \(headDimension) are more than \(shape[1]) columns")
        operands.require(2 * angles[1] <= headDimension, "\(angles[1]) pairs are more than half of a head of \(headDimension)")
    }

    func work(_ context: WorkContext) -> [Work] {
        let rows = context.values[joint].shape[0]
        return context.kernel(moving: 8 * Double(rows * heads * headDimension)) + (update?.parts.products(rows: rows) ?? [])
    }

    func differentiate(_ backward: inout Differentiation) {
        guard let gradient = backward.gradient(of: joint) else { return }
        backward.append(RoPE(joint: gradient, cos: cos, sin: sin, heads: heads, headDimension: headDimension, inverse: true, interleaved: interleaved))
    }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[joint].shape
        RoPEKernels.applyInPlace(
            try context.floats(joint), ld: shape[1], rows: shape[0], headCount: heads, headDimension: headDimension,
            rotaryDimension: 2 * context.values[cos].shape[1], cos: try context.floats(cos), sin: try context.floats(sin), inverse: inverse,
            interleaved: interleaved, cpu: context.cpu)
    }
}
