import CHub

/// SHA-256 or SHA-1 of bytes that come in pieces: the names that a hub gives to the content of files.
package struct ContentDigest {
    package enum Kind: Int32 { case sha1 = 1, sha256 = 256 }

    private var sha = lorikeet_sha()

    package init(_ kind: Kind) { lorikeet_sha_begin(&sha, kind.rawValue) }

    package mutating func add(_ bytes: UnsafeRawBufferPointer) { lorikeet_sha_add(&sha, bytes.baseAddress, bytes.count) }
    package mutating func add(_ text: String) { Array(text.utf8).withUnsafeBytes { add($0) } }

    /// In small hexadecimal digits. No bytes may follow.
    package mutating func finish() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        lorikeet_sha_end(&sha, &digest)
        return digest.prefix(sha.kind == Kind.sha256.rawValue ? 32 : 20).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
