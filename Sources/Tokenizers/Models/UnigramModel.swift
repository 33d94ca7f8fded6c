import LorikeetGround

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
            // Of equal pieces the last counts for the reference library; SentencePiece refuses them.
            if let earlier = ids.updateValue(Int32(id), forKey: text), !isExcluded { texts[Int(earlier)] = [] }
            if settings.fallsBackToBytes, let byte = ByteAlphabet.fallbackByte(piece) { byteIDs[Int(byte)] = Int32(id) }
        }
        trie = ByteTrie(texts)
        self.ids = ids
        self.byteIDs = byteIDs
        allBytes = !byteIDs.contains(-1)
        neighbours = NeighbourSet(table, findable)
        // The least score of the normal pieces alone; a tokenizer.json does not tell them apart.
        let normal = scores.indices.filter { !settings.excluded.contains(Int32($0)) && !settings.userDefined.contains(Int32($0)) }
        let least = normal.map { scores[$0] }.min() ?? 0
        unknownScore = settings.isSinglePrecision ? Double(Float(least) - 10) : least - 10
        self.scores = scores.indices.map { id in
            // More than any path of other pieces has.
            settings.userDefined.contains(Int32(id)) ? Double(Float(pieces[id].utf8.count) * 0.1 - 0.1) : scores[id]
        }
        self.settings = settings
    }

    /// The same tables in an object of its own: see `Tokenizer.forOneThread`.
    init(sharing other: UnigramModel) {
        (trie, scores, unknownScore, settings) = (other.trie, other.scores, other.unknownScore, other.settings)
        (byteIDs, allBytes, neighbours, ids) = (other.byteIDs, other.allBytes, other.neighbours, other.ids)
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
        var run = UnigramRun(text: text, place: place)
        run.counted = sink.ids.count
        var failure: LorikeetError?
        (sink.cache ?? WordCache()).withSlots { slots in
            _ = trie.withReader { reader -> Void? in
                do throws(LorikeetError) { try encode(&run, slots, reader, splitsAtSpaces: splitsAtSpaces, &sink) } catch { failure = error }
                return ()
            }
        }
        if let failure { throw failure }
    }

    private func encode(
        _ run: inout UnigramRun, _ slots: WordCache.Slots, _ reader: ByteTrie.Reader, splitsAtSpaces: Bool, _ sink: inout TokenSink
    ) throws(LorikeetError) {
        let text = run.text
        var start = 0
        var at = 0
        var previous: UInt32 = 0
        while at < text.count {
            let (value, length) = UTF8Scalar.read(text, at)
            if at > start {
                let isBorder = splitsAtSpaces && value == 0x20
                if isBorder || !neighbours.contains(previous, value) {
                    try encodePart(start..<at, &run, slots, reader, &sink)
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
        if start < at { try encodePart(start..<at, &run, slots, reader, &sink) }
        try flushUnknown(&run, &sink)
    }

    @inline(__always)
    private func encodePart(
        _ range: Range<Int>, _ run: inout UnigramRun, _ slots: WordCache.Slots, _ reader: ByteTrie.Reader, _ sink: inout TokenSink
    ) throws(LorikeetError) {
        guard let base = run.text.baseAddress else { return }
        // Far into a text single precision rounds so coarsely that more ways are as good as equal.
        guard range.count <= WordCache.longestWord, !settings.isSinglePrecision || range.lowerBound < 1 << 14 else {
            _ = try search(range, reader, nil, &run, &sink)
            return
        }
        let (slot, isFound) = slots.place(of: base + range.lowerBound, range.count).find()
        if isFound {
            if run.unknown > 0 { try flushUnknown(&run, &sink) }
            for i in 0..<slot.count { sink.append(slot.id(i), range: run.next(slot.length(i))) }
        } else if let made = try search(range, reader, slot, &run, &sink) {
            slot.finish(word: range.count, tokens: made)
        }
    }

    private func rounded(_ value: Double) -> Double { settings.isSinglePrecision ? Double(Float(value)) : value }

    /// The sum of the scores since the word's begin, added up in order; unknown pieces are counted where they are met.
    private func sum(_ run: inout UnigramRun, _ sink: TokenSink) -> Double {
        for index in run.counted..<sink.ids.count { run.total = rounded(run.total + scores[Int(sink.ids[index])]) }
        run.counted = sink.ids.count
        return run.total
    }

    /// A place of the text between two characters.
    private struct Node {
        /// The greatest sum of the pieces up to here.
        var score = 0.0
        /// The last of those pieces (-1: unknown) and where it begins; `start` is -1 where no piece ends.
        var id: Int32 = -1
        var start: Int32 = -1
        /// Of a place on the best way, the end of the piece that begins there.
        var end: Int32 = 0
    }

    /// Viterbi over a part.
    ///
    /// - Returns: how many pieces were written, which were noted in `slot`; nil where they may not be kept, for some are unknown or two ways
    ///   were as good as equal.
    @inline(never)
    private func search(
        _ range: Range<Int>, _ reader: ByteTrie.Reader, _ slot: WordCache.Slot?, _ run: inout UnigramRun, _ sink: inout TokenSink
    ) throws(LorikeetError) -> Int? {
        let before = sum(&run, sink)
        var made: Int?
        let error: LorikeetError? = withUnsafeTemporaryAllocation(of: Node.self, capacity: range.count + 1) { nodes in
            nodes.initialize(repeating: Node())
            nodes[0].score = before
            let isClear = best(nodes, UnsafeBufferPointer(rebasing: run.text[range]), reader)
            do throws(LorikeetError) {
                let pieces = try write(nodes, slot, &run, &sink)
                made = isClear ? pieces : nil
                return nil
            } catch { return error }
        }
        if let error { throw error }
        return made
    }

    /// Links the best way through a part from its begin to its end.
    ///
    /// - Returns: whether no two ways were as good as equal.
    @inline(__always)
    private func best(_ nodes: UnsafeMutableBufferPointer<Node>, _ text: UnsafeBufferPointer<UInt8>, _ reader: ByteTrie.Reader) -> Bool {
        let count = text.count
        let isSingle = settings.isSinglePrecision
        let tolerance = isSingle ? 1e-2 : 1e-9
        var isClear = true
        var start = 0
        scores.withUnsafeBufferPointer { scores in
            while start < count {
                let length = min(UTF8Scalar.length(text[start]), count - start)
                let from = nodes[start].score
                var node: UInt32 = 0
                var at = start
                var hasSingle = false
                while true {
                    var id: Int32 = -1
                    if at < count {
                        let edge = reader.edge(node, text[at])
                        if edge.key != ByteTrie.Edge.empty {
                            node = edge.node
                            at += 1
                            if edge.value < 0 { continue }
                            id = edge.value
                            if at - start == length { hasSingle = true }
                        }
                    }
                    // No piece goes on: last of all the character alone, as unknown.
                    if id < 0, hasSingle { break }
                    let end = id < 0 ? start + length : at
                    let score = id < 0 ? unknownScore : scores[Int(id)]
                    let sum = isSingle ? Double(Float(score) + Float(from)) : score + from
                    if nodes[end].start < 0 {
                        nodes[end] = Node(score: sum, id: id, start: Int32(truncatingIfNeeded: start))
                    } else {
                        let old = nodes[end].score
                        if abs(sum - old) <= tolerance * max(1, abs(sum) / 1000) { isClear = false }
                        if sum > old { nodes[end] = Node(score: sum, id: id, start: Int32(truncatingIfNeeded: start)) }
                    }
                    if id < 0 { break }
                }
                start += length
            }
        }
        var end = count
        while end > 0 {
            let from = Int(nodes[end].start)
            nodes[from].end = Int32(truncatingIfNeeded: end)
            end = from
        }
        return isClear
    }

    /// Writes the pieces of the best way.
    ///
    /// - Returns: how many; nil where some are unknown.
    private func write(
        _ nodes: UnsafeMutableBufferPointer<Node>, _ slot: WordCache.Slot?, _ run: inout UnigramRun, _ sink: inout TokenSink
    ) throws(LorikeetError) -> Int? {
        var made = 0
        var isKnown = true
        var at = 0
        while at < nodes.count - 1 {
            let end = Int(nodes[at].end)
            let id = nodes[end].id
            let length = end - at
            if id < 0 || id == settings.unknown {
                _ = sum(&run, sink)
                run.total = rounded(run.total + (id < 0 ? unknownScore : scores[Int(id)]))
                run.unknown += length
                isKnown = false
            } else {
                try flushUnknown(&run, &sink)
                sink.append(id, range: run.next(length))
                slot?.note(id, length: length, at: made)
                made += 1
            }
            at = end
        }
        return isKnown ? made : nil
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
