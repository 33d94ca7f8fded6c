import Foundation
import LorikeetJSON
import Testing

/// `lorikeet report` on a directory of a real run: SmolLM2 on the kinds of words, without its weights.
struct ReportTests {
    static let run = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path + "/Fixtures/kinds-run"

    /// Copies of the run under these names.
    private func folders(_ names: String...) throws -> [String] {
        let root = try Binary.scratch()
        return try names.map { name in
            try FileManager.default.copyItem(atPath: Self.run, toPath: root + "/" + name)
            return root + "/" + name
        }
    }

    @Test func `one run's page stands in its directory`() throws {
        let folder = try folders("first")[0]
        let outcome = try Binary.run("report", folder)
        #expect(outcome.status == 0 && outcome.out == folder + "/report.html\n" && outcome.error.isEmpty, "\(outcome.error)")
        let page = try String(contentsOfFile: folder + "/report.html", encoding: .utf8)
        for part in ["<h1>first <span class=\"pill finished\">", "7.757", "0.1965", "SmolLM2-135M-Instruct.Q4_1.gguf", "gondang wax", "all pass"] {
            #expect(page.contains(part), "\(part)")
        }
    }

    @Test func `several runs give one page with what differs`() throws {
        let folders = try folders("first", "second")
        let recipe = folders[1] + "/run.yaml"
        let text = try String(contentsOfFile: recipe, encoding: .utf8)
        try text.replacingOccurrences(of: "seed: 42", with: "seed: 43").write(toFile: recipe, atomically: true, encoding: .utf8)
        let page = try Binary.scratch() + "/both.html"
        let outcome = try Binary.run(["report"] + folders + ["--output", page, "--json"])
        #expect(outcome.status == 0, "\(outcome.error)")
        let json = try JSON.parse(outcome.out, source: "report")
        let runs = json["runs"]?.array ?? []
        #expect(json["page"]?.string == page && runs.map { $0["name"]?.string } == ["first", "second"])
        #expect(runs.map { $0["differing_settings"]?.object?.keys } == [["seed"], ["seed"]] && runs[1]["differing_settings"]?["seed"]?.string == "43")
        #expect(runs[0]["steps"]?.int == 70 && runs[0]["points"]?.int == 70 && runs[0]["summary"]?["steps"]?.int == 70)
        #expect(try String(contentsOfFile: page, encoding: .utf8).contains("2 runs compared"))
        #expect(!FileManager.default.fileExists(atPath: folders[0] + "/report.html"))
    }

    @Test func `damage is named and the rest is shown`() throws {
        let folder = try folders("torn")[0]
        let events = folder + "/events.jsonl"
        try (String(contentsOfFile: events, encoding: .utf8) + "{\"event\":\"st\n\u{0}\u{0}\u{0}").write(toFile: events, atomically: true, encoding: .utf8)
        try "{".write(toFile: folder + "/plan.json", atomically: true, encoding: .utf8)
        try FileManager.default.removeItem(atPath: folder + "/summary.json")
        try "no: such: recipe".write(toFile: folder + "/run.yaml", atomically: true, encoding: .utf8)
        let outcome = try Binary.run("report", folder)
        #expect(outcome.status == 0 && outcome.error == "lorikeet: warning: \(events): 2 damaged lines are left out\n", "\(outcome.error)")
        #expect(try String(contentsOfFile: folder + "/report.html", encoding: .utf8).contains("no: such: recipe"))
    }

    @Test func `what is no run is exit 2`() throws {
        let empty = try Binary.scratch()
        let outcome = try Binary.run("report", empty)
        #expect(outcome.status == 2 && outcome.error.hasPrefix("lorikeet: \(empty): the directory holds no events.jsonl"), "\(outcome.error)")
        #expect(try Binary.run("report").status == 2)
    }
}
