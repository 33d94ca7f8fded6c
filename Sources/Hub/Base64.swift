/// Base64 (RFC 4648), which a commit's small files and samples of large ones are sent as, and check sums in a page's policy.
package enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    package static func encode(_ bytes: some Collection<UInt8>) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var group: UInt32 = 0
        var count = 0
        func put(_ digits: Int) {
            for digit in 0..<digits { text.append(alphabet[Int(group >> (18 - 6 * UInt32(digit)) & 63)]) }
        }
        for byte in bytes {
            group |= UInt32(byte) << (16 - 8 * UInt32(count))
            count += 1
            if count == 3 {
                put(4)
                (group, count) = (0, 0)
            }
        }
        if count > 0 {
            put(count + 1)
            text += [UInt8](repeating: UInt8(ascii: "="), count: 3 - count)
        }
        return String(decoding: text, as: UTF8.self)
    }
}
