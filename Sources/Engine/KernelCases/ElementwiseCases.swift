import LorikeetDevices

extension KernelCase {
    // MARK: normalisation

    private struct NormShape: Sendable {
        var rows, columns: Int
        var delta = true
        var residualGradient = true
        var weightOffset: Float = 0
        var deltaScale: Float = 1
        var large = false
    }

    static let normCases: [KernelCase] = [
        NormShape(rows: 1, columns: 8, delta: false), NormShape(rows: 5, columns: 24), NormShape(rows: 3, columns: 577),
        NormShape(rows: 2, columns: 1100, delta: false, residualGradient: false, weightOffset: 1), NormShape(rows: 7, columns: 33, residualGradient: false),
        NormShape(rows: 5, columns: 24, deltaScale: 0.22), NormShape(rows: 2, columns: 613, deltaScale: 2.5),
        NormShape(rows: 129, columns: 576, large: true), NormShape(rows: 64, columns: 4096, weightOffset: 1, large: true),
        NormShape(rows: 3, columns: 16384, large: true),
    ].map { shape in
        KernelCase(
            name: "rmsnorm",
            detail: "\(shape.rows) x \(shape.columns)" + (shape.delta ? " + delta" : "") + (shape.residualGradient ? " + residual gradient" : "")
                + (shape.weightOffset == 0 ? "" : ", 1 + w") + (shape.deltaScale == 1 ? "" : ", times \(shape.deltaScale)"),
            large: shape.large
        ) { comparison in try comparison.compare { norm(shape, &$0) } }
    }

    /// Forward, again and backward, each from what the one before made.
    private static func norm(_ s: NormShape, _ b: inout CaseBuilder) -> [any Op] {
        let size = [s.rows, s.columns]
        b.vector("w", s.columns)
        let hidden = b.given("hidden", size, .residual)
        let delta = s.delta ? b.given("delta", size, .residual) : nil
        let sum = s.delta ? b.made("sum", size, .residual) : nil
        let (output, inverse, again) = (b.made("y", size), b.made("1/rms", [s.rows], .plain), b.made("y again", size))
        let dy = b.given("dy", size)
        let residualGradient = s.residualGradient ? b.given("residualGradient", size, .residual) : nil
        let dx = b.made("dx", size, .residual)
        let narrow = s.delta && (s.deltaScale != 1 || b.target.element != b.target.residual) ? b.made("dx, narrow", size) : nil
        if let sum { b.compare(sum, roundings: 1) }
        b.compare(output, roundings: 3)
        b.compare(inverse, roundings: 2)
        b.compare(again, roundings: 3)
        b.compare(dx, roundings: 4)
        b.compare(narrow ?? dx, roundings: 4)
        let normalised = sum ?? hidden
        return [
            RMSNorm(
                hidden: hidden, delta: delta, sum: sum, output: output, inverseRMS: inverse, weight: "w", epsilon: 1e-5, weightOffset: s.weightOffset,
                deltaScale: s.deltaScale),
            RMSNormRecomputation(hidden: normalised, inverseRMS: inverse, output: again, weight: "w", weightOffset: s.weightOffset),
            RMSNormBackward(
                dy: dy, hidden: normalised, inverseRMS: inverse, residualGradient: residualGradient, dx: dx, narrow: narrow, weight: "w",
                weightOffset: s.weightOffset,
                deltaScale: s.deltaScale),
        ]
    }

    // MARK: rotary positions

    private struct RopeShape: Sendable {
        var rows, heads, rotated, size, pairs: Int
        var interleaved = false
        /// Two lists of frequencies, for short and long sequences.
        var long = false
        var large = false
    }

