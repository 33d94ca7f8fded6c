import LorikeetGround
import Synchronization

/// What says which pair is merged first.
enum MergeOrder {
    /// Pairs of token texts, most urgent first.
    case pairs([(String, String)])
    /// SentencePiece: any two tokens whose texts joined are a token; the best score (one for every id) first.
    case scores([Float])
}

/// The tables of a byte-pair tokenizer, immutable but for the pool of word caches.
final class BytePairModel: Sendable {
    /// Ids from here on are refused: no model has as many, and a file must not make us reserve for them.
    static let maximumTokens = 1 << 22

    let rules: TokenizerRules
    /// Every id's text as the file writes it.
    let texts: [String]
    /// What every id decodes to.
    let decoded: TokenTable
    /// Vocabulary by content, in bytes (byte-level) or as written (SentencePiece).
    let vocabulary: TokenTable
    let merges: MergeTable
    let added: AddedTokenMatcher
    private let addedIDs: [String: Int32]
    private let special: [Bool]
    /// The id of each single byte (byte-level, or `<0xNN>`); -1 without one.
    let byteIDs: [Int32]
    let unknown: Int32?
    let classes: [UInt8]
    private let idleCaches = Mutex<[WordCache]>([])

    init(
        vocabulary texts: [String], merges order: MergeOrder, rules: TokenizerRules, added: [AddedToken],
        unknown: Int32?, source: String
    ) throws {
        var texts = texts
        for token in added {
            guard token.id >= 0, token.id < Self.maximumTokens else {
                throw LorikeetError.input(
                    "added token “\(token.text)” has the id \(token.id), outside the vocabulary", at: source)
            }
            while texts.count <= Int(token.id) { texts.append("") }
            texts[Int(token.id)] = token.text
        }
        var isAdded = [Bool](repeating: false, count: texts.count)
        var special = isAdded
        for token in added {
            isAdded[Int(token.id)] = true
            special[Int(token.id)] = token.isSpecial
        }
        let tables = Self.tables(texts, isAdded: isAdded, rules: rules)
        self.rules = rules
        self.texts = texts
        self.special = special
        self.unknown = unknown
        (vocabulary, decoded, byteIDs) = tables
        switch order {
        case .pairs(let pairs):
            merges = try Self.mergeTable(pairs, vocabulary: tables.vocabulary, rules: rules, source: source)
        case .scores(let scores): merges = Self.mergeTable(scores, vocabulary: tables.vocabulary, isAdded: isAdded)
        }
        self.added = AddedTokenMatcher(added.filter { !$0.text.isEmpty })
        addedIDs = Dictionary(added.map { ($0.text, $0.id) }, uniquingKeysWith: { first, _ in first })
        classes = CharacterClass.basicPlane
    }

    /// Vocabulary by content, decoded bytes by id, ids of the single bytes.
    private static func tables(
        _ texts: [String], isAdded: [Bool], rules: TokenizerRules
    ) -> (vocabulary: TokenTable, decoded: TokenTable, byteIDs: [Int32]) {
        var vocabulary = TokenTable()
        var decoded = TokenTable()
        var byteIDs = [Int32](repeating: -1, count: 256)
        var scratch: [UInt8] = []
        for (id, text) in texts.enumerated() {
            switch rules.alphabet {
            case .byteLevel:
                scratch.removeAll(keepingCapacity: true)
                if isAdded[id] || !ByteAlphabet.append(bytesOf: text[...].unicodeScalars, to: &scratch) {
                    scratch = Array(text.utf8)
                }
                vocabulary.append(scratch)
                decoded.append(scratch)
            case .sentencePiece:
                vocabulary.append(text.utf8)
                if !isAdded[id], rules.fallsBackToBytes, let byte = byteToken(text) {
                    byteIDs[Int(byte)] = Int32(id)
                    decoded.append(CollectionOfOne(byte))
                } else {
                    decoded.append(isAdded[id] ? Array(text.utf8) : replacingMetaspace(text))
                }
            }
        }
        vocabulary.makeFindable { !isAdded[$0] && !texts[$0].isEmpty }
        if case .byteLevel = rules.alphabet {
            for byte in 0..<256 { byteIDs[byte] = vocabulary.find([UInt8(byte)]).map { Int32($0) } ?? -1 }
        }
        return (vocabulary, decoded, byteIDs)
    }

