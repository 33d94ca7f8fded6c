import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers
import MemoryFiles
import Testing

@testable import LorikeetDatasets

/// The real model's file: `LORIKEET_SMOLLM2`, or `.work/SmolLM2-135M-Instruct.Q4_1.gguf` under the package.
private let modelPath: String? = {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let candidates = [ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"], root.path + "/.work/SmolLM2-135M-Instruct.Q4_1.gguf"]
    return candidates.compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0) }
}()

@Suite(.enabled(if: modelPath != nil, "SmolLM2's GGUF is not here: run `make model` or set LORIKEET_SMOLLM2 to its path"))
struct SmolLM2Tests {
    /// The kinds demo's first record and its ids as transformers makes them: the prompt with the generation prompt, then the
    /// answer with `<|im_end|>`, encoded apart.
    private static let record = #"""
        {"instruction": "What kind of thing is this? Answer with one word.", "input": "example: punishment intended as a warning to others", "output": "language"}
        """#
    private static let ids: [Int32] = [
        1, 9690, 198, 1780, 1942, 282, 2775, 314, 451, 47, 19842, 351, 582, 2229, 30, 2, 198, 1, 4093, 198, 7434, 42, 10864, 5492, 347, 253,
        8418, 288, 1449, 2, 198, 1, 520, 9531, 198, 14120, 2,
    ]

    private func load(_ lines: [String], _ change: (inout DatasetSettings) -> Void = { _ in }) throws -> LoadedData {
        let tokenizer = try Tokenizer(gguf: GGUFFile(path: #require(modelPath)))
        let template = try ChatTemplate(
            #require(tokenizer.chatTemplateSource), name: "SmolLM2", specialTokens: tokenizer.namedTokens)
        let files = MemoryFiles(texts: ["train.jsonl": lines.joined(separator: "\n"), "held.jsonl": lines[0]])
        var settings = DatasetSettings(data: "train.jsonl")
        settings.validation = ["held.jsonl"]
        change(&settings)
        return try LoadedData(Dataset.load(settings, tokenizer: tokenizer, template: template, files: files, cpu: CPU(threads: 2)))
    }

    @Test func `the demo's first record has the reference's ids, the answer and its end trained`() throws {
        let data = try load([Self.record]) { $0.instructionRole = .system }
        #expect(data.train.first?.ids == Self.ids)
        #expect(data.train.first?.trained == Array(repeating: false, count: 35) + [true, true])
        #expect(data.heldOut.first?.promptIDs == Array(Self.ids.prefix(35)))
        #expect(data.heldOut.first?.answer == "language")
        #expect(data.report.mistakes.isEmpty)
    }

    /// `Tests/Reference/make_chats.py` made them.
    @Test func `conversations and raw texts have transformers' ids for the whole text, and TRL's masks`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let file = root.appending(path: "Reference/smollm2/chats.json")
        let rows = try JSON.parse(Array(Data(contentsOf: file)), source: "chats.json").array ?? []
        #expect(rows.count == 32)
        for row in rows {
            let record = try #require(row["record"])
            let sample = try load([record.serialized()]) { $0.maxLength = 4096 }.train[0]
            #expect(sample.ids.map(Int.init) == row["ids"]?.array?.compactMap(\.int), "\(record.serialized())")
            #expect(sample.trained.map { $0 ? 1 : 0 } == row["mask"]?.array?.compactMap(\.int), "\(record.serialized())")
        }
    }

    @Test func `a conversation of two answers trains both through the model's own template`() throws {
        let line = #"""
            {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}, \#
            {"role": "user", "content": "3+3?"}, {"role": "assistant", "content": "6"}]}
            """#
        let data = try load([line])
        let sample = try #require(data.train.first)
        let trained = zip(sample.ids, sample.trained).filter(\.1).map(\.0)
        let tokenizer = try Tokenizer(gguf: GGUFFile(path: #require(modelPath)))
        #expect(tokenizer.decode(trained) == "4<|im_end|>6<|im_end|>")
        #expect(tokenizer.decode(sample.ids).hasPrefix("<|im_start|>system\nYou are a helpful AI assistant"))
    }
}
