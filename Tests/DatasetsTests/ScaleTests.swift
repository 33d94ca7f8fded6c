import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

/// Time and memory of a large set: `LORIKEET_SCALE=PREFIX` names `PREFIX.jsonl` and `PREFIX.eval.jsonl`. Prints what it measures; the
/// peak is the process's, so that the store comes first.
@Suite(
    .enabled(
        if: ProcessInfo.processInfo.environment["LORIKEET_SCALE"] != nil && ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"] != nil,
        "set LORIKEET_SCALE to the prefix of a large set and LORIKEET_SMOLLM2 to the model"), .serialized)
struct ScaleTests {
    @Test(arguments: [true, false]) func `a large set to packed batches, in memory or from the store`(stored: Bool) throws {
        let environment = ProcessInfo.processInfo.environment
        let prefix = try #require(environment["LORIKEET_SCALE"])
        let tokenizer = try Tokenizer(gguf: GGUFFile(path: #require(environment["LORIKEET_SMOLLM2"])))
        let template = try ChatTemplate(#require(tokenizer.chatTemplateSource), name: "SmolLM2", specialTokens: tokenizer.namedTokens)
        var settings = DatasetSettings(data: prefix + ".jsonl")
        settings.validation = [prefix + ".eval.jsonl"]
        settings.maxLength = 1024
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = SampleStore(folder: folder, identity: "scale", files: RealFiles())
        for round in stored ? ["new", "again"] : ["memory"] {
            let start = Date()
            let data = try Dataset.load(
                settings, tokenizer: tokenizer, template: template, store: stored ? store : nil, files: RealFiles(), cpu: CPU(threads: 2))
            let loaded = Date()
            let order = epochOrder(count: data.train.count, seed: 42, epoch: 0, shuffle: true)
            var tokens = 0
            for step in stride(from: 0, to: order.count, by: 16) {
                let samples = try data.train.samples(at: order[step..<min(order.count, step + 16)])
                for group in packedGroups(lengths: samples.map(\.ids.count), tokensPerBatch: 2048) { for index in group { tokens += samples[index].ids.count } }
            }
            let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
            let peak = status.split(separator: "\n").first { $0.hasPrefix("VmHWM") } ?? ""
            print(
                "SCALE \(round): load \(loaded.timeIntervalSince(start)) s, pack \(Date().timeIntervalSince(loaded)) s, \(data.train.count) + "
                    + "\(data.validation.count) samples, \(tokens) tokens, \(peak)")
            #expect(data.report.mistakes.isEmpty)
        }
    }
}
