extension Tokenizer {
    /// Decodes ids one by one as they are generated; a token that ends inside a character is held back until it is whole, and byte tokens
    /// (`<0xNN>`) until their run ends, for a run that is not UTF-8 is replaced as a whole.
    ///
    /// The pieces, `finish()` included, joined are `decode` of all ids.
    package struct StreamDecoder: Sendable {
        private let core: TokenizerCore
        private let skipSpecial: Bool
        private var isFirst = true
        /// Spaces at the start that are still to be dropped.
        private var stripsSpaces: Int
        /// A piece loses a space at its start, for nothing stands before it.
        private var stripsLeadingSpaces: Bool
        /// Byte tokens whose run has not ended.
        private var run: [UInt8] = []
        private var held: [UInt8] = []
        /// The token before, where tokens are not decoded each by itself.
        private var previous: [UInt8]?

        package init(_ tokenizer: Tokenizer, skipSpecial: Bool = false) {
            core = tokenizer.core
            self.skipSpecial = skipSpecial
            stripsSpaces = core.decoded?.stripsSpaces ?? 0
            stripsLeadingSpaces = core.decoded?.stripsLeadingSpaces ?? false
        }

        /// Whether every token has bytes of its own.
        var joins: Bool { core.decoded != nil }

        /// The text that `id` completes; empty while a character is incomplete.
        package mutating func append(_ id: Int32) -> String {
            guard joins else { return appendBySteps(id) }
            var held = take()
            append(bytesOf: id, to: &held)
            let whole = held.count - Self.incompleteTail(held)
            self.held = Array(held[whole...])
            return String(decoding: held[0..<whole], as: UTF8.self)
        }

        /// What is left at the end, an incomplete character as U+FFFD.
        package mutating func finish() -> String {
            var held = take()
            appendRest(to: &held)
            return String(decoding: held, as: UTF8.self)
        }

        private mutating func take() -> [UInt8] {
            defer { held = [] }
            return held
        }

        /// Appends what `id` decodes to behind the tokens before it.
        mutating func append(bytesOf id: Int32, to bytes: inout [UInt8]) {
            guard let decoded = core.decoded, id >= 0, Int(id) < decoded.table.count, !(skipSpecial && core.isSpecial(id)) else { return }
            let piece = decoded.bytes(of: id, isFirst: isFirst)
            isFirst = false
            if decoded.isByte[Int(id)] {
                run += piece
            } else {
                appendRest(to: &bytes)
                append(piece, to: &bytes)
            }
        }

        /// Appends the byte tokens that wait.
        mutating func appendRest(to bytes: inout [UInt8]) {
            guard !run.isEmpty else { return }
            append(TokenDecoder.textOfBytes(run)[...], to: &bytes)
            run.removeAll()
        }

        private mutating func append(_ piece: ArraySlice<UInt8>, to bytes: inout [UInt8]) {
            var piece = piece
            if stripsLeadingSpaces {
                if piece.first == 0x20 { piece = piece.dropFirst() }
                stripsLeadingSpaces = piece.isEmpty
            }
            while stripsSpaces > 0, let first = piece.first {
                if first == 0x20 {
                    piece = piece.dropFirst()
                    stripsSpaces -= 1
                } else {
                    stripsSpaces = 0
                }
            }
            bytes.append(contentsOf: piece)
        }

        /// What `id` adds to the text of the token before it.
        private mutating func appendBySteps(_ id: Int32) -> String {
            guard core.texts.indices.contains(Int(id)), !(skipSpecial && core.isSpecial(id)) else { return "" }
            let token = core.decoderText(of: id)
            defer { previous = token }
            guard let previous else { return String(decoding: core.decoder.decode([token]), as: UTF8.self) }
            let before = core.decoder.decode([previous])
            let both = core.decoder.decode([previous, token])
            return String(decoding: both.dropFirst(before.count), as: UTF8.self)
        }

        /// How many bytes at the end could still become one character (0 to 3).
        private static func incompleteTail(_ bytes: [UInt8]) -> Int {
            for back in 1...3 where back <= bytes.count {
                let byte = bytes[bytes.count - back]
                if byte & 0xC0 == 0x80 { continue }
                let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1
                return back < length && byte <= 0xF4 ? back : 0
            }
            return 0
        }
    }
}
