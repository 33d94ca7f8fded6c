@_spi(_Unicode) import Swift

/// Unicode's composed form (NFC), by the standard library's own tables.
enum Normalization {
    /// False where the text is certainly NFC already: nothing from U+0300 on (its first byte is CC or more).
    static func mayNeedNFC(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in text where byte >= 0xCC { return true }
        return false
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
