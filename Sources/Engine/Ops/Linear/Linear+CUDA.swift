import LorikeetDevices

extension DeviceRun {
    /// The joint matrix [sum of rows, columns] of parts side by side: where it is held, or expanded into `scratch`.
    fileprivate func joint(_ parts: [LinearPart], columns: Int, scratch: ValueID) throws -> DeviceAddress {
        if let held = try held(parts) { return held }
        let to = try address(scratch)
        try weights.joint(parts, columns: columns, scratch: to, on: device, element)
        return to
    }

    /// Where the parts stand in the activations' type one after the other, if they do.
    func held(_ parts: [LinearPart]) throws -> DeviceAddress? {
        var (first, next): (DeviceAddress?, DeviceAddress?)
        for part in parts {
            let matrix = try weights.matrix(part.weight.name + ".weight")
            guard case .element(let address) = matrix.form, next == nil || next == address else { return nil }
            first = first ?? address
            next = address + matrix.rows * matrix.columns * element.bytes
        }
        return first
    }

    /// dropout(x) of an adapter into `out`, or x itself without dropout.
    fileprivate func dropped(_ x: DeviceAddress, into out: ValueID?, keys: ValueID?, _ adapter: LinearAdapter, rows: Int, columns: Int) throws
        -> DeviceAddress
    {
        guard let out, let keys else { return x }
        try dropout("dropout_apply", x: x, out: address(out), keys: keys, adapter, rows: rows, columns: columns)
        return try address(out)
    }

    fileprivate func dropout(
        _ kernel: String, x: DeviceAddress, out: DeviceAddress, keys: ValueID, _ adapter: LinearAdapter, rows: Int, columns: Int
    ) throws {
        let threshold = DropoutKernels.threshold(adapter.dropout)
        // A thread decides sixteen columns, or eight in float32.
        let pieces = (columns + 15) / 16 * (element == .f32 ? 2 : 1)
        try launch("dropout", kernel, blocks: ((pieces + 127) / 128, min(rows, 65535), 1), threads: 128) {
            $0.add(x)
            $0.add(try address(keys))
            $0.add(out)
            $0.add(Int32(rows))
            $0.add(Int32(columns))
            $0.add(Int32(adapter.slot.module))
            $0.add(threshold)
            $0.add(65536 / Float(65536 - threshold))
        }
    }
}

extension Linear {
    func run(_ context: borrowing DeviceRun) throws {
        let (device, element) = (context.device, context.element)
        let (tokens, joint) = (context.values[x].shape[0], context.values[y].shape[1])
        let output = context.type(y)
        let (x, y) = (try context.address(x), try context.address(y))
        if try !context.multiplyFromCodes(parts, x: x, y: y, rows: tokens, columns: columns, ld: joint, output: output) {
            let matrix = try context.joint(parts, columns: columns, scratch: scratch)
            try device.multiply(
                MatrixProduct(
                    m: tokens, n: joint, k: columns, transposeB: true, inputs: element, output: output, lda: columns, ldb: columns, ldc: joint),
                a: x, b: matrix, c: y)
        }
        for part in parts {
            if part.weight.hasBias {
                let bias = try context.weights.vector(part.weight.name + ".bias")
                try context.launch(
                    "embedding", "bias_add", blocks: packBlocks(rows: tokens, columns: part.weight.rows, context.element), threads: 128
                ) {
                    $0.add(y + part.firstRow * output.bytes)
                    $0.add(bias)
                    $0.add(Int32(tokens))
                    $0.add(Int32(part.weight.rows))
                    $0.add(Int32(joint))
                }
            }
        }
        if context.adapterOn { try addAdapters(context, tokens: tokens, joint: joint) }
    }

    /// y += scale * (dropout(x) Aᵀ) Bᵀ: the first product once for all adapters where they see the same x.
    private func addAdapters(_ context: borrowing DeviceRun, tokens: Int, joint: Int) throws {
        guard let product else { return }
        let (device, element, output, y) = (context.device, context.element, context.type(y), try context.address(y))
        let (at, ranks, adapters) = (try context.address(product), context.values[product].shape[1], parts.compactMap(\.adapter))
        if dropped != nil, let stream = LoRAStream(adapters, ranks: ranks, rows: tokens, columns: columns, keys: dropoutKeys, context) {
            try stream.down(x: context.address(x), product: at, rows: tokens, columns: columns, context)
        } else {
            // One product for all where they see the same x.
            let together = dropped == nil && adapters.standTogether(context.values)
            for adapter in together ? Array(adapters.prefix(1)) : adapters {
                let input = try context.dropped(context.address(x), into: dropped, keys: dropoutKeys, adapter, rows: tokens, columns: columns)
                try device.multiply(
                    MatrixProduct(
                        m: tokens, n: together ? ranks : adapter.slot.rank, k: columns, transposeB: true, inputs: element, output: element,
                        lda: columns, ldb: columns, ldc: ranks),
                    a: input, b: context.address(adapter.a), c: at + adapter.column * element.bytes)
            }
        }
        if leavesUpdate { return }
        if LowRankUpdate.fits(parts, element, ranks: ranks) { return try context.add(LowRankPart.of(parts), product: product, to: self.y) }
        for part in parts {
            guard let adapter = part.adapter else { continue }
            try device.multiply(
                MatrixProduct(
                    m: tokens, n: part.weight.rows, k: adapter.slot.rank, transposeB: true, inputs: element, output: output, lda: ranks,
                    ldb: adapter.slot.rank, ldc: joint, alpha: adapter.slot.scale, beta: 1),
                a: at + adapter.column * element.bytes, b: context.address(adapter.b), c: y + part.firstRow * output.bytes)
        }
    }
}

