import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// Where answers stand in templates without marks, written for one difficulty each.
@Suite struct AnswerTests {
    private let ends = ["<end>", "<|im_end|>"]

    private func message(_ role: String, _ content: String, _ more: [(String, JSON)] = []) -> JSON {
        .object(JSONObject([(key: "role", value: .string(role)), (key: "content", value: .string(content))] + more.map { (key: $0.0, value: $0.1) }))
    }

    /// The texts that are trained, all assistant messages being asked for.
    private func answers(_ source: String, _ messages: [JSON], _ variables: [String: JSON] = [:], trained: [Int]? = nil) throws -> [String] {
        let template = try ChatTemplate(source, name: "t", specialTokens: ["eos_token": "<end>"])
        let all = messages.indices.filter { messages[$0]["role"] == "assistant" }
        let made = try template.renderWithAnswers(
            Conversation(messages: messages, variables: variables), trained: trained ?? all, endTexts: ends)
        #expect(made.answers.map(\.message) == trained ?? all)
        let bytes = Array(made.text.utf8)
        return made.answers.map { String(decoding: bytes[$0.range], as: UTF8.self) + ($0.endsWithEndToken ? "" : "…") }
    }

    private func refusal(_ source: String, _ messages: [JSON]) -> String {
        do {
            return "\(try answers(source, messages))"
        } catch { return "refused: \((error as? LorikeetError)?.what ?? "\(error)")" }
    }

