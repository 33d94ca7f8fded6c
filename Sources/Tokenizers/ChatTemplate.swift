import LorikeetGround

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
package struct ChatTemplate: Sendable {
    private let specialTokens: [String: String]

    /// - Throws: `LorikeetError.input` at the template's line when it cannot be parsed.
    package init(_ source: String, name: String, specialTokens: [String: String]) throws {
        self.specialTokens = specialTokens
    }

    /// The conversation as text.
    package func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool, variables: [String: TemplateValue] = [:]
    ) throws -> String {
        throw LorikeetError.input("chat templates are not built yet")
    }
}

package enum TemplateValue: Sendable, Equatable {
    case none
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case list([TemplateValue])
}
