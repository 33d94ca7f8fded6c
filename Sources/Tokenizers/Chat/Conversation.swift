import LorikeetJSON

/// What a chat template is rendered from.
package struct Conversation: Sendable, Equatable {
    /// Whole message objects as templates read them: role, content, tool_calls, tool_call_id, name, reasoning_content, …
    package var messages: [JSON]
    /// The tools' JSON schemas: an array, or nil.
    package var tools: JSON?
    /// Documents for templates that write retrieved text: an array, or nil.
    package var documents: JSON?
    /// Further variables that the record or the recipe gives to the template (for instance `enable_thinking`).
    package var variables: [String: JSON]

    package init(messages: [JSON], tools: JSON? = nil, documents: JSON? = nil, variables: [String: JSON] = [:]) {
        self.messages = messages
        self.tools = tools
        self.documents = documents
        self.variables = variables
    }
}

/// A rendered conversation with the parts that the assistant says.
package struct RenderedConversation: Sendable, Equatable {
    /// A stretch of text that one assistant message became.
    package struct Answer: Sendable, Equatable {
        /// The message's index in the conversation.
        package var message: Int
        /// UTF-8 bytes of the text to train, the end token of the turn included.
        package var range: Range<Int>
        /// Whether the range ends with a token that ends a turn (white space behind it aside).
        package var endsWithEndToken: Bool
    }

    package var text: String
    /// One for each assistant message that was asked for, ascending and disjoint; several where the template's `{% generation %}` marks
    /// several parts of one message.
    package var answers: [Answer]
}