    private static let chatML = """
        {%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    @Test func `every assistant turn is found, with its end token and without the newline behind it`() throws {
        let messages = [message("user", "a"), message("assistant", "b é"), message("user", "c"), message("assistant", " d\n")]
        #expect(try answers(Self.chatML, messages) == ["b é<|im_end|>", " d\n<|im_end|>"])
        #expect(try answers(Self.chatML, messages, trained: [3]) == [" d\n<|im_end|>"])
    }

    @Test func `content that holds the end token or the generation prompt is trained whole`() throws {
        let text = "x<|im_end|>\n<|im_start|>assistant\ny"
        #expect(try answers(Self.chatML, [message("user", text), message("assistant", text)]) == [text + "<|im_end|>"])
    }

    @Test func `a prompt that opens a thought trains what follows it`() throws {
        let source = """
            {%- for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}{{ '<think>\\n' + m.thought + '</think>' }}{% endif %}
            {{- m.content + '<end>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}
            """
        let thought = [("thought", JSON("hm"))]
        let messages = [message("user", "a"), message("assistant", "b", thought), message("user", "c"), message("assistant", "d", thought)]
        #expect(try answers(source, messages) == ["hm</think>b<end>", "hm</think>d<end>"])
    }

    /// Earlier thoughts are dropped, and the prompt opens one: the earlier turns have the header only.
    @Test func `turns that are written without what the prompt opens begin behind their header`() throws {
        let source = """
            {%- for m in messages %}{% if m.role == 'assistant' %}
            {%- if loop.last %}{{ '<|a|><think>\\n' + m.content + '<end>' }}{% else %}{{ '<|a|>' + m.content.split('</think>')[-1] + '<end>' }}{% endif %}
            {%- else %}{{ '<|u|>' + m.content }}{% endif %}{% endfor %}
            {%- if add_generation_prompt %}{{ '<|a|>' }}{{ '<think>\\n' }}{% endif %}
            """
        let messages = [message("user", "1"), message("assistant", "t1</think><two"), message("user", "3"), message("assistant", "t2</think>four")]
        #expect(try answers(source, messages) == ["<two<end>", "t2</think>four<end>"])
    }

    @Test func `a turn that parts from the prompt inside one piece is refused`() {
        let source = """
            {%- for m in messages %}{{ '<|u|>' + m.content if m.role == 'user' else '<|a|><nothing>' + m.content + '<end>' }}{% endfor %}
            {%- if add_generation_prompt %}{{ '<|a|><think>' }}{% endif %}
            """
        #expect(refusal(source, [message("user", "1"), message("assistant", "2")]).contains("it cannot be determined where the answer of message 2 begins"))
    }

    @Test func `a prompt written inside the last user's turn is told apart from the turn`() throws {
        let source = """
            {%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<end>\\n' }}
            {%- if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}
            """
        #expect(
            try answers(source, [message("user", "1"), message("assistant", "2"), message("user", "3"), message("assistant", "4")]) == ["2<end>", "4<end>"])
    }

    /// Mistral's tools stand before the last user message, so that earlier turns are written otherwise in every prefix.
    @Test func `what stands before the last message only does not move the answers`() throws {
        let source = """
            {%- for m in messages %}{% if m.role == 'user' %}
            {%- if loop.index0 >= messages | length - 2 %}{{ '[TOOLS]' }}{% endif %}{{ '[INST]' + m.content + '[/INST]' }}
            {%- else %}{{ ' ' + m.content + '<end>' }}{% endif %}{% endfor %}
            """
        let messages = [message("user", "1"), message("assistant", "2"), message("user", "3"), message("assistant", "4")]
        #expect(try answers(source, messages) == [" 2<end>", " 4<end>"])
    }

    @Test func `text outside the last turn is not trained, and a missing end is told`() throws {
        let source = """
            {%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|im_end|>\\n' }}{% endfor %}
            {%- if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}
            """
        #expect(try answers(source, [message("user", "1"), message("assistant", "2")]) == ["2<|im_end|>"])
        let endless = """
            {%- for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}
            """
        #expect(try answers(endless, [message("user", "1"), message("assistant", "2")]) == ["2\n…"])
    }

    @Test func `the token that begins the next turn ends one that has no other end`() throws {
        let source = """
            {%- for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}
            """
        let template = try ChatTemplate(source, name: "t", specialTokens: [:])
        let messages = [message("user", "1"), message("assistant", "2"), message("user", "3")]
        let made = try template.renderWithAnswers(Conversation(messages: messages), trained: [1], endTexts: ["<|user|>"])
        #expect(made.answers == [.init(message: 1, range: 22..<31, endsWithEndToken: true)])
    }

    @Test func `tool results inside the assistant's turn are never trained`() {
        for inner in ["{% for r in messages[loop.index:] %}{{ r.content }}{% endfor %}", "{% set r = messages[loop.index] %}{{ r.content }}"] {
            let source = """
                {%- for m in messages %}{% if m.role == 'user' %}{{ '<u>' + m.content }}{% elif m.role == 'assistant' %}{{ '<a>' + m.content }}\(inner)
                {{- '<end>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<a>' }}{% endif %}
                """
            let messages = [message("user", "1"), message("assistant", "call"), message("tool", "result")]
            #expect(refusal(source, messages).contains("other messages may be written inside its turn"))
        }
    }

    @Test func `a template that does not loop over the messages is searched by prefixes`() throws {
        let source = """
            {%- for i in range(messages | length) %}{% set m = messages[i] %}{{ '<|' + m.role + '|>' + m.content + '<end>\\n' }}{% endfor %}
            {%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}
            """
        #expect(
            try answers(source, [message("user", "1"), message("assistant", "2"), message("user", "3"), message("assistant", "4")]) == ["2<end>", "4<end>"])
        #expect(refusal(source + "{{ messages | length }}", [message("user", "1"), message("assistant", "2"), message("user", "3")]).hasPrefix("refused"))
    }

    @Test func `marks are taken as they stand, for the messages that are asked for`() throws {
        let source = """
            {%- for m in messages %}{% if m.role == 'assistant' %}{{ '<a>' }}{% generation %}{{ m.content + '<end>\\n' }}{% endgeneration %}
            {%- else %}{{ '<u>' + m.content }}{% endif %}{% endfor %}
            """
        let messages = [message("user", "1"), message("assistant", "2"), message("user", "3"), message("assistant", "4")]
        #expect(try answers(source, messages) == ["2<end>\n", "4<end>\n"])
        #expect(try answers(source, messages, trained: [3]) == ["4<end>\n"])
        let inMacro = "{% macro w(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}{% for m in messages %}{{ w(m) }}{% endfor %}"
        #expect(refusal(inMacro, messages).contains("inside a macro"))
        let partial = "{% for m in messages %}{% if m.content == '2' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}"
        #expect(refusal(partial, messages).contains("marks nothing of message 4"))
    }

    @Test func `an answer without anything before it is refused`() {
        #expect(refusal(Self.chatML, [message("assistant", "1")]).contains("nothing stands before"))
    }

    private func turns(_ count: Int) -> [JSON] { (0..<count).map { message($0.isMultiple(of: 2) ? "user" : "assistant", "turn \($0)") } }

    @Test(arguments: [
        chatML,
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% endfor %}",
    ])
    func `every answer of a chat of four thousand turns is found`(source: String) throws {
        #expect(try answers(source, turns(4000)) == (0..<2000).map { "turn \(2 * $0 + 1)<|im_end|>" })
    }

    @Test func `the work for a chat of many turns grows with their number, not with its square`() throws {
        let template = try ChatTemplate(Self.chatML, name: "t", specialTokens: [:])
        func work(_ count: Int) throws -> (once: Int, renderings: Int) {
            let conversation = Conversation(messages: turns(count))
            var renderer = try ConversationRenderer(template, conversation)
            let places = try renderer.rendering(of: count, asking: false)
            var finder = AnswerFinder(renderer, places: places, ends: ends.map { Array($0.utf8) })
            _ = try finder.find((0..<count).filter { !$0.isMultiple(of: 2) })
            return (try template.run(TemplateInput(conversation), addGenerationPrompt: false).work, finder.renderings)
        }
        let (short, long) = (try work(400), try work(4000))
        // The prompts of the first turns alone are rendered; those of later ones are known from them.
        #expect(long.renderings == short.renderings && long.renderings <= 8)
        #expect(long.once > 9 * short.once && long.once < 11 * short.once)
    }
}
