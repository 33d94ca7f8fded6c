import LorikeetGround
import LorikeetJSON

/// One message of a conversation.
package struct ChatMessage: Sendable, Equatable {
    /// `system`, `user`, `assistant` or what else the template knows.
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// A model's chat template (Jinja): messages → the text that the model was trained on.
///
///     let template = try ChatTemplate(source, name: "model.gguf chat template", specialTokens: tokenizer.namedTokens)
///     try template.render([ChatMessage(role: "user", content: "2+2?")], addGenerationPrompt: true)
///
/// White space as transformers sets it (`trim_blocks`, `lstrip_blocks`). Templates come from outside: recursion, steps,
/// list and text sizes are limited, and nothing of the machine is in reach. Parsed once; a value, usable from any thread.
package struct ChatTemplate: Sendable {
    private let statements: [Statement]
    private let name: String
    private let specialTokens: [String: String]
    private let now: Double?

    /// - Parameters:
    ///   - source: the template's text.
    ///   - name: what errors call it; they give `name:line`.
    ///   - specialTokens: variables with the texts of special tokens: `bos_token`, `eos_token`, …
    ///   - now: seconds since 1970 for templates that write today's date (`strftime_now`, in UTC). Without it that
    ///     function is undefined, and templates that ask first (Llama 3.2) write their own fixed date: what is trained
    ///     then does not depend on the day.
    /// - Throws: `LorikeetError.input` at the template's line when it cannot be parsed.
    package init(_ source: String, name: String, specialTokens: [String: String], now: Double? = nil) throws {
        statements = try TemplateParser.statements(of: source, name: name)
        self.name = name
        self.specialTokens = specialTokens
        self.now = now
    }

    /// The conversation as text.
    ///
    /// - Parameters:
    ///   - addGenerationPrompt: whether the text ends with the beginning of the assistant's answer.
    ///   - variables: further variables that the template may read (`tools`, `enable_thinking`, …).
    /// - Throws: `LorikeetError.input` at the template's line: its own refusal (`raise_exception`), an operation that
    ///   makes no sense, a limit.
    package func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool, variables: [String: TemplateValue] = [:]
    ) throws -> String {
        try render(
            messages: .list(
                messages.map { message in
                    .mapping(TemplateMapping([("role", .string(message.role)), ("content", .string(message.content))]))
                }),
            addGenerationPrompt: addGenerationPrompt, variables: variables)
    }

    /// The same for whole message objects, tools and documents.
    package func render(_ conversation: Conversation, addGenerationPrompt: Bool) throws -> String {
        var variables = conversation.variables.mapValues { TemplateValue($0) }
        if let tools = conversation.tools { variables["tools"] = TemplateValue(tools) }
        if let documents = conversation.documents { variables["documents"] = TemplateValue(documents) }
        return try render(
            messages: .list(conversation.messages.map { TemplateValue($0) }), addGenerationPrompt: addGenerationPrompt, variables: variables)
    }

    /// The same with messages of any shape (tool calls, parts of content, …).
    package func render(
        messages: TemplateValue, addGenerationPrompt: Bool, variables: [String: TemplateValue] = [:]
    ) throws -> String {
        var all = specialTokens.mapValues(TemplateValue.string)
        // What transformers always passes, whether given or not.
        all["tools"] = TemplateValue.none
        all["documents"] = TemplateValue.none
        all.merge(variables) { $1 }
        all["messages"] = messages
        all["add_generation_prompt"] = .bool(addGenerationPrompt)
        let run = TemplateRun(name: name, now: now, variables: all)
        _ = try run.run(statements)
        return run.output
    }
}