extension LinearBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let (tokens, joint) = (context.values[dy].shape[0], context.values[dy].shape[1])
        let element = context.element
        if let dx, let scratch {
            let to = try context.address(dx)
            if let passing {
                let from = try context.address(passing)
                if from != to { try context.device.copy(from, to: to, bytes: tokens * columns * element.bytes) }
            }
            let matrix = try context.joint(parts, columns: columns, scratch: scratch)
            try context.device.multiply(
                MatrixProduct(
                    m: tokens, n: columns, k: joint, inputs: element, output: element, lda: joint, ldb: columns, ldc: columns,
                    beta: passing == nil ? 0 : 1),
                a: context.address(dy), b: matrix, c: to)
        }
        if context.adapterOn { try adapters(context, tokens, joint) }
    }

    /// dProduct = scale * dy B;  dB += scale * dyᵀ product;  dA += dProductᵀ dropout(x);  dx += mask * (dProduct A).
    private func adapters(_ context: borrowing DeviceRun, _ tokens: Int, _ joint: Int) throws {
        guard let x, let product, let dProduct else { return }
        let (device, element, ranks) = (context.device, context.element, context.values[product].shape[1])
        let (products, dProducts) = (try context.address(product), try context.address(dProduct))
        if let partials {
            try LoRABack(gradients, ranks: ranks).run(dy: dy, product: product, dProduct: dProduct, partials: partials, context)
        }
        for gradient in partials == nil ? gradients : [] {
            let (adapter, rows) = (gradient.adapter, gradient.part.weight.rows)
            let (rank, dyPart) = (adapter.slot.rank, try context.address(dy) + gradient.part.firstRow * element.bytes)
            try device.multiply(
                MatrixProduct(
                    m: tokens, n: rank, k: rows, inputs: element, output: element, lda: joint, ldb: rank, ldc: ranks, alpha: adapter.slot.scale),
                a: dyPart, b: context.address(adapter.b), c: dProducts + adapter.column * element.bytes)
            try device.multiply(
                MatrixProduct(
                    m: rows, n: rank, k: tokens, transposeA: true, inputs: element, output: .f32, lda: joint, ldb: ranks, ldc: rank,
                    alpha: adapter.slot.scale, beta: 1),
                a: dyPart, b: products + adapter.column * element.bytes, c: context.address(gradient.dB))
        }
        let adapters = gradients.map(\.adapter)
        if let masked, let first = gradients.first, let stream = LoRAStream(adapters, ranks: ranks, rows: tokens, columns: columns, keys: dropoutKeys, context)
        {
            // Room for masked copies is room for partial sums.
            try stream.gradient(
                dProduct: dProducts, x: context.address(x), dA: context.address(first.dA), partial: context.address(masked), rows: tokens,
                columns: columns, context)
            if let dx { try stream.add(dProduct: dProducts, dx: context.address(dx), rows: tokens, columns: columns, context) }
            return
        }
        // One product for all where they saw the same x.
        let together = masked == nil && adapters.standTogether(context.values)
        for gradient in together ? Array(gradients.prefix(1)) : gradients {
            let adapter = gradient.adapter
            let (rank, own) = (together ? ranks : adapter.slot.rank, dProducts + adapter.column * element.bytes)
            let input = try context.dropped(context.address(x), into: masked, keys: dropoutKeys, adapter, rows: tokens, columns: columns)
            try device.multiply(
                MatrixProduct(
                    m: rank, n: columns, k: tokens, transposeA: true, inputs: element, output: .f32, lda: ranks, ldb: columns, ldc: columns, beta: 1),
                a: own, b: input, c: context.address(gradient.dA))
            guard let dx, !leavesUpdate else { continue }
            var down = MatrixProduct(m: tokens, n: columns, k: rank, inputs: element, output: element, lda: ranks, ldb: columns, ldc: columns)
            guard let masked, let keys = dropoutKeys else {
                down.beta = 1
                try device.multiply(down, a: own, b: context.address(adapter.a), c: context.address(dx))
                continue
            }
            try device.multiply(down, a: own, b: context.address(adapter.a), c: context.address(masked))
            try context.dropout(
                "dropout_add", x: context.address(masked), out: context.address(dx), keys: keys, adapter, rows: tokens, columns: columns)
        }
    }
}
