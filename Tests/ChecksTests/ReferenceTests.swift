import Foundation
import LorikeetDevices
import LorikeetEngine
import Testing

@testable import LorikeetChecks

/// The engine against the numbers of the Hugging Face stack.
struct ReferenceTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    static let families = ["llama", "gemma2", "qwen3"]

    @Test(arguments: families, [1, 2]) func `a tiny model of each family passes every tolerance`(family: String, threads: Int) throws {
        let report = try ReferenceCheck(directory: Self.root.appending(path: "Reference/\(family)").path, compute: Compute(cpu: CPU(threads: threads))).run()
        #expect(report.results.count > 100 && report.notTested.isEmpty)
        for result in report.results { #expect(result.passes, "\(result.line)") }
    }

    /// Folders of LORIKEET_REFERENCES: dumps that are too large for the repository.
    static let others: [String] = {
        guard let root = ProcessInfo.processInfo.environment["LORIKEET_REFERENCES"] else { return [] }
        return root.split(separator: ":").flatMap { root in
            ((try? FileManager.default.contentsOfDirectory(atPath: String(root))) ?? []).sorted().map { "\(root)/\($0)" }
        }.filter { FileManager.default.fileExists(atPath: $0 + "/expected.safetensors") }
    }()

    @Test(arguments: others) func `models of LORIKEET_REFERENCES pass every tolerance`(directory: String) throws {
        let report = try ReferenceCheck(directory: directory, compute: Compute(cpu: CPU(threads: 2))).run()
        // A folder may have numbers of families that are refused.
        #expect(report.notTested.allSatisfy { $0.reason.contains("not supported") }, "\(report.notTested)")
        for result in report.results { #expect(result.passes, "\(directory): \(result.line)") }
    }

    @Test func `SmolLM2's ids, prompts, losses and greedy answers are the reference's`() throws {
        let places =
            [ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"], Self.root.appending(path: "../.work/SmolLM2-135M-Instruct.Q4_1.gguf").path] as [String?]
        guard let model = places.compactMap({ $0 }).first(where: { FileManager.default.fileExists(atPath: $0) }) else {
            print("skipped: no SmolLM2 model; `make model` fetches it")
            return
        }
        let report = try TextReferenceCheck(
            directory: Self.root.appending(path: "Reference/smollm2").path, model: model, compute: Compute(cpu: CPU(threads: 2))
        ).run()
        #expect(report.results.count == 32 && report.notTested.isEmpty)
        for result in report.results { #expect(result.passes, "\(result.line)") }
    }
}
