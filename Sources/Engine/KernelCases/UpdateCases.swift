import LorikeetDevices

/// LoRA's second product (B · xA) where the fusion table moves it out of the linear into the next op: rotation, gated activation.
extension KernelCase {
    static let updateCases: [KernelCase] = rotatedCases + gatedCases

    // MARK: rotation

    private struct Rotated: Sendable {
        var tokens, columns, heads, keyHeads, size, rank: Int
        var adapted = [0, 2]
        var bias = false
        var large = false
    }

    private static let rotatedCases: [KernelCase] = [
        Rotated(tokens: 5, columns: 24, heads: 2, keyHeads: 1, size: 64, rank: 8),
        Rotated(tokens: 131, columns: 40, heads: 1, keyHeads: 1, size: 128, rank: 16),
        Rotated(tokens: 9, columns: 32, heads: 2, keyHeads: 2, size: 64, rank: 24, adapted: [1]),
        Rotated(tokens: 7, columns: 32, heads: 2, keyHeads: 1, size: 64, rank: 12),
        Rotated(tokens: 6, columns: 32, heads: 2, keyHeads: 1, size: 64, rank: 8, bias: true),
        Rotated(tokens: 4, columns: 24, heads: 1, keyHeads: 1, size: 256, rank: 8, bias: true),
        Rotated(tokens: 515, columns: 576, heads: 9, keyHeads: 3, size: 64, rank: 8, large: true),
        Rotated(tokens: 300, columns: 1024, heads: 8, keyHeads: 8, size: 128, rank: 16, adapted: [0, 1, 2], large: true),
    ].map { shape in
        KernelCase(
            name: "linear, then rope",
            detail: "\(shape.tokens) x \(shape.columns), \(shape.heads)/\(shape.keyHeads) heads of \(shape.size), rank \(shape.rank) on \(shape.adapted.count)"
                + (shape.bias ? ", bias" : ""), large: shape.large
        ) { comparison in try comparison.compare { rotated(shape, &$0) } }
    }

    private static func rotated(_ s: Rotated, _ b: inout CaseBuilder) -> [any Op] {
        let rows = [s.heads, s.keyHeads, s.keyHeads].map { $0 * s.size }
        let matrices = b.parts("qkv", rows: rows, columns: s.columns, adapted: s.adapted, rank: s.rank, bias: s.bias)
        let (x, joint) = (b.given("x", [s.tokens, s.columns]), b.made("rotated", [s.tokens, rows.reduce(0, +)]))
        let (cos, sin) = (b.given("cos", [s.tokens, s.size / 2], .plain), b.given("sin", [s.tokens, s.size / 2], .plain))
        b.compare(joint, roundings: 6)
        let rope = RoPE(joint: joint, cos: cos, sin: sin, heads: s.heads + s.keyHeads, headDimension: s.size, inverse: false)
        let ops = b.adapted(x, joint, matrices, columns: s.columns)
        return b.fused(ops + [rope])
    }

    // MARK: gated activation

    private struct Gated: Sendable {
        var tokens, columns, width, rank: Int
        var activation = Activation.silu
        var adapted = [0, 1]
        /// down has an adapter too.
        var down = true
        var bias = false
        var large = false
    }

    private static let gatedCases: [KernelCase] = [
        Gated(tokens: 5, columns: 24, width: 32, rank: 8), Gated(tokens: 131, columns: 32, width: 160, rank: 16, activation: .geluTanh),
        Gated(tokens: 9, columns: 24, width: 64, rank: 24, activation: .gelu, adapted: [1], down: false),
        Gated(tokens: 10, columns: 24, width: 64, rank: 16, activation: .gelu, bias: true),
        Gated(tokens: 11, columns: 40, width: 64, rank: 8, adapted: []), Gated(tokens: 7, columns: 24, width: 40, rank: 8),
        Gated(tokens: 517, columns: 576, width: 1536, rank: 8, large: true),
        Gated(tokens: 260, columns: 256, width: 1024, rank: 16, activation: .geluTanh, large: true),
    ].map { gated in
        KernelCase(
            name: "linear, then gated_activation",
            detail: "\(gated.tokens) x \(gated.columns) to \(gated.width), \(gated.activation.rawValue), rank \(gated.rank) on \(gated.adapted.count)"
                + (gated.down ? " and down" : "") + (gated.bias ? ", bias" : ""), large: gated.large
        ) { comparison in try comparison.compare { Self.gated(gated, &$0) } }
    }

