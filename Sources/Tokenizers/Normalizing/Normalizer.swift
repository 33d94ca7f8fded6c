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

    /// The same with memory of its own: see `Tokenizer.forOneThread`.
    func forOneThread() -> Normalizer {
        Normalizer(
            steps: steps.map { step in
                if case .replace(let pattern, let content) = step { .replace(pattern.forOneThread(), content: content) } else { step }
            })
    }

    /// The one step of a SentencePiece model.
    var sentencePiece: SentencePieceNormalization? {
        if steps.count == 1, case .sentencePiece(let rules) = steps[0] { rules } else { nil }
    }

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

    /// - Throws: exit 2 where an expression takes too many steps, or the text becomes too long (see `Stretch.requireLength`).
    func apply(to stretch: inout Stretch) throws(LorikeetError) {
        let before = stretch.bytes.count
        for step in steps {
            try Self.apply(step, to: &stretch, before: before)
            try Stretch.requireLength(stretch.bytes.count, of: before)
        }
    }

    private static func apply(_ step: Step, to stretch: inout Stretch, before: Int) throws(LorikeetError) {
        switch step {
        case .form(let form): UnicodeForms.shared.apply(form, to: &stretch)
        case .lowercase: lowercase(&stretch)
        case .strip(let left, let right): strip(&stretch, left: left, right: right)
        case .stripAccents: stretch.filter { !ScalarSet.marks.contains($0) }
        case .prepend(let text): prepend(text, to: &stretch)
        case .replace(let pattern, let content): try replace(pattern, with: content, in: &stretch, before: before)
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
        while left, first < last, ScalarSet.spaces.contains(scalars[first]) { first += 1 }
        while right, last > first, ScalarSet.spaces.contains(scalars[last - 1]) { last -= 1 }
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

    private static func replace(_ pattern: TextPattern, with content: String, in stretch: inout Stretch, before: Int) throws(LorikeetError) {
        var ranges: [Range<Int>] = []
        let bytes = stretch.bytes
        try pattern.forEachMatch(in: bytes) { ranges.append($0) }
        guard !ranges.isEmpty else { return }
        try Stretch.requireLength(Saturating.product(ranges.count, content.utf8.count), of: before)
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
            stretch.map { value, emit in emit(ScalarSet.spaces.contains(value) ? 0x20 : value) }
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
            stretch.filter { !ScalarSet.nonspacingMarks.contains($0) }
        }
        if lowercases { Normalizer.lowercase(&stretch) }
    }

    private static func isControl(_ value: UInt32) -> Bool {
        if value == 0x09 || value == 0x0A || value == 0x0D { return false }
        return ScalarSet.controls.contains(value)
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
