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

    /// A real model in a file: the folder with its numbers, where the file may lie, and how many numbers are compared.
    struct RealModel: Sendable, CustomStringConvertible {
        let folder: String
        let variable: String
        let file: String
        let count: Int
        var description: String { folder }
    }

    static let realModels = [
        RealModel(folder: "smollm2", variable: "LORIKEET_SMOLLM2", file: "SmolLM2-135M-Instruct.Q4_1.gguf", count: 32),
        RealModel(folder: "gemma3-270m", variable: "LORIKEET_GEMMA3", file: "gemma-3-270m.Q4_K_M.gguf", count: 28),
    ]

    @Test(arguments: realModels) func `a real model's ids, prompts, losses and greedy answers are the reference's`(model: RealModel) throws {
        let places = [ProcessInfo.processInfo.environment[model.variable], Self.root.appending(path: "../.work/\(model.file)").path] as [String?]
        guard let path = places.compactMap({ $0 }).first(where: { FileManager.default.fileExists(atPath: $0) }) else {
            print("skipped: no \(model.file); `make model model-gemma` fetches it")
            return
        }
        let report = try TextReferenceCheck(
            directory: Self.root.appending(path: "Reference/\(model.folder)").path, model: path, compute: Compute(cpu: CPU(threads: 2))
        ).run()
        #expect(report.results.count == model.count && report.notTested.isEmpty)
        for result in report.results { #expect(result.passes, "\(result.line)") }
    }
}
