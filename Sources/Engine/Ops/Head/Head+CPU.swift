import Glibc
import LorikeetDevices

/// to [C] = scale * from.
private func copy(_ from: UnsafePointer<Float>, _ columns: Int, times scale: Float, to: UnsafeMutablePointer<Float>) {
    if scale == 1 { to.update(from: from, count: columns) } else { ResidualKernels.scale(from, scale, into: to, columns) }
}

/// logits [n, V] = x [n, C] Wᵀ, every worker expanding its own rows of W block by block.
///
/// - Parameter fromCodes: the most rows of x that are multiplied straight from W's codes.
private func project(
    _ x: UnsafePointer<Float>, count: Int, columns: Int, store: any WeightStore, vocabulary: Int, scratch: UnsafeMutablePointer<Float>,
    scratchRows: Int, logits: UnsafeMutablePointer<Float>, fromCodes: Int, cpu: CPU
) {
    let block = max(1, scratchRows / cpu.threads)
    cpu.parallelRanges(over: vocabulary, grain: 16) { range, worker in
        if count <= fromCodes {
            store.multiply(rows: range, x: x, count: count, into: logits + range.lowerBound, ldy: vocabulary)
            return
        }
        if let direct = store.directFloats {
            CPU.serialGemm(
                transposeB: true, m: count, n: range.count, k: columns, a: x, lda: columns, b: direct + range.lowerBound * columns,
                ldb: columns, c: logits + range.lowerBound, ldc: vocabulary)
            return
        }
        let own = scratch + worker * block * columns
        var row = range.lowerBound
        while row < range.upperBound {
            let end = min(range.upperBound, row + block)
            store.expand(rows: row..<end, into: own)
            CPU.serialGemm(
                transposeB: true, m: count, n: end - row, k: columns, a: x, lda: columns, b: own, ldb: columns, c: logits + row,
                ldc: vocabulary)
            row = end
        }
    }
}

/// dx [n, C] = dlogits [n, V] W, block by block of W's rows. Overwrites dx.
private func projectBack(
    _ dlogits: UnsafePointer<Float>, count: Int, columns: Int, store: any WeightStore, vocabulary: Int,
    scratch: UnsafeMutablePointer<Float>, scratchRows: Int, dx: UnsafeMutablePointer<Float>, cpu: CPU
) {
    if let direct = store.directFloats {
        cpu.gemm(m: count, n: columns, k: vocabulary, a: dlogits, lda: vocabulary, b: direct, ldb: columns, c: dx, ldc: columns)
        return
    }
    var row = 0
    while row < vocabulary {
        let end = min(vocabulary, row + scratchRows)
        cpu.parallelRanges(over: end - row, grain: 16) { range, _ in
            store.expand(rows: (row + range.lowerBound)..<(row + range.upperBound), into: scratch + range.lowerBound * columns)
        }
        cpu.gemm(
            m: count, n: columns, k: end - row, a: dlogits + row, lda: vocabulary, b: scratch, ldb: columns, beta: row == 0 ? 0 : 1, c: dx,
            ldc: columns)
        row = end
    }
}

extension HeadChunks {
    /// Trained rows that are multiplied from codes: the bits of a training step depend on it.
    private static var rowsFromCodes: Int { 8 }

