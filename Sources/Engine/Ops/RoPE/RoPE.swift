import LorikeetDevices

/// The angles' inverse frequencies and scale, per model (and per layer kind where a family has two).
package struct RoPETable: Sendable, Equatable {
    /// One per rotated pair: theta^(-2i/d) in the plain form (Su et al. 2021, arXiv:2104.09864), scaled in the long-context forms.
    package let inverseFrequencies: [Float]
    /// Multiplies cos and sin (1 but for YaRN and LongRoPE).
    package let attentionScale: Float

    package init(inverseFrequencies: [Float], attentionScale: Float = 1) {
        self.inverseFrequencies = inverseFrequencies
        self.attentionScale = attentionScale
    }
}

/// cos, sin [T, d/2] = attentionScale * cos/sin(positions[t] * inverseFrequencies[i]). Overwrites both; once a program.
struct RoPEAngles: Op {
    let positions: ValueID
    let cos: ValueID
    let sin: ValueID
    let table: RoPETable

    var kind: String { "rope.angles" }
    var reads: [ValueID] { [positions] }
    var writes: [ValueID] { [cos, sin] }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: 2 * Double(values[cos].byteCount)) }

    func run(_ context: borrowing CPURun) {
        RoPEKernels.table(
            positions: context.integers(positions), inverseFrequencies: table.inverseFrequencies, attentionScale: table.attentionScale,
            cos: context.floats(cos), sin: context.floats(sin), rows: context.values[cos].shape[0])
    }
}

/// Rotates the first `heads` heads of each row of a joint buffer, in place:
///
///     x1' = x1 cos - x2 sin,  x2' = x2 cos + x1 sin
///
/// x1, x2: the two halves of a head's rotated dimensions, or where `interleaved` its dimensions 2i and 2i + 1.
///
/// The rotation is orthogonal, so its adjoint is the inverse rotation of the gradient, in place too; where attention's backward
/// kernels can rotate what they write, they do.
struct RoPE: Op {
    let joint: ValueID
    let cos: ValueID
    let sin: ValueID
    let heads: Int
    let headDimension: Int
    let inverse: Bool
    /// Pairs of neighbours (GPT-J, GLM), not of halves (Hugging Face's form of Llama's weights).
    var interleaved = false
    /// On a card: what the linear before has left to add, to the columns behind the heads too.
    var update: LowRankUpdate?

    /// Whether the kernel that adds and rotates (lora_up.cu) takes these heads: whole ones, in units of 64 columns.
    func takesUpdate(pairs: Int) -> Bool { !interleaved && headDimension % 64 == 0 && 2 * pairs == headDimension }

    var kind: String { inverse ? "rope.backward" : "rope" }
    var reads: [ValueID] { [joint, cos, sin] + (update?.reads ?? []) }
    var writes: [ValueID] { [joint] }

    func cost(_ values: ValueTable) -> Cost {
        Cost(bytes: 8 * Double(values[joint].shape[0] * heads * headDimension))
    }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        RoPE(
            joint: name(joint), cos: name(cos), sin: name(sin), heads: heads, headDimension: headDimension, inverse: inverse, interleaved: interleaved,
            update: update?.renamed(name))
    }

    func differentiate(_ backward: inout Differentiation) {
        guard let gradient = backward.gradient(of: joint) else { return }
        if backward.target.isDevice, !interleaved, var last = backward.lastOp as? AttentionBackward, last.dJoint == gradient,
            last.rotatesBack(heads: heads, pairs: backward.values[cos].shape[1], backward.target)
        {
            last.unrotated = (cos, sin)
            return backward.replaceLast(with: last)
        }
        backward.append(
            RoPE(joint: gradient, cos: cos, sin: sin, heads: heads, headDimension: headDimension, inverse: true, interleaved: interleaved))
    }

    func run(_ context: borrowing CPURun) {
        let shape = context.values[joint].shape
        RoPEKernels.applyInPlace(
            context.floats(joint), ld: shape[1], rows: shape[0], headCount: heads, headDimension: headDimension,
            rotaryDimension: 2 * context.values[cos].shape[1], cos: context.floats(cos), sin: context.floats(sin), inverse: inverse,
            interleaved: interleaved, cpu: context.cpu)
    }
}
