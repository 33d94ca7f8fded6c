import Foundation
import LorikeetGround
import Testing

/// Paths are taken apart by bytes: a combining mark behind a slash makes one of Swift's characters of both.
struct PathsTests {
    private static let mark = "\u{338}"

    @Test func `a slash before a combining mark is a slash`() {
        let path = "a/" + Self.mark + "b"
        #expect(!path.contains("/") && path.holdsSlash && !"ab".holdsSlash)
        #expect(path.pathParts.map { Array($0.utf8) } == [Array("a".utf8), Array((Self.mark + "b").utf8)])
        #expect(path.beforeLastSlash == "a" && path.lastPathPart.map { Array($0.utf8) } == Array((Self.mark + "b").utf8))
        #expect(("/" + Self.mark).isAbsolutePath && !("a/" + Self.mark).isAbsolutePath && !"".isAbsolutePath)
        #expect(path.isPathInFolder && !path.isNameInFolder && ("a" + Self.mark).isNameInFolder)
        #expect(!("../" + Self.mark + "b").isPathInFolder && !("/" + Self.mark + "b").isPathInFolder && !("a/../" + Self.mark).isPathInFolder)
        #expect("//a//b/".pathParts == ["a", "b"] && "//".lastPathPart == nil && "a".beforeLastSlash == nil && "/a".beforeLastSlash == "")
    }

    @Test func `folders above a path are found by its bytes`() {
        #expect(RealFiles.parent(of: "a/" + Self.mark + "b") == "a" && RealFiles.parent(of: "/" + Self.mark + "b") == "/")
        #expect(RealFiles.parent(of: "a") == "." && RealFiles.parent(of: "/a") == "/" && RealFiles.parent(of: "a/b//") == "a")
        #expect(RealFiles.trimmed("a//") == "a" && RealFiles.trimmed("/") == "/" && RealFiles.trimmed("a/" + Self.mark) == "a/" + Self.mark)
        #expect(RealFiles.absolute("/a/../" + Self.mark + "b") == "/" + Self.mark + "b" && RealFiles.absolute("/" + Self.mark + "b/..") == "/")
    }

    @Test func `a folder's marker names nothing outside of it`() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "paths-" + UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: root) }
        let files = RealFiles()
        try files.createDirectory(root + "/x")
        for name in [Self.mark + "kept", "kept"] { try files.writeDurably("a user's", to: root + "/" + name) }
        try files.writeDurably("mine", to: root + "/x/made")
        try files.writeDurably("made\n../\(Self.mark)kept\n../kept\n/\(Self.mark)etc\n", to: root + "/x/" + PendingFolder.marker)
        #expect(try PendingFolder.clear(root + "/x", files: files))
        #expect(try files.list(root).count == 2)
    }
}
