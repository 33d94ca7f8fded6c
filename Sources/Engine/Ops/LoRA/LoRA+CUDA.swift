import LorikeetDevices

extension DeviceRun {
    /// dropout(x) of an adapter in `room`, or x itself without dropout.
    fileprivate func dropped(_ x: DeviceAddress, _ room: ValueID?, _ keys: ValueID?, _ part: LoRAPart, rows: Int, columns: Int) throws
        -> DeviceAddress
    {
        guard let room, let keys else { return x }
        try dropout("dropout_apply", x: x, out: address(room), keys: keys, part, rows: rows, columns: columns)
        return try address(room)
    }

    fileprivate func dropout(
        _ kernel: String, x: DeviceAddress, out: DeviceAddress, keys: ValueID, _ part: LoRAPart, rows: Int, columns: Int
    ) throws {
        let threshold = DropoutKernels.threshold(part.dropout)
        // A thread decides sixteen columns, or eight in float32.
        let pieces = (columns + 15) / 16 * (element == .f32 ? 2 : 1)
        try launch("dropout", kernel, blocks: ((pieces + 127) / 128, min(rows, 65535), 1), threads: 128) {
            $0.add(x)
            $0.add(try address(keys))
            $0.add(out)
            $0.add(Int32(rows))
            $0.add(Int32(columns))
            $0.add(Int32(part.slot.module))
            $0.add(threshold)
            $0.add(65536 / Float(65536 - threshold))
        }
    }

    /// The products of these adapters under dropout without masked copies, where lora.cu applies.
    fileprivate func stream(_ side: LoRASideA) -> LoRAStream? {
        let shape = values[side.wide].shape
        return side.masked == nil ? nil : LoRAStream(side.parts, rows: shape[0], columns: shape[1], keys: side.dropoutKeys, self)
    }
}

extension LoRADown {
    func run(_ context: borrowing DeviceRun) throws {
        guard context.adapterOn else { return }
        let (element, shape, parts) = (context.element, context.values[side.wide].shape, side.parts)
        let (x, product) = (try context.address(side.wide), try context.address(side.narrow))
        if let stream = context.stream(side) {
            return try stream.down(x: x, product: product, rows: shape[0], columns: shape[1], context)
        }
        // One product for all adapters where they see the same x.
        let joint = side.masked == nil && parts.isContiguous(context.values)
        for part in joint ? Array(parts.prefix(1)) : parts {
            let input = try context.dropped(x, side.masked, side.dropoutKeys, part, rows: shape[0], columns: shape[1])
            try context.device.multiply(
                MatrixProduct(
                    m: shape[0], n: joint ? parts.ranks : part.slot.rank, k: shape[1], transposeB: true, inputs: element, output: element,
                    lda: shape[1], ldb: shape[1], ldc: parts.ranks),
                a: input, b: context.address(part.a), c: product + part.column * element.bytes)
        }
    }
}

extension LoRAUp {
    func run(_ context: borrowing DeviceRun) throws {
        guard context.adapterOn else { return }
        let (element, output, shape, parts) = (context.element, context.type(side.wide), context.values[side.wide].shape, side.parts)
        if LowRankUpdate.fits(parts, columns: shape[1], element) { return try context.add(parts, product: side.narrow, to: side.wide) }
        let (y, product) = (try context.address(side.wide), try context.address(side.narrow))
        for part in parts {
            try context.device.multiply(
                MatrixProduct(
                    m: shape[0], n: part.outputs.count, k: part.slot.rank, transposeB: true, inputs: element, output: output, lda: parts.ranks,
                    ldb: part.slot.rank, ldc: shape[1], alpha: part.slot.scale, beta: 1),
                a: product + part.column * element.bytes, b: context.address(part.b), c: y + part.outputs.lowerBound * output.bytes)
        }
    }
}

