import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

/// One row of a data file, whatever its layout was.
package enum Record: Sendable, Equatable {
    /// A conversation; the assistant's turns are what is learnt.
    case chat([ChatMessage])
    /// Raw text without a template: the completion is learnt.
    case completion(prompt: String, completion: String)
    /// Raw text, all of it learnt.
    case text(String)
}

/// Why a record cannot be used, in words that follow `file:line:`.
package struct Unusable: Error, Sendable, Equatable {
    package let reason: String
    package let fix: String?

    package init(_ reason: String, fix: String? = nil) {
        self.reason = reason
        self.fix = fix
    }
}

/// How a file's records are laid out: found once, from the keys of its first record.
package enum RecordLayout: String, Sendable, CaseIterable {
    /// `messages`: a list of role and content.
    case messages
    /// `conversations`: a list of from and value (or role and content).
    case conversations
    /// `instruction`, `output` and perhaps `input`.
    case instruction
    /// `prompt` and `completion`, without a template.
    case promptCompletion
    /// `text`.
    case text

    /// The keys in the order in which people write them; those in brackets may be missing.
    package var keys: String {
        switch self {
        case .messages: "messages"
        case .conversations: "conversations"
        case .instruction: "instruction, [input], output"
        case .promptCompletion: "prompt, completion"
        case .text: "text"
        }
    }

    private var required: [String] {
        switch self {
        case .messages: ["messages"]
        case .conversations: ["conversations"]
        case .instruction: ["instruction", "output"]
        case .promptCompletion: ["prompt", "completion"]
        case .text: ["text"]
        }
    }

    private var known: [String] { self == .instruction ? ["instruction", "input", "output"] : required }

    /// The layout that a first record's keys stand for. More keys than the layout's are fine; see `ignoredKeys`.
    ///
    /// - Throws: exit 2 naming the keys found and the layouts known.
    package static func find(in record: JSON, at place: String) throws -> RecordLayout {
        let layouts = allCases.map { "(\($0.keys))" }.joined(separator: ", ")
        guard let object = record.object else {
            throw LorikeetError.input("the line is not a JSON object", at: place, fix: "write records with the keys of one of \(layouts)")
        }
        let found = Set(object.keys)
        if let layout = allCases.first(where: { found.isSuperset(of: $0.required) }) { return layout }
        let names = object.keys.isEmpty ? "none" : object.keys.joined(separator: ", ")
        throw LorikeetError.input("unknown keys: \(names)", at: place, fix: "use the keys of one of the layouts \(layouts)")
    }

    /// Keys of a record that this layout does not read.
    package func ignoredKeys(in record: JSON) -> [String] { (record.object?.keys ?? []).filter { !known.contains($0) } }

    /// The record of one row.
    package func record(from json: JSON, instructionRole: DatasetSettings.InstructionRole) throws(Unusable) -> Record {
        guard let object = json.object else { throw Unusable("not a JSON object") }
        switch self {
        case .messages, .conversations: return .chat(try Self.messages(object[rawValue], key: rawValue))
        case .instruction: return .chat(try Self.instruction(object, role: instructionRole))
        case .promptCompletion:
            let completion = try Self.text(object, "completion")
            guard !isBlank(completion) else { throw Unusable("the completion is empty") }
            return .completion(prompt: try Self.text(object, "prompt"), completion: completion)
        case .text:
            let text = try Self.text(object, "text")
            guard !isBlank(text) else { throw Unusable("the text is empty") }
            return .text(text)
        }
    }

    private static func text(_ object: JSONObject, _ key: String) throws(Unusable) -> String {
        guard let value = object[key], !value.isNull else { throw Unusable("no '\(key)'") }
        guard let text = value.string else { throw Unusable("'\(key)' is not text") }
        return text
    }

    private static func instruction(
        _ object: JSONObject, role: DatasetSettings.InstructionRole
    ) throws(Unusable) -> [ChatMessage] {
        let instruction = try text(object, "instruction")
        let input = object["input"] == nil || object["input"]?.isNull == true ? "" : try text(object, "input")
        let output = try text(object, "output")
        guard !isBlank(output) else { throw Unusable("the answer ('output') is empty") }
        guard !isBlank(instruction) || !isBlank(input) else { throw Unusable("instruction and input are empty") }
        let answer = ChatMessage(role: "assistant", content: output)
        if isBlank(input) { return [ChatMessage(role: "user", content: instruction), answer] }
        if isBlank(instruction) { return [ChatMessage(role: "user", content: input), answer] }
        switch role {
        case .user: return [ChatMessage(role: "user", content: instruction + "\n" + input), answer]
        case .system: return [ChatMessage(role: "system", content: instruction), ChatMessage(role: "user", content: input), answer]
        }
    }

    private static func messages(_ json: JSON?, key: String) throws(Unusable) -> [ChatMessage] {
        guard let list = json?.array else { throw Unusable("'\(key)' is not a list of messages") }
        var messages: [ChatMessage] = []
        for (index, item) in list.enumerated() {
            let number = index + 1
            guard let object = item.object else { throw Unusable("message \(number) is not an object") }
            guard let role = (object["role"] ?? object["from"])?.string else { throw Unusable("message \(number) has no role") }
            guard let known = roles[role] else {
                throw Unusable("message \(number) has the unknown role '\(role)'", fix: "use system, user, assistant or tool")
            }
            guard let content = content(object["content"] ?? object["value"]) else { throw Unusable("message \(number) has no text") }
            messages.append(ChatMessage(role: known, content: content))
        }
        guard messages.contains(where: { $0.role == "assistant" }) else { throw Unusable("no answer (no assistant's message)") }
        return messages
    }

    /// Roles by the names that the two message layouts use.
    private static let roles = [
        "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
        "model": "assistant", "bot": "assistant", "chatgpt": "assistant", "tool": "tool", "function": "tool", "observation": "tool",
    ]

    /// Text, or a list of parts of which all are text.
    private static func content(_ json: JSON?) -> String? {
        guard let parts = json?.array else { return json?.string }
        var text = ""
        for part in parts {
            guard part["type"]?.string == "text", let piece = part["text"]?.string else { return nil }
            text += piece
        }
        return text
    }
}

/// Nothing but white space.
func isBlank(_ text: String) -> Bool { text.unicodeScalars.allSatisfy(\.properties.isWhitespace) }
