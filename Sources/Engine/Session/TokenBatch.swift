/// One packed micro-batch: every array has one entry a row (token).
package struct TokenBatch: Sendable {
    package var ids: [Int32]
    /// Position inside the row's segment.
    package var positions: [Int32]
    /// First row of the row's segment: a row sees the rows from there to itself.
    package var segmentStart: [Int32]
    /// The id this row has to predict; -1 where it is not trained.
    package var targets: [Int32]
    /// What this row's -log p counts in the loss.
    package var weights: [Float]
    /// Names the row's dropout masks, independent of the packing.
    package var dropoutKeys: [UInt32]

    package init(ids: [Int32], positions: [Int32], segmentStart: [Int32], targets: [Int32], weights: [Float], dropoutKeys: [UInt32]) {
        self.ids = ids
        self.positions = positions
        self.segmentStart = segmentStart
        self.targets = targets
        self.weights = weights
        self.dropoutKeys = dropoutKeys
    }

    /// One segment in which every token but the first is predicted.
    package init(sequence ids: [Int32], weight: Float = 1) {
        let rows = ids.count
        self.init(
            ids: ids, positions: (0..<rows).map(Int32.init), segmentStart: Array(repeating: 0, count: rows),
            targets: Array(ids.dropFirst()) + [-1], weights: Array(repeating: weight, count: rows),
            dropoutKeys: (0..<rows).map(UInt32.init))
    }

    package var rows: Int { ids.count }

    /// The same batch with rows of padding (a segment each, untrained) up to `count` rows.
    func padded(to count: Int) -> TokenBatch {
        guard count > rows else { return self }
        let extra = count - rows
        var batch = self
        batch.ids += Array(repeating: 0, count: extra)
        batch.positions += Array(repeating: 0, count: extra)
        batch.segmentStart += (rows..<count).map(Int32.init)
        batch.targets += Array(repeating: -1, count: extra)
        batch.weights += Array(repeating: 0, count: extra)
        batch.dropoutKeys += Array(repeating: 0, count: extra)
        return batch
    }
}
