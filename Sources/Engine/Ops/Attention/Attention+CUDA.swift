import LorikeetDevices

extension AttentionShape {
    /// Head sizes that have kernels on tensor cores, in 16 bits; one kernel runs any size.
    static let tunedSizes = [64, 128, 256]

    /// The kernels for this head size.
    func variant(_ element: DeviceElement) -> String {
        element != .f32 && Self.tunedSizes.contains(headDimension) ? "\(headDimension)" : "any"
    }

    /// What attention.cu is compiled with for a head size.
    static func defines(size: Int, capped: Bool) -> [String] { ["HEAD=\(size)", "CAPPED=\(capped ? 1 : 0)"] }
}

/// How the kernels of a head size are launched; attention.cu and attention_any.cu name the numbers.
private struct AttentionLaunch {
    let source: String
    let kernel: String
    let blocks: (x: Int, y: Int, z: Int)
    let threads: Int
    let sharedBytes: Int

    /// One warp a row.
    init(any kernel: String, rows: Int, heads: Int) {
        (source, self.kernel, blocks, threads, sharedBytes) = ("attention_any", kernel, ((rows + 3) / 4, heads, 1), 128, 0)
    }

    /// Tensor cores: a block has `own` rows of its own, sixteen a warp.
    ///
    /// - Parameter headsFirst: blocks of all heads follow each other before the next rows.
    private init(
        tuned kernel: String, _ size: Int, rows: Int, heads: Int, own: Int = 64, threads: Int = 128, sharedBytes: Int, headsFirst: Bool = false,
        few: Bool = false
    ) {
        let parts = (rows + own - 1) / own
        (source, self.kernel, blocks) = ("attention", "\(kernel)_\(size)\(few ? "_few" : "")", headsFirst ? (heads, parts, 1) : (parts, heads, 1))
        (self.threads, self.sharedBytes) = (threads, sharedBytes)
    }

    /// By warpgroups (attention_group.cuh), by queries: `groups` of a block have as many heads of one key head, or the rows of as many blocks.
    ///
    /// - Parameter ownTiles: what a block keeps of its own rows: queries, and gradients.
    private init(queries kernel: String, _ shape: AttentionShape, rows: Int, groups: Int, ownTiles: Int) {
        let (size, together) = (shape.headDimension, (shape.heads / shape.keyValueHeads).isMultiple(of: groups))
        let own = together ? 64 : 64 * groups
        source = "attention"
        self.kernel = kernel
        blocks = ((rows + own - 1) / own, together ? shape.heads / groups : shape.heads, 1)
        threads = 128 * groups
        // Own tiles of 64 rows, five of streamed keys and values, two barriers, and delta of the own rows.
        sharedBytes = 128 * size * groups * ownTiles + 5 * 256 * size + 16 + (ownTiles == 2 ? 256 * groups : 0)
    }

    /// By warpgroups, by keys: two share what is streamed, 64 keys each.
    private init(keys kernel: String, _ shape: AttentionShape, rows: Int) {
        let size = shape.headDimension
        source = "attention"
        self.kernel = kernel
        blocks = (shape.keyValueHeads, (rows + 127) / 128, 1)
        threads = 256
        // Own keys and values, five tiles of queries and gradients, lse and delta of as many, two barriers.
        sharedBytes = 512 * size + 5 * 256 * size + 5 * 512 + 16
    }

    /// Whether several warpgroups share a block: heads of 128, and of 64 where that leaves blocks enough.
    private static func sharesBlocks(_ shape: AttentionShape, rows: Int, _ device: AcceleratorProperties) -> Bool {
        guard device.multipliesByWarpgroup else { return false }
        return shape.headDimension == 128 || shape.headDimension == 64 && (rows + 63) / 64 * shape.heads >= 4 * device.multiprocessors
    }

