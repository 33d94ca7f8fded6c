/// A point of a curve. A value that is not finite makes a gap.
package struct Point: Sendable, Equatable {
    package var x: Double
    package var y: Double

    package init(_ x: Double, _ y: Double) { (self.x, self.y) = (x, y) }
}

extension [Point] {
    /// At most about `3 * buckets + 2` points that look like all of them.
    ///
    /// The points between the first and the last are cut into buckets of equal number, and of each the lowest, the highest and the first that is
    /// not finite stay, with their own x. So the highest and the lowest value of any stretch stay to within a bucket, and no spike is
    /// averaged away.
    package func downsampled(buckets: Int) -> [Point] {
        guard count > 3 * buckets + 2, buckets > 0, let first, let last else { return self }
        var kept = [first]
        kept.reserveCapacity(3 * buckets + 2)
        let inner = count - 2
        for bucket in 0..<buckets {
            let range = (1 + inner * bucket / buckets)..<(1 + inner * (bucket + 1) / buckets)
            var (low, high, gap): (Int?, Int?, Int?) = (nil, nil, nil)
            for index in range {
                guard self[index].y.isFinite else {
                    gap = gap ?? index
                    continue
                }
                if low.map({ self[index].y < self[$0].y }) ?? true { low = index }
                if high.map({ self[index].y > self[$0].y }) ?? true { high = index }
            }
            for index in Set([low, high, gap].compactMap { $0 }).sorted() { kept.append(self[index]) }
        }
        kept.append(last)
        return kept
    }
}
