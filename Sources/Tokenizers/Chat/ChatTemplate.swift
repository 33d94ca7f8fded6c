import LorikeetGround
import LorikeetJSON

/// One message of a conversation: the short form for text alone.
package struct ChatMessage: Sendable, Equatable {
    /// `system`, `user`, `assistant` or what else the template knows.
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// A model's chat template (Jinja): a conversation → the text that the model was trained on.
///
///     let template = try ChatTemplate(source, name: "model.gguf chat template", specialTokens: tokenizer.namedTokens)
///     try template.render([ChatMessage(role: "user", content: "2+2?")], addGenerationPrompt: true)
///
/// What a template finds is what transformers' `apply_chat_template` gives it: white space (`trim_blocks`, `lstrip_blocks`), functions,
/// filters, and messages without their null keys. Templates come from outside: recursion, work, list and text sizes are limited, and
/// nothing of the machine is in reach. Parsed once; a value, usable from any thread.
package struct ChatTemplate: Sendable {
    /// The longest text of a template, in bytes.
    private static let longestSource = 4 << 20

    private let source: String
    private let toolSource: String?
    private let statements: [Statement]
    /// What conversations with tools are written by, where the model has a template of its own for them.
    private let toolStatements: [Statement]?
    let name: String
    private let specialTokens: [String: String]
    private let now: Double?
    let outlines = OutlineTable()

    /// - Parameters:
    ///   - source: the template's text.
    ///   - toolSource: the text of the template for conversations with tools (transformers' name for it is `tool_use`).
    ///   - name: what errors call it; they give `name:line`.
    ///   - specialTokens: variables with the texts of special tokens: `bos_token`, `eos_token`, …
    ///   - now: seconds since 1970 for templates that write today's date (`strftime_now`, in UTC). Without it that
    ///     function is undefined.
    /// - Throws: `LorikeetError.input` at the template's line when it cannot be parsed, or uses what is not supported.
    package init(
        _ source: String, toolSource: String? = nil, name: String, specialTokens: [String: String], now: Double? = nil
    ) throws {
        for text in [source, toolSource ?? ""] where text.utf8.count > Self.longestSource {
            throw LorikeetError.input("the chat template is longer than \(Self.longestSource >> 20) MiB", at: name)
        }
        statements = try TemplateParser.statements(of: source, name: name)
        toolStatements = try toolSource.map { try TemplateParser.statements(of: $0, name: name + " (tool_use)") }
        (self.source, self.toolSource) = (source, toolSource)
        self.name = name
        self.specialTokens = specialTokens
        self.now = now
    }

    /// The same template for the work of one thread: parsed again, with outlines of its own.
    ///
    /// A rendering counts references to the parts of the template that it visits. Threads that render with one template at a time pass the memory
    /// of those counts from core to core, which with many cores takes longer than the rendering.
    package func forOneThread() -> ChatTemplate {
        func own(_ text: String) -> String { String(decoding: Array(text.utf8), as: UTF8.self) }
        let tokens = Dictionary(uniqueKeysWithValues: specialTokens.map { (own($0.key), own($0.value)) })
        // It was parsed before.
        return (try? ChatTemplate(own(source), toolSource: toolSource.map(own), name: own(name), specialTokens: tokens, now: now)) ?? self
    }

    /// The conversation as text.
    ///
    /// - Parameter addGenerationPrompt: whether the text ends with the beginning of the assistant's answer.
    /// - Throws: `LorikeetError.input` at the template's line: its own refusal (`raise_exception`), an operation that
    ///   makes no sense, a limit.
    package func render(_ messages: [ChatMessage], addGenerationPrompt: Bool) throws -> String {
        try render(
            Conversation(messages: messages.map { ["role": .string($0.role), "content": .string($0.content)] }),
            addGenerationPrompt: addGenerationPrompt)
    }

    /// The same for whole message objects, tools and documents.
    package func render(_ conversation: Conversation, addGenerationPrompt: Bool) throws -> String {
        try run(try TemplateInput(conversation), addGenerationPrompt: addGenerationPrompt).output
    }

    /// A rendering with its notes.
    func run(
        _ input: TemplateInput, addGenerationPrompt: Bool, notes: RunNotes = RunNotes(), makesOutline: Bool = false
    ) throws -> TemplateRun {
        var variables = specialTokens.mapValues(TemplateValue.string)
        variables.merge(input.variables) { $1 }
        variables["messages"] = .list(input.messages)
        // What transformers always passes, whether given or not.
        variables["tools"] = input.tools ?? TemplateValue.none
        variables["documents"] = input.documents ?? TemplateValue.none
        variables["add_generation_prompt"] = .bool(addGenerationPrompt)
        let run = TemplateRun(name: name, now: now, variables: variables, notes: notes)
        if makesOutline { run.openPlaces = [] }
        _ = try run.run(input.tools == nil ? statements : toolStatements ?? statements)
        return run
    }
}

/// A conversation as the values that a template reads.
struct TemplateInput {
    var messages: [TemplateValue]
    let tools: TemplateValue?
    let documents: TemplateValue?
    let variables: [String: TemplateValue]

    /// Messages alone.
    init(messages: [TemplateValue]) {
        self.messages = messages
        (tools, documents, variables) = (nil, nil, [:])
    }

    /// - Throws: exit 2 where a variable has the name of one that the template is always given.
    init(_ conversation: Conversation) throws {
        messages = conversation.messages.enumerated().map { Self.value($1, message: $0) }
        tools = conversation.tools.flatMap { $0.isNull ? nil : TemplateValue($0) }
        documents = conversation.documents.flatMap { $0.isNull ? nil : TemplateValue($0) }
        for name in ["messages", "tools", "documents", "add_generation_prompt"] where conversation.variables[name] != nil {
            throw LorikeetError.input("the template variable “\(name)” is set twice", fix: "leave it out of the template's variables")
        }
        variables = conversation.variables.mapValues { TemplateValue($0) }
    }

    /// The names of a message's reasoning; the first is the usual one.
    static let reasoningKeys = ["reasoning_content", "thinking", "reasoning"]

    /// A message as `apply_chat_template` passes it on: without null values, with its reasoning under `reasoning_content` and `thinking`.
    private static func value(_ json: JSON, message: Int) -> TemplateValue {
        guard case .object(let object) = json else { return TemplateValue(json) }
        var mapping = TemplateMapping()
        var reasons = false
        for (key, value) in object.entries {
            if case .null = value { continue }
            mapping.append(key, TemplateValue(value))
            reasons = reasons || reasoningKeys.contains(key)
        }
        if reasons { mapping = withReasoning(object) }
        mapping.message = message
        return .mapping(mapping)
    }

    private static func withReasoning(_ object: JSONObject) -> TemplateMapping {
        var entries = object.entries.filter { !$0.value.isNull }
        if let reasoning = reasoningKeys.lazy.compactMap({ key in entries.first { $0.key == key }?.value }).first {
            if !entries.contains(where: { $0.key == "thinking" }) { entries.insert(("thinking", reasoning), at: 0) }
            if let place = entries.firstIndex(where: { $0.key == "reasoning_content" }) {
                entries[place].value = reasoning
            } else {
                entries.append(("reasoning_content", reasoning))
            }
        }
        return TemplateMapping(entries.map { ($0.key, TemplateValue($0.value)) })
    }

    /// The same with its first messages alone.
    func prefix(_ count: Int) -> TemplateInput {
        var result = self
        result.messages = Array(messages.prefix(count))
        return result
    }
}
