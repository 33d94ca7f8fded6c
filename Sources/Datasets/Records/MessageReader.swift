import LorikeetGround
import LorikeetJSON

/// Reads the messages of a conversation in the forms of OpenAI and ShareGPT, and what of them is learnt.
struct MessageReader {
    /// As chat templates read them: role and content first, then what else the record has.
    private(set) var messages: [JSON] = []
    /// For each message: whether the record says that it is learnt; nil where it says nothing.
    private var wanted: [Bool?] = []
    /// Messages of the assistant before this index are not learnt.
    private var firstTrained = 0
    private(set) var emptyAnswers = 0
    private(set) var opensWithAnswer = false
    private(set) var lastAnswer = 0

    mutating func add(role: String, _ content: String) {
        messages.append(["role": .string(role), "content": .string(content)])
        wanted.append(nil)
    }

    mutating func add(_ list: [JSON]) throws(Unusable) {
        for item in list { try add(item, number: messages.count + 1) }
    }

    /// None of the messages so far is learnt.
    mutating func forgetAnswers() { firstTrained = messages.count }

    /// Puts a system message in front.
    mutating func setSystem(_ text: String) throws(Unusable) {
        if let first = messages.first, first["role"]?.string == "system" {
            guard first["content"]?.string == text else {
                throw Unusable("the record has two system messages, 'system' and one of its own", fix: "remove one of them")
            }
            return
        }
        messages.insert(["role": "system", "content": .string(text)], at: 0)
        wanted.insert(nil, at: 0)
        if firstTrained > 0 { firstTrained += 1 }
    }

    /// Indices of the assistant's messages that are learnt.
    mutating func trainedMessages() throws(Unusable) -> [Int] {
        var answers = 0
        var trained: [Int] = []
        emptyAnswers = 0
        for (index, message) in messages.enumerated() {
            let isAnswer = message["role"]?.string == "assistant"
            if !isAnswer, wanted[index] == true {
                throw Unusable(
                    "message \(index + 1) asks to be trained, but only the assistant's messages can be", fix: "remove its weight")
            }
            guard isAnswer, index >= firstTrained else { continue }
            answers += 1
            guard !Self.isEmpty(message) else {
                emptyAnswers += 1
                continue
            }
            lastAnswer = index
            if wanted[index] != false { trained.append(index) }
        }
        guard answers > 0 else { throw Unusable("no answer (no assistant's message)") }
        guard answers > emptyAnswers else { throw Unusable("the answer is empty") }
        guard let first = trained.first else { throw Unusable("nothing to train: every answer has weight 0 or train: false") }
        guard first > 0 || trained.count > 1 else { throw Unusable("no message stands before the answer") }
        opensWithAnswer = first == 0
        // An answer that opens the conversation answers nothing.
        return trained.filter { $0 > 0 }
    }

    private static func isEmpty(_ message: JSON) -> Bool {
        for key in ["content", "reasoning_content", "thinking", "reasoning"] { if let text = message[key]?.string, !isBlank(text) { return false } }
        return message["tool_calls"] == nil
    }

    // MARK: - One message

    private mutating func add(_ item: JSON, number: Int) throws(Unusable) {
        guard let object = item.object else { throw Unusable("message \(number) is not an object") }
        for (ours, other) in [("role", "from"), ("content", "value")] {
            // Both forms beside each other call the roles by their own names.
            func meaning(_ key: String) -> JSON? { object[key].map { value in value.string.flatMap { Self.roles[$0] }.map { .string($0) } ?? value } }
            if let first = meaning(ours), let second = meaning(other), !first.isNull, !second.isNull, first != second {
                throw Unusable("message \(number) has '\(ours)' and '\(other)', and they differ", fix: "remove one of them")
            }
        }
        guard let said = (object["role"] ?? object["from"])?.string else { throw Unusable("message \(number) has no role") }
        guard let role = Self.roles[said] else {
            throw Unusable("message \(number) has the unknown role '\(said)'", fix: "use system, user, assistant or tool")
        }
        let value = object["content"] ?? object["value"]
        var calls = try Self.calls(object, role: role, number)
        var content = value
        if Self.callRoles.contains(said) {
            calls = try Self.calls(inText: value, number)
            content = ""
        }
        var entries: [(key: String, value: JSON)] = [("role", .string(role))]
        if let text = try Self.content(content, role: role, isOptional: calls != nil, number) { entries.append(("content", text)) }
        if let calls { entries.append(("tool_calls", .array(calls))) }
        for entry in object.entries where !Self.readKeys.contains(entry.key) && !entry.value.isNull { entries.append(entry) }
        messages.append(.object(JSONObject(entries)))
        wanted.append(try Self.wanted(object, number))
    }

    /// Keys that are read here and not handed on.
    private static let readKeys: Set<String> = [
        "role", "from", "content", "value", "tool_calls", "function_call", "train_detail", "training_detail", "weight", "train", "training", "trainable",
        "loss",
        "masked",
    ]

