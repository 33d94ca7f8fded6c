/// A micro-batch: segments one after another, each from one text. Every array has one entry a row (token).
///
///     ids           5  6  7  2 | 8  9  2
///     positions     0  1  2  3 | 0  1  2
///     segmentStart  0  0  0  0 | 4  4  4
///     targets      -1  7  2 -1 | 9  2 -1    (row i predicts row i+1 of its segment; -1: not trained)
///
/// Where several texts begin alike, a batch may hold what they share once, as a segment that the others go on from (`parents`).
package struct TokenBatch: Sendable, Equatable {
    package var ids: [Int32] = []
    /// Position inside the row's segment.
    package var positions: [Int32] = []
    /// First row of the row's segment: a row sees the rows from there to itself.
    package var segmentStart: [Int32] = []
    /// The id this row has to predict; -1 where it is not trained.
    package var targets: [Int32] = []
    /// What this row's -log p counts in the loss.
    package var weights: [Float] = []
    /// First row of the segment whose rows come before those of the row's own segment in its text; -1 where the text begins with its own segment.
    package var parents: [Int32] = []
    /// The longest sequence of a larger batch that this one stands for; nil where every sequence counts its own length. It decides which of
    /// LongRoPE's two tables holds for the rows.
    package var longestSequence: Int?
    /// Decides the row's dropout masks, independent of the packing.
    package var dropoutKeys: [UInt32] = []

    package init() {}

    /// One segment in which every token but the first is predicted.
    package init(sequence ids: [Int32], weight: Float = 1) { append(ids, weight: weight) }

    /// Rows, padding included.
    package var rows: Int { ids.count }
    /// Rows with a target.
    package var trainedRows: Int { targets.count { $0 >= 0 } }

    /// Appends a segment.
    ///
    /// - Parameters:
    ///   - targets: one for each id, -1 where nothing is trained; nil predicts every token but the first.
    ///   - weight: of each row.
    ///   - dropoutKeys: one for each id; nil takes the rows' numbers in the batch.
    ///   - parent: rows of an earlier segment that the text begins with.
    package mutating func append(
        _ segment: [Int32], targets: [Int32]? = nil, weight: Float = 1, dropoutKeys: [UInt32]? = nil, parent: Range<Int>? = nil
    ) {
        let rows = rows..<(rows + segment.count)
        ids += segment
        positions += segment.indices.map { Int32($0 + (parent?.count ?? 0)) }
        parents += rows.map { _ in Int32(parent?.lowerBound ?? -1) }
        segmentStart += rows.map { _ in Int32(rows.lowerBound) }
        self.targets += targets ?? segment.dropFirst() + Array(repeating: -1, count: min(1, segment.count))
        weights += rows.map { _ in weight }
        self.dropoutKeys += dropoutKeys ?? rows.map(UInt32.init)
    }

    /// Gives every row the same weight.
    package mutating func setWeight(_ weight: Float) { weights = ids.map { _ in weight } }

    /// The same batch with rows of padding (a segment each, untrained) up to `count` rows.
    func padded(to count: Int) -> TokenBatch {
        guard count > rows else { return self }
        let extra = count - rows
        var batch = self
        batch.append(
            Array(repeating: 0, count: extra), targets: Array(repeating: -1, count: extra), weight: 0, dropoutKeys: Array(repeating: 0, count: extra))
        for row in rows..<count { (batch.positions[row], batch.segmentStart[row]) = (0, Int32(row)) }
        return batch
    }
}
