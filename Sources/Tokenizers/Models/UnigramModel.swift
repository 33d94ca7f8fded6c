import LorikeetGround
import Synchronization

/// A model of pieces with log-probabilities: a text is cut into the pieces of the greatest sum (Viterbi).
///
/// T. Kudo, "Subword Regularization" (2018), section 3.2.
final class UnigramModel: Sendable {
    /// A longer piece is refused, for the work at a place of the text grows with it.
    static let longestPiece = 4096

    struct Settings: Sendable {
        var unknown: Int32?
        var fallsBackToBytes = false
        /// Sums are rounded to single precision after every piece, as SentencePiece does; else double, as the reference library.
        var isSinglePrecision = false
        /// The text has spaces where the pieces have `▁`.
        var hasSpaces = false
        /// Pieces taken wherever they stand.
        var userDefined: Set<Int32> = []
        /// Pieces that are never taken.
        var excluded: Set<Int32> = []
    }

    private let trie: ByteTrie
    private let scores: [Double]
    private let unknownScore: Double
    private let settings: Settings
    private let byteIDs: [Int32]
    private let allBytes: Bool
    private let neighbours: NeighbourSet
    private let ids: [[UInt8]: Int32]
    private let idleCaches = Mutex<[WordCache]>([])

    init(pieces: [String], scores: [Double], settings: Settings, source: String) throws(LorikeetError) {
        var texts: [[UInt8]] = []
        var table = TokenTable()
        var findable: [Bool] = []
        var byteIDs = [Int32](repeating: -1, count: 256)
        var ids: [[UInt8]: Int32] = [:]
        for (id, piece) in pieces.enumerated() {
            let bytes = Array(piece.utf8)
            guard bytes.count <= Self.longestPiece else {
                throw LorikeetError.input(
                    "the tokenizer's piece \(id) (“\(piece.prefix(20))…”) has \(bytes.count) bytes, more than \(Self.longestPiece)", at: source,
                    fix: "use the model's own tokenizer; no known one has pieces longer than a few hundred bytes")
            }
            guard scores[id].isFinite else { throw LorikeetError.input("the score of the tokenizer's piece \(id) (“\(piece)”) is not a number", at: source) }
            let isExcluded = settings.excluded.contains(Int32(id)) || (settings.hasSpaces && bytes.contains(0x20))
            let text = settings.hasSpaces ? TextPattern.metaspacesToSpaces(bytes) : bytes
            texts.append(isExcluded ? [] : text)
            findable.append(!isExcluded)
            table.append(texts[id])
            ids[text] = ids[text] ?? Int32(id)
            if settings.fallsBackToBytes, let byte = ByteAlphabet.fallbackByte(piece) { byteIDs[Int(byte)] = Int32(id) }
        }
        trie = ByteTrie(texts)
        self.ids = ids
        self.byteIDs = byteIDs
        allBytes = !byteIDs.contains(-1)
        neighbours = NeighbourSet(table, findable)
        // SentencePiece takes the least score of the normal pieces alone.
        let normal = settings.isSinglePrecision ? scores.indices.filter { findable[$0] && !settings.userDefined.contains(Int32($0)) } : Array(scores.indices)
        let least = normal.map { scores[$0] }.min() ?? 0
        // The library's search for the greatest score begins at the least positive number.
        let greatest = max(normal.map { scores[$0] }.max() ?? 0, Double(Float.leastNormalMagnitude))
        unknownScore = settings.isSinglePrecision ? Double(Float(least) - 10) : least - 10
        self.scores = scores.indices.map { id in
            guard settings.userDefined.contains(Int32(id)) else { return scores[id] }
            return Double(pieces[id].utf8.count) * greatest - 0.1
        }
        self.settings = settings
    }

    func id(of text: String) -> Int32? {
        ids[settings.hasSpaces ? TextPattern.metaspacesToSpaces(Array(text.utf8)) : Array(text.utf8)]
    }

    // MARK: - Encoding

    /// Encodes words, each by itself.
    func encode(_ text: UnsafeBufferPointer<UInt8>, _ words: [Range<Int>], _ sink: inout TokenSink) throws(LorikeetError) {
        for word in words {
            let piece = UnsafeBufferPointer(rebasing: text[word])
            try encode(piece, at: word.lowerBound, splitsAtSpaces: false, &sink)
        }
    }