    /// gate|up and the activation forward; down and the activation backward, from the values that forward made.
    private static func gated(_ s: Gated, _ b: inout CaseBuilder) -> [any Op] {
        let upper = b.parts("gate|up", rows: [s.width, s.width], columns: s.columns, adapted: s.adapted, rank: s.rank, bias: s.bias)
        let below = b.parts("down", rows: [s.columns], columns: s.width, adapted: s.down ? [0] : [], rank: s.rank)
        let (x, gateUp, out) = (
            b.given("x", [s.tokens, s.columns]), b.made("gate|up", [s.tokens, 2 * s.width]), b.made("out", [s.tokens, s.width])
        )
        let (dy, dOut, dGateUp) = (
            b.given("dy", [s.tokens, s.columns]), b.made("dout", [s.tokens, s.width]), b.made("d.gate|up", [s.tokens, 2 * s.width])
        )
        var ops = b.adapted(x, gateUp, upper, columns: s.columns)
        ops.append(GatedActivation(gateUp: gateUp, out: out, activation: s.activation))
        b.compare(out, roundings: 6)
        b.compare(dGateUp, roundings: 10)
        var adjoints: [any Op] = []
        if s.down {
            let (product, dProduct) = (b.given("down's xA", [s.tokens, s.rank]), b.made("d.xA", [s.tokens, s.rank]))
            let partials = LoRABack.partialElements(below.adapters, rows: s.tokens, b.target).map { b.made("partial sums", [$0], .plain) }
            ops.append(
                LoRAUpBackward(
                    side: LoRASideB(wide: dy, narrow: product, parts: below.adapters), dProduct: dProduct, dB: below.dB, partials: partials))
            adjoints = [
                LoRADownBackward(side: LoRASideA(wide: out, narrow: dProduct, parts: below.adapters), dA: below.dA),
                LoRAInputGradient(side: LoRASideA(wide: dOut, narrow: dProduct, parts: below.adapters)),
            ]
            for gradient in below.dA { b.compare(gradient, roundings: 8) }
            for gradient in below.dB { b.compare(gradient, roundings: 6) }
        }
        ops.append(LinearBackward(dy: dy, dx: dOut, parts: below.parts, columns: s.width, scratch: b.made("expanded again", [s.columns * s.width])))
        ops += adjoints + [GatedActivationBackward(dOut: dOut, gateUp: gateUp, dGateUp: dGateUp, activation: s.activation)]
        return b.fused(ops)
    }
}

extension CaseBuilder {
    /// A linear with its adapters, as a family's forward pass has it.
    fileprivate mutating func adapted(_ x: ValueID, _ y: ValueID, _ matrices: Matrices, columns: Int) -> [any Op] {
        let (rows, shape) = (matrices.parts.reduce(0) { $0 + $1.weight.rows }, values[x].shape)
        let linear = Linear(x: x, y: y, parts: matrices.parts, columns: columns, scratch: made("expanded", [rows * columns]))
        guard !matrices.adapters.isEmpty else { return [linear] }
        let product = made("xA", [shape[0], matrices.adapters.ranks])
        return [
            LoRADown(side: LoRASideA(wide: x, narrow: product, parts: matrices.adapters)), linear,
            LoRAUp(side: LoRASideB(wide: y, narrow: product, parts: matrices.adapters)),
        ]
    }

    /// The ops as the fusion table joins them for this target.
    fileprivate func fused(_ ops: [any Op]) -> [any Op] {
        let entries = ops.enumerated().map { OpList.Entry(op: $1, origin: $0, role: .forward) }
        return Fuse.fuse(OpList(entries: entries, values: values, target: target)).entries.map(\.op)
    }
}
