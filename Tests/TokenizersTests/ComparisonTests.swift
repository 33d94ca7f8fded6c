import Foundation
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetTokenizers

/// Folders that Tests/Reference/tokenizers/make_comparison.py writes: a tokenizer, and what its library makes of 10,000 lines.
private let folders: [String] = {
    guard let root = ProcessInfo.processInfo.environment["LORIKEET_TOKENIZERS"] else { return [] }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
    return names.sorted().map { root + "/" + $0 }.filter { FileManager.default.fileExists(atPath: $0 + "/expected.jsonl") }
}()

/// Compares and measures: `LORIKEET_TOKENIZERS=folder swift test -c release … --filter ComparisonTests`; `make prove` runs it.
@Suite(.enabled(if: !folders.isEmpty, "the long comparison: set LORIKEET_TOKENIZERS to what make_comparison.py wrote"), .serialized)
struct ComparisonTests {
    @Test(arguments: folders) func `ids, ranges and decoded texts are the library's, and the speed is told`(folder: String) throws {
        let name = (folder as NSString).lastPathComponent
        let clock = ContinuousClock()
        var loaded: Tokenizer?
        let loading = try clock.measure {
            let gguf = folder + "/model.gguf"
            loaded = FileManager.default.fileExists(atPath: gguf) ? try Tokenizer(gguf: GGUFFile(path: gguf)) : try Tokenizer(directory: folder)
        }
        let tokenizer = try #require(loaded)
        let lines = try String(contentsOfFile: folder + "/expected.jsonl", encoding: .utf8).split(separator: "\n")
        let rows = try lines.map { try JSON.parse(String($0), source: name) }
        var wrong = (ids: 0, ranges: 0, decoded: 0)
        for row in rows {
            let text = row["text"]?.string ?? ""
            let ids = (row["ids"]?.array ?? []).compactMap { $0.int.map(Int32.init) }
            let parses = row["parse_special"]?.bool ?? true
            let result = try tokenizer.encodeWithRanges(text, parseSpecial: parses)
            if try result.ids != ids || tokenizer.encode(text, parseSpecial: parses) != ids {
                wrong.ids += 1
                if wrong.ids <= 3 { print("\(name): \(text.debugDescription)\n  \(result.ids.map(tokenizer.text))\n  \(ids.map(tokenizer.text))") }
            }
            if let ranges = row["ranges"]?.array?.compactMap(\.int), result.ranges.flatMap({ [$0.lowerBound, $0.upperBound] }) != ranges {
                wrong.ranges += 1
                if wrong.ranges <= 3 { print("\(name): ranges \(text.debugDescription)\n  \(result.ranges)\n  \(ranges) \(ids.map(tokenizer.text))") }
            }
            if let decoded = row["decoded"]?.string, !PythonText.equal(tokenizer.decode(ids), decoded) {
                wrong.decoded += 1
                if wrong.decoded <= 3 { print("\(name): decoded \(tokenizer.decode(ids).debugDescription)\n  \(decoded.debugDescription)") }
            }
        }
        let texts = rows.compactMap { $0["text"]?.string }
        let bytes = texts.reduce(0) { $0 + $1.utf8.count }
        // Both in turn on one core, so that whatever else runs slows both alike; the processor time of the best pass of each counts.
        let library = try ReferenceLibrary(folder: folder)
        var (ours, ranged, theirs) = (Double.infinity, Double.infinity, Double.infinity)
        for _ in 0..<3 {
            for _ in 0..<3 { ours = min(ours, try processorTime { for text in texts { _ = try tokenizer.encode(text) } }) }
            theirs = min(theirs, try library.pass())
            for _ in 0..<2 { ranged = min(ranged, try processorTime { for text in texts { _ = try tokenizer.encodeWithRanges(text) } }) }
        }
        func rate(_ seconds: Double) -> Double { Double(bytes) / 1e6 / seconds }
        print(
            String(
                format: "%@ %d lines, wrong ids %d, ranges %d, decoded %d; %.1f MB/s (%@ %.2f MB/s): %.1f times; with ranges %.1f MB/s; load %.2f s",
                name.padding(toLength: 22, withPad: " ", startingAt: 0), rows.count, wrong.ids, wrong.ranges, wrong.decoded, rate(ours), library.name,
                rate(theirs), theirs / ours, rate(ranged), loading / .seconds(1)))
        #expect(rows.count >= 10 && wrong == (0, 0, 0))
    }
}

/// Processor time of this thread in seconds.
private func processorTime(_ body: () throws -> Void) rethrows -> Double {
    func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
    let start = now()
    try body()
    return now() - start
}

/// Tests/Reference/tokenizers/time_library.py, which waits between its passes.
private final class ReferenceLibrary {
    let name: String
    private let process = Process()
    private let requests = Pipe()
    private let answers = Pipe()

    init(folder: String) throws {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Reference/tokenizers/time_library.py").path
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", script, folder]
        process.standardInput = requests
        process.standardOutput = answers
        try process.run()
        name = try Self.line(answers)
    }

    deinit {
        try? requests.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    private static func line(_ pipe: Pipe) throws -> String {
        var bytes = Data()
        while bytes.last != 0x0A {
            let more = pipe.fileHandleForReading.availableData
            try #require(!more.isEmpty, "time_library.py ended: it needs pip install tokenizers sentencepiece")
            bytes += more
        }
        return String(decoding: bytes.dropLast(), as: UTF8.self)
    }

    /// Seconds of processor time that one pass over all lines took.
    func pass() throws -> Double {
        try requests.fileHandleForWriting.write(contentsOf: Data("\n".utf8))
        return try #require(Double(Self.line(answers)))
    }
}
