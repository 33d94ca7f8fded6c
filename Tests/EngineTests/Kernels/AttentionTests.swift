import Glibc
import LorikeetDevices
import Synchronization
import Testing

@testable import LorikeetEngine

extension AttentionSegments {
    /// The segments of arrays, for as long as `body` runs.
    static func with(starts: [Int32], parents: [Int32], _ body: (AttentionSegments) -> Void) {
        starts.withUnsafeBufferPointer { starts in
            parents.withUnsafeBufferPointer { parents in
                guard let first = starts.baseAddress, let parent = parents.baseAddress else { return }
                body(AttentionSegments(starts: first, parents: parent, rows: starts.count))
            }
        }
    }
}

/// Holds workers until a number of them have come.
final class Meeting: Sendable {
    private let workers = Mutex<Set<Int>>([])
    private let wanted: Int

    init(of wanted: Int) { self.wanted = wanted }

    var come: Set<Int> { workers.withLock { $0 } }

    /// Returns when all are there; or after ten minutes, where they will not come.
    func come(_ worker: Int) {
        workers.withLock { _ = $0.insert(worker) }
        let start = ContinuousClock.now
        while come.count < wanted, ContinuousClock.now - start < .seconds(600) { usleep(100) }
    }
}

/// Attention against a plain double-precision version, and that one against finite differences.
struct AttentionTests {
    struct Case: CustomTestStringConvertible {
        let segments: [Int]
        let heads, keyValueHeads, d: Int
        var window: Int?
        var cap: Float?
        /// By segment, the number of the segment that it goes on from.
        var continued: [Int: Int] = [:]
        var rows: Int { segments.reduce(0, +) }
        var starts: [Int32] { segments.reduce(into: []) { list, n in list += Array(repeating: Int32(list.count), count: n) } }
        var parents: [Int32] {
            let firsts = segments.indices.map { segments[..<$0].reduce(0, +) }
            return segments.indices.flatMap { segment in Array(repeating: Int32(continued[segment].map { firsts[$0] } ?? -1), count: segments[segment]) }
        }
        /// Rows that row `t` sees, in the order of their positions.
        func visible(_ t: Int) -> [Int] {
            let parent = parents[t]
            let before = parent < 0 ? [] : starts.indices.filter { starts[$0] == parent }
            return (before + Array(Int(starts[t])...t)).suffix(window ?? rows)
        }
        var shape: AttentionShape {
            AttentionShape(heads: heads, keyValueHeads: keyValueHeads, headDimension: d, scale: 1 / Float(d).squareRoot(), window: window, softCap: cap)
        }
        var testDescription: String { "\(segments) H\(heads) K\(keyValueHeads) D\(d) window \(window ?? 0) cap \(cap ?? 0) \(continued.sorted { $0 < $1 })" }
    }

    static let cases = [
        Case(segments: [1], heads: 1, keyValueHeads: 1, d: 16), Case(segments: [7], heads: 3, keyValueHeads: 1, d: 16),
        Case(segments: [3, 1, 9], heads: 4, keyValueHeads: 2, d: 8), Case(segments: [33], heads: 2, keyValueHeads: 2, d: 80),
        Case(segments: [130, 5], heads: 3, keyValueHeads: 1, d: 64), Case(segments: [40, 45, 70, 20], heads: 6, keyValueHeads: 3, d: 16),
        Case(segments: [33, 20], heads: 4, keyValueHeads: 1, d: 16, window: 8), Case(segments: [17], heads: 2, keyValueHeads: 1, d: 16, cap: 1.5),
        Case(segments: [150], heads: 8, keyValueHeads: 1, d: 16, window: 20, cap: 2),
        Case(segments: [9, 3], heads: 2, keyValueHeads: 1, d: 256), Case(segments: [140, 150], heads: 2, keyValueHeads: 2, d: 24, window: 33),
        Case(segments: [3, 2, 4, 1], heads: 2, keyValueHeads: 1, d: 8, continued: [1: 0, 2: 0]),
        Case(segments: [4, 3, 5], heads: 2, keyValueHeads: 2, d: 8, window: 4, cap: 2, continued: [2: 0]),
        Case(segments: [90, 50, 7, 60], heads: 9, keyValueHeads: 3, d: 64, continued: [1: 0, 3: 0]),
        Case(segments: [30, 20, 70, 9], heads: 4, keyValueHeads: 1, d: 16, window: 25, continued: [1: 0, 2: 0, 3: 0]),
        Case(segments: [330], heads: 3, keyValueHeads: 1, d: 32), Case(segments: [70, 250, 180], heads: 4, keyValueHeads: 2, d: 16, continued: [1: 0, 2: 0]),
        Case(segments: [200, 260, 33, 90], heads: 6, keyValueHeads: 1, d: 16, window: 170, cap: 2, continued: [1: 0, 3: 0]),
        Case(segments: [90], heads: 2, keyValueHeads: 1, d: 16, window: 1), Case(segments: [11], heads: 1, keyValueHeads: 1, d: 8, window: 1000),
    ]