    static func forward(_ shape: AttentionShape, rows: Int, _ device: AcceleratorProperties, _ element: DeviceElement) -> AttentionLaunch {
        guard shape.variant(element) != "any" else { return AttentionLaunch(any: "attention_forward_any", rows: rows, heads: shape.heads) }
        let size = shape.headDimension
        if sharesBlocks(shape, rows: rows, device) {
            let four = size == 64 && (shape.heads / shape.keyValueHeads).isMultiple(of: 4)
            let kernel = "attention_forward_\(size)\(four ? "_by_four" : "")"
            return AttentionLaunch(queries: kernel, shape, rows: rows, groups: four ? 4 : 2, ownTiles: 1)
        }
        let streamed = size == 256 && !device.multipliesByWarpgroup ? 32 : 64
        return AttentionLaunch(
            tuned: "attention_forward", size, rows: rows, heads: shape.heads, sharedBytes: 2 * size * (64 + 2 * streamed),
            few: size == 64 && device.multipliesByWarpgroup)
    }

    static func backward(_ shape: AttentionShape, rows: Int, _ device: AcceleratorProperties, _ element: DeviceElement) -> [AttentionLaunch] {
        guard shape.variant(element) != "any" else {
            return [
                AttentionLaunch(any: "attention_delta", rows: rows, heads: shape.heads),
                AttentionLaunch(any: "attention_backward_q_any", rows: rows, heads: shape.heads),
                AttentionLaunch(any: "attention_backward_kv_any", rows: rows, heads: shape.keyValueHeads),
            ]
        }
        let (size, wide) = (shape.headDimension, device.architecture >= 80)
        if sharesBlocks(shape, rows: rows, device) {
            return [
                AttentionLaunch(queries: "attention_backward_q_\(size)", shape, rows: rows, groups: 2, ownTiles: 2),
                AttentionLaunch(keys: "attention_backward_kv_\(size)", shape, rows: rows),
            ]
        }
        let stages = wide ? 2 : 1
        if size == 256 {
            let (own, streamed) = (wide ? 64 : 32, device.multipliesByWarpgroup ? 64 : 16)
            let tiles = 4 * size * (own + stages * streamed)
            return [
                AttentionLaunch(
                    tuned: "attention_backward_q", size, rows: rows, heads: shape.heads, own: own, threads: 2 * own, sharedBytes: tiles + 4 * own),
                AttentionLaunch(
                    tuned: "attention_backward_kv", size, rows: rows, heads: shape.keyValueHeads, own: own, threads: 4 * own,
                    sharedBytes: tiles + stages * 12 * streamed + 2 * own * streamed, headsFirst: true),
            ]
        }
        // Few blocks: a group's query heads are shared out among a block's warpgroups.
        let few = device.multipliesByWarpgroup
        let shares = few ? [3, 2].first { (shape.heads / shape.keyValueHeads).isMultiple(of: $0) } ?? 1 : 1
        let (queries, keys) = (!few && (size == 64 || !wide) ? 32 : 64, size == 128 && !wide ? 32 : 64)
        return [
            AttentionLaunch(
                tuned: "attention_backward_q", size, rows: rows, heads: shape.heads, sharedBytes: 4 * size * (64 + stages * queries) + 256, few: few),
            AttentionLaunch(
                tuned: "attention_backward_kv", size, rows: rows, heads: shape.keyValueHeads, threads: 128 * shares,
                sharedBytes: 256 * size + shares * stages * keys * (4 * size + 12), headsFirst: true, few: few),
        ]
    }
}

extension DeviceRun {
    /// What backward kernels read and write beside the forward ones.
    fileprivate struct Gradients {
        let dOut, delta, dJoint: ValueID
        let angles: (cos: ValueID, sin: ValueID)?
    }

