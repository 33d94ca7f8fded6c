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

    /// `count` products over the pairs that the segments and the window leave.
    func products(_ count: Int, _ context: WorkContext, rows: Int) -> [Work] {
        [.attention(pairs: context.pairs(rows: rows, window: window), width: heads * headDimension, products: count)]
    }
}

/// Causal attention inside each segment of a packed micro-batch, without a T×T matrix (Dao et al. 2022, arXiv:2205.14135).
///
///     joint [T, (H+2K)·D] = q | k | v, rotated;   out [T, H·D];   logSumExp [H, T]
///     p(t,s) = softmax over s in segmentStart[t]...t of scale * q_t·k_s;   out_t = sum_s p(t,s) v_s
///
/// With `parents` row t sees the rows of the segment that its own goes on from, too: first all of those, then its own from segmentStart[t] to t.
///
/// Overwrites out and logSumExp.
struct Attention: Op {
    var joint: ValueID
    var out: ValueID
    var logSumExp: ValueID
    var segmentStart: ValueID
    /// [T] int32; see `TokenBatch.parents`. A card has none.
    var parents: ValueID?
    /// [workers, …] for a tile's scores and stacked heads.
    var scratch: ValueID?
    let shape: AttentionShape

    var kind: String { "attention" }
    var reads: [ValueID] { [joint, segmentStart] + (parents.map { [$0] } ?? []) }
    var writes: [ValueID] { [out, logSumExp] + (scratch.map { [$0] } ?? []) }

    /// Scores and the sum of the values.
    func work(_ context: WorkContext) -> [Work] {
        context.kernel(moving: context.bytes(joint) + context.bytes(out)) + shape.products(2, context, rows: context.values[joint].shape[0])
    }

    mutating func rename(_ name: Renaming) {
        name(&joint)
        name(&out)
        name(&logSumExp)
        name(&segmentStart)
        name(&parents)
        name(&scratch)
    }

    func check(_ operands: inout OperandCheck) {
        let tokens = operands.shape(joint)[0]
        operands.expect(joint, "joint", [tokens, shape.jointColumns], .activation)
        operands.expect(out, "out", [tokens, shape.heads * shape.headDimension], .activation)
        operands.expect(logSumExp, "log sum exp", [shape.heads, tokens], .f32)
        operands.expect(segmentStart, "segment start", [tokens], .i32)
        operands.expect(parents, "parents", [tokens], .i32)
        operands.expect(scratch, "scratch", nil, .f32)
    }

    /// With D_t = dout_t·out_t and ds = p * (dp - D):  dq = scale * ds k,  dk = scale * dsᵀ q,  dv = pᵀ dout.
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(joint), let dOut = backward.gradient(of: out) else { return }
        let dJoint = backward.newGradient(of: joint)
        let rows = backward.values[joint].shape[0]
        backward.append(
            AttentionBackward(
                dOut: dOut, joint: joint, out: out, logSumExp: logSumExp, segmentStart: segmentStart, parents: parents, dJoint: dJoint,
                scratch: scratch.map { backward.transient("scores", backward.values[$0].shape) },
                sums: backward.target.isDevice
                    ? backward.transient("dout·out", [shape.heads, rows])
                    : backward.transient("dk|dv by share", [shape.keyValueHeads * AttentionKernels.shares, rows, 2 * shape.headDimension]),
                shape: shape))
        backward.contribute(dJoint, to: joint)
    }

    func run(_ context: borrowing CPURun) throws {
        AttentionKernels.forward(
            joint: try context.floats(joint), segments: try context.segments(segmentStart, parents, rows: context.values[joint].shape[0]),
            out: try context.floats(out), logSumExp: try context.floats(logSumExp), scratch: try context.floats(scratch, "attention's scratch"),
            shape: shape, cpu: context.cpu)
    }
}

extension CPURun {
    fileprivate func segments(_ starts: ValueID, _ parents: ValueID?, rows: Int) throws -> AttentionSegments {
        AttentionSegments(starts: try integers(starts), parents: try integers(parents, "attention's parents"), rows: rows)
    }
}

/// See `Attention.differentiate`. Overwrites dJoint; probabilities are computed again from logSumExp.
struct AttentionBackward: Op {
    var dOut: ValueID
    var joint: ValueID
    var out: ValueID
    var logSumExp: ValueID
    var segmentStart: ValueID
    var parents: ValueID?
    var dJoint: ValueID
    var scratch: ValueID?
    /// dk and dv of each key head by share: [K * shares, T, 2·D]; on a card D_t of each head [H, T].
    var sums: ValueID
    let shape: AttentionShape
    /// The angles by which q and k were rotated, where dq and dk are rotated back as they are written (see the fusion table).
    var rotationAngles: (cos: ValueID, sin: ValueID)?

    var kind: String { "attention.backward" }
    var reads: [ValueID] {
        [dOut, joint, out, logSumExp, segmentStart] + (parents.map { [$0] } ?? []) + (rotationAngles.map { [$0.cos, $0.sin] } ?? [])
    }
    var writes: [ValueID] { [dJoint, sums] + (scratch.map { [$0] } ?? []) }

    mutating func rename(_ name: Renaming) {
        name(&dOut)
        name(&joint)
        name(&out)
        name(&logSumExp)
        name(&segmentStart)
        name(&parents)
        name(&dJoint)
        name(&scratch)
        name(&sums)
        if var angles = rotationAngles {
            name(&angles.cos)
            name(&angles.sin)
            rotationAngles = angles
        }
    }

    func check(_ operands: inout OperandCheck) {
        let tokens = operands.shape(joint)[0]
        let outShape = [tokens, shape.heads * shape.headDimension]
        operands.expect(dOut, "dout", outShape, .activation)
        operands.expect(joint, "joint", [tokens, shape.jointColumns], .activation)
        operands.expect(out, "out", outShape, .activation)
        operands.expect(logSumExp, "log sum exp", [shape.heads, tokens], .f32)
        operands.expect(segmentStart, "segment start", [tokens], .i32)
        operands.expect(parents, "parents", [tokens], .i32)
        operands.expect(dJoint, "djoint", [tokens, shape.jointColumns], .activation)
        operands.expect(sums, "sums", nil, .f32)
        operands.expect(rotationAngles?.cos, "cos", [tokens, shape.headDimension / 2], .f32)
        operands.expect(rotationAngles?.sin, "sin", [tokens, shape.headDimension / 2], .f32)
    }

    /// Scores again, dp, dq, dk and dv.
    func work(_ context: WorkContext) -> [Work] {
        context.kernel(moving: 2 * context.bytes(joint) + 2 * context.bytes(out)) + shape.products(5, context, rows: context.values[joint].shape[0])
    }

    func run(_ context: borrowing CPURun) throws {
        AttentionKernels.backward(
            .init(
                dOut: try context.floats(dOut), joint: try context.floats(joint), out: try context.floats(out), logSumExp: try context.floats(logSumExp),
                segments: try context.segments(segmentStart, parents, rows: context.values[joint].shape[0])),
            dJoint: try context.floats(dJoint), scratch: try context.floats(scratch, "attention's scratch"), sums: try context.floats(sums), shape: shape,
            cpu: context.cpu)
    }
}
