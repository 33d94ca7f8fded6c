import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// Chat templates of real models against transformers (Fixtures/chat/make_chats.py): texts, and the bytes that TRL's training templates mark.
@Suite struct RealTemplateTests {
    /// One template with what transformers made of every conversation.
    struct RealTemplate: Sendable, CustomTestStringConvertible {
        let name: String
        let rows: [JSON]
        var testDescription: String { name }
        var isMarked: Bool { rows.contains { $0["marked"] != nil } }

        func template() throws -> ChatTemplate {
            // 2024-02-29 12:34:56
            try ChatTemplate(
                RealTemplateTests.text("trl/\(name).jinja"), name: name, specialTokens: ["bos_token": "<s>", "eos_token": "</s>"], now: 1_709_210_096)
        }
    }

    /// `LORIKEET_CHATS` names another folder that make_chats.py wrote.
    static let folder = ProcessInfo.processInfo.environment["LORIKEET_CHATS"]
    static func text(_ path: String) throws -> String {
        guard let folder else { return try Fixture.text("chat/" + path) }
        return String(decoding: try Data(contentsOf: URL(fileURLWithPath: folder + "/" + path)), as: UTF8.self)
    }

    static let fixture = try? JSON.parse(text("chats.json"), source: "chats.json")
    static let templates = (fixture?["templates"]?.array ?? []).map {
        RealTemplate(name: $0["name"]?.string ?? "", rows: $0["rows"]?.array ?? [])
    }
    static let conversations: [Conversation] = (fixture?["conversations"]?.array ?? []).map { json in
        var variables = Dictionary(uniqueKeysWithValues: json.object?.entries.map { ($0.key, $0.value) } ?? [])
        return Conversation(
            messages: variables.removeValue(forKey: "messages")?.array ?? [], tools: variables.removeValue(forKey: "tools"), variables: variables)
    }
    /// Texts that end a turn in one of the templates.
    static let ends = [
        "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<|user|>",
        "<|observation|>", "<|return|>", "<|call|>", "<turn|>", "<end_of_utterance>",
    ]

    private func assistants(_ conversation: Conversation) -> [Int] {
        conversation.messages.indices.filter { conversation.messages[$0]["role"]?.string == "assistant" }
    }

    @Test func `the fixtures hold the templates and conversations that are promised`() {
        #expect(Self.templates.count >= 40)
        #expect(Self.conversations.count >= 20)
        #expect(Self.templates.filter(\.isMarked).count >= 15)
    }

    @Test(arguments: templates)
    func `a real template writes what transformers writes, and refuses what it refuses`(real: RealTemplate) throws {
        let template = try real.template()
        for (index, (conversation, row)) in zip(Self.conversations, real.rows).enumerated() {
            let result = Result { try template.render(conversation, addGenerationPrompt: false) }
            switch result {
            case .success(let text): #expect(text == row["text"]?.string, "\(real.name) \(index) \(row["error"]?.string ?? "")")
            case .failure(let error): #expect(row["error"] != nil, "\(real.name) \(index): \(error)")
            }
            var asked = conversation
            asked.messages.removeLast()
            let prompt = Result { try template.render(asked, addGenerationPrompt: true) }
            switch prompt {
            case .success(let text):
                let expected = row["prompt"]?.array.map { parts in
                    String(decoding: (row["text"]?.string ?? "").utf8.prefix(parts[0].int ?? 0), as: UTF8.self) + (parts[1].string ?? "")
                }
                #expect(text == expected, "\(real.name) \(index) with the prompt")
            case .failure(let error): #expect(row["promptError"] != nil, "\(real.name) \(index) with the prompt: \(error)")
            }
        }
    }

    @Test(arguments: templates.filter(\.isMarked))
    func `a training template trains the bytes that TRL trains`(real: RealTemplate) throws {
        let template = try real.template()
        for (index, (conversation, row)) in zip(Self.conversations, real.rows).enumerated() {
            guard let marked = row["marked"]?.array else { continue }
            let made = try template.renderWithAnswers(conversation, trained: assistants(conversation), endTexts: Self.ends)
            #expect(made.text == row["text"]?.string)
            let expected = marked.map { ($0.array?[0].int ?? 0)..<($0.array?[1].int ?? 0) }
            #expect(made.answers.map(\.range) == expected, "\(real.name) \(index)")
            #expect(made.answers.map(\.message) == made.answers.map(\.message).sorted())
        }
    }

    /// Rendering tells the answers of a template without marks: they are those that TRL marks in its training form, wherever both write
    /// the same text, apart from the white space behind the end token, which no model has to say, and from what the generation prompt
    /// already writes (a header, an opened `<think>`), which TRL's marks hold in some templates.
    @Test(arguments: templates.filter { original in templates.contains { $0.name == original.name + "_training" } })
    func `a template without marks trains what its training form marks`(real: RealTemplate) throws {
        let template = try real.template()
        let training = try #require(Self.templates.first { $0.name == real.name + "_training" })
        var compared = 0
        for (index, conversation) in Self.conversations.enumerated() where index < real.rows.count {
            guard let text = real.rows[index]["text"]?.string, text == training.rows[index]["text"]?.string,
                let marked = training.rows[index]["marked"]?.array
            else { continue }
            let bytes = Array(text.utf8)
            var expected: [Range<Int>] = []
            for mark in marked {
                var range = (mark.array?[0].int ?? 0)..<(mark.array?[1].int ?? 0)
                while range.count > 1, bytes[range.upperBound - 1] == 0x0A || bytes[range.upperBound - 1] == 0x20 {
                    range = range.lowerBound..<(range.upperBound - 1)
                }
                // Phi-3 writes the end of the sequence behind the last turn.
                if String(decoding: bytes[range], as: UTF8.self) != "</s>" { expected.append(range) }
            }
            let made = try template.renderWithAnswers(conversation, trained: assistants(conversation), endTexts: Self.ends)
            #expect(made.text == text)
            try #require(made.answers.count == expected.count)
            for (place, answer) in made.answers.enumerated() where answer.range.lowerBound > expected[place].lowerBound {
                var before = conversation
                before.messages.removeLast(conversation.messages.count - answer.message)
                let prompt = try template.render(before, addGenerationPrompt: true)
                let prompted = String(decoding: bytes[expected[place].lowerBound..<answer.range.lowerBound], as: UTF8.self)
                #expect(prompt.hasSuffix(prompted) || prompt.hasSuffix(prompted + "<think>\n"), "\(real.name) \(index) \(prompted)")
                expected[place] = answer.range.lowerBound..<expected[place].upperBound
            }
            #expect(made.answers.map(\.range) == expected, "\(real.name) \(index)")
            #expect(!made.answers.contains { !$0.endsWithEndToken }, "\(real.name) \(index)")
            compared += 1
        }
        #expect(compared > 0)
    }
}
