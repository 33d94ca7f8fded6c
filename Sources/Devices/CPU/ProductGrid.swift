/// How one product C [m, n] is dealt to threads: ranges of rows times ranges of columns, a block of results for each thread.
///
/// OpenBLAS copies ("packs") the rows of A and the columns of B that a block needs, once for every block. Ranges of columns alone make every thread
/// pack all of A, and there may be too few units of columns for all threads: 36 units of 16 in 576.
package struct ProductGrid: Equatable, Sendable {
    package let rows: Int
    package let columns: Int
    package var count: Int { rows * columns }

    /// Ranges are cut at multiples of these: tiles of OpenBLAS's kernels.
    static let rowUnit = 8, columnUnit = 16
    /// Multiply-adds of a thread below which a product stays in ranges.
    private static let leastWork = 1 << 21
    /// Multiply-adds that every block has more of: OpenBLAS's kernels for AVX-512 treat smaller products in another way, which may add terms up in
    /// another order.
    static let smallProduct = 1_000_000
    /// Multiply-adds in the time of packing one element.
    private static let packing = 32

    /// The grid that takes the least time; nil where ranges along the longer side alone take at most a twentieth more, as they always do on two threads.
    ///
    /// It follows from sizes and the number of threads alone.
    package static func best(m: Int, n: Int, k: Int, threads: Int) -> Self? {
        guard threads > 2, m > 0, n > 0, m * n / threads * k >= leastWork else { return nil }
        let line = n >= m ? Self(rows: 1, columns: threads) : Self(rows: threads, columns: 1)
        let limit = line.cost(m, n) - line.cost(m, n) / 20
        let grids = (2...threads).compactMap { rows in threads / rows > 1 ? Self(rows: rows, columns: threads / rows) : nil }
        guard let best = grids.min(by: { $0.cost(m, n) < $1.cost(m, n) }), best.cost(m, n) < limit else { return nil }
        return best.smallestBlock(m, n) * k > smallProduct ? best : nil
    }

    private func smallestBlock(_ m: Int, _ n: Int) -> Int {
        (0..<count).map { block($0, m: m, n: n) }.map { $0.rows.count * $0.columns.count }.min() ?? 0
    }

    /// The largest block's time for each element of the depth, in multiply-adds.
    private func cost(_ m: Int, _ n: Int) -> Int {
        func largest(_ size: Int, _ unit: Int, _ parts: Int) -> Int { ((size + unit - 1) / unit + parts - 1) / parts * unit }
        let (height, width) = (largest(m, Self.rowUnit, rows), largest(n, Self.columnUnit, columns))
        return height * width + Self.packing * (height + width)
    }

    /// The results of one block.
    func block(_ number: Int, m: Int, n: Int) -> (rows: Range<Int>, columns: Range<Int>) {
        func range(_ part: Int, of parts: Int, _ size: Int, _ unit: Int) -> Range<Int> {
            let units = (size + unit - 1) / unit
            return min(size, units * part / parts * unit)..<min(size, units * (part + 1) / parts * unit)
        }
        return (range(number / columns, of: rows, m, Self.rowUnit), range(number % columns, of: columns, n, Self.columnUnit))
    }
}
