import LorikeetDevices

extension AttentionShape {
    /// The kernels for this head size: tuned for 64 and 128 in 16 bits, else one for any size.
    func variant(_ element: DeviceElement) -> String {
        element != .f32 && (headDimension == 64 || headDimension == 128) ? "\(headDimension)" : "any"
    }
}

extension DeviceRun {
    /// `AttentionArguments` of attention.cu.
    fileprivate func attention(
        _ source: String, _ kernel: String, blocks: (x: Int, y: Int, z: Int), threads: Int, sharedBytes: Int, joint: ValueID, segmentStart: ValueID,
        out: ValueID, logSumExp: ValueID, dOut: ValueID?, delta: ValueID?, dJoint: ValueID?, shape: AttentionShape
    ) throws {
        try launch(source, kernel, blocks: blocks, threads: threads, sharedBytes: sharedBytes) {
            $0.add(try address(joint))
            $0.add(try address(segmentStart))
            $0.add(try address(out))
            $0.add(try address(logSumExp))
            $0.add(try address(dOut))
            $0.add(try address(delta))
            $0.add(try address(dJoint))
            $0.add(Int32(values[joint].shape[0]))
            $0.add(Int32(shape.heads))
            $0.add(Int32(shape.keyValueHeads))
            $0.add(Int32(shape.headDimension))
            $0.add(Int32(shape.window ?? 0))
            $0.add(shape.scale)
            $0.add(shape.softCap ?? 0)
        }
    }
}

extension Attention {
    func run(_ context: borrowing DeviceRun) throws {
        try context.attention(
            "attention_any", "attention_forward_any", blocks: warpRows(context.values[joint].shape[0], shape.heads), threads: 128, sharedBytes: 0,
            joint: joint, segmentStart: segmentStart, out: out, logSumExp: logSumExp, dOut: nil, delta: nil, dJoint: nil, shape: shape)
    }
}

extension AttentionBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        for (kernel, heads) in [
            ("attention_delta", shape.heads), ("attention_backward_q_any", shape.heads), ("attention_backward_kv_any", shape.keyValueHeads),
        ] {
            try context.attention(
                "attention_any", kernel, blocks: warpRows(rows, heads), threads: 128, sharedBytes: 0, joint: joint, segmentStart: segmentStart,
                out: out, logSumExp: logSumExp, dOut: dOut, delta: sums, dJoint: dJoint, shape: shape)
        }
    }
}

/// Four warps a block, each on a row of a head.
private func warpRows(_ rows: Int, _ heads: Int) -> (x: Int, y: Int, z: Int) { ((rows + 3) / 4, heads, 1) }

extension CachedAttention {
    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        for (kernel, blocks) in [("cached_store", (x: rows, y: 1, z: 1)), ("cached_attention", warpRows(rows, shape.heads))] {
            try context.launch("attention_any", kernel, blocks: blocks, threads: 128) {
                $0.add(try context.address(joint))
                $0.add(try context.address(slots))
                $0.add(try context.address(positions))
                $0.add(try context.address(cache))
                $0.add(try context.address(out))
                $0.add(Int32(rows))
                $0.add(Int32(shape.heads))
                $0.add(Int32(shape.keyValueHeads))
                $0.add(Int32(shape.headDimension))
                $0.add(Int32(shape.window ?? 0))
                $0.add(Int32(maximumPositions))
                $0.add(shape.scale)
                $0.add(shape.softCap ?? 0)
            }
        }
    }
}