extension LoRAUpBackward {
    func run(_ context: borrowing DeviceRun) throws {
        guard context.adapterOn else { return }
        let (element, shape, ranks) = (context.element, context.values[side.wide].shape, side.parts.ranks)
        if let partials {
            return try LoRABack(side.parts, dB: dB).run(dy: side.wide, product: side.narrow, dProduct: dProduct, partials: partials, context)
        }
        let (products, dProducts) = (try context.address(side.narrow), try context.address(dProduct))
        for (part, gradient) in zip(side.parts, dB) {
            let (rank, dyPart) = (part.slot.rank, try context.address(side.wide) + part.outputs.lowerBound * element.bytes)
            try context.device.multiply(
                MatrixProduct(
                    m: shape[0], n: rank, k: part.outputs.count, inputs: element, output: element, lda: shape[1], ldb: rank, ldc: ranks,
                    alpha: part.slot.scale),
                a: dyPart, b: context.address(part.b), c: dProducts + part.column * element.bytes)
            try context.device.multiply(
                MatrixProduct(
                    m: part.outputs.count, n: rank, k: shape[0], transposeA: true, inputs: element, output: .f32, lda: shape[1], ldb: ranks,
                    ldc: rank, alpha: part.slot.scale, beta: 1),
                a: dyPart, b: products + part.column * element.bytes, c: context.address(gradient))
        }
    }
}

extension LoRADownBackward {
    func run(_ context: borrowing DeviceRun) throws {
        guard context.adapterOn else { return }
        let (element, shape, parts) = (context.element, context.values[side.wide].shape, side.parts)
        let (x, dProducts) = (try context.address(side.wide), try context.address(side.narrow))
        if let masked = side.masked, let first = dA.first, let stream = context.stream(side) {
            // Room for masked copies is room for partial sums.
            return try stream.gradient(
                dProduct: dProducts, x: x, dA: context.address(first), partial: context.address(masked), rows: shape[0], columns: shape[1], context)
        }
        // One product for all adapters where they saw the same x.
        let joint = side.masked == nil && parts.isContiguous(context.values)
        for (part, gradient) in zip(joint ? Array(parts.prefix(1)) : parts, dA) {
            let input = try context.dropped(x, side.masked, side.dropoutKeys, part, rows: shape[0], columns: shape[1])
            try context.device.multiply(
                MatrixProduct(
                    m: joint ? parts.ranks : part.slot.rank, n: shape[1], k: shape[0], transposeA: true, inputs: element, output: .f32,
                    lda: parts.ranks,
                    ldb: shape[1], ldc: shape[1], beta: 1),
                a: dProducts + part.column * element.bytes, b: input, c: context.address(gradient))
        }
    }
}

extension LoRAInputGradient {
    func run(_ context: borrowing DeviceRun) throws {
        guard context.adapterOn else { return }
        let (element, shape, parts) = (context.element, context.values[side.wide].shape, side.parts)
        let (dx, dProducts) = (try context.address(side.wide), try context.address(side.narrow))
        if let stream = context.stream(side) {
            return try stream.add(dProduct: dProducts, dx: dx, rows: shape[0], columns: shape[1], context)
        }
        let joint = side.masked == nil && parts.isContiguous(context.values)
        for part in joint ? Array(parts.prefix(1)) : parts {
            let (own, a) = (dProducts + part.column * element.bytes, try context.address(part.a))
            var product = MatrixProduct(
                m: shape[0], n: shape[1], k: joint ? parts.ranks : part.slot.rank, inputs: element, output: element, lda: parts.ranks, ldb: shape[1],
                ldc: shape[1])
            guard let masked = side.masked, let dropoutKeys = side.dropoutKeys else {
                product.beta = 1
                try context.device.multiply(product, a: own, b: a, c: dx)
                continue
            }
            try context.device.multiply(product, a: own, b: a, c: context.address(masked))
            try context.dropout("dropout_add", x: context.address(masked), out: dx, keys: dropoutKeys, part, rows: shape[0], columns: shape[1])
        }
    }
}
