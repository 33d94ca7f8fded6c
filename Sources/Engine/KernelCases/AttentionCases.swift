import LorikeetDevices

extension KernelCase {
    private struct Case: Sendable {
        var size, heads, keyHeads, rows: Int
        var starts: [Int]
        var window: Int?
        var cap: Float?
        var large = false

        var shape: AttentionShape {
            AttentionShape(heads: heads, keyValueHeads: keyHeads, headDimension: size, scale: 1 / Float(size).squareRoot(), window: window, softCap: cap)
        }
        var detail: String {
            "\(rows) rows from \(starts.map(String.init).joined(separator: " ")), \(heads)/\(keyHeads) heads of \(size)"
                + (window.map { ", window \($0)" } ?? "") + (cap.map { ", cap \($0)" } ?? "")
        }
    }

    /// 64, 128 and 256 have kernels of their own in 16 bits.
    static let attentionCases: [KernelCase] =
        [
            Case(size: 64, heads: 2, keyHeads: 1, rows: 1, starts: [0]), Case(size: 64, heads: 3, keyHeads: 1, rows: 77, starts: [0, 5, 69, 70]),
            Case(size: 64, heads: 2, keyHeads: 2, rows: 99, starts: [0, 40], window: 17), Case(size: 64, heads: 2, keyHeads: 1, rows: 65, starts: [0], cap: 3),
            Case(size: 128, heads: 2, keyHeads: 1, rows: 67, starts: [0, 33]), Case(size: 128, heads: 1, keyHeads: 1, rows: 70, starts: [0], window: 9, cap: 2),
            Case(size: 8, heads: 3, keyHeads: 1, rows: 37, starts: [0, 11]), Case(size: 24, heads: 2, keyHeads: 2, rows: 19, starts: [0, 1], window: 5),
            Case(size: 80, heads: 2, keyHeads: 1, rows: 21, starts: [0], cap: 3), Case(size: 256, heads: 1, keyHeads: 1, rows: 9, starts: [0, 4]),
            Case(size: 256, heads: 2, keyHeads: 1, rows: 67, starts: [0, 33], window: 20),
            Case(size: 256, heads: 1, keyHeads: 1, rows: 70, starts: [0], cap: 3),
            Case(size: 64, heads: 9, keyHeads: 3, rows: 1031, starts: [0, 511, 512, 700], large: true),
            Case(size: 64, heads: 32, keyHeads: 8, rows: 520, starts: [0], window: 100, large: true),
            // Blocks enough for kernels of several warpgroups on a card of 132 multiprocessors: four heads of one key head a block, and two.
            Case(size: 64, heads: 64, keyHeads: 16, rows: 577, starts: [0, 130, 131], large: true),
            Case(size: 64, heads: 48, keyHeads: 24, rows: 720, starts: [0, 400], window: 300, large: true),
            Case(size: 64, heads: 36, keyHeads: 12, rows: 965, starts: [0, 65], cap: 5, large: true),
            Case(size: 128, heads: 8, keyHeads: 8, rows: 777, starts: [0, 300], large: true),
            Case(size: 128, heads: 4, keyHeads: 2, rows: 640, starts: [0, 64, 128], cap: 5, large: true),
            Case(size: 256, heads: 8, keyHeads: 4, rows: 613, starts: [0, 300, 301], large: true),
            Case(size: 256, heads: 4, keyHeads: 1, rows: 1031, starts: [0], window: 200, cap: 5, large: true),
            Case(size: 96, heads: 4, keyHeads: 2, rows: 333, starts: [0, 7], large: true),
        ].map { item in
            KernelCase(name: "attention", detail: item.detail, large: item.large) { comparison in try comparison.compare { attention(item, &$0) } }
        }

