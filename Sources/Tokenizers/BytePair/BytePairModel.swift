import LorikeetGround

/// What says which pair is merged first.
enum MergeOrder {
    /// Pairs of token texts, most urgent first.
    case pairs([(String, String)])
    /// SentencePiece: any two tokens whose texts joined are a token; the best score (one for every id) first.
    case scores([Float])
}

/// The tables of a byte-pair model.
final class BytePairModel: Sendable {
    /// Ids from here on are refused: no model has as many, and a file must not make us reserve for them.
    static let maximumTokens = 1 << 22

    let rules: TokenizerRules
    /// Vocabulary by content: in bytes (byte-level), with spaces for `▁` (spaces), or as written.
    let vocabulary: TokenTable
    let merges: MergeTable
    /// The id of each single byte (byte-level, or `<0xNN>`); -1 without one.
    let byteIDs: [Int32]
    /// The tokens of one scalar, in alphabets of scalars.
    let scalarIDs: ScalarTable
    /// Which scalars follow one another inside of a token.
    let neighbours: NeighbourSet
    let unknown: Int32?
    /// Bytes of the text that each id stands for, where no affix takes part.
    let lengths: [UInt32]
    /// Tokens that an unused piece of SentencePiece falls into.
    let resegmented: [Int32: [Int32]]
    /// Tokens taken wherever they stand, and their ids.
    let frozen: ByteTrie
    let frozenIDs: [Int32]

    /// - Parameters:
    ///   - texts: by id, as the file writes them.
    ///   - isFindable: which of them words may become.
    ///   - unused: which of them fall into the pair that makes them (SentencePiece).
    ///   - frozen: which of them are taken wherever they stand and never merged (SentencePiece's user-defined ones).
    init(
        vocabulary texts: [String], isFindable: [Bool], merges order: MergeOrder, rules: TokenizerRules, unknown: Int32?,
        unused: Set<Int32> = [], frozen: [Int32] = [], source: String
    ) throws(LorikeetError) {
        var vocabulary = TokenTable()
        var findable = isFindable
        var scratch: [UInt8] = []
        for (id, text) in texts.enumerated() {
            scratch.removeAll(keepingCapacity: true)
            if !Self.append(text, rules.alphabet, to: &scratch) { findable[id] = false }
            vocabulary.append(scratch)
        }
        for id in findable.indices where vocabulary.offsets[id] == vocabulary.offsets[id + 1] { findable[id] = false }
        vocabulary.makeFindable { findable[$0] }
        self.rules = rules
        self.unknown = unknown
        byteIDs = Self.byteIDs(texts, vocabulary, rules, isFindable: isFindable)
        self.vocabulary = vocabulary
        switch order {
        case .pairs(let pairs):
            merges = try Self.mergeTable(pairs, vocabulary: vocabulary, rules: rules, source: source)
            resegmented = [:]
        case .scores(let scores):
            (merges, resegmented) = try Self.mergeTable(scores, texts: texts, vocabulary: vocabulary, findable: findable, unused: unused, source: source)
        }
        var lengths = (0..<vocabulary.count).map { UInt32(vocabulary.offsets[$0 + 1] - vocabulary.offsets[$0]) }
        scalarIDs = rules.isByteLevel ? ScalarTable() : ScalarTable(vocabulary, findable)
        if !rules.isByteLevel {
            for id in byteIDs where id >= 0 { lengths[Int(id)] = 1 }
        }
        neighbours = rules.alphabet == .spaces ? NeighbourSet(vocabulary, findable) : NeighbourSet()
        self.lengths = lengths
        frozenIDs = frozen
        self.frozen = ByteTrie(frozen.map { id in Array(vocabulary.bytes[vocabulary.offsets[Int(id)]..<vocabulary.offsets[Int(id) + 1]]) })
    }

    /// Appends a token's text in the model's alphabet; false where no text can become it.
    private static func append(_ text: String, _ alphabet: TokenizerRules.Alphabet, to bytes: inout [UInt8]) -> Bool {
        switch alphabet {
        case .byteLevel:
            if ByteAlphabet.append(bytesOf: text, to: &bytes) { return true }
            bytes.append(contentsOf: text.utf8)
            return false
        case .scalars:
            bytes.append(contentsOf: text.utf8)
            return true
        case .spaces:
            bytes.append(contentsOf: TextPattern.metaspacesToSpaces(Array(text.utf8)))
            return !text.utf8.contains(0x20)
        }
    }

