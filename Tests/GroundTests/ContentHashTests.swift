import FailingFiles
import Foundation
import Testing

@testable import LorikeetGround

struct ContentHashTests {
    private func path() -> String { FileManager.default.temporaryDirectory.appending(path: "hash-" + UUID().uuidString).path }

    private func numbers(_ count: Int) -> [UInt8] {
        var state: UInt64 = 7
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
    }

    @Test(arguments: [0, 1, 31, 32, 33, 4096, ContentHash.pieceBytes - 1, ContentHash.pieceBytes, ContentHash.pieceBytes + 1, 2 * ContentHash.pieceBytes + 77])
    func `a file hashes as its bytes do, on any number of threads`(count: Int) throws {
        let bytes = numbers(count)
        let path = path()
        try RealFiles().writeDurably(bytes, to: path)
        let whole = ContentHash(of: bytes)
        #expect(whole.byteCount == count && whole.description.hasPrefix("\(count)-") && whole.description.count == "\(count)-".count + 32)
        #expect(try ContentHash(ofFile: path, files: RealFiles()) == whole)
        let threads = try ContentHash(ofFile: path, files: RealFiles()) { count, body in
            withoutActuallyEscaping(body) { body in
                struct Sent: @unchecked Sendable { let body: (Int) -> Void }
                let sent = Sent(body: body)
                DispatchQueue.concurrentPerform(iterations: count) { sent.body($0) }
            }
        }
        #expect(threads == whole)
    }

    @Test func `whoever is asked between two pieces may end the reading`() throws {
        let path = path()
        try RealFiles().writeDurably(numbers(2 * ContentHash.pieceBytes + 1), to: path)
        var asks = 0
        _ = try ContentHash(ofFile: path, files: RealFiles(), check: { asks += 1 })
        #expect(asks == 2)
        let stop = LorikeetError(.stoppedEarly, "stopped")
        let error = #expect(throws: LorikeetError.self) {
            _ = try ContentHash(
                ofFile: path, files: RealFiles(),
                check: {
                    asks += 1
                    throw stop
                })
        }
        #expect(error == stop && asks == 3)
    }

    @Test func `one bit anywhere, zeros at the end and words that change places are noticed`() {
        let bytes = numbers(3000)
        var seen: Set<ContentHash> = [ContentHash(of: bytes)]
        for bit in 0..<bytes.count * 8 {
            var changed = bytes
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(seen.insert(ContentHash(of: changed)).inserted, "bit \(bit)")
        }
        for zeros in 1...100 { #expect(seen.insert(ContentHash(of: bytes + Array(repeating: 0, count: zeros))).inserted) }
        for words in [1, 2, 4, 8, 16] {
            var swapped = bytes
            for i in 0..<8 { swapped.swapAt(i, i + 8 * words) }
            #expect(seen.insert(ContentHash(of: swapped)).inserted, "\(words)")
        }
        // All-zero pieces differ by their number and their order.
        let zero = [UInt8](repeating: 0, count: ContentHash.pieceBytes)
        #expect(ContentHash(of: zero + numbers(ContentHash.pieceBytes)) != ContentHash(of: numbers(ContentHash.pieceBytes) + zero))
    }

    @Test func `the sum of known bytes stays what it was`() {
        // Files of earlier runs hold these: a change here makes their checkpoints unreadable.
        #expect(ContentHash(of: []).description == "0-bead5c86800791606d6d3513abe430ba")
        #expect(ContentHash(of: Array("lorikeet".utf8)).description == "8-586463788ea0afd137e6b289a0cd3e51")
    }

    @Test func `it is faster than a disk`() throws {
        let bytes = numbers(64 << 20)
        let clock = SystemClock()
        let best =
            (0..<3).map { _ in
                let start = clock.uptime
                _ = ContentHash(of: bytes)
                return clock.uptime - start
            }.min() ?? 1
        print("ContentHash: \(Double(bytes.count) / best / 1e9) GB/s on one core")
        // Debug builds do not count.
        #if !DEBUG
            #expect(Double(bytes.count) / best > 1e9)
        #endif
    }
}