    /// Roles by the names that the two message layouts use.
    private static let roles = [
        "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
        "model": "assistant", "bot": "assistant", "chatgpt": "assistant", "tool": "tool", "function": "tool", "observation": "tool",
        "function_response": "tool", "tool_response": "tool", "ipython": "tool", "function_call": "assistant", "tool_call": "assistant",
    ]

    /// Roles of messages whose text is a call.
    private static let callRoles: Set<String> = ["function_call", "tool_call"]

    /// Keys of which 1 or true says that a message is learnt.
    private static let learntKeys = ["weight", "train", "training", "trainable", "loss"]
    /// Keys that speak of the loss and mean one thing in one program and its opposite, or a share, in another.
    private static let unclearKeys = ["mask", "is_masked", "loss_mask", "loss_weight", "loss_scale", "ignore"]

    /// Whether the record says that the message is learnt: `weight` (OpenAI), `train` (axolotl) or `loss` (ms-swift), 0 or 1; `masked`
    /// (torchtune) says the opposite.
    private static func wanted(_ object: JSONObject, _ number: Int) throws(Unusable) -> Bool? {
        for key in ["train_detail", "training_detail"] where object[key].map({ !$0.isNull }) ?? false {
            throw Unusable(
                "message \(number) has '\(key)': a weight counts for a whole message, not for parts of it", fix: "train the whole message, or none of it")
        }
        var said: Bool?
        for key in unclearKeys where object[key].map({ !$0.isNull }) ?? false {
            throw Unusable("message \(number) has '\(key)', which does not say clearly what is trained", fix: "write train: true or train: false instead")
        }
        for key in learntKeys + ["masked"] {
            guard let value = object[key], !value.isNull else { continue }
            let number01 = value.double
            guard let said01 = value.bool ?? (number01 == 0 ? false : number01 == 1 ? true : nil) else {
                throw Unusable("message \(number) has \(key) \(value.serialized()): a message is trained (1) or not (0)", fix: "write 0 or 1")
            }
            let wanted = key == "masked" ? !said01 : said01
            guard said == nil || said == wanted else { throw Unusable("message \(number) says with two keys whether it is trained, and they differ") }
            said = wanted
        }
        return said
    }

    /// A message's text: a text, or a list of parts of which all are text. A tool's result may be an object.
    private static func content(_ json: JSON?, role: String, isOptional: Bool, _ number: Int) throws(Unusable) -> JSON? {
        switch json {
        case .string?: return json
        case nil, .null?:
            guard isOptional else { throw Unusable("message \(number) has no text") }
            return json
        case .array(let parts)?:
            var text = ""
            for part in parts {
                if let piece = part.string ?? (part["type"].map { $0.string == "text" } ?? true ? part["text"]?.string : nil) {
                    text += piece
                    continue
                }
                guard role != "tool" else { return json }
                let kind = part["type"]?.string ?? "part without text"
                throw Unusable(
                    "message \(number) has more than text: it holds a part of the kind '\(kind)'", fix: "leave out records with images, sound or video")
            }
            return .string(text)
        default:
            guard role == "tool" else { throw Unusable("message \(number) has no text: its content is not text") }
            return json
        }
    }

    // MARK: - Calls

    /// The calls of a message: `tool_calls`, or `function_call` (OpenAI's older form).
    private static func calls(_ object: JSONObject, role: String, _ number: Int) throws(Unusable) -> [JSON]? {
        var calls: [JSON]?
        if let calls = object["tool_calls"], let call = object["function_call"], !calls.isNull, !call.isNull {
            throw Unusable("message \(number) has both 'tool_calls' and 'function_call'", fix: "remove one of them")
        }
        if let value = object["tool_calls"], !value.isNull {
            guard let list = value.array else { throw Unusable("'tool_calls' of message \(number) is not a list") }
            if !list.isEmpty { calls = list }
        } else if let value = object["function_call"], !value.isNull {
            calls = [["type": "function", "function": value]]
        }
        guard let calls else { return nil }
        guard role == "assistant" else { throw Unusable("message \(number) has tool calls and is not the assistant's") }
        for call in calls where (call["function"]?["name"] ?? call["name"])?.string.map({ !$0.isEmpty }) != true {
            throw Unusable("a tool call of message \(number) names no function")
        }
        return calls
    }

    /// The calls that a ShareGPT message `function_call` holds as text: `{"name": …, "arguments": …}`, or a list of them.
    private static func calls(inText value: JSON?, _ number: Int) throws(Unusable) -> [JSON] {
        guard let text = value?.string, let json = try? JSON.parse(text, source: "") else {
            throw Unusable("message \(number) is a function call whose text is no JSON", fix: #"write {"name": …, "arguments": {…}}"#)
        }
        let calls = json.array ?? [json]
        guard !calls.isEmpty, calls.allSatisfy({ $0["name"]?.string.map { !$0.isEmpty } ?? false }) else {
            throw Unusable("message \(number) is a function call that names no function", fix: #"write {"name": …, "arguments": {…}}"#)
        }
        return calls.map { ["type": "function", "function": $0] }
    }
}
