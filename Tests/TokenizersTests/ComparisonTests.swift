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
        var best = Duration.seconds(1e9)
        var ranged = best
        for _ in 0..<5 {
            best = min(best, try clock.measure { for text in texts { _ = try tokenizer.encode(text) } })
            ranged = min(ranged, try clock.measure { for text in texts { _ = try tokenizer.encodeWithRanges(text) } })
        }
        let speed = try JSON.parse(String(contentsOfFile: folder + "/speed.json", encoding: .utf8), source: name)
        let reference = speed["seconds"]?.double ?? 0
        func rate(_ duration: Duration) -> Double { Double(bytes) / 1e6 / (duration / .seconds(1)) }
        print(
            String(
                format: "%@ %d lines, wrong ids %d, ranges %d, decoded %d; %.1f MB/s (%@ %.2f MB/s): %.1f times; with ranges %.1f MB/s; load %.2f s",
                name.padding(toLength: 18, withPad: " ", startingAt: 0), rows.count, wrong.ids, wrong.ranges, wrong.decoded, rate(best),
                speed["library"]?.string ?? "", Double(bytes) / 1e6 / reference, reference / (best / .seconds(1)), rate(ranged), loading / .seconds(1)))
        #expect(rows.count >= 10 && wrong == (0, 0, 0))
    }
}