    /// Forward, backward from what forward made, and the rotation back: on a card inside the backward kernels where they can.
    private static func attention(_ item: Case, _ b: inout CaseBuilder) -> [any Op] {
        let (shape, rows) = (item.shape, item.rows)
        let joint = b.given("q|k|v", [rows, shape.jointColumns], spread: 2)
        let starts = b.integers("segment_start", (0..<rows).map { row in Int32(item.starts.last { $0 <= row } ?? 0) })
        let parents = b.target.isDevice ? nil : b.integers("parents", Array(repeating: -1, count: rows))
        let (out, logs) = (b.made("out", [rows, shape.heads * item.size]), b.made("log_sum_exp", [shape.heads, rows], .plain))
        let dOut = b.given("dout", [rows, shape.heads * item.size])
        let dJoint = b.made("dq|dk|dv", [rows, shape.jointColumns])
        let angles = b.numbers(rows * item.size / 2, spread: 0.8)
        // Not of one angle, but as good: the rotation back only multiplies by them.
        let (cos, sin) = (b.given("cos", [rows, item.size / 2], .plain, angles), b.given("sin", [rows, item.size / 2], .plain))
        let scratch = b.target.threads.flatMap { b.scratch($0 * AttentionKernels.scratchFloats(rows: rows, shape: shape)) }
        let sums = b.made(
            "sums", b.target.isDevice ? [shape.heads, rows] : [shape.keyValueHeads * AttentionKernels.shares, rows, 2 * item.size], .plain)
        b.compare(out, roundings: 4)
        b.compare(logs, roundings: 8, in: .f32)
        b.compare(dJoint, roundings: 8)
        var backward = AttentionBackward(
            dOut: dOut, joint: joint, out: out, logSumExp: logs, segmentStart: starts, parents: parents, dJoint: dJoint, scratch: scratch,
            sums: sums, shape: shape)
        let rotated = shape.heads + shape.keyValueHeads
        let rotation = RoPE(joint: dJoint, cos: cos, sin: sin, heads: rotated, headDimension: item.size, inverse: true)
        let inside = backward.canRotateBack(heads: rotated, pairs: item.size / 2, b.target)
        if inside { backward.rotationAngles = (cos, sin) }
        let forward = Attention(joint: joint, out: out, logSumExp: logs, segmentStart: starts, parents: parents, scratch: scratch, shape: shape)
        return [forward, backward] + (inside ? [] : [rotation])
    }

    // MARK: decoding

    static let cachedAttentionCases: [KernelCase] =
        [
            Case(size: 8, heads: 3, keyHeads: 1, rows: 7, starts: []), Case(size: 64, heads: 2, keyHeads: 2, rows: 5, starts: [], window: 3),
            Case(size: 80, heads: 2, keyHeads: 1, rows: 9, starts: [], cap: 3), Case(size: 36, heads: 4, keyHeads: 1, rows: 79, starts: []),
            Case(size: 64, heads: 8, keyHeads: 2, rows: 70, starts: [], window: 30, cap: 3), Case(size: 128, heads: 3, keyHeads: 1, rows: 71, starts: []),
            Case(size: 128, heads: 4, keyHeads: 2, rows: 69, starts: []), Case(size: 256, heads: 2, keyHeads: 1, rows: 67, starts: []),
            Case(size: 64, heads: 32, keyHeads: 8, rows: 300, starts: [], large: true),
            Case(size: 128, heads: 8, keyHeads: 2, rows: 300, starts: [], large: true),
        ].map { item in
            KernelCase(
                name: "attention.cached",
                detail: "\(item.rows) rows, \(item.heads)/\(item.keyHeads) heads of \(item.size)\(item.window.map { ", window \($0)" } ?? "")"
                    + (item.cap.map { ", cap \($0)" } ?? ""), large: item.large
            ) { comparison in try comparison.compare { cached(item, &$0) } }
        }

    /// Rows go to two slots in turn, each at the next place behind what its cache holds already.
    private static func cached(_ item: Case, _ b: inout CaseBuilder) -> [any Op] {
        let (shape, rows, before) = (item.shape, item.rows, 4)
        let positions = before + (rows + 1) / 2 + 1
        let joint = b.given("q|k|v", [rows, shape.jointColumns], spread: 2)
        let slots = b.integers("slots", (0..<rows).map { Int32($0 % 2) })
        let places = b.integers("positions", (0..<rows).map { Int32(before + $0 / 2) })
        let cache = b.given("cache", [2, positions, 2 * shape.keyValueHeads * item.size], spread: 2, kind: .persistent)
        let out = b.made("out", [rows, shape.heads * item.size])
        let scratch = b.target.threads.flatMap { b.scratch($0 * positions) }
        b.compare(out, roundings: 4)
        b.compare(cache, roundings: 0)
        return [
            CachedAttention(
                joint: joint, out: out, cache: cache, slots: slots, positions: places, maximumPositions: positions, scratch: scratch, shape: shape)
        ]
    }
}