    private static func byteIDs(_ texts: [String], _ vocabulary: TokenTable, _ rules: TokenizerRules, isFindable: [Bool]) -> [Int32] {
        var result = [Int32](repeating: -1, count: 256)
        if rules.isByteLevel {
            for byte in 0..<256 { result[byte] = vocabulary.find([UInt8(byte)]).map { Int32($0) } ?? -1 }
        } else if rules.fallsBackToBytes {
            for (id, text) in texts.enumerated() {
                if let byte = ByteAlphabet.fallbackByte(text) { result[Int(byte)] = Int32(id) }
            }
        }
        return result
    }

    private static func mergeTable(
        _ pairs: [(String, String)], vocabulary: TokenTable, rules: TokenizerRules, source: String
    ) throws(LorikeetError) -> MergeTable {
        var table = MergeTable(capacityFor: pairs.count)
        var left: [UInt8] = []
        var right: [UInt8] = []
        let prefix = rules.continuingPrefix.utf8.count
        func merged() -> Int? {
            left.append(contentsOf: right[prefix...])
            return vocabulary.find(left)
        }
        for (rank, pair) in pairs.enumerated() {
            left.removeAll(keepingCapacity: true)
            right.removeAll(keepingCapacity: true)
            let isWritten = append(pair.0, rules.alphabet, to: &left) && append(pair.1, rules.alphabet, to: &right)
            if !isWritten, rules.isByteLevel {
                throw LorikeetError.input("merge \(rank) (“\(pair.0)”, “\(pair.1)”) is not written in the byte-level alphabet", at: source)
            }
            guard let first = vocabulary.find(left), let second = vocabulary.find(right), right.count >= prefix, let merged = merged() else {
                // A token with a literal space beside `▁`: no text becomes it.
                if !isWritten { continue }
                throw LorikeetError.input("merge \(rank) (“\(pair.0)”, “\(pair.1)”) names a token that is not in the vocabulary", at: source)
            }
            table.insert(left: first, right: second, rank: rank, merged: merged, replaces: rules.lastMergeCounts)
        }
        return table
    }

    /// The work of finding all ways to cut tokens in two, which grows with the square of their lengths, has this bound.
    private static let mostCuttingWork = 2_000_000_000

    /// Every way to make a token of two others, ranked by the token's score; equal scores have equal ranks.
    private static func mergeTable(
        _ scores: [Float], texts: [String], vocabulary: TokenTable, findable: [Bool], unused: Set<Int32>, source: String
    ) throws(LorikeetError) -> (MergeTable, [Int32: [Int32]]) {
        var work = 0
        for id in 0..<vocabulary.count where findable[id] {
            let length = vocabulary.offsets[id + 1] - vocabulary.offsets[id]
            (work, _) = work.addingReportingOverflow(length > 1 << 20 ? mostCuttingWork : length * length)
            guard work <= mostCuttingWork, work >= 0 else {
                throw LorikeetError.input(
                    "the tokenizer's token \(id) (“\(texts[id].prefix(20))…”) has \(length) bytes: tokens as long as that are not supported", at: source,
                    fix: "use the model's own tokenizer; no known one has tokens longer than a few hundred bytes")
            }
        }
        let order = (0..<min(scores.count, vocabulary.count)).filter { findable[$0] }.sorted {
            scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1]
        }
        var found: [(left: Int, right: Int, rank: Int, merged: Int)] = []
        var rank = 0
        var last: Float?
        vocabulary.bytes.withUnsafeBufferPointer { bytes in
            for id in order {
                if scores[id] != last { rank += 1 }
                last = scores[id]
                let (start, end) = (vocabulary.offsets[id], vocabulary.offsets[id + 1])
                guard end - start > 1 else { continue }
                for cut in (start + 1)..<end where bytes[cut] & 0xC0 != 0x80 {
                    if let left = vocabulary.find(UnsafeBufferPointer(rebasing: bytes[start..<cut])),
                        let right = vocabulary.find(UnsafeBufferPointer(rebasing: bytes[cut..<end]))
                    {
                        found.append((left, right, rank, id))
                    }
                }
            }
        }
        var table = MergeTable(capacityFor: found.count)
        for merge in found { table.insert(left: merge.left, right: merge.right, rank: merge.rank, merged: merge.merged) }
        // Which of several pairs an unused piece falls into depends, in its library, on all of the text before.
        var pairs: [Int: Int] = [:]
        for merge in found where unused.contains(Int32(merge.merged)) { pairs[merge.merged, default: 0] += 1 }
        if let id = pairs.filter({ $0.value > 1 }).keys.min() {
            throw LorikeetError.input(
                "the tokenizer's unused piece \(id) (“\(texts[id].prefix(20))”) can be put together in several ways, which is not supported", at: source,
                fix: "use the model's tokenizer.json")
        }
        return (table, resegmentation(found, unused))
    }

    /// What each unused piece falls into: the pair that makes it, and unused parts of that again.
    private static func resegmentation(_ found: [(left: Int, right: Int, rank: Int, merged: Int)], _ unused: Set<Int32>) -> [Int32: [Int32]] {
        guard !unused.isEmpty else { return [:] }
        var pairs: [Int32: (Int32, Int32)] = [:]
        for merge in found where unused.contains(Int32(merge.merged)) && pairs[Int32(merge.merged)] == nil {
            pairs[Int32(merge.merged)] = (Int32(merge.left), Int32(merge.right))
        }
        var result: [Int32: [Int32]] = [:]
        for id in pairs.keys {
            var parts: [Int32] = []
            var waiting = [id]
            while let next = waiting.popLast() {
                if let (left, right) = pairs[next] { waiting += [right, left] } else { parts.append(next) }
            }
            result[id] = parts
        }
        return result
    }

    func id(of text: String) -> Int32? {
        var bytes: [UInt8] = []
        guard Self.append(text, rules.alphabet, to: &bytes) else { return nil }
        return vocabulary.find(bytes).map { Int32($0) }
    }

    /// The same tables in an object of its own: see `Tokenizer.forOneThread`.
    init(sharing other: BytePairModel) {
        (rules, vocabulary, merges, unknown) = (other.rules, other.vocabulary, other.merges, other.unknown)
        (byteIDs, scalarIDs, neighbours, lengths) = (other.byteIDs, other.scalarIDs, other.neighbours, other.lengths)
        (resegmented, frozen, frozenIDs) = (other.resegmented, other.frozen, other.frozenIDs)
    }
}