    /// `AttentionArguments` of the source.
    fileprivate func attention(
        _ kernel: AttentionLaunch, joint: ValueID, segmentStart: ValueID, out: ValueID, logSumExp: ValueID, gradients: Gradients?,
        shape: AttentionShape
    ) throws {
        let tuned = kernel.source == "attention"
        let defines = tuned ? AttentionShape.defines(size: shape.headDimension, capped: shape.softCap != nil) : []
        try launch(kernel.source, kernel.kernel, blocks: kernel.blocks, threads: kernel.threads, sharedBytes: kernel.sharedBytes, defines: defines) {
            $0.add(try address(joint))
            $0.add(try address(segmentStart))
            $0.add(try address(out))
            $0.add(try address(logSumExp))
            $0.add(try address(gradients?.dOut))
            $0.add(try address(gradients?.delta))
            $0.add(try address(gradients?.dJoint))
            if tuned {
                $0.add(try address(gradients?.angles?.cos))
                $0.add(try address(gradients?.angles?.sin))
            }
            $0.add(Int32(values[joint].shape[0]))
            $0.add(Int32(shape.heads))
            $0.add(Int32(shape.keyValueHeads))
            $0.add(Int32(shape.headDimension))
            $0.add(Int32(clamping: shape.window ?? 0))
            $0.add(shape.scale)
            $0.add(shape.softCap ?? 0)
        }
    }
}

extension Attention {
    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        try context.attention(
            .forward(shape, rows: rows, context.device.properties, context.element), joint: joint, segmentStart: segmentStart, out: out,
            logSumExp: logSumExp, gradients: nil, shape: shape)
    }
}

extension AttentionBackward {
    /// Whether the kernels for this shape can rotate dq and dk back: all heads, by their whole size.
    func canRotateBack(heads: Int, pairs: Int, _ target: ProgramTarget) -> Bool {
        guard case .device(let element) = target else { return false }
        return shape.variant(element) != "any" && heads == shape.heads + shape.keyValueHeads && 2 * pairs == shape.headDimension
    }

    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        for launch in AttentionLaunch.backward(shape, rows: rows, context.device.properties, context.element) {
            try context.attention(
                launch, joint: joint, segmentStart: segmentStart, out: out, logSumExp: logSumExp,
                gradients: .init(dOut: dOut, delta: sums, dJoint: dJoint, angles: rotationAngles), shape: shape)
        }
    }
}

extension CachedAttention {
    /// How heads are dealt to blocks: one a block, or several that share keys where that leaves a block for every multiprocessor.
    private func kernel(rows: Int, _ device: AcceleratorProperties, _ element: DeviceElement) -> (name: String, heads: Int) {
        let size = [64, 128].first { shape.headDimension <= $0 } ?? 256
        // In float32 two heads of 128 need more registers than there are.
        let shared = size == 64 ? 4 : size == 128 && element != .f32 ? 2 : 1
        guard shared > 1, (shape.heads / shape.keyValueHeads).isMultiple(of: shared), rows * shape.heads / shared >= device.multiprocessors else {
            return ("cached_attention_\(size)", 1)
        }
        return ("cached_attention_\(size)_by_\(shared == 4 ? "four" : "two")", shared)
    }

    func run(_ context: borrowing DeviceRun) throws {
        let rows = context.values[joint].shape[0]
        let attention = kernel(rows: rows, context.device.properties, context.element)
        for (kernel, heads, threads) in [("cached_store", 1, 128), (attention.name, shape.heads / attention.heads, 256)] {
            try context.launch("attention_any", kernel, blocks: (x: rows, y: heads, z: 1), threads: threads) {
                $0.add(try context.address(joint))
                $0.add(try context.address(slots))
                $0.add(try context.address(positions))
                $0.add(try context.address(cache))
                $0.add(try context.address(out))
                $0.add(Int32(rows))
                $0.add(Int32(shape.heads))
                $0.add(Int32(shape.keyValueHeads))
                $0.add(Int32(shape.headDimension))
                $0.add(Int32(clamping: shape.window ?? 0))
                $0.add(Int32(maximumPositions))
                $0.add(shape.scale)
                $0.add(shape.softCap ?? 0)
            }
        }
    }
}
