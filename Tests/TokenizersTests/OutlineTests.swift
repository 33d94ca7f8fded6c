import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// Conversations that are written from an outline have the text and the answers that they have without one.
@Suite struct OutlineTests {
    private static let texts = [
        "a", " \n b\t", "\u{1}", "x\u{1}y \u{1}", "</think>\n\nc", "e\u{301}", "\u{301}f", "\u{1C}g\u{1F}", "<|im_end|>", "h<end> \n", "日本\u{3000}", "0",
        "{{ messages }}", "<end>",
    ]

    private static func message(_ role: String, _ content: String, _ more: [(key: String, value: JSON)] = []) -> JSON {
        .object(JSONObject([(key: "role", value: .string(role)), (key: "content", value: .string(content))] + more))
    }

    /// Conversations of one to six messages over all texts.
    private static let conversations: [Conversation] = texts.indices.flatMap { start in
        [
            ["user", "assistant"], ["system", "user", "assistant"], ["user", "assistant", "user", "assistant"],
            ["system", "user", "assistant", "user", "assistant"],
        ]
        .map { roles in
            Conversation(messages: roles.enumerated().map { message($1, texts[(start + $0 * 5) % texts.count]) })
        }
    }

    private let ends = RealTemplateTests.ends + ["<end>"]

    private func written(_ template: ChatTemplate, _ conversation: Conversation) -> String {
        let answers = conversation.messages.indices.filter { conversation.messages[$0]["role"] == "assistant" }
        do {
            let rendered = try template.renderWithAnswers(conversation, trained: answers, endTexts: ends)
            return "\(rendered.text.unicodeScalars.map(\.value)) \(rendered.answers)"
        } catch { return "refused: \(error)" }
    }

    /// The same where no outline is used: messages of an outline have two keys.
    private func writtenAsItIs(_ template: ChatTemplate, _ conversation: Conversation) -> String {
        var other = conversation
        other.messages = conversation.messages.map { message in
            Self.message(message["role"]?.string ?? "", message["content"]?.string ?? "", [(key: "zq", value: "")])
        }
        return written(template, other)
    }

    @Test(arguments: RealTemplateTests.templates)
    func `real templates write the same from an outline`(real: RealTemplateTests.RealTemplate) throws {
        let template = try real.template()
        for conversation in Self.conversations {
            #expect(written(template, conversation) == writtenAsItIs(template, conversation), "\(real.name): \(conversation.messages)")
        }
    }

    @Test(arguments: BuiltInTemplate.all.map(\.name))
    func `built-in templates write the same from an outline`(name: String) throws {
        let source = try #require(ChatTemplate.named(name)?.source)
        let template = try ChatTemplate(source, name: name, specialTokens: ["bos_token": "<s>", "eos_token": "</s>"])
        for conversation in Self.conversations {
            #expect(written(template, conversation) == writtenAsItIs(template, conversation), "\(name): \(conversation.messages)")
        }
    }

    private func hasOutline(_ template: ChatTemplate, _ roles: [String] = ["user", "assistant"]) -> Bool {
        template.outline(roles: roles, addGenerationPrompt: false) != nil
    }

    @Test(arguments: ["chatml", "llama-3", "gemma", "mistral"]) func `common templates have an outline`(name: String) throws {
        let source = try #require(ChatTemplate.named(name)?.source)
        #expect(hasOutline(try ChatTemplate(source, name: name, specialTokens: ["bos_token": "<s>", "eos_token": "</s>"])))
    }

    private static func template(_ body: String) throws -> ChatTemplate {
        try ChatTemplate("{% for m in messages %}[\(body)]{% endfor %}", name: "t", specialTokens: ["eos_token": "<end>"])
    }

    @Test(arguments: [
        "{{ m.content }}", "{{ m['content'] + eos_token }}", "{{ 'a' ~ m.content ~ 'b' }}", "{{ m.content | trim }}", "{{ (m.content | trim) + '!' }}",
        "{% if m.content is string %}{{ m.content }}{% endif %}", "{% if m.content is not none and m.content is defined %}{{ m.role }}{% endif %}",
        "{{ m.content if m.content else 'nothing' }}", "{% if not m.content %}nothing{% endif %}", "{{ messages[0].content }}",
        "{{ messages[1:][0]['content'] }}", "{{ messages | length }}", "{% if 'tool_calls' in m %}calls{% endif %}{{ m.content }}",
        "{% set ns = namespace(t='') %}{% set ns.t = m.content %}{{ ns.t }}", "{% set t = m.content + '|' %}{{ t }}{{ t }}",
        "{% generation %}{{ m.content }}{% endgeneration %}", "{% for n in messages %}{{ n.content }}{% endfor %}",
        "{{ loop.previtem.content if not loop.first }}{{ m.content }}{{ eos_token }}", "{% with t = m.content %}{{ t }}{% endwith %}",
        "{{ m.content if m is mapping }}", "{{ m.content ~ 1 }}",
    ])
    func `a template that only writes texts has an outline, and the same text from it`(body: String) throws {
        let template = try Self.template(body)
        #expect(hasOutline(template))
        for conversation in Self.conversations {
            #expect(written(template, conversation) == writtenAsItIs(template, conversation), "\(conversation.messages)")
        }
    }

