import LorikeetGround

/// Programs index tables, caches and other rows with these numbers: they are held to their ranges before anything runs.
extension TokenBatch {
    /// - Parameter vocabulary: V, the rows of the embedding table and of the head.
    /// - Throws: exit 2 for an id or a target outside the tables, for arrays of different lengths, for negative positions, and where a
    ///   segment is not a run of consecutive rows or does not go on where its parent ends.
    func check(vocabulary: Int) throws {
        let others = [positions.count, segmentStart.count, targets.count, weights.count, dropoutKeys.count, parents.count]
        guard others.allSatisfy({ $0 == rows }) else {
            throw LorikeetError.input("a batch of \(rows) ids has other arrays of \(others.map(String.init).joined(separator: ", ")) entries")
        }
        for row in 0..<rows {
            try checkID(ids[row], "the token id", row: row, vocabulary: vocabulary)
            if targets[row] != -1 { try checkID(targets[row], "the target", row: row, vocabulary: vocabulary) }
            guard positions[row] >= 0 else { throw LorikeetError.input("the position \(positions[row]) of row \(row) is negative") }
            let start = segmentStart[row]
            guard start == Int32(row) || row > 0 && start == segmentStart[row - 1] else {
                throw LorikeetError.input("row \(row) belongs to a segment that starts at row \(start), and the row before it does not")
            }
        }
        try checkParents()
    }

    private func checkParents() throws {
        for row in 0..<rows {
            let (parent, start) = (Int(parents[row]), Int(segmentStart[row]))
            guard parents[row] == parents[start] else {
                throw LorikeetError.input("row \(row) goes on from a segment at row \(parent), the first row of its own segment from one at \(parents[start])")
            }
            if parent == -1 { continue }
            func isRow(_ row: Int) -> Bool { (0..<start).contains(row) && segmentStart[row] == parents[start] }
            // The parent is a whole segment without a parent of its own, and positions go on behind its last.
            guard isRow(parent), parents[parent] == -1, isRow(parent + Int(positions[start]) - 1),
                !isRow(parent + Int(positions[start]))
            else {
                throw LorikeetError.input("row \(row) goes on from a segment at row \(parent), which is not one of \(positions[start]) rows before it")
            }
        }
    }
}

extension Session.DecodingRows {
    /// - Parameters:
    ///   - slots: sequences that the cache holds.
    ///   - maximumPositions: positions that it holds of each.
    /// - Throws: exit 2 for an id outside the embedding table, a slot or position outside the cache, an output row that is none of these.
    func check(vocabulary: Int, slots: Int, maximumPositions: Int, outputRows: [Int]) throws {
        for row in ids.indices {
            try checkID(ids[row], "the token id", row: row, vocabulary: vocabulary)
            guard (0..<slots).contains(Int(self.slots[row])), (0..<maximumPositions).contains(Int(positions[row])) else {
                throw LorikeetError.input(
                    "row \(row) has position \(positions[row]) of sequence \(self.slots[row]), and the cache holds \(maximumPositions) positions of \(slots)")
            }
        }
        if let wrong = outputRows.first(where: { !ids.indices.contains($0) }) {
            throw LorikeetError.input("the logits of row \(wrong) are asked for and there are \(ids.count) rows")
        }
    }
}

private func checkID(_ id: Int32, _ what: String, row: Int, vocabulary: Int) throws {
    guard id >= 0, Int(id) < vocabulary else {
        throw LorikeetError.input(
            "\(what) \(id) of row \(row) is outside the model's tables, which have \(vocabulary) rows (ids 0 to \(vocabulary - 1))",
            fix: "use the tokenizer that was saved with this model")
    }
}