    /// Encodes a stretch as one word or (`splitsAtSpaces`) with a word beginning at every space; `at` is its place in the normalised text.
    ///
    /// It is cut wherever no piece reaches across, so that the parts can be looked up. Where two ways to cut a part are as good as
    /// equal, rounding decides by the sum up to there: such parts are not kept, and get that sum.
    func encode(_ text: UnsafeBufferPointer<UInt8>, at place: Int, splitsAtSpaces: Bool, _ sink: inout TokenSink) throws(LorikeetError) {
        var cache = idleCaches.withLock { $0.popLast() } ?? WordCache()
        defer { idleCaches.withLock { $0.append(cache) } }
        var run = UnigramRun(text: text, place: place)
        run.counted = sink.ids.count
        var start = 0
        var at = 0
        var previous: UInt32 = 0
        while at < text.count {
            let (value, length) = UTF8Scalar.read(text, at)
            if at > start {
                let isBorder = splitsAtSpaces && value == 0x20
                if isBorder || !neighbours.contains(previous, value) {
                    try encodePart(start..<at, &run, &cache, &sink)
                    start = at
                    if isBorder {
                        try flushUnknown(&run, &sink)
                        run.total = 0
                        run.counted = sink.ids.count
                    }
                }
            }
            previous = value
            at += length
        }
        if start < at { try encodePart(start..<at, &run, &cache, &sink) }
        try flushUnknown(&run, &sink)
    }

    private func encodePart(_ range: Range<Int>, _ run: inout UnigramRun, _ cache: inout WordCache, _ sink: inout TokenSink) throws(LorikeetError) {
        guard let base = run.text.baseAddress else { return }
        let count = range.count
        // Far into a text single precision rounds so coarsely that more ways are as good as equal.
        guard count <= WordCache.longestWord, !settings.isSinglePrecision || range.lowerBound < 1 << 14 else {
            try search(range, &run, &sink)
            return
        }
        let (low, high) = WordCache.key(base + range.lowerBound, count)
        let slot = WordCache.slot(low, high, count)
        let cached = cache.slots[slot]
        if cached.length == UInt8(truncatingIfNeeded: count), cached.low == low, cached.high == high {
            try flushUnknown(&run, &sink)
            for i in 0..<Int(cached.count) {
                sink.append(cached.ids[i], range: run.next(Int(cached.lengths[i])))
            }
            return
        }
        guard try search(range, &run, &sink) else { return }
        // What waited unknown before the part may have been written first.
        let made = run.lastLengths.count
        let before = sink.ids.count - made
        guard made <= 4, made > 0 else { return }
        var entry = WordCache.Slot(low: low, high: high, length: UInt8(count), count: UInt8(made))
        for i in 0..<made {
            entry.ids[i] = sink.ids[before + i]
            entry.lengths[i] = run.lastLengths[i]
        }
        cache.slots[slot] = entry
    }

    private func rounded(_ value: Double) -> Double { settings.isSinglePrecision ? Double(Float(value)) : value }

    /// The sum of the scores since the word's begin, added up in order; unknown pieces are counted where they are met.
    private func sum(_ run: inout UnigramRun, _ sink: TokenSink) -> Double {
        for index in run.counted..<sink.ids.count { run.total = rounded(run.total + scores[Int(sink.ids[index])]) }
        run.counted = sink.ids.count
        return run.total
    }

    private struct Node {
        var id: Int32 = -1
        var start: Int32 = -1
        var score = 0.0
    }

    /// Viterbi over a part.
    ///
    /// - Returns: whether the pieces may be kept: all are known, and no two ways were as good as equal.
    @discardableResult
    private func search(_ range: Range<Int>, _ run: inout UnigramRun, _ sink: inout TokenSink) throws(LorikeetError) -> Bool {
        let count = range.count
        let before = sum(&run, sink)
        let (path, isClear) = withUnsafeTemporaryAllocation(of: Node.self, capacity: count + 1) { nodes in
            nodes.initialize(repeating: Node())
            nodes[0].score = before
            return best(nodes, UnsafeBufferPointer(rebasing: run.text[range]))
        }
        return try write(path, isClear: isClear, &run, &sink)
    }

