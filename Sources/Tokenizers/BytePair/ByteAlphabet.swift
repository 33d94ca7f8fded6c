/// The alphabet of byte-level vocabularies (GPT-2's): each of the 256 bytes is written as one printable scalar, so that a
/// token list can be plain text. Printable Latin-1 stands for itself; the other 68 bytes are U+0100, U+0101, … in order
/// (a space is `Ġ`, a newline `Ċ`).
package enum ByteAlphabet {
    /// The scalar that stands for each byte.
    package static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (0..<256).map { byte -> Unicode.Scalar in
            let printable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
            if printable { return Unicode.Scalar(UInt8(byte)) }
            defer { next += 1 }
            return Unicode.Scalar(next) ?? " "
        }
    }()

    /// Byte for each scalar below U+0144, 0xFFFF where the scalar is not of the alphabet.
    private static let bytes: [UInt16] = {
        var table = [UInt16](repeating: 0xFFFF, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = UInt16(byte) }
        return table
    }()

    /// Appends the bytes that `text` stands for; false (with nothing appended) when a scalar is not of the alphabet.
    package static func append(bytesOf text: String, to result: inout [UInt8]) -> Bool {
        let (start, bytes) = (result.count, bytes)
        var text = text
        let isWritten = text.withUTF8 { text in
            var at = 0
            while at < text.count {
                let (value, length) = UTF8Scalar.read(text, at)
                guard value < bytes.count, bytes[Int(value)] != 0xFFFF else { return false }
                result.append(UInt8(truncatingIfNeeded: bytes[Int(value)]))
                at += length
            }
            return true
        }
        if !isWritten { result.removeLast(result.count - start) }
        return isWritten
    }

    /// The byte of a token `<0xNN>`.
    static func fallbackByte(_ text: String) -> UInt8? {
        var text = text
        return text.withUTF8 { bytes in
            guard bytes.count == 6, bytes.starts(with: "<0x".utf8), bytes[5] == UInt8(ascii: ">") else { return nil }
            return UInt8(String(decoding: bytes[3..<5], as: UTF8.self), radix: 16)
        }
    }

    /// The byte that a scalar stands for.
    static func byte(of value: UInt32) -> UInt8? {
        value < 0x144 && bytes[Int(value)] != 0xFFFF ? UInt8(truncatingIfNeeded: bytes[Int(value)]) : nil
    }

    /// `bytes` as a token list writes them.
    package static func text(of bytes: some Sequence<UInt8>) -> String {
        var result = String.UnicodeScalarView()
        for byte in bytes { result.append(scalars[Int(byte)]) }
        return String(result)
    }
}
