import LorikeetGround

/// What of a model's file has to be read to open it without its weights: the header, and the few tensors whose contents say how others are stored.
package enum FileHeader {
    /// The next piece of a GGUF, which has a vocabulary, in first pieces; then twice as much each time.
    private static let nextPieces = 64
    /// Real headers have at most some 20 MB.
    private static let mostBytes = 256 << 20
    /// What divides the rotary frequencies in a GGUF.
    private static let ropeFactors: Set<String> = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"]

    /// A file that is somewhere else, with what is needed to open it.
    ///
    /// - Parameters:
    ///   - path: what errors call the file.
    ///   - count: bytes in the whole file.
    ///   - pieceBytes: the first piece that is asked for (most safetensors headers are shorter), and the distance up to which pieces are asked for
    ///     together.
    ///   - read: the bytes of a part of the file.
    /// - Throws: exit 2 where the file is neither safetensors nor GGUF or does not add up; what `read` throws.
    package static func file(path: String, count: Int, pieceBytes: Int = 1 << 16, read: (Range<Int>) throws -> [UInt8]) throws -> MappedFile {
        guard count > 0 else { throw LorikeetError.input("the file is empty", at: path, fix: "name another file or revision") }
        var bytes = try read(0..<min(count, pieceBytes))
        let isGGUF = bytes.starts(with: "GGUF".utf8)
        if isGGUF { try extendGGUF(&bytes, path, count, read) } else { try extendSafetensors(&bytes, path, count, read) }
        let header = try MappedFile(path: path, count: count, pieces: [(0, bytes)])
        let tensors = isGGUF ? try GGUFFile(part: header).tensors : try SafetensorsFile(header).tensors
        let wanted = tensors.values.filter { saysHow($0.name) && $0.byteCount > 0 && !$0.isAtHand }.map { $0.offset..<$0.offset + $0.byteCount }
        let ranges = joined(wanted, gap: pieceBytes)
        guard !ranges.isEmpty else { return header }
        guard ranges.reduce(0, { $0 + $1.count }) <= mostBytes else {
            throw LorikeetError.input("the weights' scales have more than \(mostBytes >> 20) MiB", at: path, fix: "fetch the model: lorikeet pull")
        }
        return try MappedFile(path: path, count: count, pieces: [(0, bytes)] + ranges.map { ($0.lowerBound, try read($0)) })
    }

    private static func extendSafetensors(_ bytes: inout [UInt8], _ path: String, _ count: Int, _ read: (Range<Int>) throws -> [UInt8]) throws {
        guard bytes.count >= 8 else { return }
        let length = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self).littleEndian }
        // A length that cannot be is refused by whoever opens the header.
        guard length <= UInt64(count - 8), Int(length) + 8 > bytes.count else { return }
        let end = Int(length) + 8
        guard end <= mostBytes else { throw tooLong(path) }
        bytes += try read(bytes.count..<end)
    }

    private static func extendGGUF(_ bytes: inout [UInt8], _ path: String, _ count: Int, _ read: (Range<Int>) throws -> [UInt8]) throws {
        var isFirst = true
        while bytes.count < count, try GGUFFile.headerBytes(MappedFile(path: path, count: bytes.count, pieces: [(0, bytes)])) == nil {
            guard bytes.count < mostBytes else { throw tooLong(path) }
            defer { isFirst = false }
            bytes += try read(bytes.count..<min(count, (isFirst ? nextPieces : 2) * bytes.count))
        }
    }

    private static func tooLong(_ path: String) -> LorikeetError {
        .input("the header is longer than \(mostBytes >> 20) MiB", at: path, fix: "name another file or revision")
    }

    /// Tensors whose contents are read when a model is opened.
    private static func saysHow(_ name: String) -> Bool {
        QuantisedTensors.contentsRead.contains(where: name.hasSuffix) || ropeFactors.contains(name)
    }

    /// The ranges in order, with those joined that lie close together.
    private static func joined(_ ranges: [Range<Int>], gap: Int) -> [Range<Int>] {
        ranges.sorted { $0.lowerBound < $1.lowerBound }.reduce(into: []) { joined, range in
            if let last = joined.last, range.lowerBound - last.upperBound <= gap {
                joined[joined.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
    }
}