    /// out, and for d(sum out * dOut) the gradient of the joint buffer.
    static func plain(_ c: Case, _ joint: [Double], dOut: [Double]?) -> (out: [Double], gradient: [Double]) {
        let (h, k, d, rows) = (c.heads, c.keyValueHeads, c.d, c.rows)
        let ld = (h + 2 * k) * d
        let scale = Double(c.shape.scale)
        let visible = (0..<rows).map(c.visible)
        var out = [Double](repeating: 0, count: rows * h * d)
        var gradient = [Double](repeating: 0, count: joint.count)
        for head in 0..<h {
            let keyHead = head / (h / k)
            for t in 0..<rows {
                let seen = visible[t]
                let q = t * ld + head * d
                func key(_ s: Int) -> Int { s * ld + (h + keyHead) * d }
                func value(_ s: Int) -> Int { s * ld + (h + k + keyHead) * d }
                var scores = seen.map { s in (0..<d).reduce(0) { $0 + joint[q + $1] * joint[key(s) + $1] } * scale }
                let raw = scores
                if let cap = c.cap { scores = scores.map { Double(cap) * tanh($0 / Double(cap)) } }
                let highest = scores.max() ?? 0
                let sum = scores.reduce(0) { $0 + exp($1 - highest) }
                let p = scores.map { exp($0 - highest) / sum }
                for (index, s) in seen.enumerated() { for i in 0..<d { out[(t * h + head) * d + i] += p[index] * joint[value(s) + i] } }
                guard let dOut else { continue }
                let dp = seen.map { s in (0..<d).reduce(0) { $0 + dOut[(t * h + head) * d + $1] * joint[value(s) + $1] } }
                let mean = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                for (index, s) in seen.enumerated() {
                    var ds = p[index] * (dp[index] - mean) * scale
                    if let cap = c.cap { ds *= 1 - pow(tanh(raw[index] / Double(cap)), 2) }
                    for i in 0..<d {
                        gradient[q + i] += ds * joint[key(s) + i]
                        gradient[key(s) + i] += ds * joint[q + i]
                        gradient[value(s) + i] += p[index] * dOut[(t * h + head) * d + i]
                    }
                }
            }
        }
        return (out, gradient)
    }

    /// - Parameter backwardCPU: of `threads` workers; nil takes that of the forward pass.
    private func run(_ c: Case, _ joint: [Float], _ dOut: [Float], threads: Int, backwardOn backwardCPU: CPU? = nil) -> (out: [Float], gradient: [Float]) {
        let cpu = CPU(threads: threads)
        var out = [Float](repeating: 9, count: c.rows * c.heads * c.d)
        var logSumExp = [Float](repeating: 9, count: c.rows * c.heads)
        var scratch = [Float](repeating: 9, count: threads * AttentionKernels.scratchFloats(rows: c.rows, shape: c.shape))
        var sums = [Float](repeating: 9, count: c.keyValueHeads * AttentionKernels.shares * c.rows * 2 * c.d)
        var gradient = [Float](repeating: 9, count: joint.count)
        AttentionSegments.with(starts: c.starts, parents: c.parents) { segments in
            AttentionKernels.forward(
                joint: joint, segments: segments, out: &out, logSumExp: &logSumExp, scratch: &scratch, shape: c.shape, cpu: cpu)
            dOut.withUnsafeBufferPointer { dOut in
                joint.withUnsafeBufferPointer { joint in
                    out.withUnsafeBufferPointer { out in
                        logSumExp.withUnsafeBufferPointer { logSumExp in
                            guard let dOut = dOut.baseAddress, let joint = joint.baseAddress, let out = out.baseAddress,
                                let logSumExp = logSumExp.baseAddress
                            else { return }
                            AttentionKernels.backward(
                                .init(dOut: dOut, joint: joint, out: out, logSumExp: logSumExp, segments: segments), dJoint: &gradient, scratch: &scratch,
                                sums: &sums, shape: c.shape, cpu: backwardCPU ?? cpu)
                        }
                    }
                }
            }
        }
        return (out, gradient)
    }

    @Test(arguments: cases) func `attention and its gradient are those of doubles, for any number of threads`(c: Case) {
        let joint = Numbers.rounded(Numbers.noise(c.rows * c.shape.jointColumns, seed: 21))
        let dOut = Numbers.rounded(Numbers.noise(c.rows * c.heads * c.d, seed: 22))
        let expected = Self.plain(c, joint, dOut: dOut)
        if c.rows <= 13 {
            let error = Numbers.slopeError(expected.gradient, at: joint) { zip(Self.plain(c, $0, dOut: nil).out, dOut).reduce(0) { $0 + $1.0 * $1.1 } }
            #expect(error < Numbers.slopeTolerance)
        }
        let one = run(c, Numbers.floats(joint), Numbers.floats(dOut), threads: 1)
        #expect(Numbers.difference(one.out, expected.out) < Numbers.tolerance)
        #expect(Numbers.difference(one.gradient, expected.gradient) < Numbers.tolerance)
        for threads in [2, 3, 7, 16] {
            let other = run(c, Numbers.floats(joint), Numbers.floats(dOut), threads: threads)
            #expect(other.out == one.out && other.gradient == one.gradient)
        }
    }