    /// The byte of `<0xNN>`.
    private static func byteToken(_ text: String) -> UInt8? {
        let bytes = Array(text.utf8)
        guard bytes.count == 6, bytes.starts(with: "<0x".utf8), bytes[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: bytes[3..<5], as: UTF8.self), radix: 16)
    }

    /// `▁` (E2 96 81) → a space.
    private static func replacingMetaspace(_ text: String) -> [UInt8] {
        var result: [UInt8] = []
        for scalar in text.unicodeScalars {
            if scalar == "\u{2581}" {
                result.append(0x20)
            } else {
                result.append(contentsOf: UTF8.encode(scalar) ?? .encodedReplacementCharacter)
            }
        }
        return result
    }

    private static func mergeTable(
        _ pairs: [(String, String)], vocabulary: TokenTable, rules: TokenizerRules, source: String
    ) throws -> MergeTable {
        var table = MergeTable(capacityFor: pairs.count)
        var left: [UInt8] = []
        var right: [UInt8] = []
        for (rank, pair) in pairs.enumerated() {
            left.removeAll(keepingCapacity: true)
            right.removeAll(keepingCapacity: true)
            if case .byteLevel = rules.alphabet {
                let known =
                    ByteAlphabet.append(bytesOf: pair.0[...].unicodeScalars, to: &left)
                    && ByteAlphabet.append(bytesOf: pair.1[...].unicodeScalars, to: &right)
                guard known else {
                    throw LorikeetError.input(
                        "merge \(rank) (“\(pair.0)”, “\(pair.1)”) is not written in the byte-level alphabet", at: source)
                }
            } else {
                left.append(contentsOf: pair.0.utf8)
                right.append(contentsOf: pair.1.utf8)
            }
            guard let first = vocabulary.find(left), let second = vocabulary.find(right),
                let merged = vocabulary.find(left + right)
            else {
                throw LorikeetError.input(
                    "merge \(rank) (“\(pair.0)”, “\(pair.1)”) names a token that is not in the vocabulary", at: source)
            }
            table.insert(left: first, right: second, rank: rank, merged: merged)
        }
        return table
    }

    /// Every way to make a token of two others, ranked by the token's score; equal scores have equal ranks.
    private static func mergeTable(_ scores: [Float], vocabulary: TokenTable, isAdded: [Bool]) -> MergeTable {
        let order = (0..<min(scores.count, vocabulary.count)).sorted {
            scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1]
        }
        var found: [(left: Int, right: Int, rank: Int, merged: Int)] = []
        var rank = 0
        var last: Float?
        vocabulary.bytes.withUnsafeBufferPointer { bytes in
            for id in order where !isAdded[id] {
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
        return table
    }

    func id(of text: String) -> Int32? {
        if let id = addedIDs[text] { return id }
        switch rules.alphabet {
        case .byteLevel:
            var bytes: [UInt8] = []
            guard ByteAlphabet.append(bytesOf: text[...].unicodeScalars, to: &bytes) else { return nil }
            return vocabulary.find(bytes).map { Int32($0) }
        case .sentencePiece: return vocabulary.find(Array(text.utf8)).map { Int32($0) }
        }
    }

    func isSpecial(_ id: Int32) -> Bool { special.indices.contains(Int(id)) && special[Int(id)] }

    /// Appends what `id` decodes to. `stripsSpace` is true until the first byte, where a leading space is to be dropped.
    func append(bytesOf id: Int32, skipSpecial: Bool, stripsSpace: inout Bool, to bytes: inout [UInt8]) {
        guard id >= 0, Int(id) < decoded.count, !(skipSpecial && special[Int(id)]) else { return }
        var piece = decoded.bytes[decoded.offsets[Int(id)]..<decoded.offsets[Int(id) + 1]]
        if stripsSpace, let first = piece.first {
            stripsSpace = false
            if first == 0x20 { piece = piece.dropFirst() }
        }
        bytes.append(contentsOf: piece)
    }

    /// Runs `body` with a word cache of its own; caches are kept for the next call.
    func withCache<Result>(_ body: (inout WordCache) -> Result) -> Result {
        var cache = idleCaches.withLock { $0.popLast() } ?? WordCache()
        let result = body(&cache)
        idleCaches.withLock { $0.append(cache) }
        return result
    }
}