    static let ropeCases: [KernelCase] = [
        RopeShape(rows: 3, heads: 3, rotated: 2, size: 8, pairs: 4), RopeShape(rows: 5, heads: 2, rotated: 2, size: 10, pairs: 3),
        RopeShape(rows: 7, heads: 4, rotated: 3, size: 64, pairs: 32), RopeShape(rows: 300, heads: 5, rotated: 4, size: 128, pairs: 64, large: true),
        RopeShape(rows: 5, heads: 3, rotated: 2, size: 64, pairs: 16, interleaved: true),
        RopeShape(rows: 3, heads: 2, rotated: 2, size: 10, pairs: 3, interleaved: true),
        RopeShape(rows: 3, heads: 4, rotated: 3, size: 256, pairs: 128), RopeShape(rows: 6, heads: 2, rotated: 2, size: 12, pairs: 5, long: true),
    ].map { shape in
        KernelCase(
            name: "rope",
            detail: "\(shape.rows) x \(shape.rotated) of \(shape.heads) heads of \(shape.size), \(shape.pairs) pairs"
                + (shape.interleaved ? " of neighbours" : "") + (shape.long ? ", two lists" : ""), large: shape.large
        ) { comparison in try comparison.compare { rope(shape, &$0) } }
    }

    private static func rope(_ s: RopeShape, _ b: inout CaseBuilder) -> [any Op] {
        // The last position of a long context too.
        let positions = b.integers("positions", (0..<s.rows).map { $0 == s.rows - 1 ? 40_000 : Int32($0 * $0) })
        let frequencies = (0..<s.pairs).map { 1 / Float(1 + $0 * $0) }
        let (cos, sin) = (b.made("cos", [s.rows, s.pairs], .plain), b.made("sin", [s.rows, s.pairs], .plain))
        let joint = b.given("rotated", [s.rows, s.heads * s.size])
        let back = b.given("rotated back", [s.rows, s.heads * s.size])
        for id in [cos, sin] { b.compare(id, roundings: 4, in: .f32) }
        for id in [joint, back] { b.compare(id, roundings: 4) }
        return [
            RoPEAngles(
                positions: positions, lengths: s.long ? b.integers("lengths", (0..<s.rows).map { Int32(9 + $0 % 3) }) : nil, cos: cos, sin: sin,
                table: RoPETable(
                    inverseFrequencies: frequencies, attentionScale: 1.25,
                    long: s.long ? .init(inverseFrequencies: frequencies.map { $0 / 3 }, originalPositions: 10) : nil)),
            RoPE(joint: joint, cos: cos, sin: sin, heads: s.rotated, headDimension: s.size, inverse: false, interleaved: s.interleaved),
            RoPE(joint: back, cos: cos, sin: sin, heads: s.rotated, headDimension: s.size, inverse: true, interleaved: s.interleaved),
        ]
    }

    static let queryScaleCases: [KernelCase] = [(rows: 5, columns: 16, behind: 8), (rows: 3, columns: 13, behind: 4), (rows: 400, columns: 1024, behind: 512)]
        .map { size in
            KernelCase(name: "query_scale", detail: "\(size.rows) x \(size.columns) of \(size.columns + size.behind)", large: size.rows > 100) { comparison in
                try comparison.compare { b in
                    let positions = b.integers("positions", (0..<size.rows).map { Int32($0 * 977) })
                    let joint = b.given("scaled", [size.rows, size.columns + size.behind])
                    b.compare(joint, roundings: 2)
                    return [QueryScale(joint: joint, positions: positions, columns: size.columns, beta: 0.3, original: 512, offset: 1)]
                }
            }
        }

    // MARK: gated activations

    static let activationCases: [KernelCase] = [(1, 1), (3, 13), (5, 40), (257, 1536)].flatMap { rows, columns in
        [Activation.silu, .geluTanh, .gelu].map { activation in
            KernelCase(name: "gated_activation", detail: "\(rows) x \(columns), \(activation.rawValue)", large: rows > 100) { comparison in
                try comparison.compare { b in
                    let gateUp = b.given("gate|up", [rows, 2 * columns], spread: 6)
                    let (out, dOut) = (b.made("out", [rows, columns]), b.given("dout", [rows, columns]))
                    let dGateUp = b.made("d.gate|up", [rows, 2 * columns])
                    for id in [out, dGateUp] { b.compare(id, roundings: 4) }
                    return [
                        GatedActivation(gateUp: gateUp, out: out, activation: activation),
                        GatedActivationBackward(dOut: dOut, gateUp: gateUp, dGateUp: dGateUp, activation: activation),
                    ]
                }
            }
        }
    }
}
