import LorikeetGround

/// What becomes of the matches at which a text is cut.
enum SplitBehavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    /// Neighbouring matches form one word.
    case contiguous = "Contiguous"
}

/// How a normalised stretch is cut into the words that the model encodes: the steps of a tokenizer.json's pre-tokenizer, in order.
struct PreTokenizer: Sendable {
    enum Prepend: String, Sendable {
        case first, never, always
    }

    enum Step: Sendable {
        case split(TextPattern, SplitBehavior, isInverted: Bool)
        /// Bytes become scalars of `ByteAlphabet`.
        case byteLevel(addsSpace: Bool, splits: Bool)
        /// Spaces become `replacement`, each of which begins a word where `splits`.
        case metaspace(replacement: Unicode.Scalar, Prepend, splits: Bool)
        /// Words and runs of what is neither word nor white space.
        case whitespace
        case fixedLength(Int)
    }

    var steps: [Step] = []

    /// The same with memory of its own: see `Tokenizer.forOneThread`.
    func forOneThread() -> PreTokenizer {
        PreTokenizer(
            steps: steps.map { step in
                switch step {
                case .split(let pattern, let behavior, let isInverted): .split(pattern.forOneThread(), behavior, isInverted: isInverted)
                default: step
                }
            })
    }

    /// Whether a step asks where in the original text a word begins.
    var needsSources: Bool {
        steps.contains { if case .metaspace(_, .first, _) = $0 { true } else { false } }
    }

    /// - Returns: the words, in order, none empty.
    ///
    /// - Parameter readsBytes: the model reads the bytes that scalars of `ByteAlphabet` stand for: the words are of those.
    func apply(to stretch: inout Stretch, readsBytes: Bool) throws(LorikeetError) -> [Range<Int>] {
        var words = stretch.bytes.isEmpty ? [] : [0..<stretch.bytes.count]
        let before = stretch.bytes.count
        for (index, step) in steps.enumerated() {
            try Stretch.requireLength(stretch.bytes.count, of: before)
            switch step {
            case .split(let pattern, let behavior, let isInverted):
                words = try Self.split(stretch.bytes, words, behavior) { word, found throws(LorikeetError) in
                    try Self.pieces(of: word, in: stretch.bytes, pattern, isInverted: isInverted, found)
                }
            case .byteLevel(let addsSpace, let splits):
                if addsSpace { words = Self.prepend(" ", to: &stretch, words) { $0.first != 0x20 } }
                if splits {
                    words = try Self.split(stretch.bytes, words, .isolated) { word, found throws(LorikeetError) in
                        try Self.pieces(of: word, in: stretch.bytes, .known(.gpt2), isInverted: false, found)
                    }
                }
                // As the last step it would be undone for a model that reads bytes.
                if !(readsBytes && index == steps.count - 1) { words = Self.mapBytes(&stretch, words) }
            case .metaspace(let replacement, let scheme, let splits):
                words = try Self.metaspace(&stretch, words, replacement, scheme, splits: splits)
            case .whitespace:
                words = try Self.split(stretch.bytes, words, .removed) { word, found throws(LorikeetError) in Self.wordsAndSymbols(stretch.bytes, word, found) }
            case .fixedLength(let length):
                words = words.flatMap { Self.chunks(stretch.bytes, $0, length) }
            }
        }
        if readsBytes, case .byteLevel = steps.last { return words }
        return readsBytes ? stretch.turnAlphabetIntoBytes(words) : words
    }

    // MARK: - Cutting

    private typealias Found = (Range<Int>, Bool) -> Void

    /// The word's matches and what lies between them.
    private static func pieces(
        of word: Range<Int>, in bytes: [UInt8], _ pattern: TextPattern, isInverted: Bool, _ found: Found
    ) throws(LorikeetError) {
        var at = word.lowerBound
        try pattern.forEachMatch(in: bytes, word) { match in
            if at != match.lowerBound { found(at..<match.lowerBound, isInverted) }
            found(match, !isInverted)
            at = match.upperBound
        }
        if at != word.upperBound { found(at..<word.upperBound, isInverted) }
    }

    private static func split(
        _ bytes: [UInt8], _ words: [Range<Int>], _ behavior: SplitBehavior, _ pieces: (Range<Int>, Found) throws(LorikeetError) -> Void
    ) throws(LorikeetError) -> [Range<Int>] {
        var result: [Range<Int>] = []
        result.reserveCapacity(words.count)
        for word in words {
            if behavior == .isolated || behavior == .removed {
                try pieces(word) { range, isMatch in
                    if !range.isEmpty, behavior == .isolated || !isMatch { result.append(range) }
                }
            } else {
                var parts: [(range: Range<Int>, isMatch: Bool)] = []
                try pieces(word) { parts.append(($0, $1)) }
                result += joined(parts, behavior).filter { !$0.isEmpty }
            }
        }
        return result
    }