    /// Three key heads have six accumulators of dk and dv. Each worker is held at its first tile until more than six have one.
    @Test func `more workers than accumulators take part in the backward pass`() {
        let c = Case(segments: [512], heads: 9, keyValueHeads: 3, d: 16)
        let meeting = Meeting(of: c.keyValueHeads * AttentionKernels.shares + 4)
        let joint = Numbers.floats(Numbers.noise(c.rows * c.shape.jointColumns, seed: 26))
        let dOut = Numbers.floats(Numbers.noise(c.rows * c.heads * c.d, seed: 27))
        let cpu = CPU(threads: 16) { _, worker in meeting.come(worker) }
        let many = run(c, joint, dOut, threads: 16, backwardOn: cpu)
        #expect(meeting.come.count > c.keyValueHeads * AttentionKernels.shares)
        #expect(many.gradient == run(c, joint, dOut, threads: 1).gradient)
    }

    @Test(arguments: [1, 2, 3, 16], [1, 2, 5, 8]) func `tiles are taken once each, an accumulator's in their order`(threads: Int, keyHeads: Int) {
        let units = AttentionKernels.units(Array(0..<13), keyHeads: keyHeads, threads: threads)
        for keyHead in 0..<keyHeads { #expect(units.filter { $0.keyHead == keyHead }.map(\.place) == Array(0..<13)) }
        #expect(units.count == 13 * keyHeads)
        // The first ones are of different key heads as far as threads need them.
        #expect(Set(units.prefix(8).map(\.keyHead)).count == min(keyHeads, max(1, threads / AttentionKernels.shares)))
    }

    /// T rows with a window cost T × window: rows beyond it are not read at all, which a NaN in one of them would show.
    @Test func `a tile reads no row that its window does not reach`() {
        let c = Case(segments: [400], heads: 2, keyValueHeads: 1, d: 16, window: 24)
        let height = AttentionKernels.tileRows(c.shape)
        var joint = Numbers.floats(Numbers.noise(c.rows * c.shape.jointColumns, seed: 24))
        var dOut = Numbers.floats(Numbers.noise(c.rows * c.heads * c.d, seed: 25))
        let broken = 200
        for i in 0..<c.shape.jointColumns { joint[broken * c.shape.jointColumns + i] = .nan }
        for i in 0..<c.heads * c.d { dOut[broken * c.heads * c.d + i] = .nan }
        let results = run(c, joint, dOut, threads: 2)
        // A tile begins at a multiple of its height, and reads 23 rows before it.
        let tile = broken / height * height
        let readers = (tile..<(broken + 23) / height * height + height)
        #expect(readers.count < 200)
        for row in 0..<c.rows where !readers.contains(row) { #expect(results.out[row * c.heads * c.d..<(row + 1) * c.heads * c.d].allSatisfy { $0.isFinite }) }
        let ld = c.shape.jointColumns
        // dk and dv of the keys that those tiles read.
        for row in 0..<c.rows where row < tile - 23 || row >= readers.upperBound {
            #expect(results.gradient[row * ld..<(row + 1) * ld].allSatisfy { $0.isFinite }, "row \(row)")
        }
        let whole = AttentionKernels.scratchFloats(rows: c.rows, shape: AttentionShape(heads: 2, keyValueHeads: 1, headDimension: 16, scale: 1))
        #expect(AttentionKernels.scratchFloats(rows: c.rows, shape: c.shape) < whole / 3)
        #expect(AttentionKernels.scratchFloats(rows: 8000, shape: c.shape) == AttentionKernels.scratchFloats(rows: 400, shape: c.shape))
    }

    @Test(arguments: cases.filter { $0.segments.count == 1 }) func `against a cache, token by token, it is the same attention`(c: Case) {
        let joint = Numbers.rounded(Numbers.noise(c.rows * c.shape.jointColumns, seed: 23))
        let expected = Self.plain(c, joint, dOut: nil).out
        let values = Numbers.floats(joint)
        var cache = [Float](repeating: 0, count: 2 * c.rows * 2 * c.keyValueHeads * c.d)
        var scratch = [Float](repeating: 0, count: 2 * c.rows)
        var out = [Float](repeating: 0, count: c.rows * c.heads * c.d)
        // A prompt of half the rows at once, then one row at a time, in slot 1.
        var row = 0
        let cpu = CPU(threads: 2)
        while row < c.rows {
            let count = row == 0 ? max(1, c.rows / 2) : 1
            values.withUnsafeBufferPointer { v in
                out.withUnsafeMutableBufferPointer { o in
                    guard let joint = v.baseAddress, let to = o.baseAddress else { return }
                    CachedAttentionKernels.run(
                        joint: joint + row * c.shape.jointColumns, slots: [Int32](repeating: 1, count: count), positions: (row..<row + count).map(Int32.init),
                        cache: &cache, maximumPositions: c.rows, out: to + row * c.heads * c.d, scratch: &scratch, rows: count, shape: c.shape, cpu: cpu)
                }
            }
            row += count
        }
        #expect(Numbers.difference(out, expected) < Numbers.tolerance)
    }
}
