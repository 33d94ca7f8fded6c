/// Paths by their bytes, as file systems take them.
///
/// Swift's characters are no measure of a path: a combining mark behind a slash (`/` and U+0338) makes another character of both, so that neither
/// `contains("/")` nor `split(separator: "/")` finds the slash, and the file system does.
extension StringProtocol {
    /// Whether it is more than a bare name.
    package var holdsSlash: Bool { utf8.contains(Self.slash) }

    /// Whether the path begins at the root.
    package var isAbsolutePath: Bool { utf8.first == Self.slash }

    /// What stands between slashes, without what is empty.
    package var pathParts: [String] { bytes.split(separator: Self.slash).compactMap { String($0) } }

    /// What stands behind the last slash that is not at the end; nil where there is nothing but slashes.
    package var lastPathPart: String? { bytes.split(separator: Self.slash).last.flatMap { String($0) } }

    /// What stands before the last slash; nil for a bare name.
    package var beforeLastSlash: String? { bytes.lastIndex(of: Self.slash).flatMap { String(bytes[..<$0]) } }

    /// Whether a name that a file or a hub gives may be a path in a folder: relative, without `.` and `..`, of characters that a path can have, and not
    /// longer than file systems take.
    package var isPathInFolder: Bool {
        guard utf8.count <= 1024, utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }) else { return false }
        return utf8.split(separator: Self.slash, omittingEmptySubsequences: false).allSatisfy {
            !$0.isEmpty && $0.count <= 255 && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
        }
    }

    /// Whether a name that a file or a hub gives may be a file's name in a folder.
    package var isNameInFolder: Bool { isPathInFolder && !holdsSlash }

    private var bytes: Substring.UTF8View { Substring(self).utf8 }
    private static var slash: UInt8 { UInt8(ascii: "/") }
}
