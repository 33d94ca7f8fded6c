import LorikeetDevices

extension CPURun {
    /// dropout(x) of an adapter in `room`, or x itself without dropout.
    fileprivate func dropped(_ x: UnsafePointer<Float>, _ room: ValueID?, _ keys: ValueID?, _ part: LoRAPart, rows: Int, columns: Int) throws
        -> UnsafePointer<Float>
    {
        guard let room, let keys else { return x }
        let out = try floats(room)
        DropoutKernels.apply(
            x: x, keys: try integers(keys), module: part.slot.module, probability: part.dropout, out: out, rows: rows, columns: columns, cpu: cpu)
        return UnsafePointer(out)
    }
}

extension LoRADown {
    func run(_ context: borrowing CPURun) throws {
        guard context.adapterOn else { return }
        let shape = context.values[side.wide].shape
        let (x, product, ldp) = (UnsafePointer(try context.floats(side.wide)), try context.floats(side.narrow), side.parts.ranks)
        for part in side.parts {
            let input = try context.dropped(x, side.masked, side.dropoutKeys, part, rows: shape[0], columns: shape[1])
            LoRAKernels.project(
                x: input, a: try context.floats(part.a), product: product + part.column, ldp: ldp, rows: shape[0], columns: shape[1],
                rank: part.slot.rank, cpu: context.cpu)
        }
    }
}

extension LoRAUp {
    func run(_ context: borrowing CPURun) throws {
        guard context.adapterOn else { return }
        let shape = context.values[side.wide].shape
        let (y, product, ldp) = (try context.floats(side.wide), try context.floats(side.narrow), side.parts.ranks)
        for part in side.parts {
            LoRAKernels.addUp(
                product: product + part.column, ldp: ldp, b: try context.floats(part.b), scale: part.slot.scale, y: y + part.outputs.lowerBound,
                ldy: shape[1], rows: shape[0], outputs: part.outputs.count, rank: part.slot.rank, cpu: context.cpu)
        }
    }
}

extension LoRAUpBackward {
    func run(_ context: borrowing CPURun) throws {
        guard context.adapterOn else { return }
        let shape = context.values[side.wide].shape
        let (dy, ldp) = (UnsafePointer(try context.floats(side.wide)), side.parts.ranks)
        for (part, gradient) in zip(side.parts, dB) {
            LoRAKernels.backwardUp(
                dy: dy + part.outputs.lowerBound, ldy: shape[1], product: try context.floats(side.narrow) + part.column, ldp: ldp,
                b: try context.floats(part.b), scale: part.slot.scale, dB: try context.floats(gradient),
                dProduct: try context.floats(dProduct) + part.column, rows: shape[0], outputs: part.outputs.count, rank: part.slot.rank,
                cpu: context.cpu)
        }
    }
}

extension LoRADownBackward {
    func run(_ context: borrowing CPURun) throws {
        guard context.adapterOn else { return }
        let shape = context.values[side.wide].shape
        let (x, ldp) = (UnsafePointer(try context.floats(side.wide)), side.parts.ranks)
        for (part, gradient) in zip(side.parts, dA) {
            let input = try context.dropped(x, side.masked, side.dropoutKeys, part, rows: shape[0], columns: shape[1])
            LoRAKernels.backwardA(
                dProduct: try context.floats(side.narrow) + part.column, ldp: ldp, x: input, dA: try context.floats(gradient), rows: shape[0],
                columns: shape[1], rank: part.slot.rank, cpu: context.cpu)
        }
    }
}

extension LoRAInputGradient {
    func run(_ context: borrowing CPURun) throws {
        guard context.adapterOn else { return }
        let shape = context.values[side.wide].shape
        let (dx, ldp) = (try context.floats(side.wide), side.parts.ranks)
        for part in side.parts {
            let (own, a) = (UnsafePointer(try context.floats(side.narrow) + part.column), UnsafePointer(try context.floats(part.a)))
            guard let masked = side.masked, let dropoutKeys = side.dropoutKeys else {
                LoRAKernels.down(
                    dProduct: own, ldp: ldp, a: a, dx: dx, adding: true, rows: shape[0], columns: shape[1], rank: part.slot.rank, cpu: context.cpu)
                continue
            }
            let product = try context.floats(masked)
            LoRAKernels.down(
                dProduct: own, ldp: ldp, a: a, dx: product, adding: false, rows: shape[0], columns: shape[1], rank: part.slot.rank, cpu: context.cpu)
            DropoutKernels.applyAdd(
                x: product, keys: try context.integers(dropoutKeys), module: part.slot.module, probability: part.dropout, out: dx, rows: shape[0],
                columns: shape[1], cpu: context.cpu)
        }
    }
}