    /// The best way through a part: ids (-1: unknown) and lengths from its end, and whether no two ways were as good as equal.
    private func best(_ nodes: UnsafeMutableBufferPointer<Node>, _ text: UnsafeBufferPointer<UInt8>) -> (path: [(id: Int32, length: Int)], isClear: Bool) {
        let count = text.count
        var isClear = true
        let tolerance = settings.isSinglePrecision ? 1e-2 : 1e-9
        func offer(_ id: Int32, _ start: Int, _ end: Int, _ score: Double) {
            let sum = settings.isSinglePrecision ? Double(Float(score) + Float(nodes[start].score)) : score + nodes[start].score
            if nodes[end].start >= 0 {
                if abs(sum - nodes[end].score) <= tolerance * max(1, abs(sum) / 1000) { isClear = false }
                guard sum > nodes[end].score else { return }
            }
            nodes[end] = Node(id: id, start: Int32(start), score: sum)
        }
        var start = 0
        while start < count {
            let length = min(UTF8Scalar.length(text[start]), count - start)
            var node = 0
            var at = start
            var hasSingle = false
            while at < count {
                node = trie.child(node, text[at])
                guard node != 0 else { break }
                at += 1
                let id = trie.values[node]
                guard id >= 0 else { continue }
                offer(id, start, at, scores[Int(id)])
                if at - start == length { hasSingle = true }
            }
            if !hasSingle { offer(-1, start, start + length, unknownScore) }
            start += length
        }
        var path: [(id: Int32, length: Int)] = []
        var end = count
        while end > 0 {
            let node = nodes[end]
            path.append((node.id, end - Int(node.start)))
            end = Int(node.start)
        }
        return (path, isClear)
    }

    private func write(
        _ path: [(id: Int32, length: Int)], isClear: Bool, _ run: inout UnigramRun, _ sink: inout TokenSink
    ) throws(LorikeetError) -> Bool {
        var isClear = isClear
        run.lastLengths.removeAll(keepingCapacity: true)
        for (id, length) in path.reversed() {
            if id < 0 || id == settings.unknown {
                _ = sum(&run, sink)
                run.total = rounded(run.total + (id < 0 ? unknownScore : scores[Int(id)]))
                run.unknown += length
                isClear = false
            } else {
                try flushUnknown(&run, &sink)
                sink.append(id, range: run.next(length))
                run.lastLengths.append(UInt8(truncatingIfNeeded: length))
            }
        }
        return isClear
    }

    /// Writes the unknown scalars that wait: as bytes, or as one unknown token.
    private func flushUnknown(_ run: inout UnigramRun, _ sink: inout TokenSink) throws(LorikeetError) {
        guard run.unknown > 0 else { return }
        let length = run.unknown
        run.unknown = 0
        let start = run.at
        let bytes = run.text[start..<start + length]
        if settings.fallsBackToBytes, allBytes || bytes.allSatisfy({ byteIDs[Int($0)] >= 0 }) {
            let range = run.next(length)
            // The library gives every byte of a run the whole run; SentencePiece decomposes each character by itself.
            for (index, byte) in bytes.enumerated() {
                sink.append(byteIDs[Int(byte)], range: settings.isSinglePrecision ? run.scalar(at: start + index) : range)
            }
            run.counted = sink.ids.count
            return
        }
        guard let unknown = settings.unknown else {
            throw LorikeetError.input(
                "the text has characters that the tokenizer has no token for (“\(String(decoding: bytes.prefix(40), as: UTF8.self))”), and it names no unknown token",
                fix: "leave them out, or use a tokenizer with an unknown token or byte fallback")
        }
        if sink.wantsRanges { sink.noteSpaces(UnsafeBufferPointer(rebasing: bytes), marksAreSpaces: settings.hasSpaces) }
        sink.append(unknown, range: run.next(length))
        run.counted = sink.ids.count
    }
}

/// How far the encoding of a stretch has come.
struct UnigramRun {
    let text: UnsafeBufferPointer<UInt8>
    /// Where the stretch begins in the normalised text.
    let place: Int
    /// The first byte that has no token yet.
    private(set) var at = 0
    /// Bytes from there on that are unknown.
    var unknown = 0
    var lastLengths: [UInt8] = []
    /// The scores of a word's pieces up to the token `counted`.
    var total = 0.0
    var counted = 0

    init(text: UnsafeBufferPointer<UInt8>, place: Int) { (self.text, self.place) = (text, place) }

    /// The range of the next `length` bytes in the normalised text.
    mutating func next(_ length: Int) -> Range<Int> {
        defer { at += length }
        return place + at..<place + at + length
    }

    /// The range in the normalised text of the scalar that a byte of the stretch belongs to.
    func scalar(at index: Int) -> Range<Int> {
        var low = index
        while low > 0, text[low] & 0xC0 == 0x80 { low -= 1 }
        return place + low..<place + min(low + UTF8Scalar.length(text[low]), text.count)
    }
}