    /// Log-probabilities of the targets and, where `dx` is given, the gradient of x by the weights.
    ///
    /// - Parameters:
    ///   - weights: [T]; nil where there is no gradient.
    ///   - dx: [T, C].
    ///   - choices: [T].
    fileprivate func run(_ context: borrowing CPURun, logProbabilities: ValueID, weights: ValueID?, dx: ValueID?, choices: ValueID? = nil) throws {
        let (tokens, columns) = (context.values[x].shape[0], context.values[x].shape[1])
        let store = try context.matrix(weight)
        let (x, gathered, logits) = (try context.floats(x), try context.floats(gathered), try context.floats(logits))
        let (logProbabilities, expanded) = (try context.floats(logProbabilities), try context.floats(scratch, "the head's scratch"))
        let (targets, weights) = (try context.integers(targets), try weights.map { try context.floats($0) })
        let gradient = try dx.map { try context.floats($0) }
        let choices = try choices.map { try context.integers($0) }
        var chosen = [Int32](repeating: -1, count: choices == nil ? 0 : context.values[self.logits].shape[0])
        choices?.update(repeating: -1, count: tokens)
        let chunk = context.values[self.logits].shape[0]
        let scratchRows = scratch.map { context.values[$0].shape[0] } ?? 1
        logProbabilities.update(repeating: 0, count: tokens)
        gradient?.update(repeating: 0, count: tokens * columns)
        let cpu = context.cpu
        let trained = (0..<tokens).filter { targets[$0] >= 0 && Int(targets[$0]) < vocabulary }
        for first in stride(from: 0, to: trained.count, by: chunk) {
            let rows = trained[first..<min(trained.count, first + chunk)]
            for (i, t) in rows.enumerated() { copy(x + t * columns, columns, times: logitScale, to: gathered + i * columns) }
            project(
                gathered, count: rows.count, columns: columns, store: store, vocabulary: vocabulary, scratch: expanded,
                scratchRows: scratchRows, logits: logits, fromCodes: Self.rowsFromCodes, cpu: context.cpu)
            let results = chosen.withUnsafeMutableBufferPointer { chosen in
                CrossEntropyKernels.run(
                    logits: logits, rows: rows.count, vocabulary: vocabulary, targets: rows.map { targets[$0] },
                    weights: rows.map { weights?[$0] ?? 0 }, gradientInPlace: gradient != nil, softCap: softCap,
                    choices: choices == nil ? nil : chosen.baseAddress, cpu: cpu)
            }
            for (i, t) in rows.enumerated() {
                logProbabilities[t] = results[i]
                choices?[t] = chosen[i]
            }
            guard let gradient else { continue }
            projectBack(
                logits, count: rows.count, columns: columns, store: store, vocabulary: vocabulary, scratch: expanded,
                scratchRows: scratchRows, dx: gathered, cpu: context.cpu)
            for (i, t) in rows.enumerated() { copy(gathered + i * columns, columns, times: logitScale, to: gradient + t * columns) }
        }
    }
}

extension HeadLogProbabilities {
    func run(_ context: borrowing CPURun) throws { try chunks.run(context, logProbabilities: logProbabilities, weights: nil, dx: nil, choices: choices) }
}

extension HeadGradient {
    func run(_ context: borrowing CPURun) throws { try chunks.run(context, logProbabilities: logProbabilities, weights: tokenWeights, dx: dx) }
}

extension Logits {
    func run(_ context: borrowing CPURun) throws {
        let columns = context.values[x].shape[1]
        let count = context.values[gathered].shape[0]
        let store = try context.matrix(weight)
        let scratchRows = scratch.map { context.values[$0].shape[0] } ?? 1
        let (x, gathered, logits) = (try context.floats(x), try context.floats(gathered), try context.floats(logits))
        let rows = try context.integers(rows)
        let tokens = context.values[self.x].shape[0]
        for i in 0..<count {
            let row = min(max(0, Int(rows[i])), tokens - 1)
            copy(x + row * columns, columns, times: logitScale, to: gathered + i * columns)
        }
        project(
            gathered, count: count, columns: columns, store: store, vocabulary: vocabulary, scratch: try context.floats(scratch, "the head's scratch"),
            scratchRows: scratchRows, logits: logits, fromCodes: Linear.rowsFromCodes, cpu: context.cpu)
        guard let softCap else { return }
        for i in 0..<count * vocabulary { logits[i] = softCap * tanh(logits[i] / softCap) }
    }
}

extension LargestLogit {
    func run(_ context: borrowing CPURun) throws {
        let (rows, vocabulary, parts) = (context.values[logits].shape[0], context.values[logits].shape[1], context.values[largest].shape[1])
        let (logits, largest) = (try context.floats(logits), try context.floats(largest))
        let each = (vocabulary + parts - 1) / parts
        context.cpu.parallel(over: rows * parts) { index in
            let (row, begin) = (index / parts, min(vocabulary, index % parts * each))
            let (value, place) = CrossEntropyKernels.largest(logits + row * vocabulary + begin, min(each, vocabulary - begin))
            largest[2 * index] = value
            largest[2 * index + 1] = Float(begin + place)
        }
    }
}
