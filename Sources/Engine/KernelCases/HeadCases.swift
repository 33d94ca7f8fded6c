import LorikeetDevices

extension KernelCase {
    // MARK: embedding

    static let embeddingCases: [KernelCase] = [(3, 7, 11), (5, 24, 53), (130, 576, 1000)].map { rows, columns, vocabulary in
        KernelCase(name: "embedding", detail: "\(rows) of \(vocabulary) x \(columns)", large: rows > 100) { comparison in
            try comparison.compare { b in
                b.matrix("table", rows: vocabulary, columns: columns)
                // The first and the last row, and one outside.
                let ids = b.integers("ids", (0..<rows).map { $0 == 1 ? Int32(vocabulary) : Int32($0 * 37 % vocabulary) })
                let (plain, scaled) = (b.made("rows", [rows, columns], .residual), b.made("rows, scaled", [rows, columns], .residual))
                b.compare(plain, roundings: 0)
                b.compare(scaled, roundings: 1)
                return [
                    Embedding(ids: ids, output: plain, weight: "table", scale: 1), Embedding(ids: ids, output: scaled, weight: "table", scale: 6.3),
                ]
            }
        }
    }

    // MARK: head and loss

    private struct HeadShape: Sendable {
        var tokens, columns, vocabulary, chunk: Int
        var softCap: Float?
        var scale: Float = 1
        var training = true
        var large = false
    }

    static let headCases: [KernelCase] = [
        HeadShape(tokens: 13, columns: 24, vocabulary: 101, chunk: 5), HeadShape(tokens: 9, columns: 7, vocabulary: 33, chunk: 16),
        HeadShape(tokens: 12, columns: 16, vocabulary: 515, chunk: 8, softCap: 2),
        HeadShape(tokens: 11, columns: 24, vocabulary: 101, chunk: 5, scale: 0.125),
        HeadShape(tokens: 8, columns: 16, vocabulary: 90, chunk: 8, softCap: 2, scale: 0.3),
        HeadShape(tokens: 10, columns: 24, vocabulary: 77, chunk: 10, training: false),
        HeadShape(tokens: 300, columns: 576, vocabulary: 4099, chunk: 128, large: true),
        HeadShape(tokens: 64, columns: 256, vocabulary: 32000, chunk: 64, softCap: 3, large: true),
    ].map { shape in
        KernelCase(
            name: "head",
            detail: "\(shape.tokens) x \(shape.columns) to \(shape.vocabulary) in \(shape.chunk)s\(shape.softCap.map { ", cap \($0)" } ?? "")"
                + (shape.scale == 1 ? "" : ", times \(shape.scale)") + (shape.training ? "" : ", no gradient"), large: shape.large
        ) { comparison in try comparison.compare { head(shape, &$0) } }
    }

    private static func head(_ s: HeadShape, _ b: inout CaseBuilder) -> [any Op] {
        b.matrix("head", rows: s.vocabulary, columns: s.columns, spread: 3 / Float(s.columns).squareRoot())
        let x = b.given("x", [s.tokens, s.columns])
        // Every third row is not trained.
        let targets = (0..<s.tokens).map { $0 % 3 == 1 ? -1 : Int32($0 * 71 % s.vocabulary) }
        let trained = targets.indices.filter { targets[$0] >= 0 }
        b.trainedRows = trained.count
        let targetIDs = b.integers("targets", targets)
        // The card multiplies them by the loss scale.
        let weights = b.numbers(s.tokens).map { abs($0) * (b.target.isDevice ? 1 : KernelComparison.lossScale) }
        let weightID = b.given("weights", [s.tokens], .plain, weights)
        let rows = b.integers("trained_rows", trained.map(Int32.init) + Array(repeating: -1, count: s.tokens - trained.count))
        let logs = b.made("log_probabilities", [s.tokens], .plain)
        let gradient = s.training ? b.made("dx", [s.tokens, s.columns]) : nil
        let wanted: [Int32] = [Int32(s.tokens - 1), 0, 3]
        let logitRows = b.integers("output_rows", wanted)
        let logits = b.made("logits", [wanted.count, s.vocabulary], .plain)
        let (gathered, chunk) = (b.made("gathered", [s.chunk, s.columns]), b.made("chunk", [s.chunk, s.vocabulary]))
        let few = b.made("gathered, decoding", [wanted.count, s.columns])
        // The processor expands so many rows at a time.
        let scratch = b.target.isDevice ? nil : b.made("scratch", [min(s.vocabulary, HeadBlock.rows), s.columns], .plain)
        b.compare(logs, roundings: 2)
        if let gradient { b.compare(gradient, roundings: 4) }
        // Sums are float32 whatever the operands.
        b.compare(logits, roundings: 8, in: .f32)
        let chunks = HeadChunks(
            x: x, targets: targetIDs, trainedRows: b.target.isDevice ? rows : nil, gathered: gathered, logits: chunk, scratch: scratch, weight: "head",
            vocabulary: s.vocabulary, softCap: s.softCap, logitScale: s.scale)
        let head: any Op =
            if let gradient {
                HeadGradient(chunks: chunks, tokenWeights: weightID, logProbabilities: logs, dx: gradient)
            } else {
                HeadLogProbabilities(chunks: chunks, logProbabilities: logs)
            }
        return [
            head,
            Logits(
                x: x, rows: logitRows, gathered: few, logits: logits, scratch: scratch, weight: "head", vocabulary: s.vocabulary, softCap: s.softCap,
                logitScale: s.scale),
        ]
    }

    // MARK: the likeliest token

    /// One part, parts that are not full, and more logits than 32 parts of 4,096.
    static let largestLogitCases: [KernelCase] = [(3, 101), (5, 8193), (2, 140_001)].map { rows, vocabulary in
        KernelCase(name: "largest_logit", detail: "\(rows) x \(vocabulary)", large: vocabulary > 100_000) { comparison in
            try comparison.compare { b in
                var numbers = b.numbers(rows * vocabulary)
                // The largest twice: in the first row in one part, in the second in two, which the first of them wins.
                numbers[vocabulary - 1] = 2
                numbers[vocabulary - 2] = 2
                numbers[vocabulary + 1] = 2
                numbers[2 * vocabulary - 1] = 2
                let logits = b.given("logits", [rows, vocabulary], .plain, numbers)
                let largest = b.made("largest", [rows, LargestLogit.parts(vocabulary: vocabulary), 2], .plain)
                b.compare(largest, roundings: 0)
                return [LargestLogit(logits: logits, largest: largest)]
            }
        }
    }
}
