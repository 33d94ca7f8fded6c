import Foundation
import LorikeetJSON
import Testing

/// docs/getting-started.md as a newcomer follows it.
struct GettingStartedTests {
    private static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "docs/getting-started.md")

    /// The page's `sh` blocks, in order, as one script.
    private static func script() throws -> String {
        var (blocks, inside): ([String], Bool) = ([], false)
        for line in try String(contentsOf: page, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                inside = line == "```sh"
            } else if inside {
                blocks.append(String(line))
            }
        }
        return blocks.joined(separator: "\n")
    }

    @Test func `every command of the page works, in the page's order`() throws {
        guard let model = Binary.smollm2 else { return }
        let folder = try Binary.scratch()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let script = try Self.script()
        #expect(script.components(separatedBy: "\nlorikeet ").count > 8)
        let programs = URL(fileURLWithPath: Binary.path).deletingLastPathComponent().path
        let outcome = try Binary.shell(script, in: folder, environment: ["MODEL": model, "PATH": "\(programs):/usr/local/bin:/usr/bin:/bin"])
        #expect(outcome.status == 0, "\(outcome.error)\n\(outcome.out.suffix(2000))")
        #expect(outcome.out.contains("merged = adapter  pass") && outcome.out.contains("this run is finished"))
        // What the page promises: words that were not trained on, in the test and in the answers at its end.
        let summary = try JSON.parse(String(contentsOfFile: folder + "/tutorial/out/summary.json", encoding: .utf8), source: "summary")
        #expect(summary["answers_right_before"]?.double == 0 && summary["answers_right_after"]?.double ?? 0 >= 0.9, "\(summary)")
        #expect(summary["validation_loss_after"]?.double ?? 1 < 0.2 && outcome.out.contains("\nanimal\nplant\n"), "\(outcome.out.suffix(2000))")
        for file in [
            "out/merged/model.safetensors", "out/adapter/adapter_model.safetensors", "out/report.html", "gguf/Modelfile",
            "gguf/SmolLM2-135M-Instruct-Q8_0.gguf",
        ] {
            #expect(FileManager.default.fileExists(atPath: "\(folder)/tutorial/\(file)"), "\(file)")
        }
    }
}
