import LorikeetDevices

extension LinearPart {
    /// Elements of scratch that one joint expansion needs.
    static func scratchElements(parts: [LinearPart], columns: Int) -> Int {
        parts.reduce(0) { $0 + $1.weight.rows } * columns
    }
}

/// The joint rows `range` of several matrices side by side, as float32: in place where one matrix stored as float32 holds all of
/// them, else expanded (or copied) into `scratch` at their joint row.
private func jointRows(
    _ parts: [LinearPart], _ range: Range<Int>, columns: Int, weights: WeightTable, scratch: UnsafeMutablePointer<Float>
) -> UnsafePointer<Float> {
    for part in parts {
        let first = max(range.lowerBound, part.firstRow)
        let end = min(range.upperBound, part.firstRow + part.weight.rows)
        guard first < end, let store = weights.matrix(part.weight.name + ".weight") else { continue }
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

extension Linear {
    func run(_ context: borrowing CPURun) {
        let tokens = context.values[x].shape[0]
        if tokens <= Self.rowsFromCodes { multiplyFromCodes(context, tokens) } else { multiplyExpanded(context, tokens) }
        for part in parts {
            addBias(part, context, tokens)
            if let adapter = part.adapter, context.adapterOn { addAdapter(adapter, part, context, tokens) }
        }
    }

    /// Up to so many rows of x, expanding a weight costs more than multiplying it.
    static let rowsFromCodes = 8

    private func multiplyFromCodes(_ context: borrowing CPURun, _ tokens: Int) {
        let x = UnsafePointer(context.floats(x))
        let y = context.floats(y)
        let joint = context.values[self.y].shape[1]
        let weights = context.weights
        context.cpu.parallelRanges(over: joint, grain: 8) { range, _ in
            for part in parts {
                let first = max(range.lowerBound, part.firstRow)
                let end = min(range.upperBound, part.firstRow + part.weight.rows)
                guard first < end, let store = weights.matrix(part.weight.name + ".weight") else { continue }
                store.multiply(rows: (first - part.firstRow)..<(end - part.firstRow), x: x, count: tokens, into: y + first, ldy: joint)
            }
        }
    }

    private func multiplyExpanded(_ context: borrowing CPURun, _ tokens: Int) {
        let x = UnsafePointer(context.floats(x))
        let y = context.floats(y)
        let scratch = context.floats(scratch)
        let joint = context.values[self.y].shape[1]
        let (weights, columns, parts) = (context.weights, columns, parts)
        context.cpu.parallelRanges(over: joint, grain: 16) { range, _ in
            // One product over all of the worker's rows: x is packed once, whatever matrices they come from.
            let matrix = jointRows(parts, range, columns: columns, weights: weights, scratch: scratch)
            CPU.serialGemm(
                transposeB: true, m: tokens, n: range.count, k: columns, a: x, lda: columns, b: matrix, ldb: columns,
                c: y + range.lowerBound, ldc: joint)
        }
    }

    private func addBias(_ part: LinearPart, _ context: borrowing CPURun, _ tokens: Int) {
        guard part.weight.hasBias, let bias = context.weights.vector(part.weight.name + ".bias") else { return }
        let joint = context.values[y].shape[1]
        let y = context.floats(y) + part.firstRow
        for t in 0..<tokens {
            for n in 0..<part.weight.rows { y[t * joint + n] += bias[n] }
        }
    }

    private func addAdapter(_ adapter: LinearAdapter, _ part: LinearPart, _ context: borrowing CPURun, _ tokens: Int) {
        var input = UnsafePointer(context.floats(x))
        if let dropped, let keys = dropoutKeys {
            DropoutKernels.apply(
                x: input, keys: context.integers(keys), module: adapter.slot.module, probability: adapter.dropout,
                out: context.floats(dropped), rows: tokens, columns: columns, cpu: context.cpu)
            input = UnsafePointer(context.floats(dropped))
        }
        guard let joined = self.product else { return }
        let (product, ldp) = (context.floats(joined) + adapter.column, context.values[joined].shape[1])
        LoRAKernels.project(
            x: input, a: context.floats(adapter.a), product: product, ldp: ldp, rows: tokens, columns: columns, rank: adapter.slot.rank, cpu: context.cpu)
        LoRAKernels.addUp(
            product: product, ldp: ldp, b: context.floats(adapter.b), scale: adapter.slot.scale, y: context.floats(y) + part.firstRow,
            ldy: context.values[y].shape[1], rows: tokens, outputs: part.weight.rows, rank: adapter.slot.rank, cpu: context.cpu)
    }
}

extension LinearBackward {
    func run(_ context: borrowing CPURun) {
        let tokens = context.values[dy].shape[0]
        if let dx, let scratch { multiply(context, tokens, dx: dx, scratch: scratch) }
        guard context.adapterOn else { return }
        for gradient in gradients { adapter(gradient, context, tokens) }
    }

    private func multiply(_ context: borrowing CPURun, _ tokens: Int, dx: ValueID, scratch: ValueID) {
        let joint = context.values[dy].shape[1]
        let (dy, dx, scratch) = (UnsafePointer(context.floats(dy)), context.floats(dx), context.floats(scratch))
        let passing = passing.map { UnsafePointer(context.floats($0)) }
        let (weights, columns, parts) = (context.weights, columns, parts)
        if let passing, passing != UnsafePointer(dx) { dx.update(from: passing, count: tokens * columns) }
        let direct = parts.compactMap { weights.matrix($0.weight.name + ".weight")?.directFloats }
        if direct.count == parts.count {
            var beta: Float = passing == nil ? 0 : 1
            for (part, matrix) in zip(parts, direct) {
                context.cpu.gemm(
                    m: tokens, n: columns, k: part.weight.rows, a: dy + part.firstRow, lda: joint, b: matrix, ldb: columns, beta: beta,
                    c: dx, ldc: columns)
                beta = 1
            }
            return
        }
        context.cpu.parallelRanges(over: joint, grain: 16) { range, _ in
            let matrix = jointRows(parts, range, columns: columns, weights: weights, scratch: scratch)
            // Rows that are read in place have to stand in the joint matrix here: mixed storage in one product is rare.
            let place = scratch + range.lowerBound * columns
            if matrix != UnsafePointer(place) { place.update(from: matrix, count: range.count * columns) }
        }
        context.cpu.gemm(
            m: tokens, n: columns, k: joint, a: dy, lda: joint, b: scratch, ldb: columns, beta: passing == nil ? 0 : 1, c: dx, ldc: columns)
    }

    private func adapter(_ gradient: AdapterGradients, _ context: borrowing CPURun, _ tokens: Int) {
        guard let x, let product, let joined = self.dProduct else { return }
        let (adapter, part) = (gradient.adapter, gradient.part)
        let rank = adapter.slot.rank
        let dyPart = UnsafePointer(context.floats(dy)) + part.firstRow
        let joint = context.values[dy].shape[1]
        let (dProduct, ldp) = (context.floats(joined) + adapter.column, context.values[joined].shape[1])
        LoRAKernels.backwardUp(
            dy: dyPart, ldy: joint, product: context.floats(product) + adapter.column, ldp: ldp, b: context.floats(adapter.b), scale: adapter.slot.scale,
            dB: context.floats(gradient.dB), dProduct: dProduct, rows: tokens, outputs: part.weight.rows, rank: rank, cpu: context.cpu)
        var input = UnsafePointer(context.floats(x))
        if let masked, let keys = dropoutKeys {
            DropoutKernels.apply(
                x: input, keys: context.integers(keys), module: adapter.slot.module, probability: adapter.dropout,
                out: context.floats(masked), rows: tokens, columns: columns, cpu: context.cpu)
            input = UnsafePointer(context.floats(masked))
        }
        LoRAKernels.backwardA(
            dProduct: dProduct, ldp: ldp, x: input, dA: context.floats(gradient.dA), rows: tokens, columns: columns, rank: rank, cpu: context.cpu)
        guard let dx else { return }
        let a = UnsafePointer(context.floats(adapter.a))
        guard let masked, let keys = dropoutKeys else {
            LoRAKernels.down(
                dProduct: dProduct, ldp: ldp, a: a, dx: context.floats(dx), adding: true, rows: tokens, columns: columns, rank: rank, cpu: context.cpu)
            return
        }
        let through = context.floats(masked)
        LoRAKernels.down(dProduct: dProduct, ldp: ldp, a: a, dx: through, adding: false, rows: tokens, columns: columns, rank: rank, cpu: context.cpu)
        DropoutKernels.applyAdd(
            x: through, keys: context.integers(keys), module: adapter.slot.module, probability: adapter.dropout, out: context.floats(dx),
            rows: tokens, columns: columns, cpu: context.cpu)
    }
}
