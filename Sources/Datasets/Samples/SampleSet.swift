import LorikeetGround

/// Samples, in memory or in a file: memory does not grow with the samples of a file but for 24 bytes each.
package struct SampleSet: Sendable {
    /// Where a sample's bytes are and how large it is.
    struct Entry: Sendable, Equatable {
        var offset: Int
        var record: Int32
        var tokens: Int32
        var trained: Int32
        var truncated: Bool
    }

    let entries: [Entry]
    let storage: SampleStorage
    /// Tokens of each sample as it is stored, where some of the set have fewer; nil where none has.
    let storedTokens: [Int32]?

    init(entries: [Entry], storage: SampleStorage, storedTokens: [Int32]? = nil) {
        (self.entries, self.storage, self.storedTokens) = (entries, storage, storedTokens)
    }

    /// Samples held in memory.
    package init(_ samples: [TokenSample]) {
        var bytes: [UInt8] = []
        var entries: [Entry] = []
        for sample in samples {
            entries.append(Entry(sample, offset: bytes.count))
            SampleCode.append(sample, to: &bytes)
        }
        self.init(entries: entries, storage: .memory([.init(start: 0, bytes: bytes)]))
    }

    /// Some of the samples.
    package func subset(_ indices: [Int]) -> SampleSet {
        SampleSet(entries: indices.map { entries[$0] }, storage: storage, storedTokens: storedTokens.map { tokens in indices.map { tokens[$0] } })
    }

    package var count: Int { entries.count }
    package var isEmpty: Bool { entries.isEmpty }
    /// Tokens of each sample, and those with a loss, without reading the samples.
    package var lengths: [SampleLength] { entries.map { SampleLength($0) } }
    /// Samples of more than `tokens` tokens.
    package func count(longerThan tokens: Int) -> Int { entries.count { $0.tokens > tokens } }
    /// The record's row of each sample.
    package var records: [Int] { entries.map { Int($0.record) } }

    /// One sample.
    ///
    /// - Throws: exit 4 when its file cannot be read.
    package func sample(at index: Int) throws -> TokenSample {
        let entry = entries[index]
        let stored = Int(storedTokens?[index] ?? entry.tokens)
        let (ids, trained) = try storage.with(entry.offset, SampleCode.byteCount(tokens: stored)) { SampleCode.read($0, tokens: stored) }
        let tokens = Int(entry.tokens)
        guard tokens < stored else { return TokenSample(record: Int(entry.record), ids: ids, trained: trained, truncated: entry.truncated) }
        return TokenSample(record: Int(entry.record), ids: Array(ids[..<tokens]), trained: Array(trained[..<tokens]), truncated: entry.truncated)
    }

    package func samples(at indices: some Sequence<Int>) throws -> [TokenSample] { try indices.map { try sample(at: $0) } }
    /// At most `count` samples from the beginning.
    package func first(_ count: Int) throws -> [TokenSample] { try samples(at: 0..<min(max(0, count), entries.count)) }
    package func all() throws -> [TokenSample] { try first(entries.count) }
}

extension SampleSet.Entry {
    init(_ sample: TokenSample, offset: Int) {
        self.init(
            offset: offset, record: Int32(clamping: sample.record), tokens: Int32(clamping: sample.ids.count), trained: Int32(clamping: sample.trainedCount),
            truncated: sample.truncated)
    }
}

/// Validation records as questions, in memory or in a file.
package struct HeldOutSet: Sendable {
    struct Entry: Sendable, Equatable {
        var offset: Int
        var record: Int32
        var promptTokens: Int32
        var promptBytes: Int32
        var answerBytes: Int32
    }

    let entries: [Entry]
    let storage: SampleStorage

    package var count: Int { entries.count }
    package var isEmpty: Bool { entries.isEmpty }

    /// At most `count` rows from the beginning.
    ///
    /// - Throws: exit 4 when their file cannot be read.
    package func first(_ count: Int) throws -> [HeldOutRow] {
        try entries.prefix(max(0, count)).map { entry in
            let (tokens, prompt, answer) = (Int(entry.promptTokens), Int(entry.promptBytes), Int(entry.answerBytes))
            return try storage.with(entry.offset, tokens * 4 + prompt + answer) { bytes in
                let texts = UnsafeRawBufferPointer(rebasing: bytes[(tokens * 4)...])
                return HeldOutRow(
                    record: Int(entry.record), promptIDs: SampleCode.ids(bytes, tokens), promptText: String(decoding: texts[..<prompt], as: UTF8.self),
                    answer: String(decoding: texts[prompt...], as: UTF8.self))
            }
        }
    }

    package func all() throws -> [HeldOutRow] { try first(entries.count) }
}

/// Bytes of samples.
enum SampleStorage: Sendable {
    /// Ascending, one behind the other; no sample lies in two of them.
    case memory([Piece])
    case file(any FileReader)

    /// Bytes from `start` of all bytes on.
    struct Piece: Sendable {
        let start: Int
        let bytes: [UInt8]
    }

    func with<Result>(_ offset: Int, _ count: Int, _ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
        switch self {
        case .memory(let pieces):
            var (low, high) = (0, pieces.count - 1)
            while low < high {
                let middle = (low + high + 1) / 2
                if pieces[middle].start <= offset { low = middle } else { high = middle - 1 }
            }
            let start = offset - pieces[low].start
            return try pieces[low].bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start..<start + count])) }
        case .file(let file):
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, count), alignment: 8)
            defer { memory.deallocate() }
            let part = UnsafeMutableRawBufferPointer(rebasing: memory[..<count])
            try file.read(at: offset, into: part)
            return try body(UnsafeRawBufferPointer(part))
        }
    }
}

/// A sample as bytes: its ids as 32-bit little-endian integers, then a bit a token for those with a loss, least significant first.
enum SampleCode {
    static func byteCount(tokens: Int) -> Int { tokens * 4 + (tokens + 7) / 8 }

    static func append(_ ids: [Int32], to bytes: inout [UInt8]) {
        // In memory as in the file: every processor that the program runs on is little-endian.
        ids.withUnsafeBytes { bytes.append(contentsOf: $0) }
    }

    static func append(_ sample: TokenSample, to bytes: inout [UInt8]) {
        append(sample.ids, to: &bytes)
        var byte: UInt8 = 0
        for (index, trained) in sample.trained.enumerated() {
            if trained { byte |= 1 << UInt8(index & 7) }
            if index & 7 == 7 || index == sample.trained.count - 1 {
                bytes.append(byte)
                byte = 0
            }
        }
    }

    static func ids(_ bytes: UnsafeRawBufferPointer, _ count: Int) -> [Int32] {
        [Int32](unsafeUninitializedCapacity: count) { memory, filled in
            UnsafeMutableRawBufferPointer(memory).copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<(count * 4)]))
            filled = count
        }
    }

    static func read(_ bytes: UnsafeRawBufferPointer, tokens: Int) -> (ids: [Int32], trained: [Bool]) {
        (ids(bytes, tokens), (0..<tokens).map { bytes[tokens * 4 + $0 / 8] >> UInt8($0 & 7) & 1 == 1 })
    }
}
