/// The segments of a batch, row by row; see `TokenBatch`.
struct AttentionSegments {
    private let starts: UnsafePointer<Int32>
    private let parents: UnsafePointer<Int32>
    let rows: Int

    /// - Parameters:
    ///   - starts: [rows], the first row of each row's segment.
    ///   - parents: [rows], the first row of the segment that each row's own goes on from; -1 for none.
    init(starts: UnsafePointer<Int32>, parents: UnsafePointer<Int32>, rows: Int) { (self.starts, self.parents, self.rows) = (starts, parents, rows) }

    /// The row behind the segment that starts at `start`.
    private func end(of start: Int) -> Int {
        var row = start
        while row < rows, Int(starts[row]) == start { row += 1 }
        return row
    }

    /// All rows as tiles, each of at most `height` rows of one segment, in the order of the rows.
    func tiles(of height: Int, window: Int?) -> [AttentionTile] {
        var tiles: [AttentionTile] = []
        var start = 0
        while start < rows {
            let end = end(of: start)
            let parent = Int(parents[start])
            let before = parent < 0 ? 0..<0 : parent..<self.end(of: parent)
            for first in stride(from: start, to: end, by: height) {
                let last = min(end, first + height)
                let position = before.count + first - start
                let seen = max(0, position - (window ?? position + 1) + 1)
                tiles.append(
                    AttentionTile(
                        first: first, count: last - first, parent: before.dropFirst(seen), own: start + max(0, seen - before.count)..<last,
                        position: position, keyPosition: seen))
            }
            start = end
        }
        return tiles
    }
}

/// Rows of one segment, and the keys that any of them sees: rows of the segment it goes on from, then its own up to the last of these rows.
struct AttentionTile {
    let first, count: Int
    let parent: Range<Int>
    let own: Range<Int>
    /// Position in the text of the first row, and of the first key.
    let position, keyPosition: Int

    var keys: Int { parent.count + own.count }

    /// The rows of the keys in one piece each, with the number of keys before them.
    var parts: [(rows: Range<Int>, first: Int)] { parent.isEmpty ? [(own, 0)] : [(parent, 0), (own, parent.count)] }

    /// Keys that row `first + i` sees: it and all before it, or as many as the window holds.
    func visible(_ i: Int, window: Int?) -> Range<Int> {
        let last = position + i
        return max(0, last - (window ?? last + 1) + 1 - keyPosition)..<last - keyPosition + 1
    }

    /// The group's columns of `source` (row stride `ld`, from column `column`) as [group * count, d], heads one behind the other.
    func stack(_ source: UnsafePointer<Float>, ld: Int, column: Int, group: Int, d: Int, into out: UnsafeMutablePointer<Float>) {
        for head in 0..<group {
            for i in 0..<count { (out + (head * count + i) * d).update(from: source + (first + i) * ld + column + head * d, count: d) }
        }
    }

    /// The inverse of `stack`.
    func unstack(_ stacked: UnsafePointer<Float>, group: Int, d: Int, into out: UnsafeMutablePointer<Float>, ld: Int, column: Int) {
        for head in 0..<group {
            for i in 0..<count { (out + (first + i) * ld + column + head * d).update(from: stacked + (head * count + i) * d, count: d) }
        }
    }
}
