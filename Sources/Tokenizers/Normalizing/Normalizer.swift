import LorikeetGround

/// What a text goes through before it is cut into words: the steps of a tokenizer.json's normaliser, in order.
struct Normalizer: Sendable {
    enum Step: Sendable {
        case form(UnicodeForms.Form)
        case lowercase
        case strip(left: Bool, right: Bool)
        /// Leaves out marks.
        case stripAccents
        case prepend(String)
        case replace(TextPattern, content: String)
        case charsmap(Charsmap)
        /// Every byte becomes its scalar of `ByteAlphabet`.
        case byteLevel
        case bert(BertNormalization)
        case nmt
        /// SentencePiece's own, of a `tokenizer.model`.
        case sentencePiece(SentencePieceNormalization)
    }

    var steps: [Step] = []

    /// False where the text certainly stays as it is.
    func mayChange(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        steps.contains { step in
            switch step {
            case .form(let form): UnicodeForms.shared.mayChange(text, form)
            case .charsmap(let map): map.mayChange(text)
            case .replace(.literal(let literal), _): TextPattern.contains(literal, text)
            default: true
            }
        }
    }

    /// - Throws: exit 2 where an expression takes too many steps.
    func apply(to stretch: inout Stretch) throws(LorikeetError) {
        for step in steps { try Self.apply(step, to: &stretch) }
    }

    private static func apply(_ step: Step, to stretch: inout Stretch) throws(LorikeetError) {
        switch step {
        case .form(let form): UnicodeForms.shared.apply(form, to: &stretch)
        case .lowercase: lowercase(&stretch)
        case .strip(let left, let right): strip(&stretch, left: left, right: right)
        case .stripAccents: stretch.filter { !isMark($0) }
        case .prepend(let text): prepend(text, to: &stretch)
        case .replace(let pattern, let content): try replace(pattern, with: content, in: &stretch)
        case .charsmap(let map): map.apply(to: &stretch)
        case .byteLevel: byteLevel(&stretch)
        case .bert(let bert): bert.apply(to: &stretch)
        case .nmt: nmt(&stretch)
        case .sentencePiece(let rules): rules.apply(to: &stretch)
        }
    }

    static func lowercase(_ stretch: inout Stretch) {
        stretch.map { value, emit in
            if value < 0x80 {
                emit((0x41...0x5A).contains(value) ? value | 0x20 : value)
            } else if let scalar = Unicode.Scalar(value) {
                for lower in scalar.properties.lowercaseMapping.unicodeScalars { emit(lower.value) }
            } else {
                emit(value)
            }
        }
    }

    private static func strip(_ stretch: inout Stretch, left: Bool, right: Bool) {
        var scalars: [UInt32] = []
        stretch.bytes.withUnsafeBufferPointer { UTF8Scalar.forEach($0) { value, _ in scalars.append(value) } }
        var first = 0
        var last = scalars.count
        while left, first < last, isSpace(scalars[first]) { first += 1 }
        while right, last > first, isSpace(scalars[last - 1]) { last -= 1 }
        guard first > 0 || last < scalars.count else { return }
        stretch.apply(scalars[first..<last].map { ScalarChange($0, 0) }, removedFirst: first)
    }

    static func prepend(_ text: String, to stretch: inout Stretch) {
        guard let first = stretch.bytes.first else { return }
        let length = UTF8Scalar.length(first)
        // The new scalars and the one that follows them have that one's source.
        let added = Array(text.utf8)
        stretch.bytes.insert(contentsOf: added, at: 0)
        if let source = stretch.sources?.first, let old = stretch.sources?.dropFirst(length) {
            stretch.sources = Array(repeating: source, count: added.count + length) + old
        }
    }

    private static func replace(_ pattern: TextPattern, with content: String, in stretch: inout Stretch) throws(LorikeetError) {
        var ranges: [Range<Int>] = []
        let bytes = stretch.bytes
        try pattern.forEachMatch(in: bytes) { ranges.append($0) }
        guard !ranges.isEmpty else { return }
        let scalars = Array(content.unicodeScalars)
        var writer = StretchWriter(stretch)
        var at = 0
        for range in ranges {
            if at < range.lowerBound { writer.keep(at..<range.lowerBound) }
            writer.substitute(range, with: scalars)
            at = range.upperBound
        }
        if at < bytes.count { writer.keep(at..<bytes.count) }
        stretch = writer.result
    }

