extension Tokenizer {
    /// Decodes ids one by one as they are generated; a token that ends inside a character is held back until it is whole.
    ///
    /// The pieces, `finish()` included, joined are `decode` of all ids.
    package struct StreamDecoder: Sendable {
        private let model: BytePairModel
        private let skipSpecial: Bool
        private var stripsSpace: Bool
        private var held: [UInt8] = []

        package init(_ tokenizer: Tokenizer, skipSpecial: Bool = false) {
            model = tokenizer.model
            self.skipSpecial = skipSpecial
            stripsSpace = tokenizer.model.rules.stripsLeadingSpace
        }

        /// The text that `id` completes; empty while a character is incomplete.
        package mutating func append(_ id: Int32) -> String {
            model.append(bytesOf: id, skipSpecial: skipSpecial, stripsSpace: &stripsSpace, to: &held)
            let whole = held.count - Self.incompleteTail(held)
            defer { held.removeFirst(whole) }
            return String(decoding: held[0..<whole], as: UTF8.self)
        }

        /// What is left at the end, an incomplete character as U+FFFD.
        package mutating func finish() -> String {
            defer { held.removeAll() }
            return String(decoding: held, as: UTF8.self)
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