    private static func joined(_ parts: [(range: Range<Int>, isMatch: Bool)], _ behavior: SplitBehavior) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var previous = false
        if behavior == .mergedWithNext {
            for part in parts.reversed() {
                if part.isMatch, !previous, let last = result.popLast() {
                    result.append(part.range.lowerBound..<last.upperBound)
                } else {
                    result.append(part.range)
                }
                previous = part.isMatch
            }
            return result.reversed()
        }
        for part in parts {
            let joins = behavior == .contiguous ? part.isMatch == previous : part.isMatch && !previous
            if joins, let last = result.popLast() {
                result.append(last.lowerBound..<part.range.upperBound)
            } else {
                result.append(part.range)
            }
            previous = part.isMatch
        }
        return result
    }

    /// `\w+|[^\w\s]+`; white space counts as a match of the inverted pattern.
    private static func wordsAndSymbols(_ bytes: [UInt8], _ word: Range<Int>, _ found: Found) {
        func kind(_ value: UInt32) -> Int {
            if ScalarSet.spaces.contains(value) { return 0 }
            return ScalarSet.words.contains(value) ? 1 : 2
        }
        bytes.withUnsafeBufferPointer { bytes in
            var start = word.lowerBound
            var last = -1
            UTF8Scalar.forEach(UnsafeBufferPointer(rebasing: bytes[word])) { value, range in
                let this = kind(value)
                if last >= 0, this != last {
                    found(start..<word.lowerBound + range.lowerBound, last == 0)
                    start = word.lowerBound + range.lowerBound
                }
                last = this
            }
            if last >= 0 { found(start..<word.upperBound, last == 0) }
        }
    }

    private static func chunks(_ bytes: [UInt8], _ word: Range<Int>, _ length: Int) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var start = word.lowerBound
        var at = start
        var count = 0
        while at < word.upperBound {
            at += UTF8Scalar.length(bytes[at])
            count += 1
            if count == length || at >= word.upperBound {
                result.append(start..<min(at, word.upperBound))
                start = at
                count = 0
            }
        }
        return result
    }

    // MARK: - Changing the text

    /// Puts `text` before the words for which `needs` holds.
    private static func prepend(_ text: String, to stretch: inout Stretch, _ words: [Range<Int>], _ needs: (ArraySlice<UInt8>) -> Bool) -> [Range<Int>] {
        guard words.contains(where: { needs(stretch.bytes[$0]) }) else { return words }
        return rebuilt(&stretch, words) { part in if needs(part.bytes[...]) { Normalizer.prepend(text, to: &part) } }
    }

    /// Changes every word by itself; what lies between words is left out.
    private static func rebuilt(_ stretch: inout Stretch, _ words: [Range<Int>], _ change: (inout Stretch) -> Void) -> [Range<Int>] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(stretch.bytes.count * 2)
        var sources: [Source] = []
        var result: [Range<Int>] = []
        result.reserveCapacity(words.count)
        for word in words {
            var part = stretch.slice(word)
            change(&part)
            result.append(bytes.count..<bytes.count + part.bytes.count)
            bytes += part.bytes
            if let from = part.sources { sources += from }
        }
        stretch = Stretch(bytes: bytes, sources: stretch.sources == nil ? nil : sources, origin: stretch.origin)
        return result
    }

    private static func mapBytes(_ stretch: inout Stretch, _ words: [Range<Int>]) -> [Range<Int>] {
        let lengths = Normalizer.byteLevelLengths
        var result: [Range<Int>] = []
        result.reserveCapacity(words.count)
        var bytes: [UInt8] = []
        var sources: [Source] = []
        bytes.reserveCapacity(stretch.bytes.count * 2)
        for word in words {
            let start = bytes.count
            for index in word {
                Normalizer.appendByteLevel(stretch.bytes[index], to: &bytes)
                if let source = stretch.sources?[index] { sources.append(contentsOf: repeatElement(source, count: lengths[Int(stretch.bytes[index])])) }
            }
            result.append(start..<bytes.count)
        }
        stretch = Stretch(bytes: bytes, sources: stretch.sources == nil ? nil : sources, origin: stretch.origin)
        return result
    }

    private static func metaspace(
        _ stretch: inout Stretch, _ words: [Range<Int>], _ replacement: Unicode.Scalar, _ scheme: Prepend, splits: Bool
    ) throws(LorikeetError) -> [Range<Int>] {
        let mark = Array(String(replacement).utf8)
        let words = rebuilt(&stretch, words) { part in
            let isAtStart = part.sources?.first?.start == 0
            var writer = StretchWriter(part)
            var at = 0
            for (index, byte) in part.bytes.enumerated() where byte == 0x20 {
                if at < index { writer.keep(at..<index) }
                writer.substitute(index..<index + 1, with: CollectionOfOne(replacement))
                at = index + 1
            }
            if at > 0 {
                if at < part.bytes.count { writer.keep(at..<part.bytes.count) }
                part = writer.result
            }
            if scheme == .always || (scheme == .first && isAtStart), !part.bytes.starts(with: mark) { Normalizer.prepend(String(replacement), to: &part) }
        }
        guard splits else { return words }
        let bytes = stretch.bytes
        return try split(bytes, words, .mergedWithNext) { word, found throws(LorikeetError) in
            try pieces(of: word, in: bytes, .literal(mark), isInverted: false, found)
        }
    }
}
