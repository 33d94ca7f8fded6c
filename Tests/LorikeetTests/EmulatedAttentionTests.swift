import EmulatedDevice
import Glibc
import LorikeetDevices
import LorikeetGround
import Testing

/// The tensor-core attention against the plain one, both from their own sources: odd lengths, groups, segments, windows, soft caps.
struct EmulatedAttentionTests {
    struct Case: Sendable, CustomStringConvertible {
        var size, heads, keyHeads, rows: Int
        var starts: [Int]
        var window = 0
        var cap: Float = 0
        /// A row of NaN: T rows with a window cost T × window, so it shows in few rows.
        var broken: Int?
        var description: String { "\(size) of \(heads)/\(keyHeads), \(rows) rows from \(starts), window \(window), cap \(cap)" }
    }

    static let cases = [
        Case(size: 64, heads: 2, keyHeads: 1, rows: 1, starts: [0]),
        Case(size: 64, heads: 4, keyHeads: 2, rows: 131, starts: [0]),
        Case(size: 64, heads: 8, keyHeads: 2, rows: 150, starts: [0, 70]),
        Case(size: 64, heads: 4, keyHeads: 1, rows: 97, starts: [0, 33], window: 30, cap: 3),
        Case(size: 64, heads: 3, keyHeads: 1, rows: 200, starts: [0, 5, 69, 70, 128, 190]),
        Case(size: 64, heads: 2, keyHeads: 2, rows: 150, starts: [0, 100], window: 40),
        Case(size: 64, heads: 2, keyHeads: 1, rows: 97, starts: [0, 33], cap: 3),
        Case(size: 128, heads: 2, keyHeads: 1, rows: 131, starts: [0, 77]),
        Case(size: 128, heads: 2, keyHeads: 2, rows: 70, starts: [0], window: 9, cap: 2),
        Case(size: 256, heads: 1, keyHeads: 1, rows: 1, starts: [0]), Case(size: 256, heads: 2, keyHeads: 1, rows: 97, starts: [0, 5, 69, 70]),
        Case(size: 256, heads: 2, keyHeads: 2, rows: 131, starts: [0, 100], window: 40),
        Case(size: 256, heads: 2, keyHeads: 1, rows: 70, starts: [0, 33], cap: 3),
    ]

    /// All that the emulated card has: enough for each kernel.
    private static let mostShared = 256 << 10

    @Test func `a kernel that writes to shared memory without asking for any is an error`() throws {
        let device = EmulatedDevice()
        let buffer = try device.allocate(bytes: 1 << 16)
        defer { device.free(buffer) }
        try device.zero(buffer, bytes: 1 << 16)
        var arguments = KernelArguments()
        for _ in 0..<9 { arguments.add(buffer) }
        // One row, one head of 64, no window.
        for number in [1, 1, 1, 64, 0] { arguments.add(Int32(number)) }
        arguments.add(Float(1))
        arguments.add(Float(0))
        func run(_ bytes: Int) throws {
            try device.launch(
                KernelLaunch("attention", "attention_forward_64", .f16, grid: (1, 1, 1), threads: 128, sharedBytes: bytes, arguments: arguments))
        }
        try run(Self.mostShared)
        let error = #expect(throws: LorikeetError.self) { try run(0) }
        #expect(error?.what.contains("attention_forward_64 wrote to shared memory and asked for none") == true)
        // And one that asks runs as before.
        try run(Self.mostShared)
    }

    static let windows = [64, 128, 256].map { Case(size: $0, heads: 2, keyHeads: 1, rows: 330, starts: [0], window: 24, broken: 200) }

