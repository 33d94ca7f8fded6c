import LorikeetGround
import LorikeetJSON

/// How a file's records are laid out: found once, from the keys of its first record, or said by the recipe's `format`.
package enum RecordLayout: String, Sendable, CaseIterable {
    /// `messages`: a list of role and content (OpenAI).
    case messages
    /// `conversations`: a list of from and value (ShareGPT), or of role and content.
    case conversations
    /// `instruction` and `output` (Alpaca) or `response` (Dolly).
    case instruction
    /// `question` and `answer`.
    case question
    /// `prompt` and `completion`: raw texts, or two lists of messages.
    case prompt
    /// `text`: raw text, or what `dataset_text_field` names.
    case text

    /// The keys that a record of this layout has: one of each list.
    func required(textField: String) -> [[String]] {
        switch self {
        case .messages: [["messages"]]
        case .conversations: [["conversations"]]
        case .instruction: [["instruction"], ["output", "response"]]
        case .question: [["question"], ["answer", "response"]]
        case .prompt: [["prompt"], ["completion"]]
        case .text: [[textField]]
        }
    }

    /// Further keys that are read where they are there.
    var optional: [String] {
        switch self {
        case .messages, .conversations: Self.ofConversations + ["system", "system_prompt"]
        case .instruction: Self.ofConversations + ["input", "context", "system", "system_prompt", "history"]
        case .question: Self.ofConversations + ["context", "system", "system_prompt"]
        case .prompt: Self.ofConversations
        case .text: []
        }
    }

    private static let ofConversations = ["tools", "functions", "documents", "chat_template_kwargs"]

    /// The keys in the order in which people write them; those in brackets may be missing.
    func keys(textField: String) -> String {
        switch self {
        case .messages: "messages"
        case .conversations: "conversations"
        case .instruction: "instruction, [input], output"
        case .question: "question, [context], answer"
        case .prompt: "prompt, completion"
        case .text: textField
        }
    }

    /// The layout that a first record's keys stand for; more keys than the layout's are fine.
    ///
    /// - Throws: exit 2 naming the keys found and the layouts known, or what the records are instead.
    package static func find(in record: JSON, textField: String = "text", at place: String) throws -> RecordLayout {
        let layouts = allCases.map { "(\($0.keys(textField: textField)))" }.joined(separator: ", ")
        guard let object = record.object else {
            throw LorikeetError.input("the line is not a JSON object", at: place, fix: "write records with the keys of one of \(layouts)")
        }
        let found = Set(object.keys)
        let fitting = allCases.filter { $0.required(textField: textField).allSatisfy { !found.isDisjoint(with: $0) } }
        // A field that was named by the recipe is meant.
        if textField != "text", fitting.contains(.text) { return .text }
        if let layout = fitting.first { return layout }
        if found.isSuperset(of: ["chosen", "rejected"]) {
            throw LorikeetError.input(
                "preference data (chosen and rejected) is for other kinds of training", at: place,
                fix: "to train on the chosen answers, write --columns completion=chosen (or messages=chosen where it is a whole conversation)")
        }
        let own = "use the keys of one of the layouts \(layouts)"
        guard !object.keys.isEmpty else { throw LorikeetError.input("the record has no keys", at: place, fix: own) }
        let what = "no layout has the keys of this record: \(object.namedKeys)"
        guard let columns = ColumnSuggestion.columns(of: object) else {
            throw LorikeetError.input(what, at: place, fix: own + ", or say which of yours stand for them: --columns instruction=KEY,output=KEY")
        }
        throw LorikeetError.input(what, at: place, fix: "say which is which: --columns \(columns); or " + own)
    }
}
