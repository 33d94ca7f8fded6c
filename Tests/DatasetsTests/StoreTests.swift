import FailingFiles
import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

/// Samples on disk.
struct StoreTests {
    /// A folder of its own with a data file and room for a store.
    private final class Place: Sendable {
        let path: String
        var data: String { path + "/data.jsonl" }
        var store: String { path + "/cache/samples" }

        init(_ lines: [String] = Small.alpaca(40)) throws {
            path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            try write(lines)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ lines: [String]) throws { try lines.joined(separator: "\n").write(toFile: data, atomically: true, encoding: .utf8) }
        func names() -> [String] { ((try? FileManager.default.contentsOfDirectory(atPath: store)) ?? []).sorted() }
        func file(_ ending: String) throws -> String { store + "/" + (try #require(names().first { $0.hasSuffix(ending) })) }

        /// - Parameter identity: nil loads without a store.
        func load(
            _ identity: String? = "a", files: any Files = RealFiles(), limit: Int64 = SampleStore.limit, template: String = Small.chatML, threads: Int = 2,
            checksSamples: Bool = true, _ change: (inout DatasetSettings) -> Void = { _ in }
        ) throws -> LoadedData {
            var settings = DatasetSettings(data: data)
            settings.validationShare = 0.2
            change(&settings)
            let tokenizer = try Small.tokenizer()
            let kept = identity.map { SampleStore(folder: store, identity: $0, files: files, limit: limit) }
            return try LoadedData(
                Dataset.load(
                    settings, tokenizer: tokenizer, template: ChatTemplate(template, name: "t", specialTokens: tokenizer.namedTokens), store: kept,
                    checksSamples: checksSamples, files: files, cpu: CPU(threads: threads)))
        }
    }

    private func same(_ a: LoadedData, _ b: LoadedData) -> Bool {
        a.train == b.train && a.validation == b.validation && a.heldOut == b.heldOut && a.report == b.report
    }

    /// A template that makes other samples: where the store is used they are not made.
    private static let other = Small.chatML.replacing("'<|im_end|>' + '\n'", with: "'<|im_end|>' + ' '")

    @Test func `a report with numbers that no data has is none, and the entry is made anew`() throws {
        let json = try Place().load(nil).report.json
        #expect(DataReport(json: json) != nil)
        for key in ["\"overlap\":0", "\"rows\":32", "\"samples\":32"] {
            for number in ["-1", "9223372036854775807", "1.5"] {
                let text = json.serialized()
                let name = key.prefix { $0 != ":" }
                #expect(text.contains(key), "\(key) \(text)")
                let changed = try JSON.parse(text.replacing(key, with: "\(name):\(number)", maxReplacements: 1), source: "t")
                #expect(DataReport(json: changed) == nil, "\(key) \(number)")
            }
        }
    }

    @Test func `the second start takes what the first has made`() throws {
        let place = try Place(Small.alpaca(39) + [#"{"instruction": "<s>", "output": "x", "id": 1}"#])
        let plain = try place.load(nil)
        #expect(plain.heldOut.count == 8 && plain.report.train.samples == 32)
        #expect(same(try place.load(), plain))
        #expect(place.names().count == 2)
        #expect(same(try place.load(template: Self.other), plain))
        #expect(place.names().count == 2)
    }

    @Test func `any number of threads makes the same bytes`() throws {
        // Three blocks: while one is read, the one before is gathered and the one before that is written. Their weight is in a key that is not read.
        let weight = String(repeating: "x", count: 60 << 10)
        var lines = Small.alpaca(170) { String(repeating: "y ", count: $0 % 17 + 1) }.map { String($0.dropLast()) + #", "note": "\#(weight)"}"# }
        lines[40] = #"{"instruction": "", "output": "", "id": 1}"#
        let place = try Place(lines)
        func entry(_ threads: Int) throws -> (loaded: LoadedData, bytes: [Data]) {
            try? FileManager.default.removeItem(atPath: place.store)
            let loaded = try place.load(threads: threads) { $0.maxBadRecords = 0.1 }
            return (loaded, try [".data", ".index"].map { try Data(contentsOf: URL(fileURLWithPath: place.file($0))) })
        }
        let one = try entry(1)
        #expect(one.loaded.report.train.samples + (one.loaded.report.validation?.samples ?? 0) == 169 && one.loaded.heldOut.count > 30)
        for threads in [2, 3, 7, 16] {
            let other = try entry(threads)
            #expect(same(other.loaded, one.loaded) && other.bytes == one.bytes, "\(threads) threads")
        }
    }

    @Test func `another content of anything is another entry`() throws {
        let place = try Place()
        let plain = try place.load()
        #expect(try place.load("b", template: Self.other).train != plain.train)
        #expect(try place.load { $0.maxLength = 23 }.train != plain.train)
        #expect(try place.load { $0.validationShare = 0.5 }.train.count == 20)
        try place.write(Small.alpaca(41))
        #expect(try place.load().report.train.rowsInFile == 41)
        try place.write(Small.alpaca(40) { "b\($0)" })
        #expect(try place.load().train != plain.train)
        #expect(place.names().count == 12)
    }

    @Test(arguments: [".data", ".index"]) func `a damaged entry is made again`(ending: String) throws {
        let place = try Place()
        let plain = try place.load()
        let path = try place.file(ending)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        for at in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 23)) {
            var damaged = bytes
            damaged[at] ^= 0x10
            try damaged.write(to: URL(fileURLWithPath: path))
            #expect(same(try place.load(), plain), "byte \(at)")
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
        }
        for count in [0, 7, 40, bytes.count - 1] {
            try bytes.prefix(count).write(to: URL(fileURLWithPath: path))
            #expect(same(try place.load(), plain), "\(count) bytes")
        }
        try FileManager.default.removeItem(atPath: path)
        #expect(same(try place.load(), plain))
        // A named pipe or a folder in its place is no entry, and waits for nobody.
        try FileManager.default.removeItem(atPath: path)
        mkfifo(path, 0o600)
        #expect(same(try place.load(), plain))
    }

    @Test func `a plan by lengths reads the index alone, and who trains makes damaged samples again`() throws {
        let place = try Place()
        let plain = try place.load()
        let path = try place.file(".data")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        var damaged = bytes
        damaged[7] ^= 0x10
        try damaged.write(to: URL(fileURLWithPath: path))
        let planned = try place.load(checksSamples: false)
        #expect(planned.train.map(\.ids.count) == plain.train.map(\.ids.count) && planned.train != plain.train)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == damaged)
        #expect(same(try place.load(), plain))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
        // A file that is too short for its index is none, and a damaged index is none.
        try bytes.dropLast().write(to: URL(fileURLWithPath: path))
        #expect(same(try place.load(checksSamples: false), plain))
        let index = try place.file(".index")
        var other = try Data(contentsOf: URL(fileURLWithPath: index))
        other[other.count - 70] ^= 1
        try other.write(to: URL(fileURLWithPath: index))
        #expect(same(try place.load(checksSamples: false), plain))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
    }

    @Test func `an entry of other data under this name is not trusted`() throws {
        let place = try Place()
        _ = try place.load()
        let first = try ["data", "index"].map { try place.file(".\($0)") }
        try place.write(Small.alpaca(50))
        let plain = try place.load(nil)
        _ = try place.load()
        for (path, ending) in zip(first, ["data", "index"]) {
            let second = place.store + "/" + (try #require(place.names().first { $0.hasSuffix("." + ending) && place.store + "/" + $0 != path }))
            try FileManager.default.removeItem(atPath: second)
            try FileManager.default.copyItem(atPath: path, toPath: second)
        }
        #expect(same(try place.load(), plain))
    }

    @Test func `a folder that cannot be written is a warning, and the samples are the same`() throws {
        let place = try Place()
        let plain = try place.load(nil)
        try FileManager.default.createDirectory(atPath: place.path + "/cache", withIntermediateDirectories: true)
        try Data().write(to: URL(fileURLWithPath: place.store))
        let data = try place.load()
        #expect(data.train == plain.train && data.validation == plain.validation && data.heldOut == plain.heldOut)
        #expect(data.report.warnings.last?.contains("samples are kept in memory and made again at the next start") == true, "\(data.report.warnings)")
    }

    @Test func `whenever the disk fails or the process is killed, this start and the next have the same samples`() throws {
        let place = try Place()
        let plain = try place.load(nil)
        let counting = DyingFiles(last: .max, end: .failure)
        _ = try place.load("count", files: counting)
        #expect(counting.changes > 5)
        for end in DyingFiles.End.allCases {
            for last in 1...counting.changes {
                let identity = "\(end)\(last)"
                let dying = DyingFiles(last: last, end: end)
                let data = try place.load(identity, files: dying)
                #expect(data.train == plain.train && data.heldOut == plain.heldOut)
                #expect(same(try place.load(identity), plain), "\(end) at \(last)")
            }
        }
    }

    @Test func `several starts at once do not disturb each other`() async throws {
        let place = try Place(Small.alpaca(300))
        let plain = try place.load(nil)
        let results = try await withThrowingTaskGroup(of: [TokenSample].self) { group in
            for number in 0..<6 { group.addTask { try place.load(limit: number % 2 == 0 ? 1 : SampleStore.limit).train } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(results.count == 6 && results.allSatisfy { $0 == plain.train })
        #expect(place.names().allSatisfy { !$0.hasSuffix("partial") })
    }

    @Test func `what was used longest ago goes first, and only what is the store's`() throws {
        let place = try Place()
        func age(_ identity: String, _ days: Double) throws {
            let before = Set(place.names())
            _ = try place.load(identity)
            for name in place.names() where !before.contains(name) {
                try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -days * 86_400)], ofItemAtPath: place.store + "/" + name)
            }
        }
        try age("old", 3)
        let old = Set(place.names())
        try age("older", 4)
        let older = Set(place.names()).subtracting(old)
        for (name, age) in [("samples-x.1-1.lorikeet-partial", 7200.0), ("samples-y.2-2.lorikeet-partial", 60), ("samples-z.data", 7200), ("mine.txt", 1e6)] {
            try Data("x".utf8).write(to: URL(fileURLWithPath: place.store + "/" + name))
            try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -age)], ofItemAtPath: place.store + "/" + name)
        }
        // Room for two entries and a half.
        let bytes = try old.reduce(0) { $0 + (try RealFiles().byteCount(of: place.store + "/" + $1)) }
        _ = try place.load("new", limit: Int64(bytes * 5 / 2))
        let left = Set(place.names())
        #expect(left.isSuperset(of: old) && left.isDisjoint(with: older))
        #expect(left.isSuperset(of: ["mine.txt", "samples-y.2-2.lorikeet-partial"]))
        #expect(left.isDisjoint(with: ["samples-x.1-1.lorikeet-partial", "samples-z.data"]))
        // The entry at hand stays, whatever the limit.
        _ = try place.load("newest", limit: 1)
        #expect(place.names().count { $0.hasSuffix(".index") } == 1)
        #expect(same(try place.load("newest", limit: 1), try place.load(nil)))
    }

    @Test func `a sample's bytes read back as the sample`() throws {
        let samples = (0..<70).map { (count: Int) -> TokenSample in
            let ids = (0..<count).map { Int32($0) * 7919 - 3 }
            return TokenSample(record: count, ids: ids, trained: ids.indices.map { $0 % 3 == 1 }, truncated: count % 2 == 1)
        }
        let set = SampleSet(samples)
        #expect(try set.all() == samples)
        #expect(try set.subset([5, 3]).all() == [samples[5], samples[3]] && set.first(2) == Array(samples[..<2]))
        #expect(set.lengths.map { $0.tokens } == Array(0..<70) && set.lengths.map { $0.trained } == samples.map(\.trainedCount))
    }
}
