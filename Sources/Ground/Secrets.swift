extension String {
    /// The text without what gives access to something, as every error and warning says it: in a web address the name and password before the
    /// host and the query, which may hold a signature, stand as `…`; so does what follows the beginning of an access token of Hugging Face's (`hf_`, `api_org_`).
    package func withoutSecrets() -> String {
        let bytes = Array(utf8)
        guard Self.mayHoldSecret(bytes) else { return self }
        var kept: [UInt8] = []
        kept.reserveCapacity(bytes.count)
        var at = 0
        while at < bytes.count {
            if let hidden = Self.hidden(in: bytes, from: at, after: kept.last) {
                kept += bytes[at..<hidden.lowerBound]
                kept += Array("…".utf8)
                at = hidden.upperBound
            } else {
                kept.append(bytes[at])
                at += 1
            }
        }
        return String(decoding: kept, as: UTF8.self)
    }

    private static let addresses = ["https://", "http://"].map { Array($0.utf8) }
    /// Shorter words of this form are names of variables and files.
    private static let tokens = ["hf_", "api_org_"].map { Array($0.utf8) }
    private static let shortestToken = 16
    private static let beginnings = ["://", "hf_", "org"].map { Array($0.utf8) }
    private static let ends = Set("\"'`<>() \t\r\n".utf8)

    /// Nearly every text holds none of them: it is looked through once.
    private static func mayHoldSecret(_ bytes: [UInt8]) -> Bool {
        return bytes.indices.dropLast(2).contains { at in
            beginnings.contains { bytes[at] == $0[0] && bytes[at + 1] == $0[1] && bytes[at + 2] == $0[2] }
        }
    }

    private static func starts(_ bytes: [UInt8], _ at: Int, with word: [UInt8], anyCase: Bool) -> Bool {
        guard bytes.count - at >= word.count else { return false }
        return word.indices.allSatisfy { bytes[at + $0] == word[$0] || anyCase && bytes[at + $0] | 0x20 == word[$0] }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    /// What is to be hidden of an address or token that begins at `at`; nil where neither does.
    private static func hidden(in bytes: [UInt8], from at: Int, after last: UInt8?) -> Range<Int>? {
        guard last.map(isLetterOrDigit) != true else { return nil }
        for word in tokens where starts(bytes, at, with: word, anyCase: false) {
            let start = at + word.count
            let end = bytes[start...].firstIndex { !isLetterOrDigit($0) } ?? bytes.count
            return end - start >= shortestToken ? start..<end : nil
        }
        for word in addresses where starts(bytes, at, with: word, anyCase: true) {
            let start = at + word.count
            let end = bytes[start...].firstIndex { ends.contains($0) } ?? bytes.count
            let host = bytes[start..<end].firstIndex { "/?#".utf8.contains($0) } ?? end
            if let sign = bytes[start..<host].lastIndex(of: UInt8(ascii: "@")) { return start..<sign }
            guard let query = bytes[host..<end].firstIndex(of: UInt8(ascii: "?")), query + 1 < end else { return nil }
            return query + 1..<end
        }
        return nil
    }
}
