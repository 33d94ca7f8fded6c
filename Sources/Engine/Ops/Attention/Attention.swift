import LorikeetDevices

/// What attention needs to know beside its buffers.
package struct AttentionShape: Sendable, Equatable {
    /// Query heads H, key/value heads K (H a multiple of K), head size D.
    package let heads: Int
    package let keyValueHeads: Int
    package let headDimension: Int
    /// Multiplies q·k, usually 1/sqrt(D).
    package let scale: Float
    /// A row sees only the last `window` rows, itself included.
    package let window: Int?
    /// s -> cap * tanh(s / cap).
    package let softCap: Float?

    package init(heads: Int, keyValueHeads: Int, headDimension: Int, scale: Float, window: Int? = nil, softCap: Float? = nil) {
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headDimension = headDimension
        self.scale = scale
        self.window = window
        self.softCap = softCap
    }

    /// Floats of a row of the joint q|k|v buffer.
    package var jointColumns: Int { (heads + 2 * keyValueHeads) * headDimension }
}

/// Causal attention inside each segment of a packed micro-batch, without a T×T matrix (Dao et al. 2022, arXiv:2205.14135).
///
///     joint [T, (H+2K)·D] = q | k | v, rotated;   out [T, H·D];   logSumExp [H, T]
///     p(t,s) = softmax over s in segmentStart[t]...t of scale * q_t·k_s;   out_t = sum_s p(t,s) v_s
///
/// Overwrites out and logSumExp.
struct Attention: Op {
    let joint: ValueID
    let out: ValueID
    let logSumExp: ValueID
    let segmentStart: ValueID
    /// [workers, …] for a tile's scores and stacked heads.
    let scratch: ValueID?
    let shape: AttentionShape

    var kind: String { "attention" }
    var reads: [ValueID] { [joint, segmentStart] }
    var writes: [ValueID] { [out, logSumExp] + (scratch.map { [$0] } ?? []) }

    /// Two products over the causal half, for one segment of T tokens (packs of short segments cost less).
    func cost(_ values: ValueTable) -> Cost {
        let tokens = Double(values[joint].shape[0])
        return Cost(
            matrixFlops: 2 * tokens * tokens * Double(shape.heads * shape.headDimension),
            bytes: Double(values[joint].byteCount + values[out].byteCount))
    }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        Attention(
            joint: name(joint), out: name(out), logSumExp: name(logSumExp), segmentStart: name(segmentStart), scratch: scratch.map(name), shape: shape)
    }

    /// With D_t = dout_t·out_t and ds = p * (dp - D):  dq = scale * ds k,  dk = scale * dsᵀ q,  dv = pᵀ dout.
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(joint), let dOut = backward.gradient(of: out) else { return }
        let dJoint = backward.newGradient(of: joint)
        let rows = backward.values[joint].shape[0]
        backward.append(
            AttentionBackward(
                dOut: dOut, joint: joint, out: out, logSumExp: logSumExp, segmentStart: segmentStart, dJoint: dJoint,
                scratch: scratch.map { backward.transient("scores", backward.values[$0].shape) },
                sums: backward.target.isDevice
                    ? backward.transient("dout·out", [shape.heads, rows])
                    : backward.transient("dk|dv by share", [shape.keyValueHeads * AttentionKernels.shares, rows, 2 * shape.headDimension]),
                shape: shape))
        backward.setGradient(of: joint, to: dJoint)
    }

    func run(_ context: borrowing CPURun) {
        guard let scratch else { return }
        AttentionKernels.forward(
            joint: context.floats(joint), segmentStart: context.integers(segmentStart), out: context.floats(out),
            logSumExp: context.floats(logSumExp), scratch: context.floats(scratch), rows: context.values[joint].shape[0], shape: shape,
            cpu: context.cpu)
    }
}

/// See `Attention.differentiate`. Overwrites dJoint; probabilities are computed again from logSumExp.
struct AttentionBackward: Op {
    let dOut: ValueID
    let joint: ValueID
    let out: ValueID
    let logSumExp: ValueID
    let segmentStart: ValueID
    let dJoint: ValueID
    let scratch: ValueID?
    /// dk and dv of each key head by share: [K * shares, T, 2·D]; on a card D_t of each head [H, T].
    let sums: ValueID
    let shape: AttentionShape
    /// The angles by which q and k were rotated, where dq and dk leave rotated back (a card's tuned kernels; see `RoPE.differentiate`).
    var unrotated: (cos: ValueID, sin: ValueID)?

    var kind: String { "attention.backward" }
    var reads: [ValueID] { [dOut, joint, out, logSumExp, segmentStart] + (unrotated.map { [$0.cos, $0.sin] } ?? []) }
    var writes: [ValueID] { [dJoint, sums] + (scratch.map { [$0] } ?? []) }

    func cost(_ values: ValueTable) -> Cost {
        let tokens = Double(values[joint].shape[0])
        return Cost(
            matrixFlops: 5 * tokens * tokens * Double(shape.heads * shape.headDimension),
            bytes: Double(2 * values[joint].byteCount + 2 * values[out].byteCount))
    }

    func run(_ context: borrowing CPURun) {
        guard let scratch else { return }
        AttentionKernels.backward(
            dOut: context.floats(dOut), joint: context.floats(joint), out: context.floats(out), logSumExp: context.floats(logSumExp),
            segmentStart: context.integers(segmentStart), dJoint: context.floats(dJoint), scratch: context.floats(scratch),
            sums: context.floats(sums), rows: context.values[joint].shape[0], shape: shape, cpu: context.cpu)
    }
}