/// The tokens of one scalar.
struct ScalarTable: Sendable {
    private var basicPlane: [Int32] = []
    private var beyond: [UInt32: Int32] = [:]

    init() {}

    init(_ vocabulary: TokenTable, _ findable: [Bool]) {
        basicPlane = [Int32](repeating: -1, count: 0x10000)
        vocabulary.bytes.withUnsafeBufferPointer { bytes in
            for id in (0..<vocabulary.count).reversed() where findable[id] {
                let text = UnsafeBufferPointer(rebasing: bytes[vocabulary.offsets[id]..<vocabulary.offsets[id + 1]])
                guard let first = text.first, UTF8Scalar.length(first) == text.count else { continue }
                let (value, _) = UTF8Scalar.read(text, 0)
                if value < 0x10000 { basicPlane[Int(value)] = Int32(id) } else { beyond[value] = Int32(id) }
            }
        }
    }

    /// -1 without a token.
    @inline(__always)
    func id(of value: UInt32) -> Int32 { value < 0x10000 ? basicPlane[Int(value)] : beyond[value] ?? -1 }
}

/// Pairs of scalars that stand side by side in some token (and, seldom, others of the same hash): a text may be cut between all others,
/// for no token reaches across.
struct NeighbourSet: Sendable {
    private static let bits: UInt32 = 21
    /// A bit for each pair of ASCII scalars (the first one's word and half), then for each hash.
    private var ascii = [UInt64](repeating: 0, count: 256)
    private var hashed: [UInt64] = []

    init() {}

    init(_ vocabulary: TokenTable, _ findable: [Bool]) {
        hashed = [UInt64](repeating: 0, count: 1 << Int(Self.bits - 6))
        vocabulary.bytes.withUnsafeBufferPointer { bytes in
            for id in 0..<vocabulary.count where findable[id] {
                var previous: UInt32?
                UTF8Scalar.forEach(UnsafeBufferPointer(rebasing: bytes[vocabulary.offsets[id]..<vocabulary.offsets[id + 1]])) { value, _ in
                    if let previous { insert(previous, value) }
                    previous = value
                }
            }
        }
    }

    private static func hash(_ first: UInt32, _ second: UInt32) -> Int {
        Int((((first &* 0x9E37_79B1) ^ (second &* 0x85EB_CA6B)) &* 0xC2B2_AE35) >> (32 - bits))
    }

    private mutating func insert(_ first: UInt32, _ second: UInt32) {
        if first | second < 0x80 {
            ascii[Int(first << 1 | second >> 6)] |= 1 << UInt64(second & 63)
        } else {
            let hash = Self.hash(first, second)
            hashed[hash >> 6] |= 1 << UInt64(hash & 63)
        }
    }

    @inline(__always)
    func contains(_ first: UInt32, _ second: UInt32) -> Bool {
        if first | second < 0x80 { return ascii[Int(first << 1 | second >> 6)] >> UInt64(second & 63) & 1 == 1 }
        let hash = Self.hash(first, second)
        return hashed[hash >> 6] >> UInt64(hash & 63) & 1 == 1
    }
}
