import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers
import Synchronization

/// Holds a chat template to the conversations it is given: whatever a conversation has must be written by the template.
///
/// Templates drop what they do not know without a word (tool calls, a system message, a tool's result). So a conversation is rendered a
/// second time with a marker in place of each of its parts, and a marker that is missing in the text names what was dropped.
final class TemplateCheck: Sendable {
    /// What all threads know of the template together.
    private final class Shared: Sendable {
        /// Message keys whose values are no texts: whether the template reads them.
        let judged = Mutex<[String: Bool]>([:])
        /// Renderings that used up the template's work.
        let exhaustions = Mutex<Int>(0)
        /// The last of them, once the template is given up: the records of a block are made together, and none of the others is rendered.
        let givenUp = Mutex<LorikeetError?>(nil)
        /// Whether there is one: asked for every record, without a lock.
        let isGivenUp = Atomic<Bool>(false)
    }

    private let template: ChatTemplate
    private let shared: Shared
    /// Conversations of these shapes were written whole.
    private let sound = Mutex<Set<String>>([])
    /// Of the keys that are judged those that this thread has met.
    private let known = Mutex<[String: Bool]>([:])
    /// Whether calls' arguments are given as objects although the record has them as text; nil until a call with a text comes.
    private let parsesArguments = Mutex<Bool?>(nil)

    init(_ template: ChatTemplate) { (self.template, shared) = (template, Shared()) }

    /// The same check for the work of one thread.
    ///
    /// - Parameter template: that thread's own, of the same text.
    init(sharing other: TemplateCheck, _ template: ChatTemplate) { (self.template, shared) = (template, other.shared) }

    /// Each such rendering takes about a second: after this many the template is given up.
    private static let mostExhaustions = 3

    /// What a failed rendering says of its record, or of the whole file where the template keeps using up its work.
    func refusal(_ error: LorikeetError) -> any Error {
        // What the room Tokenizers says of its search for answers names the template itself.
        let what = error.what.hasPrefix("the chat template") ? error.what : "the chat template refuses the conversation: \(error.what)"
        guard error.kind == .tooMuchWork else { return Unusable(what, fix: error.fix) }
        let count = shared.exhaustions.withLock { count in
            count += 1
            return count
        }
        if count >= Self.mostExhaustions {
            shared.givenUp.withLock { $0 = error }
            shared.isGivenUp.store(true, ordering: .releasing)
        }
        guard count > Self.mostExhaustions else { return Unusable(what, fix: "give another template (--chat-template)") }
        return LorikeetError.input(what, fix: "give another template (--chat-template)")
    }

    // MARK: - Calls' arguments

    /// The conversation with the arguments of tool calls in the form that the template writes as JSON.
    ///
    /// OpenAI's records have arguments as a text that holds JSON. Templates that pass them through `tojson` would write that text in quotes;
    /// they get the object.
    func prepared(_ conversation: Conversation) throws -> Conversation {
        guard conversation.messages.contains(where: { $0["tool_calls"] != nil }) else { return conversation }
        var result = conversation
        for index in result.messages.indices {
            guard var message = result.messages[index].object, let calls = message["tool_calls"]?.array else { continue }
            message["tool_calls"] = .array(calls.map(preparedCall))
            result.messages[index] = .object(message)
        }
        return result
    }

    private func preparedCall(_ call: JSON) -> JSON {
        func parsed(_ function: JSONObject) -> JSONObject? {
            guard let text = function["arguments"]?.string, let json = try? JSON.parse(text, source: ""), json.object != nil, wantsObjects() else { return nil }
            var function = function
            function["arguments"] = json
            return function
        }
        guard var object = call.object else { return call }
        if let function = object["function"]?.object, let parsed = parsed(function) {
            object["function"] = .object(parsed)
        } else if let parsed = parsed(object) {
            object = parsed
        }
        return .object(object)
    }

