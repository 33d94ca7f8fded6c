import Foundation
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

/// The families' own templates (beside the tokenizers' tests): the answers of a conversation are found in each of them.
struct FamilyTemplateTests {
    private static let conversation = #"""
        {"messages": [{"role": "user", "content": "u1"}, {"role": "assistant", "content": "a1"}, \#
        {"role": "user", "content": "u2"}, {"role": "assistant", "content": "a2"}]}
        """#

    private func template(_ name: String) throws -> String {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let file = tests.appending(path: "TokenizersTests/Fixtures/templates/\(name).jinja")
        return String(decoding: try Data(contentsOf: file), as: UTF8.self)
    }

    @Test(arguments: [
        ("smollm2", "<|im_end|>", ["a1<|im_end|>", "a2<|im_end|>"]),
        ("qwen25", "<|im_end|>", ["a1<|im_end|>", "a2<|im_end|>"]),
        // Qwen 3 puts an empty thought before the last answer only; the model writes it itself.
        ("qwen3", "<|im_end|>", ["a1<|im_end|>", "<think>\n\n</think>\n\na2<|im_end|>"]),
        ("llama3", "<|eot_id|>", ["a1<|eot_id|>", "a2<|eot_id|>"]),
        ("llama32", "<|eot_id|>", ["a1<|eot_id|>", "a2<|eot_id|>"]),
        ("gemma", "<end_of_turn>", ["a1<end_of_turn>", "a2<end_of_turn>"]),
        ("gemma3", "<end_of_turn>", ["a1<end_of_turn>", "a2<end_of_turn>"]),
        ("phi3", "<|end|>", ["a1<|end|>", "a2<|end|>"]),
        ("llama2", "</s>", [" a1 </s>", " a2 </s>"]),
        ("mistral", "</s>", [" a1</s>", " a2</s>"]),
        ("zephyr", "</s>", ["a1</s>", "a2</s>"]),
    ])
    func `a family's template trains its answers with their ends`(name: String, end: String, answers: [String]) throws {
        let tokenizer = try Small.tokenizer(special: ["<s>", end, "<think>"])
        let data = try Small.load([Self.conversation], template: template(name), tokenizer: tokenizer)
        let sample = try #require(data.train.first)
        #expect(try Small.trainedTexts(sample, tokenizer: tokenizer) == answers)
        #expect(data.report.mistakes.isEmpty)
        #expect(!sample.ids.starts(with: [0, 0]))
    }
}
