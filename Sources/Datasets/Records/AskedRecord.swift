import LorikeetJSON
import LorikeetTokenizers

/// What a record asks a model: the conversation that is to be answered, or a text that is to be continued.
package enum AskedRecord: Sendable, Equatable {
    case conversation(Conversation)
    /// Continued as it stands, without the chat template.
    case text(String)

    /// The keys of which a record has exactly one.
    package static let keys = ["messages", "prompt", "text"]

    /// Keys that training records have for what the user says.
    private static let otherNames = ["question", "instruction", "query", "input"]

    /// Reads `messages` (in all forms that training records have), `prompt` (the user's message, or a list of messages) or `text`; beside the first
    /// two also `system`, `tools`, `documents` and `chat_template_kwargs`. Other keys have no meaning here.
    ///
    /// - Parameter system: the system message of conversations that have none.
    /// - Throws: what is wrong with the record.
    package init(_ object: JSONObject, system: String? = nil) throws(Unusable) {
        let present = Self.keys.filter { object[$0].map { !$0.isNull } ?? false }
        guard let key = present.first else {
            let other = Self.otherNames.first { object[$0]?.string != nil }
            throw Unusable(
                "the record has none of \(Self.keys.map { "'\($0)'" }.joined(separator: ", ")), and no other key is read",
                fix: other.map { "rename '\($0)' to 'prompt'" } ?? #"write {"prompt": "…"}"#)
        }
        guard present.count == 1 else {
            throw Unusable("the record has '\(key)' and '\(present[1])', so that it is not clear what is asked", fix: "give one of them")
        }
        if key == "text" {
            guard let text = object[key]?.string else { throw Unusable("'text' is not a text") }
            guard !text.isEmpty else { throw Unusable("'text' is empty") }
            self = .text(text)
            return
        }
        var messages = MessageReader()
        if let list = object[key]?.array {
            try messages.add(list)
        } else if key == "prompt", let text = object[key]?.string {
            guard !isBlank(text) else { throw Unusable("the prompt is empty") }
            messages.add(role: "user", text)
        } else {
            throw Unusable(key == "prompt" ? "'prompt' is neither a text nor a list of messages" : "'messages' is not a list")
        }
        var conversation = try RecordReader.conversation(object, &messages, system: true)
        guard let last = conversation.messages.last else { throw Unusable("the record has no message") }
        guard last["role"]?.string != "assistant" else {
            throw Unusable("the last message is the assistant's, so that there is nothing to answer", fix: "end with the user's message")
        }
        if let system, !system.isEmpty, conversation.messages.first?["role"]?.string != "system" {
            conversation.messages.insert(["role": "system", "content": .string(system)], at: 0)
        }
        self = .conversation(conversation)
    }
}