    static func byteLevel(_ stretch: inout Stretch) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(stretch.bytes.count * 2)
        var sources: [Source] = []
        for (index, byte) in stretch.bytes.enumerated() {
            appendByteLevel(byte, to: &bytes)
            if let source = stretch.sources?[index] { sources.append(contentsOf: repeatElement(source, count: byteLevelLengths[Int(byte)])) }
        }
        stretch = Stretch(bytes: bytes, sources: stretch.sources == nil ? nil : sources, origin: stretch.origin)
    }

    /// Bytes of UTF-8 of each byte's scalar.
    static let byteLevelLengths = ByteAlphabet.scalars.map { $0.value < 0x80 ? 1 : 2 }

    @inline(__always)
    static func appendByteLevel(_ byte: UInt8, to bytes: inout [UInt8]) { UTF8Scalar.append(ByteAlphabet.scalars[Int(byte)].value, to: &bytes) }

    private static func nmt(_ stretch: inout Stretch) {
        stretch.filter { value in
            switch value {
            case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: false
            default: true
            }
        }
        stretch.map { value, emit in
            switch value {
            case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: emit(0x20)
            default: emit(value)
            }
        }
    }

    static func isSpace(_ value: UInt32) -> Bool { Unicode.Scalar(value)?.properties.isWhitespace ?? false }

    static func isMark(_ value: UInt32) -> Bool {
        switch Unicode.Scalar(value)?.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: true
        default: false
        }
    }
}

/// BERT's normaliser.
struct BertNormalization: Sendable {
    var cleansText: Bool
    var spacesChinese: Bool
    var stripsAccents: Bool
    var lowercases: Bool

    func apply(to stretch: inout Stretch) {
        if cleansText {
            stretch.filter { $0 != 0 && $0 != 0xFFFD && !Self.isControl($0) }
            stretch.map { value, emit in emit(Normalizer.isSpace(value) ? 0x20 : value) }
        }
        if spacesChinese {
            stretch.map { value, emit in
                guard Self.isChinese(value) else { return emit(value) }
                emit(0x20)
                emit(value)
                emit(0x20)
            }
        }
        if stripsAccents {
            UnicodeForms.shared.apply(.nfd, to: &stretch)
            stretch.filter { Unicode.Scalar($0)?.properties.generalCategory != .nonspacingMark }
        }
        if lowercases { Normalizer.lowercase(&stretch) }
    }

    private static func isControl(_ value: UInt32) -> Bool {
        if value == 0x09 || value == 0x0A || value == 0x0D { return false }
        switch Unicode.Scalar(value)?.properties.generalCategory {
        case .control, .format, .privateUse, .surrogate, nil: return true
        default: return false
        }
    }

    private static func isChinese(_ value: UInt32) -> Bool {
        switch value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F, 0x2B920...0x2CEAF, 0xF900...0xFAFF,
            0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}

/// The normaliser of a SentencePiece model, as its library applies it; spaces stay spaces (`▁` is written for them in the vocabulary alone).
struct SentencePieceNormalization: Sendable {
    var charsmap: Charsmap?
    var addsPrefix: Bool
    /// Runs of spaces become one, none stays at either end.
    var removesExtraSpaces: Bool
    /// The prefix is put behind the text.
    var prefixIsSuffix = false
    /// Texts that pass unchanged: user-defined pieces.
    var verbatim = ByteTrie([])
    /// Text that follows an added token gets no prefix.
    var prefixOnlyAtStart = false

