import LorikeetDevices

extension HeadChunks {
    /// Log-probabilities of the targets and, where `dx` is given, the gradient of x by the weights times the loss scale.
    ///
    /// - Parameter weights: [T]; read where there is a gradient.
    fileprivate func run(_ context: borrowing DeviceRun, logProbabilities: ValueID, weights: ValueID?, dx: ValueID?) throws {
        guard let trainedRows else { throw context.missing("the rows with a target") }
        let (device, element) = (context.device, context.element)
        let (tokens, columns) = (context.values[x].shape[0], context.values[x].shape[1])
        let chunk = context.values[logits].shape[0]
        let table = try context.table(weight)
        let (rows, logitsAt, gatheredAt) = (try context.address(trainedRows), try context.address(logits), try context.address(gathered))
        try device.zero(context.address(logProbabilities), bytes: tokens * 4)
        if let dx { try device.zero(context.address(dx), bytes: tokens * columns * element.bytes) }
        for first in stride(from: 0, to: context.trainedRows, by: chunk) {
            let count = min(chunk, tokens - first)
            try context.gather(context.address(x), rows: rows + 4 * first, into: gatheredAt, count: count, columns: columns)
            try device.multiply(
                MatrixProduct(
                    m: count, n: vocabulary, k: columns, transposeB: true, inputs: element, output: element, lda: columns, ldb: columns,
                    ldc: vocabulary, alpha: logitScale),
                a: gatheredAt, b: table, c: logitsAt)
            try context.launch("cross_entropy", "cross_entropy", blocks: (count, 1, 1), threads: 512) {
                $0.add(logitsAt)
                $0.add(rows + 4 * first)
                $0.add(try context.address(targets))
                $0.add(try context.address(weights))
                $0.add(context.lossScale)
                $0.add(try context.address(logProbabilities))
                $0.add(Int32(count))
                $0.add(Int32(vocabulary))
                $0.add(Int32(dx == nil ? 0 : 1))
                $0.add(softCap ?? 0)
            }
            guard let dx else { continue }
            try device.multiply(
                MatrixProduct(
                    m: count, n: columns, k: vocabulary, inputs: element, output: element, lda: vocabulary, ldb: columns, ldc: columns,
                    alpha: logitScale),
                a: logitsAt, b: table, c: gatheredAt)
            try context.launch("embedding", "scatter_rows", blocks: packBlocks(rows: count, columns: columns, element), threads: 128) {
                $0.add(gatheredAt)
                $0.add(rows + 4 * first)
                $0.add(try context.address(dx))
                $0.add(Int32(count))
                $0.add(Int32(columns))
            }
        }
    }
}

extension HeadLogProbabilities {
    func run(_ context: borrowing DeviceRun) throws { try chunks.run(context, logProbabilities: logProbabilities, weights: nil, dx: nil) }
}

extension HeadGradient {
    func run(_ context: borrowing DeviceRun) throws { try chunks.run(context, logProbabilities: logProbabilities, weights: tokenWeights, dx: dx) }
}

extension Logits {
    func run(_ context: borrowing DeviceRun) throws {
        let (count, columns) = (context.values[gathered].shape[0], context.values[x].shape[1])
        let to = try context.address(gathered)
        try context.gather(context.address(x), rows: context.address(rows), into: to, count: count, columns: columns)
        try context.device.multiply(
            MatrixProduct(
                m: count, n: vocabulary, k: columns, transposeB: true, inputs: context.element, output: .f32, lda: columns, ldb: columns,
                ldc: vocabulary, alpha: logitScale),
            a: to, b: context.table(weight), c: context.address(logits))
        guard let softCap else { return }
        try context.launch("cross_entropy", "soft_cap", count: count * vocabulary) {
            $0.add(try context.address(logits))
            $0.add(count * vocabulary)
            $0.add(softCap)
        }
    }
}

extension LargestLogit {
    func run(_ context: borrowing DeviceRun) throws {
        let (rows, vocabulary, parts) = (context.values[logits].shape[0], context.values[logits].shape[1], context.values[largest].shape[1])
        try context.launch("cross_entropy", "largest_logit", blocks: (rows * parts, 1, 1), threads: 256) {
            $0.add(try context.address(logits))
            $0.add(try context.address(largest))
            $0.add(Int32(vocabulary))
            $0.add(Int32(parts))
        }
    }
}
