@_spi(_Unicode) import Swift

/// Unicode's composed form (NFC), by the standard library's own tables.
enum Normalization {
    /// False where the text is certainly NFC already: nothing from U+0300 on (its first byte is CC or more).
    static func mayNeedNFC(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in text where byte >= 0xCC { return true }
        return false
    }

    /// For each byte of `nfc(text)` the range of bytes in `text` that it comes from: its character's.
    static func nfcSources(_ text: UnsafeBufferPointer<UInt8>) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var at = 0
        for character in String(decoding: text, as: UTF8.self) {
            let end = at + character.utf8.count
            String(character)._nfc.forEach { scalar in
                result += repeatElement(at..<end, count: (UTF8.encode(scalar) ?? .encodedReplacementCharacter).count)
            }
            at = end
        }
        return result
    }

    static func nfc(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        String(decoding: text, as: UTF8.self)._nfc.forEach { scalar in
            result.append(contentsOf: UTF8.encode(scalar) ?? .encodedReplacementCharacter)
        }
        return result
    }
}
