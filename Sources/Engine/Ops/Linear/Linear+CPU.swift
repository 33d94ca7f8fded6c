import LorikeetDevices

/// The joint rows `range` of several matrices side by side, as float32: in place where one matrix stored as float32 holds all of
/// them, else expanded (or copied) into `scratch` at their joint row.
private func jointRows(
    _ parts: [LinearPart], _ stores: [any WeightStore], _ range: Range<Int>, columns: Int, scratch: UnsafeMutablePointer<Float>
) -> UnsafePointer<Float> {
    for (part, store) in zip(parts, stores) {
        let first = max(range.lowerBound, part.firstRow)
        let end = min(range.upperBound, part.firstRow + part.weight.rows)
        guard first < end else { continue }
        let local = (first - part.firstRow)..<(end - part.firstRow)
        if let direct = store.directFloats {
            let from = direct + local.lowerBound * columns
            if local.count == range.count { return from }
            (scratch + first * columns).update(from: from, count: local.count * columns)
        } else {
            store.expand(rows: local, into: scratch + first * columns)
        }
    }
    return UnsafePointer(scratch + range.lowerBound * columns)
}

extension CPURun {
    /// All joint rows of the matrices, expanded by all workers into `scratch`.
    fileprivate func expand(_ parts: [LinearPart], _ stores: [any WeightStore], columns: Int, scratch: UnsafeMutablePointer<Float>) {
        let joint = parts.reduce(0) { $0 + $1.weight.rows }
        cpu.parallelRanges(over: joint, grain: 16) { range, _ in
            let matrix = jointRows(parts, stores, range, columns: columns, scratch: scratch)
            // Rows that are read in place are copied into the joint matrix here: mixed storage in one product is rare.
            let place = scratch + range.lowerBound * columns
            if matrix != UnsafePointer(place) { place.update(from: matrix, count: range.count * columns) }
        }
    }
}

extension Linear {
    func run(_ context: borrowing CPURun) throws {
        let tokens = context.values[x].shape[0]
        let stores = try context.matrices(parts)
        if tokens <= Self.rowsFromCodes { try multiplyFromCodes(context, tokens, stores) } else { try multiplyExpanded(context, tokens, stores) }
        for part in parts where part.weight.hasBias { try addBias(part, context, tokens) }
    }

    /// Up to this number of rows of x, a product from codes takes less time than expansion and a matrix product. It is below
    /// `Session.granularity`: only decoding has so few rows.
    static let rowsFromCodes = 16

    private func multiplyFromCodes(_ context: borrowing CPURun, _ tokens: Int, _ stores: [any WeightStore]) throws {
        let x = UnsafePointer(try context.floats(x))
        let y = try context.floats(y)
        let joint = context.values[self.y].shape[1]
        context.cpu.parallelRanges(over: joint, grain: 8) { range, _ in
            for (part, store) in zip(parts, stores) {
                let first = max(range.lowerBound, part.firstRow)
                let end = min(range.upperBound, part.firstRow + part.weight.rows)
                guard first < end else { continue }
                store.multiply(rows: (first - part.firstRow)..<(end - part.firstRow), x: x, count: tokens, into: y + first, ldy: joint)
            }
        }
    }

    private func multiplyExpanded(_ context: borrowing CPURun, _ tokens: Int, _ stores: [any WeightStore]) throws {
        let x = UnsafePointer(try context.floats(x))
        let y = try context.floats(y)
        let scratch = try context.floats(scratch)
        let joint = context.values[self.y].shape[1]
        let (columns, parts) = (columns, parts)
        if context.cpu.grid(m: tokens, n: joint, k: columns) != nil, stores.allSatisfy({ $0.directFloats == nil }) {
            // A worker's block needs rows of the matrix that others need too.
            context.expand(parts, stores, columns: columns, scratch: scratch)
            context.cpu.gemm(
                transposeB: true, m: tokens, n: joint, k: columns, a: x, lda: columns, b: scratch, ldb: columns, c: y, ldc: joint)
            return
        }
        context.cpu.parallelRanges(over: joint, grain: 16) { range, _ in
            // One product over all of the worker's rows: x is packed once, whatever matrices they come from.
            let matrix = jointRows(parts, stores, range, columns: columns, scratch: scratch)
            CPU.serialGemm(
                transposeB: true, m: tokens, n: range.count, k: columns, a: x, lda: columns, b: matrix, ldb: columns,
                c: y + range.lowerBound, ldc: joint)
        }
    }

    private func addBias(_ part: LinearPart, _ context: borrowing CPURun, _ tokens: Int) throws {
        let bias = try context.vector(part.weight.name + ".bias")
        let joint = context.values[y].shape[1]
        let y = try context.floats(y) + part.firstRow
        for t in 0..<tokens {
            for n in 0..<part.weight.rows { y[t * joint + n] += bias[n] }
        }
    }
}

extension CPURun {
    /// The stored matrices of parts side by side.
    fileprivate func matrices(_ parts: [LinearPart]) throws -> [any WeightStore] {
        try parts.map { try matrix($0.weight.name + ".weight") }
    }
}

extension LinearBackward {
    func run(_ context: borrowing CPURun) throws {
        let (tokens, joint) = (context.values[dy].shape[0], context.values[dy].shape[1])
        let (dy, dx, scratch) = (UnsafePointer(try context.floats(dy)), try context.floats(dx), try context.floats(scratch))
        let (stores, columns, parts) = (try context.matrices(parts), columns, parts)
        let direct = stores.compactMap(\.directFloats)
        if direct.count == parts.count {
            for (number, (part, matrix)) in zip(parts, direct).enumerated() {
                context.cpu.gemm(
                    m: tokens, n: columns, k: part.weight.rows, a: dy + part.firstRow, lda: joint, b: matrix, ldb: columns,
                    beta: number == 0 ? 0 : 1, c: dx, ldc: columns)
            }
            return
        }
        context.expand(parts, stores, columns: columns, scratch: scratch)
        context.cpu.gemm(m: tokens, n: columns, k: joint, a: dy, lda: joint, b: scratch, ldb: columns, c: dx, ldc: columns)
    }
}
