import Synchronization

/// A 128-bit check sum of bytes, with their number: finds damage and changed files. It is fast (one core reads memory faster than a disk
/// delivers) and not cryptographic: it does not prevent a deliberate collision.
///
/// The bytes are cut into pieces of 4 MiB, each is hashed by itself, and the hash of the pieces' hashes and the length is the result:
/// the same however many threads share the work.
package struct ContentHash: Sendable, Hashable, CustomStringConvertible {
    package let byteCount: Int
    private let high: UInt64
    private let low: UInt64

    package static let pieceBytes = 4 << 20

    /// `BYTES-HEX`, as files of a run hold it.
    package var description: String {
        func hex(_ value: UInt64) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return "\(byteCount)-" + hex(high) + hex(low)
    }

    /// Of bytes in memory.
    package init(of bytes: UnsafeRawBufferPointer) {
        let pieces = stride(from: 0, to: bytes.count, by: Self.pieceBytes).map { start in
            var lanes = Lanes()
            lanes.add(UnsafeRawBufferPointer(rebasing: bytes[start..<min(bytes.count, start + Self.pieceBytes)]))
            return lanes.digest
        }
        self.init(pieces, byteCount: bytes.count)
    }

    package init(of bytes: [UInt8]) { self = bytes.withUnsafeBytes { ContentHash(of: $0) } }

    /// Of a file.
    ///
    /// - Parameters:
    ///   - parallel: runs a body for each index below a count, on as many threads as it likes.
    ///   - check: called before each piece but the first, on any of the threads; what it throws ends the reading.
    /// - Throws: exit 2 when the file is missing, exit 4 when it cannot be read.
    package init(
        ofFile path: String, files: any Files, parallel: (_ count: Int, _ body: (Int) -> Void) -> Void = { count, body in (0..<count).forEach(body) },
        check: @escaping () throws -> Void = {}
    ) throws {
        // What is empty cannot be mapped.
        let file = try files.byteCount(of: path) > 0 ? files.map(path) : nil
        let count = file?.count ?? 0
        let pieces = Mutex<[Int: Digest]>([:])
        let failure = Mutex<(any Error)?>(nil)
        parallel((count + Self.pieceBytes - 1) / Self.pieceBytes) { piece in
            guard let file, failure.withLock({ $0 == nil }) else { return }
            do {
                if piece > 0 { try check() }
                let digest = try Self.digest(of: piece, file)
                pieces.withLock { $0[piece] = digest }
            } catch {
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let error = failure.withLock({ $0 }) { throw error }
        self.init(pieces.withLock { digests in digests.keys.sorted().compactMap { digests[$0] } }, byteCount: count)
    }

    private static func digest(of piece: Int, _ file: MappedFile) throws -> Digest {
        let (start, end) = (piece * pieceBytes, min(file.count, (piece + 1) * pieceBytes))
        var lanes = Lanes()
        // Blocks that stay in a core's cache between reading and hashing.
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 << 10, alignment: 32)
        defer { block.deallocate() }
        for offset in stride(from: start, to: end, by: block.count) {
            let part = UnsafeMutableRawBufferPointer(rebasing: block[..<min(block.count, end - offset)])
            try file.read(at: offset, into: part)
            lanes.add(UnsafeRawBufferPointer(part))
        }
        return lanes.digest
    }

    private typealias Digest = (high: UInt64, low: UInt64)

    private init(_ pieces: [Digest], byteCount: Int) {
        var lanes = Lanes()
        [[UInt64(byteCount)], pieces.flatMap { [$0.high, $0.low] }].flatMap { $0 }.withUnsafeBytes { lanes.add($0) }
        self.byteCount = byteCount
        (high, low) = lanes.digest
    }

    /// Four independent sums over the 64-bit words of the input, word i going to sum i mod 4. Each step is a bijection of the sum for a
    /// fixed word and of the word for a fixed sum, so one changed word always changes the result of its lane.
    private struct Lanes {
        private var sums: (UInt64, UInt64, UInt64, UInt64) = (0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89)
        private var count: UInt64 = 0

        @inline(__always) private static func step(_ sum: UInt64, _ word: UInt64) -> UInt64 {
            let mixed = sum &+ word &* 0xD6E8_FEB8_6659_FD93
            return (mixed << 29 | mixed >> 35) &* 0xA076_1D64_78BD_642F
        }

        /// All calls but the last bring a multiple of 32 bytes.
        mutating func add(_ bytes: UnsafeRawBufferPointer) {
            count += UInt64(bytes.count)
            guard let base = bytes.baseAddress else { return }
            var (a, b, c, d) = sums
            func word(_ at: Int) -> UInt64 { UInt64(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt64.self)) }
            var at = 0
            while at + 32 <= bytes.count {
                a = Self.step(a, word(at))
                b = Self.step(b, word(at + 8))
                c = Self.step(c, word(at + 16))
                d = Self.step(d, word(at + 24))
                at += 32
            }
            sums = (a, b, c, d)
            guard at < bytes.count else { return }
            // What is left is filled up with zeros: the length tells it from real ones.
            var last: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
            withUnsafeMutableBytes(of: &last) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[at...])) }
            sums = (
                Self.step(a, last.0.littleEndian), Self.step(b, last.1.littleEndian), Self.step(c, last.2.littleEndian), Self.step(d, last.3.littleEndian)
            )
        }

        /// The sums and the length, folded twice in different orders.
        var digest: Digest {
            func mixed(_ value: UInt64) -> UInt64 {
                let once = (value ^ value >> 32) &* 0xD6E8_FEB8_6659_FD93
                let twice = (once ^ once >> 29) &* 0xA076_1D64_78BD_642F
                return twice ^ twice >> 32
            }
            let (a, b, c, d) = sums
            let high = [a, b, c, d].reduce(mixed(count)) { mixed($0 &+ $1) }
            let low = [c, a, d, b].reduce(mixed(~count)) { mixed($0 ^ $1) }
            return (high, low)
        }
    }
}
