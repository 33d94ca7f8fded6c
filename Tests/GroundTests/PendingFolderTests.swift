import FailingFiles
import Foundation
import Testing

@testable import LorikeetGround

/// Only what the program made, and can recognise, is ever removed.
struct PendingFolderTests {
    private let files = RealFiles()

    private func folder() throws -> String {
        let url = FileManager.default.temporaryDirectory.appending(path: "pending-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        return url.path
    }

    private func build(_ place: String, _ files: any Files, text: String = "new", replacing known: [String]? = nil) throws {
        let pending = try PendingFolder(for: place, files: files)
        do {
            try pending.files.writeDurably(text, to: pending.path + "/a.json")
            let writer = try pending.files.create(pending.path + "/b.bin.partial")
            try Array(text.utf8).withUnsafeBytes { try writer.write($0) }
            try writer.sync()
            try writer.close()
            try pending.files.rename(pending.path + "/b.bin.partial", to: pending.path + "/b.bin")
            try pending.files.createDirectory(pending.path + "/deep/er")
            try pending.files.writeDurably(text, to: pending.path + "/deep/er/c")
            if let known { try pending.commit(replacing: known) } else { try pending.commit() }
        } catch {
            pending.discard()
            throw error
        }
    }

    private static let made = ["a.json", "b.bin", "deep", "deep/er", "deep/er/c"]

    @Test func `a folder appears whole, and nothing beside it or in it tells how`() throws {
        let root = try folder()
        try build(root + "/x", files)
        #expect(try files.list(root) == ["x"] && files.list(root + "/x") == ["a.json", "b.bin", "deep"])
        // What stands there is never replaced unasked.
        let error = #expect(throws: LorikeetError.self) { try build(root + "/x", files, text: "other") }
        #expect(error?.exit == .unusableInput)
        #expect(try files.readText(root + "/x/a.json") == "new" && files.list(root) == ["x"])
    }

    @Test(arguments: DyingFiles.End.allCases)
    func `however it ends, the next start goes on and leaves nothing behind`(end: DyingFiles.End) throws {
        let count = DyingFiles(last: .max, end: .kill)
        try build(try folder() + "/x", count)
        #expect(count.changes > 20)
        for last in 1...count.changes {
            let root = try folder()
            #expect(throws: LorikeetError.self) { try build(root + "/x", DyingFiles(last: last, end: end)) }
            // Whole or not there.
            if files.exists(root + "/x") { #expect(try files.readText(root + "/x/deep/er/c") == "new") } else { try build(root + "/x", files) }
            try PendingFolder.restore(root + "/x", known: [], files: files)
            #expect(try files.list(root) == ["x"] && files.list(root + "/x") == ["a.json", "b.bin", "deep"], "change \(last)")
        }
    }

    @Test(arguments: DyingFiles.End.allCases)
    func `one of two is whole at every instant of a replacement`(end: DyingFiles.End) throws {
        let count = DyingFiles(last: .max, end: .kill)
        let first = try folder()
        try build(first + "/x", files, text: "old")
        try build(first + "/x", count, replacing: Self.made)
        #expect(try files.readText(first + "/x/a.json") == "new" && files.list(first) == ["x"])
        for last in 1...count.changes {
            let root = try folder()
            try build(root + "/x", files, text: "old")
            #expect(throws: LorikeetError.self) { try build(root + "/x", DyingFiles(last: last, end: end), replacing: Self.made) }
            try PendingFolder.restore(root + "/x", known: Self.made, files: files)
            #expect(try ["old", "new"].contains(files.readText(root + "/x/a.json")), "change \(last)")
            #expect(try files.readText(root + "/x/a.json") == files.readText(root + "/x/deep/er/c") && files.list(root) == ["x"], "change \(last)")
        }
    }

    @Test func `a folder that another process builds is left alone until that ends`() throws {
        let root = try folder()
        var first: PendingFolder? = try PendingFolder(for: root + "/x", files: files)
        try first?.files.writeDurably("first", to: root + "/x.partial/a.json")
        let error = #expect(throws: LorikeetError.self) { try PendingFolder(for: root + "/x", files: files) }
        #expect(error?.exit == .unusableInput && error?.what.contains("another process") == true)
        #expect(try files.readText(root + "/x.partial/a.json") == "first" && files.list(root) == ["x.partial"])
        // Killed: what it left is cleared.
        first = nil
        try build(root + "/x", files, text: "second")
        #expect(try files.list(root) == ["x"] && files.readText(root + "/x/a.json") == "second")
    }

    @Test func `a lock lasts as long as its object, also where the file is replaced`() throws {
        let path = try folder() + "/lock"
        var lock = try files.lock(path)
        #expect(lock != nil && files.exists(path))
        #expect(throws: LorikeetError.self) { try files.lock(path) }
        try files.writeDurably("new", to: path)
        let second = try files.lock(path)
        #expect(second != nil)
        lock = nil
        #expect(throws: LorikeetError.self) { try files.lock(path) }
        withExtendedLifetime(second) {}
        #expect(throws: LorikeetError.self) { try files.lock(path + "/no/such") }
    }

    @Test func `a user's folder that has the name of a leftover stays as it is`() throws {
        let root = try folder()
        try files.createDirectory(root + "/x.partial/notes")
        try files.writeDurably("mine", to: root + "/x.partial/model.safetensors")
        try files.writeDurably("mine", to: root + "/x.partial-2")
        try build(root + "/x", files)
        #expect(try files.list(root) == ["x", "x.partial", "x.partial-2"] && files.readText(root + "/x.partial/model.safetensors") == "mine")
        #expect(files.isDirectory(root + "/x.partial/notes"))
    }

    @Test func `a user's file in a leftover stays, and all else of the leftover goes`() throws {
        let root = try folder()
        // The folder is whole but for its name.
        let killed = try (1...60).first { last in
            try files.createDirectory(root + "/\(last)")
            #expect(throws: LorikeetError.self) { try build(root + "/\(last)/x", DyingFiles(last: last, end: .kill)) }
            return files.exists(root + "/\(last)/x.partial/deep/er/c")
        }
        let place = root + "/\(try #require(killed))/x"
        try files.writeDurably("mine", to: place + ".partial/notes.txt")
        #expect(try PendingFolder.reusableBytes(of: place, known: [], files: files) == 9)
        try build(place, files)
        #expect(try files.readText(place + ".partial/notes.txt") == "mine" && files.readText(place + "/a.json") == "new")
        #expect(!files.exists(place + ".partial/b.bin") && !files.exists(place + ".partial/deep"))
    }

    @Test func `a user's file in a replaced folder is kept beside it`() throws {
        let root = try folder()
        try build(root + "/x", files, text: "old")
        try files.writeDurably("mine", to: root + "/x/notes.txt")
        try build(root + "/x", files, replacing: Self.made)
        #expect(try files.list(root) == ["x", "x.replaced"] && files.list(root + "/x.replaced") == ["notes.txt"])
        #expect(try files.list(root + "/x") == ["a.json", "b.bin", "deep"])
    }

    @Test func `a list of names does not lead out of the folder`() throws {
        let root = try folder()
        try files.writeDurably("mine", to: root + "/outside")
        try files.createDirectory(root + "/x.partial")
        try files.writeDurably("../outside\n/etc/nothing\na\n", to: root + "/x.partial/" + PendingFolder.marker)
        try files.writeDurably("1", to: root + "/x.partial/a")
        #expect(try PendingFolder.clear(root + "/x.partial", files: files))
        #expect(try files.readText(root + "/outside") == "mine")
    }

    @Test func `nothing is written through a link`() throws {
        let root = try folder()
        try files.writeDurably("mine", to: root + "/elsewhere")
        for link in ["a" + RealFiles.partialSuffix, "b", "c"] {
            try FileManager.default.createSymbolicLink(atPath: root + "/" + link, withDestinationPath: root + "/elsewhere")
        }
        try FileManager.default.linkItem(atPath: root + "/elsewhere", toPath: root + "/d" + RealFiles.partialSuffix)
        for name in ["a", "b", "d"] { try files.writeDurably("new", to: root + "/" + name) }
        #expect(throws: LorikeetError.self) { try files.openAppending(root + "/c") }
        #expect(try files.readText(root + "/elsewhere") == "mine" && files.readText(root + "/b") == "new" && files.readText(root + "/d") == "new")
    }

    @Test(arguments: ["/", "//"]) func `slashes behind a name count for nothing`(slashes: String) throws {
        let (place, files) = (try folder() + "/out", RealFiles())
        let pending = try PendingFolder(for: place + slashes, files: files)
        #expect(pending.path == place + ".partial" && !files.exists(place))
        try pending.files.writeDurably("x", to: pending.path + "/a")
        try pending.commit()
        #expect(try files.list(place) == ["a"])
    }
}
