import LorikeetDevices

extension KernelCase {
    private struct Shape: Sendable {
        var tokens, columns: Int
        /// Rows of the matrices side by side.
        var rows: [Int]
        /// Which of them have an adapter.
        var adapted: [Int]
        var rank = 0
        var dropout: Float = 0
        var bias = false
        var storage = BaseStorage.f32
        /// y goes to the residual stream.
        var residual = false
        var large = false

        var detail: String {
            "\(tokens) x \(columns) to \(rows.map(String.init).joined(separator: "|"))" + (rank > 0 ? ", rank \(rank) on \(adapted.count)" : "")
                + (dropout > 0 ? ", dropout \(dropout)" : "") + (bias ? ", bias" : "") + (storage == .f32 ? "" : ", \(storage.rawValue)")
        }
    }

    static let linearCases: [KernelCase] = [
        Shape(tokens: 11, columns: 24, rows: [16], adapted: [], bias: true),
        Shape(tokens: 19, columns: 40, rows: [24, 8, 8], adapted: [0, 2], rank: 3, bias: true),
        Shape(tokens: 12, columns: 32, rows: [40], adapted: [0], rank: 8, bias: true, residual: true),
        Shape(tokens: 13, columns: 33, rows: [17], adapted: [0], rank: 5, dropout: 0.3),
        Shape(tokens: 9, columns: 24, rows: [16, 8], adapted: [0, 1], rank: 4, dropout: 0.5),
        // lora.cu: sixteen bits, ranks in eights, columns in 32s.
        Shape(tokens: 37, columns: 64, rows: [24, 8], adapted: [0, 1], rank: 8, dropout: 0.3),
        Shape(tokens: 270, columns: 96, rows: [16], adapted: [0], rank: 24, dropout: 0.1, residual: true),
        // More than two groups of sixteen ranks: three adapters of one, and two of two.
        Shape(tokens: 128, columns: 64, rows: [24, 8, 8], adapted: [0, 1, 2], rank: 8, dropout: 0.3),
        Shape(tokens: 128, columns: 96, rows: [16, 24], adapted: [0, 1], rank: 24, dropout: 0.2),
        Shape(tokens: 21, columns: 64, rows: [16, 16], adapted: [], storage: .nf4, residual: true),
        Shape(tokens: 517, columns: 576, rows: [576, 192, 192], adapted: [0, 2], rank: 8, dropout: 0.05, storage: .nf4, large: true),
        Shape(tokens: 300, columns: 1536, rows: [576], adapted: [0], rank: 16, dropout: 0.1, large: true),
        Shape(tokens: 256, columns: 576, rows: [1536, 1536], adapted: [0, 1], rank: 12, dropout: 0, bias: true, large: true),
    ].map { shape in
        KernelCase(name: shape.dropout > 0 ? "linear with dropout" : "linear", detail: shape.detail, large: shape.large) { comparison in
            try comparison.compare { linear(shape, &$0) }
        }
    }

    private static func linear(_ s: Shape, _ b: inout CaseBuilder) -> [any Op] {
        let adapted = b.parts(
            "linear", rows: s.rows, columns: s.columns, adapted: s.adapted, rank: s.rank, dropout: s.dropout, bias: s.bias, storage: s.storage)
        return ops(s, s.rows.reduce(0, +), adapted, &b)
    }

