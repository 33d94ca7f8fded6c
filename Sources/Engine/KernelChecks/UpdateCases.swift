import LorikeetDevices

/// What a card's linears leave to the op behind them: the adapters' second product, formed where its output is read anyway.
extension KernelChecks {
    static let updateCases: [KernelCase] = turnCases + gatedCases

    // MARK: rotation

    private struct Turn: Sendable {
        var tokens, columns, heads, keyHeads, size, rank: Int
        var adapted = [0, 2]
        var large = false
    }

    private static let turnCases: [KernelCase] = [
        Turn(tokens: 5, columns: 24, heads: 2, keyHeads: 1, size: 64, rank: 8), Turn(tokens: 131, columns: 40, heads: 1, keyHeads: 1, size: 128, rank: 16),
        Turn(tokens: 9, columns: 32, heads: 2, keyHeads: 2, size: 64, rank: 24, adapted: [1]),
        Turn(tokens: 7, columns: 32, heads: 2, keyHeads: 1, size: 64, rank: 12),
        Turn(tokens: 515, columns: 576, heads: 9, keyHeads: 3, size: 64, rank: 8, large: true),
        Turn(tokens: 300, columns: 1024, heads: 8, keyHeads: 8, size: 128, rank: 16, adapted: [0, 1, 2], large: true),
    ].map { turn in
        KernelCase(
            name: "linear, then rope",
            detail: "\(turn.tokens) x \(turn.columns), \(turn.heads)/\(turn.keyHeads) heads of \(turn.size), rank \(turn.rank) on \(turn.adapted.count)",
            large: turn.large
        ) { bench in try bench.compare { turned(turn, &$0) } }
    }

    private static func turned(_ s: Turn, _ b: inout CaseBuilder) -> [any Op] {
        let rows = [s.heads, s.keyHeads, s.keyHeads].map { $0 * s.size }
        let (parts, _) = b.parts("qkv", rows: rows, columns: s.columns, adapted: s.adapted, rank: s.rank)
        let (x, joint) = (b.given("x", [s.tokens, s.columns]), b.made("rotated", [s.tokens, rows.reduce(0, +)]))
        let (cos, sin) = (b.given("cos", [s.tokens, s.size / 2], .plain), b.given("sin", [s.tokens, s.size / 2], .plain))
        var linear = Linear(
            x: x, y: joint, parts: parts, columns: s.columns, scratch: b.made("expanded", [rows.reduce(0, +) * s.columns]),
            product: b.made("xA", [s.tokens, s.rank * s.adapted.count]), dropped: nil, dropoutKeys: nil)
        var rope = RoPE(joint: joint, cos: cos, sin: sin, heads: s.heads + s.keyHeads, headDimension: s.size, inverse: false)
        if rope.takesUpdate(pairs: s.size / 2), let update = LowRankUpdate(of: linear, b.values, b.target) {
            (linear.leavesUpdate, rope.update) = (true, update)
        }
        b.compare(joint, roundings: 6)
        return [linear, rope]
    }

    // MARK: gated activation

    private struct Gated: Sendable {
        var tokens, columns, width, rank: Int
        var activation = Activation.silu
        var adapted = [0, 1]
        /// down has an adapter too.
        var down = true
        var large = false
    }

    private static let gatedCases: [KernelCase] = [
        Gated(tokens: 5, columns: 24, width: 32, rank: 8), Gated(tokens: 131, columns: 32, width: 160, rank: 16, activation: .geluTanh),
        Gated(tokens: 9, columns: 24, width: 64, rank: 24, activation: .gelu, adapted: [1], down: false),
        Gated(tokens: 11, columns: 40, width: 64, rank: 8, adapted: []), Gated(tokens: 7, columns: 24, width: 40, rank: 8),
        Gated(tokens: 517, columns: 576, width: 1536, rank: 8, large: true),
        Gated(tokens: 260, columns: 256, width: 1024, rank: 16, activation: .geluTanh, large: true),
    ].map { gated in
        KernelCase(
            name: "linear, then gated_activation",
            detail: "\(gated.tokens) x \(gated.columns) to \(gated.width), \(gated.activation.rawValue), rank \(gated.rank) on \(gated.adapted.count)"
                + (gated.down ? " and down" : ""), large: gated.large
        ) { bench in try bench.compare { Self.gated(gated, &$0) } }
    }

    /// gate|up and the activation forward; down and the activation backward, from the values that forward made.
    private static func gated(_ s: Gated, _ b: inout CaseBuilder) -> [any Op] {
        let (parts, _) = b.parts("gate|up", rows: [s.width, s.width], columns: s.columns, adapted: s.adapted, rank: s.rank)
        let (below, gradients) = b.parts("down", rows: [s.columns], columns: s.width, adapted: s.down ? [0] : [], rank: s.rank)
        let ranks = s.rank * s.adapted.count
        let (x, gateUp, out) = (
            b.given("x", [s.tokens, s.columns]), b.made("gate|up", [s.tokens, 2 * s.width]), b.made("out", [s.tokens, s.width])
        )
        let (dy, dOut, dGateUp) = (
            b.given("dy", [s.tokens, s.columns]), b.made("dout", [s.tokens, s.width]), b.made("d.gate|up", [s.tokens, 2 * s.width])
        )
        var linear = Linear(
            x: x, y: gateUp, parts: parts, columns: s.columns, scratch: b.made("expanded", [2 * s.width * s.columns]),
            product: ranks > 0 ? b.made("xA", [s.tokens, ranks]) : nil, dropped: nil, dropoutKeys: nil)
        var forward = GatedActivation(gateUp: gateUp, out: out, activation: s.activation)
        if s.width % 32 == 0, let update = LowRankUpdate(of: linear, b.values, b.target) {
            (linear.leavesUpdate, forward.update) = (true, update)
        }
        let (product, dProduct) = s.down ? (b.given("down's xA", [s.tokens, s.rank]), b.made("d.xA", [s.tokens, s.rank])) : (nil, nil)
        let partials = LoRABack.partialElements(gradients, rows: s.tokens, b.target).map { b.made("partial sums", [$0], .plain) }
        var backward = LinearBackward(
            dy: dy, x: s.down ? out : nil, dx: dOut, passing: nil, parts: below, gradients: gradients, product: product, dProduct: dProduct,
            partials: partials, columns: s.width, scratch: b.made("expanded again", [s.columns * s.width]), masked: nil, dropoutKeys: nil)
        var adjoint = GatedActivationBackward(
            dOut: dOut, gateUp: gateUp, dGateUp: dGateUp, activation: s.activation, update: forward.update)
        if b.target.isDevice, b.element != .f32, s.width % 32 == 0, s.rank <= 16, let dProduct, let adapter = gradients.first?.adapter {
            backward.leavesUpdate = true
            adjoint.dUpdate = InputUpdate(dProduct: dProduct, adapter: adapter)
        }
        b.compare(out, roundings: 6)
        b.compare(dGateUp, roundings: 10)
        for gradient in gradients {
            b.compare(gradient.dA, roundings: 8)
            b.compare(gradient.dB, roundings: 6)
        }
        return [linear, forward, backward, adjoint]
    }
}
