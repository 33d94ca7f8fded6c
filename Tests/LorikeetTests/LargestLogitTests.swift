import EmulatedDevice
import LorikeetDevices
import Testing

/// largest_logit, by which decoding on a card chooses the likeliest token.
struct LargestLogitTests {
    /// Pairs (value, place) of each part of each row.
    private func largest(_ logits: [Float], rows: Int, parts: Int) throws -> [Float] {
        let device = EmulatedDevice()
        let (from, to) = (try device.allocate(bytes: 4 * logits.count), try device.allocate(bytes: 8 * rows * parts))
        try logits.withUnsafeBytes { try device.upload($0, to: from) }
        var arguments = KernelArguments()
        arguments.add(from)
        arguments.add(to)
        arguments.add(Int32(logits.count / rows))
        arguments.add(Int32(parts))
        try device.launch(KernelLaunch("cross_entropy", "largest_logit", .f16, grid: (rows * parts, 1, 1), threads: 256, arguments: arguments))
        var results = [Float](repeating: 0, count: 2 * rows * parts)
        try results.withUnsafeMutableBytes { try device.download(to, into: $0) }
        return results
    }

    @Test func `each part gives its largest and the first place of it`() throws {
        // Parts of 334, 334 and 332.
        var logits = (0..<2000).map { Float($0 % 89) - 100 }
        (logits[333], logits[334], logits[999], logits[1000]) = (7, 6, 8, 9)
        #expect(try largest(logits, rows: 2, parts: 3) == [7, 333, 6, 334, 8, 999, 9, 0, -12, 334, -12, 690])
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity]) func `what is not finite is the largest`(bad: Float) throws {
        var logits = [Float](repeating: 3, count: 600)
        logits[431] = bad
        #expect(try largest(logits, rows: 1, parts: 2) == [3, 0, .infinity, 431])
    }
}