    func apply(to stretch: inout Stretch) {
        guard !stretch.bytes.isEmpty else { return }
        let puts = addsPrefix && (!prefixOnlyAtStart || stretch.origin == 0)
        var writer = SpacedWriter(stretch, removesExtraSpaces: removesExtraSpaces, prefix: puts && !prefixIsSuffix)
        stretch.bytes.withUnsafeBufferPointer { text in
            var at = 0
            while at < text.count {
                let plain = plainEnd(text, from: at)
                if plain > at {
                    writer.copy(text, at..<plain)
                    at = plain
                    continue
                }
                let (length, new) = step(text, at)
                writer.write(new, for: at..<at + length)
                at += length
            }
        }
        stretch = writer.finished(suffix: puts && prefixIsSuffix)
    }

    /// The end of what stays as it is from `start` on, but for spaces.
    @inline(__always)
    private func plainEnd(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var at = start
        while at < text.count {
            let first = text[at]
            if verbatim.startsWith(first) || first == 0xE2 { break }
            if let charsmap, charsmap.mayReplace(first, at + 1 < text.count ? text[at + 1] : 0) { break }
            at += UTF8Scalar.length(first)
        }
        return min(at, text.count)
    }

    /// What stands at `at`, and what it becomes. `▁` of the text is a space to the vocabulary.
    private func step(_ text: UnsafeBufferPointer<UInt8>, _ at: Int) -> (length: Int, new: ArraySlice<UInt8>) {
        if let match = verbatim.longest(text, at) { return (match.length, ArraySlice(text[at..<at + match.length])) }
        if let (length, replacement) = charsmap?.longest(text, at: at) { return (length, replacement) }
        let length = min(UTF8Scalar.length(text[at]), text.count - at)
        return (length, ArraySlice(text[at..<at + length]))
    }
}

/// Writes a text without the spaces that SentencePiece leaves out.
private struct SpacedWriter {
    private let old: Stretch
    private let removesExtraSpaces: Bool
    private var hasPrefix: Bool
    private var bytes: [UInt8] = []
    private var sources: [Source]?
    private var wasSpace: Bool

    init(_ old: Stretch, removesExtraSpaces: Bool, prefix: Bool) {
        self.old = old
        self.removesExtraSpaces = removesExtraSpaces
        hasPrefix = prefix
        wasSpace = removesExtraSpaces
        bytes.reserveCapacity(old.bytes.count + 8)
        if old.sources != nil { sources = [] }
        if prefix {
            bytes.append(0x20)
            sources?.append(Source(start: 0, end: 0))
        }
    }

    /// Takes over bytes that stay as they are, spaces aside.
    mutating func copy(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
        if !removesExtraSpaces {
            bytes.append(contentsOf: text[range])
            if let from = old.sources { sources?.append(contentsOf: from[range]) }
            return
        }
        for index in range {
            let isSpace = text[index] == 0x20
            if isSpace, wasSpace { continue }
            bytes.append(text[index])
            if let from = old.sources { sources?.append(from[index]) }
            wasSpace = isSpace
        }
    }

    mutating func write(_ new: ArraySlice<UInt8>, for range: Range<Int>) {
        var new = new
        while wasSpace, new.first == 0x20 { new = new.dropFirst() }
        guard !new.isEmpty else { return }
        wasSpace = removesExtraSpaces && new.last == 0x20
        let before = bytes.count
        bytes.append(contentsOf: TextPattern.metaspacesToSpaces(Array(new)))
        if let from = old.sources {
            sources?.append(
                contentsOf: repeatElement(Source(start: from[range.lowerBound].start, end: from[range.upperBound - 1].end), count: bytes.count - before))
        }
    }

    mutating func finished(suffix: Bool) -> Stretch {
        let first = hasPrefix ? 1 : 0
        while removesExtraSpaces, bytes.count > first, bytes.last == 0x20 {
            bytes.removeLast()
            sources?.removeLast()
        }
        if bytes.count == first { return Stretch(bytes: [], sources: sources == nil ? nil : [], origin: old.origin) }
        if hasPrefix, let source = sources?[1] { sources?[0] = source }
        if suffix {
            bytes.append(0x20)
            if let source = sources?.last { sources?.append(source) }
        }
        return Stretch(bytes: bytes, sources: sources, origin: old.origin)
    }
}
