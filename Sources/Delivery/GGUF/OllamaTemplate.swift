import LorikeetGround
import LorikeetTokenizers

/// A chat template as Ollama's Modelfile writes it (Go's text/template), made of the texts that a Jinja template puts around messages.
///
/// The texts are found by rendering conversations whose messages are marks, and are proven by rendering others: where the parts do not give exactly
/// what the Jinja template gives, there is no such template.
struct OllamaTemplate: Equatable {
    /// Before the first user's message, in a conversation without a system message.
    private let beginning: String
    /// Before a system message and behind it; nil where the template has no place for one.
    private let system: (before: String, behind: String)?
    /// The first user's message behind a system message has nothing before it.
    private let joinsSystem: Bool
    private let beforeUser: String
    /// Between a user's message and the answer.
    private let beforeAnswer: String
    private let afterAnswer: String
    /// Behind the last user's message: where the model begins to write.
    private let prompt: String

    static func == (a: OllamaTemplate, b: OllamaTemplate) -> Bool { a.text == b.text }

    /// Messages by role and content.
    typealias Messages = [(role: String, content: String)]

    /// - Parameters:
    ///   - beginningOfSequence: the text of the token that begins every text by itself, which the template must not write then; nil where none does.
    ///   - render: the Jinja template's text for messages, with the beginning of an answer or without; nil where it refuses them.
    init?(beginningOfSequence: String?, render: (Messages, Bool) -> String?) {
        func rendered(_ messages: Messages, _ prompt: Bool = true) -> String? {
            guard let text = render(messages, prompt) else { return nil }
            guard let first = beginningOfSequence, !first.isEmpty, text.hasPrefix(first) else { return text }
            return String(text.dropFirst(first.count))
        }
        let (u, a, v, s) = ("\u{1}first\u{1}", "\u{1}answer\u{1}", "\u{1}second\u{1}", "\u{1}system\u{1}")
        guard let turns = rendered([("user", u), ("assistant", a), ("user", v)]).flatMap({ Self.pieces($0, [u, a, v]) }),
            let single = rendered([("user", u)]).flatMap({ Self.pieces($0, [u]) }), single[0] == turns[0], single[1] == turns[3]
        else { return nil }
        let shared = Self.commonSuffix(turns[0], turns[2])
        (beforeUser, beforeAnswer, prompt) = (shared, turns[1], turns[3])
        beginning = String(turns[0].dropLast(shared.count))
        afterAnswer = String(turns[2].dropLast(shared.count))
        if let pieces = rendered([("system", s), ("user", u)]).flatMap({ Self.pieces($0, [s, u]) }), pieces[2] == prompt {
            joinsSystem = !pieces[1].hasSuffix(shared)
            system = (pieces[0], joinsSystem ? pieces[1] : String(pieces[1].dropLast(shared.count)))
        } else {
            (joinsSystem, system) = (false, nil)
        }
        // Go's own marks, and the one that ends the text in a Modelfile.
        let texts = [beginning, system?.before ?? "", system?.behind ?? "", beforeUser, beforeAnswer, afterAnswer, prompt]
        guard !texts.contains(where: { $0.contains("{{") || $0.contains("\"\"\"") }) else { return nil }
        for conversation in Self.probes where system != nil || conversation[0].role != "system" {
            guard rendered(conversation) == self.render(conversation) else { return nil }
        }
    }

    /// Conversations that the parts were not made of.
    private static let probes: [Messages] = [
        [("user", "What is an otter?")],
        [("user", "Two lines\nof text, {curly} and \"quoted\""), ("assistant", "1. One\n2. Two"), ("user", "é 漢字 <b>")],
        [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")],
        [("system", "Answer in one word."), ("user", "What is an otter?")],
        [("system", "Be brief.\nBe kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")],
    ]

    /// Whether a system message has a place.
    var hasSystem: Bool { system != nil }

    /// What the template gives for a conversation that ends with a user's message, by the rules of Go's text/template and of Ollama: `.System` is the
    /// system message, `.Messages` are all.
    func render(_ messages: Messages) -> String {
        var text = beginning
        let given = messages.first { $0.role == "system" }?.content
        if let system, let given { text = system.before + given + system.behind }
        for (place, message) in messages.enumerated() {
            switch message.role {
            case "user": text += (joinsSystem && given != nil && place == 1 ? "" : beforeUser) + message.content
            case "assistant": text += beforeAnswer + message.content + afterAnswer
            default: break
            }
        }
        return text + prompt
    }

    /// The template in the language of Go's text/template.
    var text: String {
        var head = beginning
        if let system { head = "{{ if .System }}\(system.before){{ .System }}\(system.behind){{ else }}\(beginning){{ end }}" }
        let user = joinsSystem ? "{{ if not (and $.System (eq $i 1)) }}\(beforeUser){{ end }}" : beforeUser
        let range = joinsSystem ? "{{ range $i, $_ := .Messages }}" : "{{ range .Messages }}"
        return head + range + "{{ if eq .Role \"user\" }}\(user){{ .Content }}{{ else if eq .Role \"assistant\" }}\(beforeAnswer){{ .Content }}\(afterAnswer)"
            + "{{ end }}{{ end }}" + prompt
    }

    // MARK: texts

    /// The pieces of `text` around the marks, which stand in it once each, in order.
    private static func pieces(_ text: String, _ marks: [String]) -> [String]? {
        var (rest, pieces): (Substring, [String]) = (text[...], [])
        for mark in marks {
            guard let range = rest.firstRange(of: mark) else { return nil }
            pieces.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        guard !rest.contains("\u{1}"), !pieces.contains(where: { $0.contains("\u{1}") }) else { return nil }
        return pieces + [String(rest)]
    }

    private static func commonSuffix(_ a: String, _ b: String) -> String {
        String(zip(a.reversed(), b.reversed()).prefix { $0 == $1 }.map(\.0).reversed())
    }
}