    @Test(arguments: [
        "{{ m.content | upper }}", "{{ m.content[0] }}", "{{ m.content[-1:] }}", "{{ m.content.strip() }}", "{{ m.content.startswith('a') }}",
        "{{ 'x' in m.content }}", "{{ m.content in 'abc' }}", "{{ m.content == 'a' }}", "{{ m.content < 'b' }}", "{{ m | tojson }}", "{{ m }}",
        "{% set x %}{{ m.content }}{% endset %}{{ x | upper }}", "{{ m.content * 2 }}", "{% for c in m.content %}{{ c }}-{% endfor %}",
        "{{ m.content | length }}", "{{ m.content | trim('a') }}", "{% for k, v in m.items() %}{{ v }}{% endfor %}", "{{ m.get('content') | upper }}",
        "{{ messages | map(attribute='content') | join('-') }}", "{{ '%s' % m.content }}", "{{ (m.content ~ 1) | upper }}", "{{ [m.content] | join('-') }}",
        "{{ m.content is in ['a', '0'] }}", "{{ {'k': m.content} }}", "{% macro f(x) %}{{ x }}!{% endmacro %}{{ f(m.content) | upper }}",
        "{{ m.content | default('z') }}", "{{ m[m.content] }}", "{{ m.content.upper }}", "{{ m.content['upper'] }}",
        "{{ messages | groupby('content') | length }}",
        "{{ loop.changed(m.content) }}", "{{ messages == messages }}", "{{ m in messages }}", "{{ messages }}", "{{ m.content | safe }}",
        "{{ messages | selectattr('content', 'equalto', 'a') | list | length }}", "{{ m.content | int }}", "{{ m.content is upper }}",
        "{% filter upper %}{{ m.content }}{% endfilter %}", "{{ (m.content | trim) == m.content }}", "{{ {'a': 1}[m.content] }}", "{{ messages | last }}",
    ])
    func `a template that looks at texts has none, and its text follows from them`(body: String) throws {
        let template = try Self.template(body)
        #expect(!hasOutline(template))
        for conversation in Self.conversations.prefix(8) {
            var texts: [String] = []
            for asks in [false, true] { texts.append((try? template.render(conversation, addGenerationPrompt: asks)) ?? "refused") }
            let rendered = try? template.renderWithAnswers(conversation, trained: [conversation.messages.count - 1], endTexts: ends)
            #expect(rendered.map { $0.text == texts[0] } ?? true)
        }
    }

    @Test func `a refusal is said for every conversation`() throws {
        let template = try Self.template("{{ raise_exception('no ' + m.role) if m.role == 'system' else m.content }}")
        for conversation in Self.conversations where conversation.messages[0]["role"] == "system" {
            for _ in 0..<2 { #expect(written(template, conversation).contains("no system")) }
        }
        #expect(!hasOutline(template, ["system", "user", "assistant"]) && hasOutline(template))
    }

    @Test func `a text near the limits is written as it is`() throws {
        let template = try Self.template("{{ m.content }}{{ m.content }}")
        let outline = try #require(template.outline(roles: ["user"], addGenerationPrompt: false))
        #expect(outline.filled(with: ["a"]) != nil)
        #expect(outline.filled(with: [String(repeating: "a", count: 8 << 20)]) == nil)
        let conversation = Conversation(messages: [Self.message("user", String(repeating: "a", count: 40 << 20)), Self.message("assistant", "b")])
        #expect(written(template, conversation).contains("makes a text of more than 64 MiB"))
    }

    @Test func `roles of other characters are told apart`() throws {
        let template = try Self.template("{{ m.role }}: {{ m.content }}")
        for roles in [["a\nb", "c"], ["a", "b\nc"], ["a\nb\nc"], ["a", "b", "c"], ["e\u{301}"], ["\u{E9}"]] {
            let messages = roles.map { Self.message($0, "x") } + [Self.message("assistant", "y")]
            let rendered = try template.renderWithAnswers(Conversation(messages: messages), trained: [roles.count], endTexts: [])
            let expected = (roles.map { "[\($0): x]" } + ["[assistant: y]"]).joined()
            #expect(rendered.text.utf8.elementsEqual(expected.utf8))
        }
    }

    @Test func `content of white space alone is written as it is`() throws {
        let template = try Self.template("{{ m.content if m.content | trim else 'nothing' }}")
        let conversation = Conversation(messages: [Self.message("user", " \n"), Self.message("assistant", "b")])
        let rendered = try template.renderWithAnswers(conversation, trained: [1], endTexts: [])
        #expect(rendered.text == "[nothing][b]")
    }
}
