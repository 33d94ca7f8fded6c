import Foundation
import Testing

/// The sources against docs/layout.md, as text.
struct LayoutTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    struct Room {
        let name: String
        let imports: Set<String>
        let outside: Set<String>
    }

    /// The table's rows, in order.
    static func rooms() throws -> [Room] {
        let text = try String(contentsOf: root.appending(path: "docs/layout.md"), encoding: .utf8)
        var rooms: [Room] = []
        for line in text.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            let name = cells[0].replacingOccurrences(of: "`", with: "")
            let names = cells[2].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            let imports = names == ["all above"] ? Set(rooms.map(\.name)) : Set(names.filter { $0 != "-" })
            let outside = cells[3].split(whereSeparator: { ", ()".contains($0) }).map(String.init).filter { $0 != "-" && $0 != "RapidJSON" }
            rooms.append(Room(name: name, imports: imports, outside: Set(outside)))
        }
        return rooms
    }

    static func files(in folder: String, ending: String = ".swift") throws -> [(path: String, text: String)] {
        let base = root.appending(path: folder)
        guard let walk = FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil) else { return [] }
        return try walk.compactMap { $0 as? URL }.filter { $0.lastPathComponent.hasSuffix(ending) }.map {
            (String($0.path.dropFirst(root.path.count + 1)), try String(contentsOf: $0, encoding: .utf8))
        }
    }

    @Test func `the table names every room once, and a room imports only rooms above it`() throws {
        let rooms = try Self.rooms()
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.root.appending(path: "Sources").path)
        // A folder with headers is a C target.
        let ours = folders.filter { !FileManager.default.fileExists(atPath: Self.root.appending(path: "Sources/\($0)/include").path) }
        #expect(Set(rooms.map(\.name)) == Set(ours))
        #expect(Set(rooms.map(\.name)).count == rooms.count)
        var above: Set<String> = []
        for room in rooms {
            #expect(room.imports.isSubset(of: above), "\(room.name)")
            above.insert(room.name)
        }
    }

    @Test func `every import is one the table allows`() throws {
        let system: Set<String> = ["Swift", "Glibc", "FoundationEssentials", "Synchronization"]
        for room in try Self.rooms() {
            let allowed = Set(room.imports.map { $0 == "Lorikeet" ? $0 : "Lorikeet\($0)" }).union(room.outside).union(system)
            let sources = try Self.files(in: "Sources/\(room.name)")
            #expect(!sources.isEmpty, "\(room.name)")
            for (path, text) in sources {
                for line in text.split(separator: "\n") where line.hasPrefix("import ") || line.contains(" import ") && line.hasPrefix("@") {
                    let module = String(line.split(separator: " ").last ?? "")
                    #expect(allowed.contains(module), "\(path): \(line)")
                }
            }
        }
    }

    @Test func `unchecked sharing between threads stands in Devices' buffer alone`() throws {
        for (path, text) in try Self.files(in: "Sources") where path != "Sources/Devices/CPU/Buffer.swift" {
            for word in ["@unchecked", "nonisolated(unsafe)"] { #expect(!text.contains(word), "\(path): \(word)") }
        }
    }

    @Test func `a device's memory is held by owners that free it, outside of the room of devices`() throws {
        for (path, text) in try Self.files(in: "Sources") where !path.hasPrefix("Sources/Devices/") {
            for call in [".allocate(bytes:", ".free("] { #expect(!text.contains(call), "\(path): \(call)") }
        }
    }

    @Test func `nothing traps on purpose`() throws {
        // A value without a place is a mistake in an op's own lists, which ScheduleTests finds.
        let excused = "Sources/Engine/Program/CPURun.swift"
        for (path, text) in try Self.files(in: "Sources") {
            for word in ["try!", "as!", "fatalError(", "assertionFailure(", "preconditionFailure("] where path != excused || word != "preconditionFailure(" {
                #expect(!text.contains(word), "\(path): \(word)")
            }
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                let code = line.components(separatedBy: "//").first ?? ""
                #expect(code.range(of: #"[A-Za-z0-9_\])]!(\.|\)|\[|,|$)"#, options: .regularExpression) == nil, "\(path):\(number + 1): \(line)")
            }
        }
    }

    @Test func `files have one subject and folders a name that says it`() throws {
        for (path, text) in try Self.files(in: "Sources") + Self.files(in: "Tests") {
            #expect(text.split(separator: "\n", omittingEmptySubsequences: false).count <= 500, "\(path)")
            for name in ["Common", "Utils", "Helpers", "Core", "Manager"] { #expect(!path.contains("/\(name)/"), "\(path)") }
        }
    }

    /// A combining mark behind a slash makes another character of both, and the file system sees the slash (`StringProtocol.pathParts`).
    @Test func `paths are taken apart by bytes`() throws {
        let characters = #/\.contains\("\/"\)|split\(separator: "\/"|ndex\(of: "\/"\)/#
        // An address is of ASCII alone, and so is a hub's name, whose scalars are looked at.
        let others = ["Sources/Ground/Paths.swift", "Sources/Hub/WebAddress.swift", "Sources/Hub/HubName.swift"]
        for (path, text) in try Self.files(in: "Sources") where !others.contains(path) {
            for line in text.split(separator: "\n") where line.contains(characters) { Issue.record("\(path): \(line)") }
        }
    }

    @Test func `every verb's file is in the list of verbs`() throws {
        let list = try String(contentsOf: Self.root.appending(path: "Sources/CLI/Main.swift"), encoding: .utf8)
        for (path, text) in try Self.files(in: "Sources/CLI", ending: "Verb.swift") {
            for line in text.split(separator: "\n") where line.contains("Verb: ParsableCommand") {
                let name = line.split(separator: " ")[1].dropLast()
                #expect(list.contains("\(name).self"), "\(path): \(name)")
            }
        }
    }

    /// A verb that opened the processor by itself would not know `--threads`.
    @Test func `only what knows the user's number of threads opens the processor`() throws {
        let openers = try Self.files(in: "Sources").filter { $0.text.contains(#/\bCPU\((?!\))/#) && !$0.path.hasSuffix("CPU/CPU.swift") }.map(\.path)
        let compiling = ["KernelArchiveWriter", "KernelLibrary"].map { "Sources/Devices/CUDA/\($0).swift" }
        #expect(openers.sorted() == compiling + ["Sources/Lorikeet/DeviceRequest.swift"])
        let counting = try Self.files(in: "Sources").filter { $0.text.contains("coreCount()") }.map(\.path)
        #expect(
            counting.sorted() == ["Sources/CLI/KernelsVerb.swift", "Sources/Devices/CPU/CPU.swift", compiling[1], "Sources/Devices/Machine.swift"].sorted())
    }
}