    @Test(arguments: [DeviceElement.f16, .bf16], cases + windows)
    func `attention on tensor cores equals the plain kernels, and reads no row beyond a window's tiles`(
        element: DeviceElement, shape: Case
    ) throws {
        let device = EmulatedDevice()
        let D = shape.size
        let joint = shape.rows * (shape.heads + 2 * shape.keyHeads) * D
        let wide = shape.rows * shape.heads * D
        var state: UInt64 = 88_172_645_463_325_252
        func uniform() -> Float {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Float(Int64(bitPattern: state >> 40) - (1 << 23)) / Float(1 << 23)
        }
        func buffer(_ count: Int) throws -> DeviceAddress {
            let address = try device.allocate(bytes: 2 * count)
            let bits = (0..<count).map { _ in element == .f16 ? Float16(2 * uniform()).bitPattern : UInt16(truncatingIfNeeded: (2 * uniform()).bitPattern >> 16)
            }
            try bits.withUnsafeBytes { try device.upload($0, to: address) }
            return address
        }
        func floats(_ address: DeviceAddress, _ count: Int, _ bytes: Int) throws -> [Float] {
            var raw = [UInt8](repeating: 0, count: count * bytes)
            try raw.withUnsafeMutableBytes { try device.download(address, into: $0) }
            return raw.withUnsafeBytes { raw in
                (0..<count).map {
                    bytes == 4
                        ? raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)
                        : element == .f16
                            ? Float(raw.loadUnaligned(fromByteOffset: 2 * $0, as: Float16.self))
                            : Float(bitPattern: UInt32(raw.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)) << 16)
                }
            }
        }
        let (q, dOut) = (try buffer(joint), try buffer(wide))
        for (address, columns) in [(q, joint / shape.rows), (dOut, wide / shape.rows)] {
            guard let broken = shape.broken else { continue }
            let none = [UInt16](repeating: element == .f16 ? Float16.nan.bitPattern : 0x7fc0, count: columns)
            try none.withUnsafeBytes { try device.upload($0, to: address + 2 * columns * broken) }
        }
        let starts = (0..<shape.rows).map { row in Int32(shape.starts.last { $0 <= row } ?? 0) }
        let segments = try device.allocate(bytes: 4 * shape.rows)
        try starts.withUnsafeBytes { try device.upload($0, to: segments) }

        // dq and dk leave the tuned kernels rotated back.
        let (cos, sin) = (try device.allocate(bytes: 2 * D * shape.rows), try device.allocate(bytes: 2 * D * shape.rows))
        let angles = (0..<shape.rows * D / 2).map { _ in 3 * uniform() }
        for (table, values) in [(cos, angles.map(cosf)), (sin, angles.map(sinf))] { try values.withUnsafeBytes { try device.upload($0, to: table) } }

        // `own`: rows of a block of the backward kernels; `few`: the kernels by warpgroups that are for few blocks.
        func run(tuned: Bool, prefix: String = "", own: Int = 64, few: Bool = false) throws -> (out: [Float], lse: [Float], dJoint: [Float]) {
            let (out, dJoint) = (try device.allocate(bytes: 2 * wide), try device.allocate(bytes: 2 * joint))
            let lse = try device.allocate(bytes: 4 * shape.heads * shape.rows)
            let delta = try device.allocate(bytes: 4 * shape.heads * shape.rows)
            var arguments = KernelArguments()
            for address in [q, segments, out, lse, dOut, delta, dJoint] { arguments.add(address) }
            if tuned { for address in [cos, sin] { arguments.add(address) } }
            for number in [shape.rows, shape.heads, shape.keyHeads, D, shape.window] { arguments.add(Int32(number)) }
            arguments.add(1 / Float(D).squareRoot())
            arguments.add(shape.cap)
            let quads = (shape.rows + 3) / 4
            func tiles(_ own: Int) -> Int { (shape.rows + own - 1) / own }
            /// Blocks by queries of so many warpgroups, of one key head's heads where their count divides.
            func group(_ kernel: String, _ groups: Int) -> (String, String, Int, Int, Int) {
                let together = shape.heads / shape.keyHeads % groups == 0
                return (
                    "attention", "\(prefix)attention_\(kernel)", tiles(together ? 64 : 64 * groups), together ? shape.heads / groups : shape.heads,
                    128 * groups
                )
            }
            let kernels =
                prefix == "hopper_" && D < 256 && !few
                ? [
                    D == 64 && shape.heads / shape.keyHeads % 4 == 0 ? group("forward_64_by_four", 4) : group("forward_\(D)", 2),
                    group("backward_q_\(D)", 2), ("attention", "\(prefix)attention_backward_kv_\(D)", shape.keyHeads, tiles(128), 256),
                ]
                : tuned
                    ? [
                        ("attention", "\(prefix)attention_forward_\(D)\(few ? "_few" : "")", tiles(64), shape.heads, 128),
                        ("attention", "\(prefix)attention_backward_q_\(D)\(few ? "_few" : "")", tiles(own), shape.heads, 2 * own),
                        (
                            "attention", "\(prefix)attention_backward_kv_\(D)\(few ? "_few" : "")", shape.keyHeads, tiles(own),
                            D == 256 ? 4 * own : 2 * own * (few ? [3, 2].first { shape.heads / shape.keyHeads % $0 == 0 } ?? 1 : 1)
                        ),
                    ]
                    : [
                        ("attention_any", "attention_forward_any", quads, shape.heads, 128), ("attention_any", "attention_delta", quads, shape.heads, 128),
                        ("attention_any", "attention_backward_q_any", quads, shape.heads, 128),
                        ("attention_any", "attention_backward_kv_any", quads, shape.keyHeads, 128),
                    ]
            for (source, kernel, x, y, threads) in kernels {
                try device.launch(
                    KernelLaunch(source, kernel, element, grid: (x, y, 1), threads: threads, sharedBytes: Self.mostShared, arguments: arguments))
            }
            if !tuned {
                var arguments = KernelArguments()
                for address in [dJoint, cos, sin] { arguments.add(address) }
                let heads = shape.heads + shape.keyHeads
                for number in [shape.rows, heads * D + shape.keyHeads * D, heads, D, D / 2, 1, 0] { arguments.add(Int32(number)) }
                try device.launch(KernelLaunch("rope", "rope_apply", element, grid: (1, shape.rows, 1), threads: 128, arguments: arguments))
            }
            return (try floats(out, wide, 2), try floats(lse, shape.heads * shape.rows, 4), try floats(dJoint, joint, 2))
        }
        /// Blocks of 64 rows that hold the broken row, or whose last row is seen from there on.
        func expectFew(_ result: (out: [Float], lse: [Float], dJoint: [Float]), _ first: Int, _ last: Int) {
            for (numbers, rows) in [(result.out, 192...last), (result.dJoint, first...last)] {
                let columns = numbers.count / shape.rows
                for row in 0..<shape.rows where !rows.contains(row) {
                    #expect(numbers[row * columns..<(row + 1) * columns].allSatisfy { $0.isFinite }, "row \(row)")
                }
            }
            #expect(result.out.contains { $0.isNaN } && result.dJoint.contains { $0.isNaN })
        }
        let plain = try run(tuned: false)
        if shape.broken != nil { expectFew(plain, 177, 223) }
        /// Relative L2 distance.
        func distance(_ a: [Float], _ b: [Float]) -> Double {
            var (difference, norm) = (0.0, 0.0)
            for (x, y) in zip(a, b) {
                difference += Double(x - y) * Double(x - y)
                norm += Double(y) * Double(y)
            }
            return (difference / norm).squareRoot()
        }
        // Probabilities are rounded to the element type before the second product, as every flash attention does.
        let tolerance = element == .f16 ? 1e-3 : 8e-3
        // By warps, as compute capability 9.0 multiplies, and with the tiles of 7.5, which has no bfloat16.
        let ways = [("", false), ("hopper_", false)] + (D == 64 ? [("hopper_", true)] : []) + (element == .f16 ? [("turing_", false)] : [])
        for (prefix, few) in ways {
            let own = prefix == "turing_" && D == 256 ? 32 : 64
            let tuned = try run(tuned: true, prefix: prefix, own: own, few: few)
            if shape.broken != nil {
                expectFew(tuned, 128, 255)
                continue
            }
            #expect(distance(tuned.out, plain.out) < tolerance)
            #expect(zip(tuned.lse, plain.lse).allSatisfy { abs($0 - $1) < 1e-4 })
            #expect(distance(tuned.dJoint, plain.dJoint) < 2 * tolerance)
        }
    }
}
