import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

/// One row of a data file, whatever its layout was.
package enum Record: Sendable, Equatable {
    /// A conversation, written by the chat template.
    case chat(ChatRecord)
    /// Raw text without a template: the completion is learnt.
    case completion(prompt: String, completion: String)
    /// Raw text, all of it learnt.
    case text(String)
}

/// A conversation and what of it is learnt.
package struct ChatRecord: Sendable, Equatable {
    package var conversation: Conversation
    /// Indices of the assistant's messages that are learnt; ascending, never empty.
    package var trained: [Int]
    /// The index of the assistant's last message with content, learnt or not.
    package var lastAnswer: Int
    /// The assistant's messages without content: shown, not learnt.
    package var emptyAnswers = 0
    /// The conversation begins with the assistant's message, which answers nothing and is not learnt though nothing says so.
    package var opensWithAnswer = false
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

/// Reads rows of one layout into records.
struct RecordReader: Sendable {
    /// A record, and the keys of the row that were not read.
    struct Result: Sendable {
        var record: Record
        var unread: [String]
    }

    let layout: RecordLayout
    private let settings: DatasetSettings
    private let known: Set<String>
    /// Known keys that stand for the same thing.
    private let doubles: [(first: String, second: String)]

    /// - Parameter first: the file's first record.
    /// - Throws: exit 2 where no layout fits, or a column that the recipe names is not there.
    init(first: JSON, settings: DatasetSettings, at place: String) throws {
        self.settings = settings
        if let object = first.object {
            for (ours, theirs) in settings.columns where object[theirs] == nil {
                throw LorikeetError.input(
                    "no key '\(theirs)', which --columns \(ours)=\(theirs) names (there are \(object.namedKeys))", at: place,
                    fix: Self.meant(theirs, object) ?? "name one of these")
            }
            let field = settings.textField
            guard field == "text" || object[field] != nil || settings.layout.map({ $0 != .text }) ?? false else {
                throw LorikeetError.input(
                    "no key '\(field)', which dataset_text_field names (there are \(object.namedKeys))", at: place,
                    fix: Self.meant(field, object) ?? "name one of these")
            }
        }
        let renamed = Self.renamed(first, settings.columns)
        if let layout = settings.layout {
            self.layout = layout
            for names in layout.required(textField: settings.textField) where renamed.object.map({ object in names.allSatisfy { object[$0] == nil } }) ?? false
            {
                throw LorikeetError.input(
                    "the record has no '\(names[0])', which format \(layout.rawValue) has (there are \(renamed.object?.namedKeys ?? ""))",
                    at: place,
                    fix: "name another format, or --columns \(names[0])=\(renamed.object.flatMap { ColumnSuggestion.key(for: names, in: $0) } ?? "KEY")")
            }
        } else {
            layout = try RecordLayout.find(in: renamed, textField: settings.textField, at: place)
        }
        let known = Set(layout.required(textField: settings.textField).flatMap { $0 } + layout.optional)
        self.known = known
        doubles = [("output", "response"), ("answer", "response"), ("input", "context"), ("system", "system_prompt")].filter {
            known.contains($0.0) && known.contains($0.1)
        }
    }

    private static func meant(_ name: String, _ object: JSONObject) -> String? { nearestName(to: name, among: object.keys).map { "did you mean '\($0)'?" } }

    /// The record under the layout's own keys.
    private static func renamed(_ json: JSON, _ columns: [(ours: String, theirs: String)]) -> JSON {
        guard !columns.isEmpty, let object = json.object else { return json }
        var entries: [(key: String, value: JSON)] = []
        for (ours, theirs) in columns { if let value = object[theirs] { entries.append((ours, value)) } }
        let taken = Set(columns.flatMap { [$0.ours, $0.theirs] })
        entries += object.entries.filter { !taken.contains($0.key) }
        return .object(JSONObject(entries))
    }

    func read(_ json: JSON) throws(Unusable) -> Result {
        guard let object = Self.renamed(json, settings.columns).object else { throw Unusable("not a JSON object") }
        try requireLayout(object)
        var unread: [String] = []
        for entry in object.entries where !known.contains(entry.key) { unread.append(entry.key) }
        // Raw texts refuse keys that other layouts know.
        if !unread.isEmpty || layout == .prompt || layout == .text { try refuse(object) }
        // Of two keys for one thing the first is read.
        for (first, second) in doubles {
            if object[second] != nil, let value = object[first], !value.isNull { unread.append(second) }
        }
        return Result(record: try record(object), unread: unread)
    }

    /// Refuses a record that lacks this layout's keys and has all of another's: the file mixes layouts.
    private func requireLayout(_ object: JSONObject) throws(Unusable) {
        let field = settings.textField
        func fits(_ layout: RecordLayout) -> Bool {
            layout.required(textField: field).allSatisfy { names in names.contains { object[$0].map { !$0.isNull } ?? false } }
        }
        guard !fits(layout), let other = RecordLayout.allCases.first(where: fits) else { return }
        throw Unusable(
            "the record is laid out as (\(other.keys(textField: field))), and the file is read as (\(layout.keys(textField: field)))",
            fix: "put the records of each layout into a file of their own, and name the files with --data")
    }

    private func record(_ object: JSONObject) throws(Unusable) -> Record {
        switch layout {
        case .messages, .conversations:
            guard let list = Self.decoded(object[layout.rawValue])?.array else { throw Self.noMessages(object[layout.rawValue], layout.rawValue) }
            var messages = MessageReader()
            try messages.add(list)
            return .chat(try chat(object, messages))
        case .instruction, .question: return .chat(try chat(object, turns(object)))
        case .prompt: return try prompt(object)
        case .text:
            let text = try Self.text(object, [settings.textField])
            guard !isBlank(text) else { throw Unusable("the text is empty") }
            return .text(text)
        }
    }

    /// Why a value is no list of messages. pandas writes lists into CSV as Python prints them.
    private static func noMessages(_ value: JSON?, _ name: String) -> Unusable {
        guard let value, !value.isNull else { return Unusable("the record has no '\(name)'") }
        let text = value.string?.drop { $0.isWhitespace } ?? ""
        guard ["[{'", "[ {'", "{'"].contains(where: { text.hasPrefix($0) }) else { return Unusable("'\(name)' is not a list of messages") }
        return Unusable(
            "'\(name)' holds a list as Python prints it (single quotes), not JSON", fix: "write it with json.dumps, or the whole file as JSONL")
    }

    // MARK: - Keys that ask for something

    /// Keys whose content a record cannot be trained without.
    private static let media = ["image", "images", "video", "videos", "audio", "audios"]

    private func refuse(_ object: JSONObject) throws(Unusable) {
        for key in Self.media where !Self.isNothing(object[key]) && !known.contains(key) {
            throw Unusable("the record has '\(key)': only text is trained", fix: "leave out records with images, sound or video")
        }
        let mapped = settings.columns.contains { ["chosen", "rejected"].contains($0.theirs) }
        for key in ["rejected", "rejected_response", "rejected_messages"] where !Self.isNothing(object[key]) && !mapped {
            throw Unusable(
                "the record has '\(key)': preferences are for other kinds of training", fix: "name the answers to train with --columns completion=KEY")
        }
        if layout == .prompt, case .bool(let wanted)? = object["label"] {
            throw Unusable(
                "the record has 'label: \(wanted)': wanted and unwanted answers are for other kinds of training", fix: "keep the wanted ones and remove the key"
            )
        }
        if layout == .text || layout == .prompt && object["prompt"]?.string != nil && object["completion"]?.string != nil {
            for key in ["tools", "functions", "documents"] where !Self.isNothing(object[key]) {
                throw Unusable(
                    "the record has '\(key)', which raw text cannot show", fix: "write prompt and completion as lists of messages, or remove the key")
            }
        }
    }

    /// Missing, null, or an empty text, list or object.
    private static func isNothing(_ json: JSON?) -> Bool {
        switch json {
        case nil, .null: true
        case .string(let text): isBlank(text)
        case .array(let list): list.isEmpty
        case .object(let object): object.entries.isEmpty
        default: false
        }
    }

    // MARK: - Layouts

    /// A key's text under one of its names.
    private static func text(_ object: JSONObject, _ names: [String]) throws(Unusable) -> String {
        for name in names {
            guard let value = object[name], !value.isNull else { continue }
            guard let text = value.string else { throw Unusable("'\(name)' is not text") }
            return text
        }
        throw Unusable("no '\(names[0])'")
    }

    private static func optionalText(_ object: JSONObject, _ names: [String]) throws(Unusable) -> String {
        guard names.contains(where: { object[$0].map { !$0.isNull } ?? false }) else { return "" }
        return try text(object, names)
    }

    /// A JSON value, or a text that holds one (a CSV cell, a tool list as text).
    private static func decoded(_ json: JSON?) -> JSON? {
        guard let text = json?.string, text.first(where: { !$0.isWhitespace }).map({ "[{".contains($0) }) ?? false else { return json }
        return (try? JSON.parse(text, source: "")) ?? json
    }

    /// The turns of an instruction or a question.
    private func turns(_ object: JSONObject) throws(Unusable) -> MessageReader {
        let isInstruction = layout == .instruction
        let names = isInstruction ? ["output", "response"] : ["answer", "response"]
        let (asked, answer) = (try Self.text(object, [layout.rawValue]), try Self.text(object, names))
        let input = try Self.optionalText(object, isInstruction ? ["input", "context"] : ["context"])
        guard !isBlank(answer) else { throw Unusable("the answer ('\(names.first { object[$0].map { !$0.isNull } ?? false } ?? names[0])') is empty") }
        guard !isBlank(asked) || !isBlank(input) else {
            throw Unusable(isInstruction ? "instruction and input are empty" : "the question is empty")
        }
        var messages = MessageReader()
        let asSystem = isInstruction && settings.instructionRole == .system && !isBlank(asked) && !isBlank(input)
        if asSystem { messages.add(role: "system", asked) }
        try addHistory(Self.decoded(object["history"]), to: &messages)
        let question = isBlank(input) ? asked : isBlank(asked) || asSystem ? input : asked + "\n" + input
        messages.add(role: "user", question)
        messages.add(role: "assistant", answer)
        return messages
    }

    /// Earlier turns as pairs of texts (LLaMA-Factory's `history`); they are learnt too.
    private func addHistory(_ json: JSON?, to messages: inout MessageReader) throws(Unusable) {
        guard layout == .instruction, let json, !Self.isNothing(json) else { return }
        guard let pairs = json.array else { throw Unusable("'history' is not a list of pairs") }
        for pair in pairs {
            guard let texts = pair.array, texts.count == 2, let asked = texts[0].string, let answer = texts[1].string else {
                throw Unusable("'history' is not a list of pairs of texts")
            }
            messages.add(role: "user", asked)
            messages.add(role: "assistant", answer)
        }
    }

    private func prompt(_ object: JSONObject) throws(Unusable) -> Record {
        let (prompt, completion) = (Self.decodedMessages(object["prompt"]), Self.decodedMessages(object["completion"]))
        guard prompt?.array != nil || completion?.array != nil else {
            let completion = try Self.text(object, ["completion"])
            guard !isBlank(completion) else { throw Unusable("the completion is empty") }
            return .completion(prompt: try Self.text(object, ["prompt"]), completion: completion)
        }
        var messages = MessageReader()
        if let list = prompt?.array { try messages.add(list) } else { messages.add(role: "user", try Self.text(object, ["prompt"])) }
        // What the assistant said in the prompt is not learnt.
        messages.forgetAnswers()
        if let list = completion?.array { try messages.add(list) } else { messages.add(role: "assistant", try Self.text(object, ["completion"])) }
        return .chat(try chat(object, messages))
    }

    /// A list of messages, also where a CSV cell holds it as text; a text that merely begins with a bracket stays one.
    private static func decodedMessages(_ json: JSON?) -> JSON? {
        guard let list = decoded(json)?.array, !list.isEmpty, list.allSatisfy({ $0["role"] != nil || $0["from"] != nil }) else {
            return json?.array == nil ? nil : json
        }
        return .array(list)
    }

    // MARK: - What belongs to a conversation

    private func chat(_ object: JSONObject, _ messages: MessageReader) throws(Unusable) -> ChatRecord {
        var messages = messages
        let conversation = try Self.conversation(object, &messages, system: layout != .prompt)
        let trained = try messages.trainedMessages()
        return ChatRecord(
            conversation: conversation, trained: trained, lastAnswer: messages.lastAnswer, emptyAnswers: messages.emptyAnswers,
            opensWithAnswer: messages.opensWithAnswer)
    }

    /// Messages with what stands beside them in the record: tools, documents, variables of the template, and the system message.
    ///
    /// - Parameter system: whether the record's `system` or `system_prompt` is read.
    static func conversation(_ object: JSONObject, _ messages: inout MessageReader, system: Bool) throws(Unusable) -> Conversation {
        let text = try optionalText(object, ["system", "system_prompt"])
        if !isBlank(text), system { try messages.setSystem(text) }
        var conversation = Conversation(messages: messages.messages)
        conversation.tools = try tools(object)
        if let documents = decoded(object["documents"]), !isNothing(documents) {
            guard documents.array != nil else { throw Unusable("'documents' is not a list") }
            conversation.documents = documents
        }
        if let variables = decoded(object["chat_template_kwargs"]), !isNothing(variables) {
            guard let entries = variables.object?.entries else { throw Unusable("'chat_template_kwargs' is not an object") }
            for entry in entries { conversation.variables[entry.key] = entry.value }
        }
        return conversation
    }

    /// The tools' definitions: `tools`, or `functions` (OpenAI's older form), also as text that holds JSON.
    private static func tools(_ object: JSONObject) throws(Unusable) -> JSON? {
        for key in ["tools", "functions"] {
            guard let value = object[key], !value.isNull else { continue }
            if value.string.map(isBlank) ?? false { continue }
            guard let list = decoded(value)?.array else { throw Unusable("'\(key)' is not a list of functions") }
            guard !list.isEmpty else { continue }
            guard list.allSatisfy({ $0.object != nil }) else { throw Unusable("'\(key)' holds something else than objects") }
            // `tools` also come as bare functions.
            return .array(list.map { tool in key == "functions" ? ["type": "function", "function": tool] : tool })
        }
        return nil
    }
}

/// Nothing but white space.
func isBlank(_ text: String) -> Bool {
    // The first letter settles it for nearly every text.
    if let first = text.utf8.first, (0x21...0x7E).contains(first) { return false }
    return text.unicodeScalars.allSatisfy(\.properties.isWhitespace)
}