    private static func ops(_ s: Shape, _ joint: Int, _ matrices: CaseBuilder.Matrices, _ b: inout CaseBuilder) -> [any Op] {
        let size = [s.tokens, s.columns]
        let keys = s.dropout > 0 ? b.integers("dropout_keys", (0..<s.tokens).map { Int32($0 * 7919) }) : nil
        let (x, dy) = (b.given("x", size), b.given("dy", [s.tokens, joint]))
        let (y, dx) = (b.made("y", [s.tokens, joint], s.residual ? .residual : .activation), b.made("dx", size))
        let (scratch, again) = (b.made("expanded", [joint * s.columns]), b.made("expanded again", [joint * s.columns]))
        b.compare(y, roundings: 4)
        b.compare(dx, roundings: 6)
        let forward = Linear(x: x, y: y, parts: matrices.parts, columns: s.columns, scratch: scratch)
        let backward = LinearBackward(dy: dy, dx: dx, parts: matrices.parts, columns: s.columns, scratch: again)
        let adapters = matrices.adapters
        guard !adapters.isEmpty else { return [forward, backward] }
        let (product, dProduct) = (b.made("xA", [s.tokens, adapters.ranks]), b.made("d.xA", [s.tokens, adapters.ranks]))
        let partials = LoRABack.partialElements(adapters, rows: s.tokens, b.target).map { b.made("partial sums", [$0], .plain) }
        var room = (0..<3).map { _ in s.dropout > 0 ? Optional(b.made("dropout(x)", size)) : nil }
        b.compare(product, roundings: 4)
        for gradient in matrices.dA + matrices.dB { b.compare(gradient, roundings: 6) }
        // Where masked copies are made, the masks are seen; lora.cu's show in the products.
        if let dropped = room[0], s.rank % 8 != 0 || s.columns % 32 != 0 { b.compare(dropped, roundings: 0, .zeros) }
        func a(_ wide: ValueID, _ narrow: ValueID) -> LoRASideA {
            LoRASideA(wide: wide, narrow: narrow, parts: adapters, masked: room.removeFirst(), dropoutKeys: keys)
        }
        return [
            LoRADown(side: a(x, product)), forward,
            LoRAUp(side: LoRASideB(wide: y, narrow: product, parts: adapters)),
            LoRAUpBackward(
                side: LoRASideB(wide: dy, narrow: product, parts: adapters), dProduct: dProduct, dB: matrices.dB, partials: partials), backward,
            LoRADownBackward(side: a(x, dProduct), dA: matrices.dA), LoRAInputGradient(side: a(dx, dProduct)),
        ]
    }
}

extension CaseBuilder {
    /// Matrices side by side and the adapters on some of them.
    struct Matrices {
        var parts: [LinearPart] = []
        var adapters: [LoRAPart] = []
        /// The gradients of each adapter's A and B.
        var dA: [ValueID] = []
        var dB: [ValueID] = []
    }

    /// Random matrices side by side, with adapters on those whose numbers `adapted` has. All A stand before all B, as in the flat buffer
    /// of a model's adapters.
    mutating func parts(
        _ name: String, rows: [Int], columns: Int, adapted: [Int], rank: Int, dropout: Float = 0, bias: Bool = false, storage: BaseStorage = .f32
    ) -> Matrices {
        let spread = 1.7 / Float(columns).squareRoot()
        let weights = rows.enumerated().map { LinearWeight("\(name).\($0)", rows: $1, columns: columns, hasBias: bias) }
        for weight in weights {
            matrix(weight.name + ".weight", rows: weight.rows, columns: columns, spread: spread, storage: storage)
            if bias { vector(weight.name + ".bias", weight.rows) }
        }
        let a = adapted.map { parameter("A\($0)", [rank, columns]) }
        let lower = adapted.map { parameter("B\($0)", [rows[$0], rank]) }
        var (result, first) = (Matrices(), 0)
        for (number, weight) in weights.enumerated() {
            if let place = adapted.firstIndex(of: number) {
                let slot = LoRASlot(module: 5 + place, rank: rank, scale: 0.5)
                result.adapters.append(
                    LoRAPart(slot: slot, a: a[place], b: lower[place], column: place * rank, outputs: first..<first + weight.rows, dropout: dropout))
                result.dA.append(gradient(of: a[place]))
                result.dB.append(gradient(of: lower[place]))
            }
            result.parts.append(LinearPart(weight: weight, firstRow: first))
            first += weight.rows
        }
        return result
    }
}
