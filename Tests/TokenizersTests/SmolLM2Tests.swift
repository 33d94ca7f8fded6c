import Foundation
import LorikeetModelFiles
import Testing

@testable import LorikeetTokenizers

/// The real model's file: `LORIKEET_SMOLLM2`, or `.work/SmolLM2-135M-Instruct.Q4_1.gguf` under the package.
private let modelPath: String? = {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let candidates = [ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"], root.path + "/.work/SmolLM2-135M-Instruct.Q4_1.gguf"]
    return candidates.compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0) }
}()

@Suite(.enabled(if: modelPath != nil, "SmolLM2's GGUF is not here: run `make model` or set LORIKEET_SMOLLM2 to its path"))
struct SmolLM2Tests {
    let tokenizer: Tokenizer
    let expected: TemplateValue

    init() throws {
        tokenizer = try Tokenizer(gguf: GGUFFile(path: #require(modelPath)))
        expected = try Fixture.value("smollm2.json")
    }

    @Test func `SmolLM2's ids are those of transformers, and decode to the text`() throws {
        let rows = expected["texts"]?.items ?? []
        #expect(rows.count == 10)
        for row in rows {
            let text = try #require(row["text"]?.text)
            let ids = try tokenizer.encode(text)
            #expect(ids == row["ids"]?.ids, "\(text.debugDescription)")
            #expect(PythonText.equal(tokenizer.decode(ids), text))
        }
    }

    @Test func `SmolLM2's template and prompt ids are those of transformers`() throws {
        let template = try ChatTemplate(
            #require(tokenizer.chatTemplateSource), name: "SmolLM2", specialTokens: tokenizer.namedTokens)
        let chats = expected["chats"]?.items ?? []
        #expect(chats.count == 2)
        for chat in chats {
            let messages =
                chat["messages"]?.items.compactMap { message in
                    message["role"].flatMap { role in message["content"].map { ChatMessage(role: role.text, content: $0.text) } }
                } ?? []
            let prompt = try template.render(messages, addGenerationPrompt: true)
            #expect(prompt == chat["prompt"]?.text)
            #expect(try tokenizer.encode(prompt) == chat["prompt_ids"]?.ids)
        }
    }

    @Test func `SmolLM2's named tokens are found`() {
        #expect(tokenizer.vocabularySize == 49_152)
        #expect(tokenizer.bos == 1 && tokenizer.eos == 2 && tokenizer.pad == 2 && tokenizer.unknown == 0)
        #expect(tokenizer.endTokens == [0, 2])
        #expect(!tokenizer.addsBOS)
        #expect(tokenizer.id(of: "Ġthe").map { tokenizer.decode([$0]) } == " the")
    }
}
