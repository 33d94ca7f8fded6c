import LorikeetJSON
import LorikeetTokenizers

extension FuzzTarget {
    private static let tokens = ["bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"]

    private static let conversations: [Conversation] = [
        Conversation(messages: [
            ["role": "system", "content": "Be brief."], ["role": "user", "content": "What is 2 + 2?\n"], ["role": "assistant", "content": "4"],
            ["role": "user", "content": "And <b>then</b>?"], ["role": "assistant", "content": " 5 ", "reasoning_content": "4 + 1"],
        ]),
        Conversation(
            messages: [
                ["role": "user", "content": [["type": "text", "text": "Weather?"]]],
                [
                    "role": "assistant", "content": nil,
                    "tool_calls": [["id": "1", "type": "function", "function": ["name": "w", "arguments": ["at": "Wien", "n": 3]]]],
                ],
                ["role": "tool", "name": "w", "tool_call_id": "1", "content": "rain"], ["role": "assistant", "content": "Rain."],
            ], tools: [["type": "function", "function": ["name": "w", "description": "d", "parameters": ["type": "object", "properties": [:]]]]],
            documents: [["title": "t", "text": "x"]], variables: ["enable_thinking": true, "n": 7]),
    ]

    /// A chat template, rendered with conversations that have all that templates look at, and searched for its answers.
    static let template = FuzzTarget(name: "template") { bytes in
        let template = try ChatTemplate(String(decoding: bytes, as: UTF8.self), name: "template", specialTokens: tokens, now: 1_700_000_000)
        for conversation in conversations {
            do { _ = try template.render(conversation, addGenerationPrompt: true) } catch { try Texts.expectSentence(error) }
            let trained = conversation.messages.indices.filter { conversation.messages[$0]["role"]?.string == "assistant" }
            do { _ = try template.renderWithAnswers(conversation, trained: trained, endTexts: ["<|im_end|>", "</s>"]) } catch {
                try Texts.expectSentence(error)
            }
        }
    }
}
