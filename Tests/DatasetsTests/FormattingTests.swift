import LorikeetGround
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

struct FormattingTests {
    static let twoTurns = #"""
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u1"}, {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "u2"}, {"role": "assistant", "content": "a2"}, {"role": "user", "content": "u3"}]}
        """#.split(separator: "\n").joined()

    @Test func `the instruction goes where instruction_role says`() throws {
        let line = #"{"instruction": "be short", "input": "hi", "output": "yo"}"#
        let user = try Small.load([line]) { $0.instructionRole = .user }.train[0]
        #expect(try Small.text(user.ids) == "<|im_start|>user\nbe short\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>")
        let system = try Small.load([line]) { $0.instructionRole = .system }.train[0]
        #expect(
            try Small.text(system.ids)
                == "<|im_start|>system\nbe short<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>")
        #expect(try Small.trainedTexts(system) == ["yo<|im_end|>"])
    }

    @Test func `every assistant's turn is trained with its end token, and nothing else`() throws {
        let sample = try Small.load([Self.twoTurns]).train[0]
        #expect(try Small.trainedTexts(sample) == ["a1<|im_end|>", "a2<|im_end|>"])
        #expect(try Small.text(sample.ids).hasSuffix("a2<|im_end|>"))
        #expect(sample.ids.count == sample.trained.count)
        #expect(sample.trainedCount == 6)
    }

    @Test func `an empty turn of the assistant is shown but not trained, and counted`() throws {
        let data = try Small.load([Self.twoTurns.replacing("a1", with: "")])
        #expect(try Small.trainedTexts(data.train[0]) == ["a2<|im_end|>"])
        #expect(data.report.train.emptyAnswers == 1)
    }

    @Test func `an answer that contains the end token's text is trained up to its own end`() throws {
        let line = #"{"instruction": "q", "output": "x<|im_end|>y"}"#
        #expect(try Small.trainedTexts(Small.load([line]).train[0]) == ["x<|im_end|>y<|im_end|>"])
    }

    @Test func `a template that trims the answer is fine`() throws {
        let trimming = Small.chatML.replacing("message['content']", with: "message['content'] | trim")
        let line = #"{"instruction": "q", "output": "  yo \n"}"#
        #expect(try Small.trainedTexts(Small.load([line], template: trimming).train[0]) == ["yo<|im_end|>"])
    }

    @Test func `a template that drops earlier turns' thoughts still trains every turn as it stands there`() throws {
        let thinking = Small.chatML.replacing(
            "message['content']", with: "(message['content'] if loop.last else message['content'].split('@')[-1])")
        let line = Self.twoTurns.replacing("a1", with: "hm@a1").replacing("a2", with: "ha@a2")
        #expect(try Small.trainedTexts(Small.load([line], template: thinking).train[0]) == ["a1<|im_end|>", "ha@a2<|im_end|>"])
    }

    @Test func `of a template whose prompt opens a thought that turns do not have, what stands behind the turn's header is trained`() throws {
        let other = Small.chatML.replacing("assistant\n", with: "assistant\n<think>")
        #expect(try Small.trainedTexts(Small.load([#"{"instruction": "q", "output": "yo"}"#], template: other).train[0]) == ["yo<|im_end|>"])
    }

    @Test func `a template's own refusal is the record's reason`() throws {
        let strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + Small.chatML
        let line = #"{"instruction": "i", "input": "q", "output": "a"}"#
        let error = failure { try Small.load([line], template: strict) { $0.instructionRole = .system } }
        #expect(error?.place == "data.jsonl:1")
        #expect(error?.what.contains("no system role") == true)
    }

    @Test func `prompt and completion are raw text, the completion and EOS trained`() throws {
        let sample = try Small.load([#"{"prompt": "2+2=", "completion": "4"}"#], template: nil).train[0]
        #expect(try Small.text(sample.ids) == "2+2=4<|im_end|>")
        #expect(try Small.trainedTexts(sample) == ["4<|im_end|>"])
    }

    @Test func `text is trained whole but for its first token, and ends with EOS`() throws {
        let sample = try Small.load([#"{"text": "abc"}"#], template: nil).train[0]
        #expect(try Small.text(sample.ids) == "abc<|im_end|>")
        #expect(try Small.trainedTexts(sample) == ["bc<|im_end|>"])
        let ended = try Small.load([#"{"text": "abc<|im_end|>"}"#], template: nil).train[0]
        #expect(ended == sample)
    }

    @Test(arguments: [#"{"text": "abc"}"#, #"{"text": "<s>abc"}"#])
    func `raw text begins with one BOS where the tokenizer asks for it`(line: String) throws {
        let sample = try Small.load([line], template: nil, tokenizer: Small.tokenizer(addsBOS: true)).train[0]
        #expect(try Small.text(sample.ids) == "<s>abc<|im_end|>")
        #expect(try Small.trainedTexts(sample) == ["abc<|im_end|>"])
    }

    @Test func `held-out rows ask what the sample answers`() throws {
        let data = try Small.load(
            files: ["set/train.jsonl": Small.alpaca(1)[0], "set/validation.jsonl": Self.twoTurns], data: "set")
        let row = try #require(data.heldOut.first)
        let sample = data.validation[0]
        #expect(row.answer == "a2")
        #expect(row.promptIDs == Array(sample.ids.dropLast(3)))
        #expect(row.promptText == (try Small.text(row.promptIDs)))
        #expect(row.promptText.hasSuffix("u2<|im_end|>\n<|im_start|>assistant\n"))
    }

    @Test func `held-out rows of prompt and completion ask with the prompt`() throws {
        let data = try Small.load(
            files: ["t.jsonl": #"{"text": "abc"}"#, "v.jsonl": #"{"prompt": "2+2=", "completion": " 4"}"#], data: "t.jsonl", template: nil
        ) { $0.validation = ["v.jsonl"] }
        #expect(data.heldOut.map(\.answer) == [" 4"])
        #expect(try Small.text(data.heldOut[0].promptIDs) == "2+2=")
    }
}

struct TruncationTests {
    @Test func `a long sample loses its end and is counted`() throws {
        var lines = Small.alpaca(39) { _ in "a" }
        lines.append(#"{"instruction": "q", "output": "0123456789"}"#)
        // The prompt has 19 tokens.
        let data = try Small.load(lines) { $0.maxLength = 24 }
        let sample = try #require(data.train.last)
        #expect(sample.ids.count == 24)
        #expect(sample.truncated)
        #expect(data.train.count { $0.truncated } == 1)
        #expect(data.report.train.truncated == 1)
        #expect(try Small.trainedTexts(sample).joined().hasPrefix("0"))
        #expect(!sample.ids.suffix(4).contains(1), "the end token is gone")
        #expect(data.report.mistakes.isEmpty)
        #expect(data.report.warnings.contains { $0.contains("1 of 40 training samples are longer than max_length 24") })
    }

    @Test func `where more than one in twenty lose their end it is a mistake`() throws {
        let data = try Small.load(Small.alpaca(10) { $0 == 3 ? "0123456789" : "a" }) { $0.maxLength = 24 }
        #expect(data.report.mistakes.count == 1)
        #expect(data.report.error(.unusableInput)?.fix?.contains("raise max_length") == true)
    }

    @Test func `tokens behind the last trained one are left out after truncation`() throws {
        let whole = try Small.load([FormattingTests.twoTurns]).train[0]
        let firstEnd = try #require(whole.trained.firstIndex(of: true)) + 3
        let cut = try Small.load([FormattingTests.twoTurns]) { $0.maxLength = firstEnd + 10 }.train[0]
        #expect(cut.ids == Array(whole.ids.prefix(firstEnd)))
        #expect(cut.truncated)
    }

    @Test func `a truncated validation record is no question for the model`() throws {
        let files = ["set/train.jsonl": Small.alpaca(1)[0], "set/validation.jsonl": #"{"instruction": "q0", "output": "0123456789"}"#]
        let data = try Small.load(files: files, data: "set") { $0.maxLength = 26 }
        #expect(data.validation.count == 1)
        #expect(data.heldOut.isEmpty)
    }
}