    /// Whether the template writes arguments that are a text as a quoted text.
    private func wantsObjects() -> Bool {
        if let known = parsesArguments.withLock({ $0 }) { return known }
        func text(_ arguments: JSON) -> String? {
            let call: JSON = ["id": "abcdefghi", "type": "function", "function": ["name": "zqf", "arguments": arguments]]
            return try? template.render(
                Conversation(messages: [["role": "user", "content": "q"], ["role": "assistant", "content": "", "tool_calls": [call]]]),
                addGenerationPrompt: false)
        }
        let asText = text(#"{"zqk": 1}"#)
        let result = asText.map { $0.contains(#"\"zqk\""#) } ?? (text(["zqk": 1]) != nil)
        parsesArguments.withLock { $0 = result }
        return result
    }

    // MARK: - What is written

    /// - Returns: keys of messages that the template does not read.
    /// - Throws: `Unusable` where it drops a message, a text, calls, or tools; the rendering's own error where it does too much work.
    func requireWritten(_ conversation: Conversation) throws -> [String] {
        if shared.isGivenUp.load(ordering: .acquiring), let error = shared.givenUp.withLock({ $0 }) { throw error }
        let shape = shape(of: conversation)
        if let shape, sound.withLock({ $0.contains(shape) }) { return [] }
        var markers = Markers()
        let marked = markers.marked(conversation)
        // What it refuses is refused with the conversation itself; marked texts alone may be refused (a thought without its end).
        let text: String
        do {
            text = try template.render(marked, addGenerationPrompt: false)
        } catch let error as LorikeetError {
            if error.kind == .tooMuchWork { throw error }
            return []
        }
        var unread: [String] = []
        var readKeys = Set<String>()
        let written = Markers.numbers(in: text)
        for (number, kind) in markers.kinds.enumerated() {
            let isWritten = written.contains(number)
            switch kind {
            case .required(let what):
                guard isWritten else {
                    throw Unusable(
                        "the chat template does not write \(what)", fix: "give a template that does (--chat-template), or leave it out of the records")
                }
            case .key(let key):
                if isWritten { readKeys.insert(key) } else if !unread.contains(key) { unread.append(key) }
            }
        }
        // A key that is read somewhere is read: templates leave out the thoughts of earlier turns.
        unread.removeAll { readKeys.contains($0) }
        if let shape { sound.withLock { _ = $0.insert(shape) } }
        return unread + unreadValues(marked, rendered: text)
    }

    /// Keys of messages with numbers, flags, lists or objects, which cannot hold a marker, that change nothing when they are left out.
    private func unreadValues(_ marked: Conversation, rendered text: String) -> [String] {
        var keys: [String] = []
        for message in marked.messages {
            for entry in message.object?.entries ?? [] where !Markers.plainKeys.contains(entry.key) && Self.says(entry.value) && !keys.contains(entry.key) {
                keys.append(entry.key)
            }
        }
        return keys.filter { key in
            if let isRead = known.withLock({ $0[key] }) ?? shared.judged.withLock({ $0[key] }) {
                known.withLock { $0[key] = isRead }
                return !isRead
            }
            var without = marked
            without.messages = without.messages.map { message in
                .object(JSONObject((message.object?.entries ?? []).filter { $0.key != key }))
            }
            let isRead = (try? template.render(without, addGenerationPrompt: false)) != text
            shared.judged.withLock { $0[key] = isRead }
            known.withLock { $0[key] = isRead }
            return !isRead
        }
    }

    /// A value that is no text and says something.
    private static func says(_ value: JSON) -> Bool {
        switch value {
        case .null, .string: false
        case .array(let list): !list.isEmpty
        case .object(let object): !object.entries.isEmpty
        default: true
        }
    }

    /// The roles of a conversation that has nothing but texts; nil for others, which are always looked at.
    private func shape(of conversation: Conversation) -> String? {
        guard conversation.tools == nil, conversation.documents == nil, conversation.variables.isEmpty else { return nil }
        var shape = ""
        for message in conversation.messages {
            guard let object = message.object, object.entries.count == 2, let role = object["role"]?.string else { return nil }
            // Empty texts need not be written.
            guard let content = object["content"]?.string, !isBlank(content) else { return nil }
            // Long conversations differ in their number of turns alone.
            if shape.utf8.count < 60 || role != "user" && role != "assistant" { shape += role + " " }
        }
        return shape
    }
}

/// A conversation whose parts are replaced by markers.
private struct Markers {
    enum Kind {
        /// Has to be in the text; the words say what it is.
        case required(String)
        /// A key that may go unread.
        case key(String)
    }

    /// By the numbers of their markers.
    private(set) var kinds: [Kind] = []

    private mutating func marker(_ kind: Kind) -> String {
        kinds.append(kind)
        return "zq\(kinds.count - 1)qz"
    }

    /// The numbers of the markers in a text, in one pass: conversations have thousands.
    static func numbers(in text: String) -> Set<Int> {
        var (numbers, bytes) = (Set<Int>(), Array(text.utf8)[...])
        let (z, q) = (UInt8(ascii: "z"), UInt8(ascii: "q"))
        while let start = bytes.firstIndex(of: z) {
            bytes = bytes[(start + 1)...]
            guard bytes.first == q else { continue }
            let digits = bytes.dropFirst().prefix { 0x30...0x39 ~= $0 }
            guard !digits.isEmpty, bytes[digits.endIndex...].starts(with: [q, z]), let number = Int(String(decoding: digits, as: UTF8.self)) else { continue }
            numbers.insert(number)
        }
        return numbers
    }

    mutating func marked(_ conversation: Conversation) -> Conversation {
        var result = conversation
        for (index, message) in conversation.messages.enumerated() {
            guard let object = message.object else { continue }
            result.messages[index] = .object(marked(object, number: index + 1))
        }
        if let tools = conversation.tools?.array { result.tools = .array(tools.map { markedTool($0) }) }
        if let documents = conversation.documents?.array {
            result.documents = .array(
                documents.map { document in
                    guard var object = document.object else { return .string(marker(.required("the documents"))) }
                    for key in ["text", "content", "contents"] where object[key]?.string != nil { object[key] = .string(marker(.required("the documents"))) }
                    return .object(object)
                })
        }
        return result
    }

    static let plainKeys: Set<String> = ["role", "content", "tool_calls", "tool_call_id"]

    private mutating func marked(_ message: JSONObject, number: Int) -> JSONObject {
        var message = message
        let role = message["role"]?.string ?? ""
        let calls = message["tool_calls"]?.array
        if let content = message["content"]?.string, !isBlank(content) {
            let what = calls == nil ? "message \(number) (\(role))" : "the text of message \(number) beside its tool calls"
            message["content"] = .string(marker(.required(what)))
        }
        if let calls {
            message["tool_calls"] = .array(calls.map { markedCall($0, number: number) })
        }
        for entry in message.entries where !Self.plainKeys.contains(entry.key) && entry.value.string.map({ !isBlank($0) }) ?? false {
            message[entry.key] = .string(marker(.key(entry.key)))
        }
        return message
    }

    private mutating func markedCall(_ call: JSON, number: Int) -> JSON {
        guard var object = call.object else { return call }
        let what = Kind.required("the tool calls of message \(number)")
        func markedFunction(_ function: JSONObject, _ markers: inout Markers) -> JSONObject {
            var function = function
            function["name"] = .string(markers.marker(what))
            if let arguments = function["arguments"]?.object, !arguments.entries.isEmpty {
                function["arguments"] = .object([markers.marker(what): 0])
            } else if let text = function["arguments"]?.string, !isBlank(text) {
                function["arguments"] = .string("{\"" + markers.marker(what) + "\": 0}")
            }
            return function
        }
        if let function = object["function"]?.object {
            object["function"] = .object(markedFunction(function, &self))
        } else {
            object = markedFunction(object, &self)
        }
        return .object(object)
    }

    private mutating func markedTool(_ tool: JSON) -> JSON {
        guard var object = tool.object else { return tool }
        if var function = object["function"]?.object {
            function["name"] = .string(marker(.required("the tools")))
            object["function"] = .object(function)
        } else if object["name"] != nil {
            object["name"] = .string(marker(.required("the tools")))
        }
        return .object(object)
    }
}
