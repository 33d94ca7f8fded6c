import Foundation
import LorikeetJSON
import Testing

/// `lorikeet check` as a person uses it.
struct CheckTests {
    private static let lines = (0..<9).map { #"{"instruction": "q\#($0)", "output": "a \#($0)"}"# }.joined(separator: "\n")

    @Test func `chosen rows have ids and a mask, and the second check takes them from the store`() throws {
        guard let model = Binary.smollm2 else { return }
        let cache = try Binary.scratch()
        let data = try Binary.file(Self.lines)
        for scratch in [nil, cache + "/scratch"] {
            let arguments = ["check", "--model", model, "--data", data, "--json", "--rows", "0,5-7"] + (scratch.map { ["--scratch", $0] } ?? [])
            let outcomes = try (0..<2).map { _ in try Binary.run(arguments, environment: ["XDG_CACHE_HOME": cache]) }
            let report = try JSON.parse(outcomes[0].out, source: "check")
            #expect(outcomes[0].out == outcomes[1].out)
            let samples = report["samples"]?.array ?? []
            #expect(samples.compactMap { $0["record"]?.int } == [0, 5, 6, 7])
            for sample in samples {
                let (ids, mask) = (sample["ids"]?.array?.compactMap(\.int) ?? [], sample["mask"]?.array?.compactMap(\.int) ?? [])
                #expect(ids.count == mask.count && ids.last == 2 && mask.last == 1 && mask.first == 0)
            }
            #expect((report["train"]?["lengths"]?["histogram"]?.array ?? []).compactMap { $0["samples"]?.int }.reduce(0, +) == 9)
            let folder = (scratch.map { $0 + "/lorikeet" } ?? cache + "/lorikeet") + "/samples"
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 2)
        }
    }

    @Test func `a person sees a table, bars, visible spaces, and why a row is not there`() throws {
        guard let model = Binary.smollm2 else { return }
        let outcome = try Binary.run(
            ["check", "--model", model, "--data", Binary.file(Self.lines), "--rows", "3,44"], environment: ["XDG_CACHE_HOME": Binary.scratch()])
        #expect(outcome.status == 0)
        for words in ["records chosen", "tokens of the training samples", "####", "record 3,", "[a][·][3]", "record 44 is no training sample"] {
            #expect(outcome.out.contains(words), "\(words)\n\(outcome.out)")
        }
        #expect(try Binary.run("check", "--model", model, "--data", Binary.file(Self.lines), "--rows", "5-3").status == 2)
    }

    @Test func `files of CSV, several files and columns`() throws {
        guard let model = Binary.smollm2 else { return }
        let csv = try Binary.file("q;a\n1;2\n3;4\n", "one.csv")
        let jsonl = try Binary.file(#"{"q": "5", "a": "6"}"#)
        let outcome = try Binary.run(
            ["check", "--model", model, "--data", csv, "--data", jsonl, "--columns", "question=q,answer=a", "--json"],
            environment: ["XDG_CACHE_HOME": Binary.scratch()])
        let report = try JSON.parse(outcome.out, source: "check")
        #expect(report["train"]?["samples"]?.int == 3 && report["train"]?["layout"]?.string == "question", "\(outcome.error)")
        #expect(report["notes"]?.array?.first?.string?.contains("fields are divided by a semicolon") == true)
    }
}
