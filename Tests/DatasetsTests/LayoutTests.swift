import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

/// A template that writes whatever a conversation has.
private let everything = #"""
    {%- if tools -%}{{ '<|im_start|>tools ' + (tools | tojson) + '<|im_end|>\n' }}{%- endif -%}
    {%- for message in messages -%}
    {{ '<|im_start|>' + message.role + '\n' }}
    {%- if message.reasoning_content -%}{{ '(' + message.reasoning_content + ')' }}{%- endif -%}
    {{ message.content or '' }}
    {%- for call in message.tool_calls or [] -%}{{ 'CALL ' + call.function.name + ' ' }}{{ call.function.arguments | tojson }}{%- endfor -%}
    {{ '<|im_end|>\n' }}
    {%- endfor -%}
    {%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
    """#

struct RecordLayoutTests {
    static let expected = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>"

    @Test(arguments: [
        #"{"instruction": "hi", "response": "yo", "category": "qa"}"#, #"{"instruction": "hi", "context": "", "response": "yo"}"#,
        #"{"instruction": "hi", "input": null, "output": "yo", "system": "", "history": []}"#,
        #"{"question": "hi", "answer": "yo"}"#, #"{"question": "hi", "response": "yo", "system_prompt": ""}"#,
        #"{"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "yo"}]}"#,
        #"{"prompt": "hi", "completion": [{"role": "assistant", "content": "yo"}]}"#,
        #"{"prompt": [{"role": "user", "content": "hi"}], "completion": "yo"}"#,
        #"{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo", "weight": 1}], "tools": "", "system": ""}"#,
        #"{"messages": [{"role": "user", "content": ["hi"]}, {"role": "assistant", "content": [{"type": "text", "text": "y"}, {"type": "text", "text": "o"}]}], "tools": []}"#,
        #"{"messages": "[{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"yo\"}]"}"#,
    ])
    func `one content is one sample in every layout`(line: String) throws {
        let sample = try #require(try Small.load([line]).train.first)
        #expect(try Small.text(sample.ids) == Self.expected)
        #expect(try Small.trainedTexts(sample) == ["yo<|im_end|>"])
    }

    @Test(arguments: [
        (#"{"instruction": "i", "context": "c", "response": "r"}"#, "user\ni\nc<|im_end|>"),
        (#"{"question": "q", "context": "c", "answer": "r"}"#, "user\nq\nc<|im_end|>"),
        (#"{"instruction": "i", "output": "r", "system": "s"}"#, "system\ns<|im_end|>\n<|im_start|>user\ni<|im_end|>"),
        (#"{"question": "i", "answer": "r", "system_prompt": "s"}"#, "system\ns<|im_end|>\n<|im_start|>user\ni<|im_end|>"),
        (#"{"conversations": [{"from": "human", "value": "i"}, {"from": "gpt", "value": "r"}], "system": "s"}"#, "system\ns<|im_end|>\n<|im_start|>user\ni<"),
        (
            #"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "i"}, {"role": "assistant", "content": "r"}], "system": "s"}"#,
            "system\ns<|im_end|>\n<|im_start|>user\ni<"
        ),
    ])
    func `context and system stand where they belong`(line: String, expected: String) throws {
        let text = try Small.text(Small.load([line]).train[0].ids)
        #expect(text.hasPrefix("<|im_start|>" + expected) && text.hasSuffix("assistant\nr<|im_end|>"), "\(text)")
    }

    @Test func `a history is earlier turns, learnt too`() throws {
        let sample = try Small.load([#"{"instruction": "q3", "output": "a3", "history": [["q1", "a1"], ["q2", "a2"]], "system": "s"}"#]).train[0]
        #expect(try Small.trainedTexts(sample) == ["a1<|im_end|>", "a2<|im_end|>", "a3<|im_end|>"])
        #expect(try Small.text(sample.ids).hasPrefix("<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq1"))
    }

    @Test(arguments: [(#""weight": 0"#, true), (#""train": false"#, true), (#""loss": false"#, true), (#""weight": 1.0"#, false), (#""train": true"#, false)])
    func `a message without weight is shown and not learnt`(key: String, off: Bool) throws {
        let line =
            #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", KEY}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "b"}]}"#
        let sample = try Small.load([line.replacing("KEY", with: key)]).train[0]
        #expect(try Small.trainedTexts(sample) == (off ? ["b<|im_end|>"] : ["a<|im_end|>", "b<|im_end|>"]))
        #expect(try Small.text(sample.ids).contains("assistant\na<|im_end|>"))
        // At the end too: what comes before it is learnt.
        let last =
            #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "a", KEY}]}"#
        #expect(try Small.trainedTexts(Small.load([last.replacing("KEY", with: key)]).train[0]).count == (off ? 1 : 2))
    }

    @Test func `what the prompt's assistant said is not learnt`() throws {
        let line =
            #"{"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}], "completion": [{"role": "assistant", "content": "b"}]}"#
        #expect(try Small.trainedTexts(Small.load([line]).train[0]) == ["b<|im_end|>"])
    }

    @Test func `calls, results, tools and reasoning are written by the template`() throws {
        let line = #"""
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [{"type": "function", \#
            "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}, {"role": "tool", "content": "7", "tool_call_id": "1"}, {"role": "assistant", "content": "b"}], \#
            "tools": [{"type": "function", "function": {"name": "f"}}]}
            """#
        let data = try Small.load([line], template: everything)
        #expect(try Small.trainedTexts(data.train[0]) == [#"(hm)CALL f {"x": 1}<|im_end|>"#, "b<|im_end|>"])
        let text = try Small.text(data.train[0].ids)
        #expect(
            text.hasPrefix(#"<|im_start|>tools [{"type": "function", "function": {"name": "f"}}]<|im_end|>"#) && text.contains("tool\n7<|im_end|>"), "\(text)")
        #expect(data.report.train.ignoredKeys.isEmpty)
        // ShareGPT's and OpenAI's older forms say the same.
        for other in [
            #"""
            {"conversations": [{"from": "human", "value": "u"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}", \#
            "reasoning_content": "hm"}, {"from": "observation", "value": "7"}, {"from": "gpt", "value": "b"}], \#
            "tools": "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]"}
            """#,
            #"""
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "reasoning_content": "hm", "function_call": {"name": "f", "arguments": "{\"x\": 1}"}}, \#
            {"role": "function", "content": "7"}, {"role": "assistant", "content": "b"}], "functions": [{"name": "f"}]}
            """#,
        ] { #expect(try Small.load([other], template: everything).train == data.train) }
    }

    @Test func `a template that takes calls' arguments as text gets them as they are`() throws {
        let asText = everything.replacing("call.function.arguments | tojson", with: "call.function.arguments")
        let line =
            #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\":1}"}}]}]}"#
        #expect(try Small.trainedTexts(Small.load([line], template: asText).train[0]) == [#"CALL f {"x":1}<|im_end|>"#])
        #expect(try Small.trainedTexts(Small.load([line], template: everything).train[0]) == [#"CALL f {"x": 1}<|im_end|>"#])
    }

    private static let call = #"{"role": "assistant", "content": "c", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}"#

    @Test(arguments: [
        (
            #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]}"#,
            "the tool calls of message 2"
        ),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "tools": [{"function": {"name": "f"}}]}"#, "the tools"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "functions": [{"name": "f"}]}"#, "the tools"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "documents": [{"text": "d"}]}"#, "the documents"),
    ])
    func `what a template drops refuses the record`(line: String, what: String) throws {
        let error = failure { try Small.load([line]) }
        #expect(error?.exit == .unusableInput && error?.what.contains("the chat template does not write \(what)") == true, "\(String(describing: error))")
    }

    @Test func `a template that drops a role or the text beside a call refuses the record`() throws {
        let dropsSystem = Small.chatML.replacing("{{ '<|im_start|>' + message", with: "{% if message['role'] != 'system' %}{{ '<|im_start|>' + message")
            .replacing("'<|im_end|>' + '\n' }}", with: "'<|im_end|>' + '\n' }}{% endif %}")
        let error = failure { try Small.load([#"{"instruction": "i", "output": "o", "system": "s"}"#], template: dropsSystem) }
        #expect(error?.what.contains("does not write message 1 (system)") == true, "\(String(describing: error))")
        let dropsText = everything.replacing("{{ message.content or '' }}", with: "{% if not message.tool_calls %}{{ message.content }}{% endif %}")
        let line = #"{"messages": [{"role": "user", "content": "u"}, CALL]}"#.replacing("CALL", with: Self.call)
        #expect(failure { try Small.load([line], template: dropsText) }?.what.contains("the text of message 2 beside its tool calls") == true)
        #expect(try Small.load([line], template: everything).train.count == 1)
    }

    @Test func `keys that nobody reads are named once, those of later records and of messages too`() throws {
        let lines = [
            #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "id": 1}"#,
            #"{"messages": [{"role": "user", "content": "u", "name": "n"}, {"role": "assistant", "content": "a", "reasoning_content": "hm"}], "id": 2, "source": "s"}"#,
        ]
        let data = try Small.load(lines)
        #expect(data.report.train.ignoredKeys == ["id", "source", "'name' of messages", "'reasoning_content' of messages"])
        #expect(data.report.warnings.contains { $0.contains("not used: id, source, 'name' of messages, 'reasoning_content' of messages") })
    }

    @Test(arguments: [
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 0.5}]}"#, "message 2 has weight 0.5"),
        (#"{"messages": [{"role": "user", "content": "u", "weight": 1}, {"role": "assistant", "content": "a"}]}"#, "message 1 asks to be trained"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 0}]}"#, "nothing to train: every answer"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 0, "train": true}]}"#, "says with two keys"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "train_detail": []}]}"#, "'train_detail'"),
        (
            #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, {"role": "assistant", "content": "a"}]}"#,
            "the kind 'image_url'"
        ),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "images": ["x.png"]}"#, "the record has 'images'"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "rejected": "b"}"#, "the record has 'rejected'"),
        (#"{"prompt": "u", "completion": "a", "label": true}"#, "the record has 'label: true'"),
        (#"{"prompt": "u", "completion": "a", "tools": [{}]}"#, "the record has 'tools', which raw text cannot show"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "system": "s", "tools": 7}"#, "'tools' is not a list"),
        (
            #"{"messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "system": "s"}"#,
            "two system messages"
        ),
        (
            #"{"conversations": [{"from": "human", "value": "u"}, {"from": "function_call", "value": "f(x)"}]}"#,
            "message 2 is a function call whose text is no JSON"
        ),
        (#"{"instruction": "i", "output": "o", "history": "x"}"#, "'history' is not a list of pairs"),
        (#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "tool_calls": [{}]}]}"#, "a tool call of message 2 names no function"),
        (
            #"{"messages": [{"role": "user", "content": "u", "tool_calls": [{"name": "f"}]}, {"role": "assistant", "content": "a"}]}"#,
            "message 1 has tool calls and is not"
        ),
    ])
    func `a record that asks for what is not done is refused with the reason`(line: String, reason: String) throws {
        let error = failure { try Small.load([line], template: everything) }
        #expect(error?.exit == .unusableInput && error?.place == "data.jsonl:1" && error?.what.contains(reason) == true, "\(String(describing: error))")
    }

    @Test func `preference data says what to do, and the chosen answers can be named`() throws {
        let line = #"{"prompt": "p", "chosen": "c", "rejected": "r"}"#
        let error = failure { try Small.load([line], template: nil) }
        #expect(error?.what.contains("preference data") == true && error?.fix?.contains("--columns completion=chosen") == true)
        let data = try Small.load([line], template: nil) { $0.columns = [("completion", "chosen")] }
        #expect(try Small.text(data.train[0].ids) == "pc<|im_end|>")
        #expect(data.report.train.ignoredKeys == ["rejected"])
    }

    @Test func `columns say which key is which`() throws {
        let data = try Small.load([#"{"q": "hi", "a": "yo", "n": 1}"#]) { $0.columns = [("instruction", "q"), ("output", "a")] }
        #expect(try Small.text(data.train[0].ids) == Self.expected)
        #expect(data.report.train.layout == .instruction && data.report.train.ignoredKeys == ["n"])
        let missing = failure { try Small.load([#"{"q": "hi"}"#]) { $0.columns = [("instruction", "x")] } }
        #expect(missing?.what == "no key 'x', which --columns instruction=x names (there are q)")
    }

    @Test func `a format that is said counts, and has to be there`() throws {
        let line = #"{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "text": "abc"}"#
        #expect(try Small.text(Small.load([line]) { $0.layout = .text }.train[0].ids) == "abc<|im_end|>")
        let error = failure { try Small.load([line]) { $0.layout = .question } }
        #expect(error?.what == "the record has no 'question', which format question has (there are messages, text)")
    }

    @Test func `a named text field is read`() throws {
        let data = try Small.load([#"{"body": "abc", "text": "no"}"#], template: nil) { $0.textField = "body" }
        #expect(try Small.text(data.train[0].ids) == "abc<|im_end|>")
        #expect(data.report.train.ignoredKeys == ["text"])
        #expect(failure { try Small.load([#"{"text": "abc"}"#], template: nil) { $0.textField = "body" } }?.what.contains("no key 'body'") == true)
    }

    @Test func `a loss on everything is what the keys say`() throws {
        let chat = #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#
        let all = try Small.load([chat]) { $0.assistantOnlyLoss = false }.train[0]
        #expect(all.trained == [false] + Array(repeating: true, count: all.ids.count - 1))
        #expect(try Small.text(all.ids) == "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n")
        let pair = #"{"prompt": "ab", "completion": "c"}"#
        #expect(try Small.trainedTexts(Small.load([pair], template: nil) { $0.completionOnlyLoss = false }.train[0]) == ["bc<|im_end|>"])
        #expect(try Small.trainedTexts(Small.load([pair], template: nil) { $0.completionOnlyLoss = true }.train[0]) == ["c<|im_end|>"])
        #expect(failure { try Small.load([chat]) { $0.completionOnlyLoss = true } }?.what.contains("no meaning for conversations") == true)
        #expect(try Small.load([chat]) { $0.completionOnlyLoss = false }.report.notes.count == 1)
        #expect(failure { try Small.load([pair], template: nil) { $0.assistantOnlyLoss = true } }?.what.contains("no meaning for raw text") == true)
        for change in [\DatasetSettings.assistantOnlyLoss, \.completionOnlyLoss] {
            #expect(
                failure { try Small.load([#"{"text": "a"}"#], template: nil) { $0[keyPath: change] = true } }?.what.contains("no meaning for raw text") == true)
        }
    }

    @Test func `a thousand records are the same samples in every layout`() throws {
        var lines: [String: [String]] = [:]
        for number in 0..<1000 {
            let (asked, answer) = ("q\(number * 7919 % 1000) ", "a\(number)\\n")
            let turns = #"{"role": "user", "content": "\#(asked)"}, {"role": "assistant", "content": "\#(answer)"}"#
            lines["instruction", default: []].append(#"{"instruction": "\#(asked)", "output": "\#(answer)"}"#)
            lines["dolly", default: []].append(#"{"instruction": "\#(asked)", "context": "", "response": "\#(answer)"}"#)
            lines["question", default: []].append(#"{"question": "\#(asked)", "answer": "\#(answer)"}"#)
            lines["messages", default: []].append(#"{"messages": [\#(turns)]}"#)
            lines["conversations", default: []].append(#"{"conversations": [{"from": "human", "value": "\#(asked)"}, {"from": "gpt", "value": "\#(answer)"}]}"#)
            lines["prompt", default: []].append(
                #"{"prompt": [{"role": "user", "content": "\#(asked)"}], "completion": [{"role": "assistant", "content": "\#(answer)"}]}"#)
        }
        let reference = try Small.load(lines["instruction"] ?? [])
        #expect(reference.train.count == 1000)
        for (name, lines) in lines { #expect(try Small.load(lines).train == reference.train, "\(name)") }
        // And in every form of file.
        let array = "[\n" + (lines["messages"] ?? []).joined(separator: ",\n  ") + "\n]\n"
        #expect(try Small.load(files: ["data.json": array], data: "data.json").train == reference.train)
        let csv = (0..<1000).map { "\"q\($0 * 7919 % 1000) \",\"a\($0)\n\"" }
        #expect(try Small.load(files: ["data.csv": (["question,answer"] + csv).joined(separator: "\r\n")], data: "data.csv").train == reference.train)
        let tsv = (0..<1000).map { "q\($0 * 7919 % 1000) \t\"a\($0)\n\"" }
        #expect(try Small.load(files: ["data.tsv": (["question\tanswer"] + tsv).joined(separator: "\n")], data: "data.tsv").train == reference.train)
    }

    // MARK: - What a message says beside its text

    private static func chat(_ keys: String, first: String = "") -> String {
        #"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"\#(first)}, {"role": "user", "content": "q"}, "#
            + #"{"role": "assistant", "content": "b"\#(keys)}]}"#
    }

    @Test(arguments: [
        #""weight": 0"#, #""train": false"#, #""training": false"#, #""trainable": 0"#, #""loss": false"#, #""masked": true"#, #""masked": 1, "train": false"#,
    ])
    func `a message that is not to be learnt is shown and not learnt`(key: String) throws {
        let sample = try Small.load([Self.chat("", first: ", " + key)]).train[0]
        #expect(try Small.trainedTexts(sample) == ["b<|im_end|>"] && Small.text(sample.ids).contains("assistant\na<|im_end|>"))
    }

    @Test(arguments: [#""weight": 1"#, #""from": "gpt", "value": "b""#, #""training": true"#, #""masked": false"#, #""masked": null, "trainable": true"#])
    func `a message that is to be learnt is`(key: String) throws {
        #expect(try Small.trainedTexts(Small.load([Self.chat(", " + key)]).train[0]) == ["a<|im_end|>", "b<|im_end|>"])
    }

    @Test(arguments: [
        (#""mask": 1"#, "'mask', which does not say clearly what is trained"), (#""loss_mask": 0"#, "'loss_mask'"), (#""ignore": true"#, "'ignore'"),
        (#""masked": true, "train": true"#, "and they differ"), (#""from": "human", "value": "b""#, "has 'role' and 'from', and they differ"),
        (#""value": "c""#, "has 'content' and 'value', and they differ"), (#""masked": 0.5"#, "has masked 0.5"),
        (#""tool_calls": [{"function": {"name": "f"}}], "function_call": {"name": "f"}"#, "has both 'tool_calls' and 'function_call'"),
    ])
    func `what a message says unclearly or twice refuses the record`(keys: String, sentence: String) throws {
        let error = failure { try Small.load([Self.chat(", " + keys)]) }
        #expect(error?.exit == .unusableInput && error?.description.contains(sentence) == true, "\(error?.description ?? "none")")
    }

    @Test func `keys of messages that no template reads are named, whatever their values are`() throws {
        let line = Self.chat(#", "priority": true, "turn": 5, "tags": ["x"], "spans": {"a": 1}, "name": "bob", "nothing": null, "none": []"#)
        #expect(Set(try Small.load([line]).report.train.ignoredKeys) == Set(["priority", "turn", "tags", "spans", "name"].map { "'\($0)' of messages" }))
        // One that the template reads is not.
        let reading = Small.chatML.replacing("message['content']", with: "message['content'] + ('!' if message.priority else '')")
        #expect(
            Set(try Small.load([line], template: reading).report.train.ignoredKeys) == Set(["turn", "tags", "spans", "name"].map { "'\($0)' of messages" }))
    }

    @Test func `a conversation that the assistant opens is warned of`() throws {
        let line = #"{"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}"#
        let loaded = try Small.load([line])
        #expect(try Small.trainedTexts(loaded.train[0]) == ["b<|im_end|>"] && loaded.report.train.opensWithAnswer == 1)
        #expect(loaded.report.warnings.contains { $0.contains("1 conversations of the training records begin with the assistant's message") })
    }

    @Test func `system_prompt beside messages is the system message, and known`() throws {
        let loaded = try Small.load([#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "system_prompt": "s"}"#])
        #expect(try Small.text(loaded.train[0].ids).hasPrefix("<|im_start|>system\ns<|im_end|>") && loaded.report.train.ignoredKeys.isEmpty)
    }

    @Test func `a template that keeps using up its work ends the reading`() throws {
        let endless = "{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}" + Small.chatML
        let error = failure { try Small.load(Small.alpaca(2000), template: endless) { $0.maxBadRecords = 1 } }
        #expect(error?.exit == .unusableInput && error?.description.contains("too much work") == true, "\(error?.description ?? "none")")
    }

    @Test func `a chat of thousands of turns takes time in proportion to them`() throws {
        let turns = (0..<8000).map { #"{"role": "\#($0 % 2 == 0 ? "user" : "assistant")", "content": "turn \#($0)"}"# }
        // A key of its own, so that the conversation is held to the template.
        let line =
            #"{"messages": ["# + turns.joined(separator: ", ") + #", {"role": "user", "content": "q", "name": "x"}, {"role": "assistant", "content": "a"}]}"#
        let clock = ContinuousClock()
        var loaded: LoadedData?
        let time = try clock.measure { loaded = try Small.load([line]) { $0.maxLength = 1 << 20 } }
        #expect(try Small.trainedTexts(#require(loaded?.train.first)).count == 4001)
        #expect(time < .seconds(10), "\(time)")
    }
}
