/// An http or https address, as far as a hub's client needs it.
package struct WebAddress: Sendable, Equatable {
    package let scheme: String
    /// In small letters; an IPv6 address stands in brackets.
    package let host: String
    package let port: Int
    /// From the first slash on, with the query; never empty.
    package let target: String

    /// nil for anything else, and for an address with a user name or a password, which would be shown and sent on.
    package init?(_ text: String) {
        guard let colon = text.firstRange(of: "://"), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        let scheme = text[..<colon.lowerBound].lowercased()
        guard scheme == "https" || scheme == "http" else { return nil }
        let rest = text[colon.upperBound...]
        let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
        let authority = rest[..<end].lowercased()
        guard !authority.contains("@"), !authority.contains("\\") else { return nil }
        var target = String(rest[end...].prefix { $0 != "#" })
        if !target.hasPrefix("/") { target = "/" + target }
        let standard = scheme == "https" ? 443 : 80
        let afterHost = authority.hasPrefix("[") ? authority.firstIndex(of: "]").map(authority.index(after:)) : authority.firstIndex(of: ":")
        let host = String(authority[..<(afterHost ?? authority.endIndex)])
        let portText = afterHost.map { authority[$0...] } ?? ""
        guard !host.isEmpty, host.hasPrefix("[") == host.hasSuffix("]"), portText.isEmpty || portText.hasPrefix(":") else { return nil }
        guard portText.count < 2 || Int(portText.dropFirst()).map({ (1...65535).contains($0) }) == true else { return nil }
        (self.scheme, self.host, self.target) = (scheme, host, target)
        port = portText.count < 2 ? standard : Int(portText.dropFirst()) ?? standard
    }

    /// `https://host`, with the port where it is not the scheme's own.
    package var origin: String { "\(scheme)://\(host)" + (port == (scheme == "https" ? 443 : 80) ? "" : ":\(port)") }
    package var text: String { origin + target }

    /// Whether both are answered by the same server over the same kind of connection.
    package func hasOrigin(of other: WebAddress) -> Bool { (scheme, host, port) == (other.scheme, other.host, other.port) }

    /// This machine itself: nothing that is sent leaves it.
    package var isLocal: Bool {
        if ["localhost", "[::1]"].contains(host) { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// The address that a `Location` header of this address leads to; nil where that is not a web address.
    package func following(_ location: String) -> WebAddress? {
        if location.hasPrefix("//") { return WebAddress(scheme + ":" + location) }
        if location.hasPrefix("/") { return WebAddress(origin + location) }
        if location.contains("://") { return WebAddress(location) }
        let folder = target.prefix { $0 != "?" }
        return WebAddress(origin + folder[..<(folder.lastIndex(of: "/") ?? folder.startIndex)] + "/" + location)
    }

    /// A text as a part of a path or query: every byte but letters, digits and `-._~` as `%XX`.
    ///
    /// - Parameter slashes: leave `/` as it is.
    package static func escaped(_ text: String, slashes: Bool = false) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: "/") where slashes: result += "/"
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                result += byte < 16 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return result
    }
}
