import FailingFiles
import Foundation
import Testing

@testable import LorikeetGround

struct FilesTests {
    private func folder() throws -> String {
        let url = FileManager.default.temporaryDirectory.appending(path: "ground-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        return url.path
    }

    @Test func `a durable write replaces the file and leaves nothing beside it`() throws {
        let path = try folder()
        let files = RealFiles()
        try files.writeDurably("old", to: path + "/a")
        try files.writeDurably("new", to: path + "/a")
        #expect(try files.readText(path + "/a") == "new")
        #expect(try files.list(path) == ["a"])
    }

    @Test func `a file that the disk begins to write early has all its bytes`() throws {
        let path = try folder() + "/a"
        let piece = (0..<(5 << 20) + 3).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let writer = try RealFiles().create(path)
        for _ in 0..<15 { try piece.withUnsafeBytes { try writer.write($0) } }
        try writer.sync()
        try writer.close()
        let found = try RealFiles().read(path)
        #expect(found.count == 15 * piece.count)
        #expect(stride(from: 0, to: found.count, by: piece.count).allSatisfy { found[$0...].prefix(piece.count).elementsEqual(piece) })
        try RealFiles().remove(path)
    }

    @Test func `a full disk leaves the old file as it was`() throws {
        let path = try folder()
        try RealFiles().writeDurably("old", to: path + "/a")
        let error = #expect(throws: LorikeetError.self) { try FullDisk(bytes: 2).writeDurably("longer than two", to: path + "/a") }
        #expect(error?.exit == .machineFailed)
        #expect(try RealFiles().readText(path + "/a") == "old")
        #expect(try RealFiles().list(path) == ["a"])
    }

    @Test func `a missing file is unusable input with its path`() {
        let error = #expect(throws: LorikeetError.self) { try RealFiles().read("/no/such/file") }
        #expect(error?.exit == .unusableInput && error?.place == "/no/such/file")
    }

    @Test func `an output needs a name that fits, in a folder or where one can be made`() throws {
        let path = try folder()
        let files = RealFiles()
        try files.writeDurably("mine", to: path + "/file")
        try files.requireNew(path + "/new")
        try files.requireNew(path + "/no/such/folder/new")
        try files.requireNew(path + "/" + String(repeating: "x", count: 220))
        for (output, word) in [
            ("", "no name"), (path, "a folder of this name"), (path + "/file", "a file of this name"), (path + "/file/new", "no folder"),
            (path + "/file/a/b/c", "no folder"), (path + "/" + String(repeating: "x", count: 221), "longer"),
            (path + "/" + String(repeating: "x", count: 300) + "/new", "longer"),
        ] {
            let error = #expect(throws: LorikeetError.self) { try files.requireNew(output) }
            #expect(error?.exit == .unusableInput && error?.what.contains(word) == true, "\(output): \(error?.what ?? "")")
        }
        #expect(mkfifo(path + "/pipe", 0o600) == 0)
        #expect(symlink("file", path + "/link") == 0)
        #expect(["file", "pipe", "link", "none", ""].map { files.isRegular(path + "/" + $0) } == [true, false, false, false, false])
    }

    @Test func `what is no file is refused at once`() throws {
        let path = try folder()
        #expect(mkfifo(path + "/pipe", 0o600) == 0)
        for name in ["/pipe", ""] {
            let error = #expect(throws: LorikeetError.self) { try RealFiles().read(path + name) }
            #expect(error?.exit == .unusableInput && error?.place == path + name)
        }
    }

    @Test func `what fails to be read is the machine's failure, what is missing or forbidden the user's`() throws {
        for code in [EIO, ESTALE, EMFILE, ENOMEM, ETIMEDOUT] { #expect(unreadable("x", code).exit == .machineFailed, "\(code)") }
        for code in [ENOENT, ENOTDIR, EACCES, EISDIR] { #expect(unreadable("x", code).exit == .unusableInput, "\(code)") }
        let path = try folder() + "/short"
        try RealFiles().writeDurably("four", to: path)
        let error = #expect(throws: LorikeetError.self) {
            try withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { try RealFiles().map(path).read(at: 2, into: $0) }
        }
        #expect(error?.exit == .machineFailed && error?.place == path + " at byte 4", "\(String(describing: error))")
        #expect(#expect(throws: LorikeetError.self) { try RealFiles().list("/no/such/folder") }?.exit == .unusableInput)
    }

    @Test func `directories are made with parents and removed only when they are empty`() throws {
        let path = try folder()
        let files = RealFiles()
        try files.createDirectory(path + "/a/b/c")
        try files.writeDurably("x", to: path + "/a/b/c/d")
        try files.createDirectory(path + "/a/b/c")
        #expect(throws: LorikeetError.self) { try files.remove(path + "/a") }
        for name in ["a/b/c/d", "a/b/c", "a/b", "a", "not/there"] { try files.remove(path + "/" + name) }
        #expect(try files.list(path).isEmpty)
        #expect(try files.freeBytes(at: path + "/not/there/yet") > 0)
    }

    @Test(arguments: [("15GiB", 16_106_127_360), ("8.2GiB", 8_804_682_956), ("500MB", 500_000_000), ("1024", 1024), ("1 k", 1024)])
    func `sizes read as people write them`(text: String, bytes: Int) throws { #expect(try Units.parseBytes(text) == Int64(bytes)) }

    @Test(arguments: [("9h", 32400.0), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("20", 20), ("1d", 86400)])
    func `durations read as people write them`(text: String, seconds: Double) throws { #expect(try Units.parseSeconds(text) == seconds) }

    @Test(arguments: ["", "h", "9x", "1h30", "-5m", "GiB", "many", "inf", "nan", "1e300", "1e300h", "-inf"])
    func `what is no unit is refused`(text: String) {
        #expect(throws: LorikeetError.self) { try Units.parseSeconds(text) }
        #expect(throws: LorikeetError.self) { try Units.parseBytes(text) }
    }

    @Test func `a number is padded with zeros to a width, and keeps all its digits`() {
        #expect(7.zeroPadded(to: 5) == "00007" && 123_456.zeroPadded(to: 5) == "123456" && 0.zeroPadded(to: 1) == "0")
    }

    @Test func `units print three figures`() {
        #expect(Units.formatBytes(1_567_000_000) == "1.46 GiB")
        #expect(Units.formatBytes(300) == "300 B")
        #expect(Units.formatSeconds(3840) == "1 h 04 min")
        #expect(Units.formatSeconds(200) == "3 min 20 s")
        #expect(Units.formatSeconds(1e300) == "more than a thousand years" && Units.formatSeconds(.infinity) == "?")
        #expect(Units.formatSeconds(-1e300) == "0.0 s" && Units.formatBytes(.max) == "8388608 TiB" && Units.formatBytes(.min) == "-8388608 TiB")
    }

    @Test func `a link that leads nowhere is there, and no directory is made through it`() throws {
        let path = try folder()
        let files = RealFiles()
        #expect(symlink("/no/such/folder", path + "/link") == 0)
        #expect(files.exists(path + "/link") && files.isLink(path + "/link") && !files.isLink(path) && !files.exists(path + "/other"))
        for name in ["/link", "/link/inside"] {
            let error = #expect(throws: LorikeetError.self) { try files.createDirectory(path + name) }
            #expect(error?.exit == .machineFailed && error?.description.contains("cannot be made") == true, "\(String(describing: error))")
        }
        #expect(try files.freeBytes(at: path + "/link/inside") > 0)
    }

    @Test func `a quota counts what its folder holds, and only for places in it`() throws {
        let path = try folder()
        try RealFiles().createDirectory(path + "/kept/sub")
        try RealFiles().writeDurably([UInt8](repeating: 1, count: 700), to: path + "/kept/sub/a")
        try RealFiles().writeDurably([UInt8](repeating: 1, count: 200), to: path + "/kept/b")
        #expect(try RealFiles().createLink(path + "/kept/link", to: "sub/a"))
        let files = RealFiles(quotas: [FolderQuota(path: path + "/kept", bytes: 1000)])
        for place in ["/kept", "/kept/out/new", "/./kept//sub/../x"] { #expect(try files.freeBytes(at: path + place) == 100, "\(place)") }
        #expect(try files.freeBytes(at: path) > 1_000_000 && files.freeBytes(at: path + "/kept-not") > 1_000_000)
        #expect(try RealFiles(quotas: [FolderQuota(path: path + "/kept", bytes: 10)]).freeBytes(at: path + "/kept") == 0)
        // A file that may not be read has its size all the same.
        #expect(chmod(path + "/kept/b", 0) == 0)
        #expect(try files.freeBytes(at: path + "/kept") == 100)
        // Nothing is taken for an empty folder that cannot be looked into.
        let quota = FolderQuota(path: path + "/kept", bytes: 1000)
        let error = #expect(throws: LorikeetError.self) {
            try quota.freeBytes(at: path + "/kept", files: UnreadableFiles { $0.hasSuffix("/sub") })
        }
        #expect(error?.exit == .machineFailed && error?.place == path + "/kept/sub" && error?.what.contains("cannot be listed") == true)
        let many = #expect(throws: LorikeetError.self) { try quota.freeBytes(at: path + "/kept", files: files, most: 3) }
        #expect(many?.what.contains("more than 3 files") == true)
        #expect(try quota.freeBytes(at: path + "/kept", files: files, most: 4) == 100)
        #expect(try FolderQuota(path: path + "/none", bytes: 5).freeBytes(at: path + "/none/x", files: files) == 5)
        #expect(RealFiles.absolute("/a/../../b/./c/") == "/b/c" && RealFiles.absolute("x").hasSuffix("/x"))
    }

    @Test func `a copy has the same bytes, and no link is followed for it`() throws {
        let path = try folder()
        let files = RealFiles()
        for count in [0, 1, 1 << 20, 2_500_001] {
            try files.writeDurably((0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }, to: path + "/from")
            try files.copyFile(path + "/from", to: path + "/to")
            #expect(try files.read(path + "/to") == files.read(path + "/from"))
        }
        // Asked before each piece of 1 MiB.
        var asks = 0
        try files.copyFile(path + "/from", to: path + "/to") { asks += 1 }
        #expect(asks == 3)
        #expect(throws: LorikeetError.self) { try files.copyFile(path + "/from", to: path + "/to") { throw LorikeetError(.stoppedEarly, "stopped") } }
        #expect(try files.byteCount(of: path + "/to") == 0)
        #expect(try files.createLink(path + "/link", to: "from"))
        let error = #expect(throws: LorikeetError.self) { try files.copyFile(path + "/link", to: path + "/other") }
        #expect(error?.exit == .unusableInput && error?.place == path + "/link" && !files.exists(path + "/other"))
        #expect(throws: LorikeetError.self) { try FullDisk(bytes: 1000).copyFile(path + "/from", to: path + "/full") }
    }

    @Test func `a mapped file that is written later is known by it, and one that is read or replaced is as it was`() throws {
        let path = try folder() + "/file"
        try RealFiles().writeDurably("0123456789", to: path)
        let file = try RealFiles().map(path)
        _ = try RealFiles().read(path)
        try file.requireUnchanged()
        // The old file lives on for those who have it open.
        try RealFiles().writeDurably("9876543210", to: path)
        try file.requireUnchanged()
        #expect(file.bytes.first == UInt8(ascii: "0"))
        let other = try RealFiles().map(path)
        let writer = try RealFiles().openAppending(path)
        try Array("x".utf8).withUnsafeBytes { try writer.write($0) }
        try writer.close()
        let error = #expect(throws: LorikeetError.self) { try other.requireUnchanged() }
        #expect(error?.exit == .machineFailed && error?.place == path)
        try file.requireUnchanged()
    }

    @Test func `a folder is known from another one of its name`() throws {
        let path = try folder() + "/one"
        #expect(FolderIdentity(path) == nil)
        try RealFiles().createDirectory(path)
        let first = FolderIdentity(path)
        try RealFiles().writeDurably("x", to: path + "/x")
        #expect(first != nil && FolderIdentity(path) == first && FolderIdentity(path + "/x") == nil)
        try RealFiles().rename(path, to: path + "-aside")
        try RealFiles().createDirectory(path)
        #expect(FolderIdentity(path) != first && FolderIdentity(path + "-aside") == first)
    }
}
