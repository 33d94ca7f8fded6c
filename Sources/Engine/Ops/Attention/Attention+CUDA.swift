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

/// How the kernels of a head size are launched; attention.cu names the numbers.
private struct AttentionLaunches {
    typealias Launch = (source: String, kernel: String, blocks: (x: Int, y: Int, z: Int), sharedBytes: Int)
    let forward: Launch
    let backward: [Launch]

    init(_ shape: AttentionShape, rows: Int, _ device: AcceleratorProperties, _ element: DeviceElement) {
        let (queryHeads, keyHeads, variant) = (shape.heads, shape.keyValueHeads, shape.variant(element))
        let delta = ("attention_any", "attention_delta", warpRows(rows, queryHeads), 0)
        if variant == "any" {
            forward = ("attention_any", "attention_forward_any", warpRows(rows, queryHeads), 0)
            backward = [
                delta, ("attention_any", "attention_backward_q_any", warpRows(rows, queryHeads), 0),
                ("attention_any", "attention_backward_kv_any", warpRows(rows, keyHeads), 0),
            ]
        } else {
            let (size, tiles) = (shape.headDimension, (rows + 63) / 64)
            let streamed = size == 64 ? 64 : 32
            let stages = device.architecture >= 80 ? 2 : 1
            let shared = 256 * size + stages * (4 * streamed * size + 12 * streamed)
            forward = ("attention", "attention_forward_\(variant)", (tiles, queryHeads, 1), 384 * size)
            backward = [
                delta, ("attention", "attention_backward_q_\(variant)", (tiles, queryHeads, 1), shared),
                ("attention", "attention_backward_kv_\(variant)", (tiles, keyHeads, 1), shared),
            ]
        }
    }
}

extension Attention {
    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        let launch = AttentionLaunches(shape, rows: rows, context.device.properties, context.element).forward
        try context.attention(
            launch.source, launch.kernel, blocks: launch.blocks, threads: 128, sharedBytes: launch.sharedBytes, joint: joint,
            segmentStart: segmentStart, out: out, logSumExp: logSumExp, dOut: nil, delta: nil, dJoint: nil, shape: shape)
    }
}

extension AttentionBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        for launch in AttentionLaunches(shape, rows: rows, context.device.properties, context.element).backward {
            try context.attention(
                launch.source, launch.kernel, blocks: launch.blocks, threads: 128, sharedBytes: launch.sharedBytes, joint: joint,
                segmentStart: segmentStart, out: out, logSumExp: logSumExp, dOut: dOut, delta: sums, dJoint: dJoint, shape: shape)
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
