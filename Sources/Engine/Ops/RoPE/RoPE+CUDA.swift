import LorikeetDevices

extension RoPEAngles {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[cos].shape
        // Read where there is a second table alone.
        let lengths: ValueID = lengths ?? positions
        try context.launch("rope", "rope_angles", count: shape[0] * shape[1]) {
            $0.add(try context.address(positions))
            $0.add(try context.address(lengths))
            $0.add(try context.weights.inverseFrequencies(table))
            $0.add(try context.address(cos))
            $0.add(try context.address(sin))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(Int32(clamping: table.long?.originalPositions ?? 0))
            $0.add(table.attentionScale)
        }
    }
}

extension RoPE {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[joint].shape
        let half = context.values[cos].shape[1]
        if let update {
            return try context.add(update.parts, product: update.product, to: joint, rotation: (cos, sin, heads, headDimension))
        }
        try context.launch("rope", "rope_apply", blocks: packBlocks(rows: shape[0], columns: heads * half, context.element), threads: 128) {
            $0.add(try context.address(joint))
            $0.add(try context.address(cos))
            $0.add(try context.address(sin))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(Int32(heads))
            $0.add(Int32(headDimension))
            $0.add(Int32(half))
            $0.add(Int32(inverse ? 1 : 0))
            $0.add(Int32(interleaved ? 1 : 0))
        }
    }
}
