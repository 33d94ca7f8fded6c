import LorikeetDevices
import LorikeetGround
import LorikeetRecipe
import MemoryFiles
import Testing

@testable import LorikeetDatasets

struct ReadingTests {
    @Test(arguments: [
        #"{"instruction": "hi", "input": "", "output": "yo"}"#,
        #"{"instruction": "hi", "output": "yo"}"#,
        #"{"instruction": "", "input": "hi", "output": "yo", "text": "as in Alpaca's own file"}"#,
        #"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}"#,
        #"{"prompt": "not read", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": "yo"}]}"#,
        #"{"id": 3, "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}"#,
        #"{"conversations": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}"#,
    ])
    func `a question and an answer are the same sample in every layout`(line: String) throws {
        let sample = try #require(try Small.load([line]).train.first)
        #expect(try Small.text(sample.ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>")
        #expect(try Small.trainedTexts(sample) == ["yo<|im_end|>"])
    }

    @Test func `a BOM, CRLF, blank lines and a missing last newline are fine`() throws {
        let lines = Small.alpaca(3)
        let text = "\u{FEFF}" + lines[0] + "\r\n\r\n   \n" + lines[1] + "\r\n" + lines[2]
        let data = try Small.load(files: ["data.jsonl": text])
        #expect(data.train == (try Small.load(lines)).train)
        #expect(data.train.map(\.record) == [0, 1, 2])
    }

    @Test func `broken JSON is an error at its line, blank lines counted`() throws {
        let lines = Small.alpaca(4)
        let error = failure { try Small.load(files: ["data.jsonl": "\(lines[0])\n\n{\"instruction\": \n\(lines[1])\n"]) }
        #expect(error?.exit == .unusableInput)
        #expect(error?.place == "data.jsonl:3")
    }

    @Test func `one broken line is not tolerated, chosen or not, whatever max_bad_records says`() throws {
        var lines = Small.alpaca(300)
        lines[200] = #"{"instruction": "q", "output": "x""#
        let error = failure {
            try Small.load(lines) {
                $0.maxBadRecords = 0.5
                $0.maxTrainSamples = 5
                $0.sample = .first
            }
        }
        #expect(error?.place == "data.jsonl:201")
    }

    @Test func `a line that is not UTF-8 is an error at its line`() throws {
        var files = MemoryFiles(texts: ["data.jsonl": Small.alpaca(2).joined(separator: "\n")])
        files.contents["data.jsonl"]?.append(contentsOf: [0x0A] + Array(#"{"instruction": "q", "output": ""#.utf8) + [0xFF, 0x22, 0x7D])
        let tokenizer = try Small.tokenizer()
        let found = failure {
            try Dataset.load(
                DatasetSettings(data: "data.jsonl"), tokenizer: tokenizer,
                template: .init(Small.chatML, name: "t", specialTokens: [:]), files: files, cpu: .init(threads: 1))
        }
        #expect(found?.place == "data.jsonl:3")
    }

    @Test func `rows are counted in pieces as they are cut one after another`() throws {
        let cpu = CPU(threads: 3)
        let texts = [
            "{}", "{}\n", "\n{}\n\n", "{}\r\n{}\r\n", "{ }\n \t \r\n{}\n  {}", "\u{FEFF}\n{}\n", "\u{FEFF}{}\n{}", "   \n   {}   \n   ", "[{}, {},\n{}]",
            #"{"text": "a line of more bytes than a piece has, and another"}"# + "\n\n{}",
        ]
        for text in texts {
            let files = MemoryFiles(texts: ["data.jsonl": text])
            let blocks = try RowBlocks(path: "data.jsonl", files: files)
            var rows = 0
            while let block = try blocks.next() { rows += block.rows.count }
            for bytes in [3, 4, 5, 7, 64, RowCount.pieceBytes] {
                #expect(try RowCount.rows(of: "data.jsonl", files: files, cpu: cpu, pieceBytes: bytes) == rows, "\(text.debugDescription), \(bytes)")
            }
        }
    }

    @Test func `unknown keys are an error that names them and the layouts`() throws {
        let error = failure { try Small.load([#"{"query": "q", "reply": "a"}"#]) }
        #expect(error?.exit == .unusableInput)
        #expect(error?.place == "data.jsonl:1")
        #expect(error?.what == "no layout has the keys of this record: query, reply")
        #expect(error?.fix?.contains("(instruction, [input], output)") == true)
        #expect(error?.fix?.contains("(prompt, completion)") == true)
    }

    @Test(arguments: [
        (#"{"query": "q", "reply": "a"}"#, "instruction=query,output=reply"), (#"{"id": "7", "reply": "a", "query": "q"}"#, "instruction=query,output=reply"),
        (#"{"Question": "q", "Answer": "a"}"#, "question=Question,answer=Answer"), (#"{"question": "q", "reply": "a"}"#, "answer=reply"),
        (#"{"instruction": "q", "completion": "a"}"#, "output=completion"), (#"{"instrution": "q", "output": "a"}"#, "instruction=instrution"),
        (#"{"input": "q", "output": "a"}"#, "instruction=input"),
        (#"{"instructions": "q", "input": "i", "output": "a"}"#, "instruction=instructions"), (#"{"question": "q", "antwort": "a"}"#, "answer=antwort"),
        (#"{"prompt": "q", "context": "c", "response": "a"}"#, "instruction=prompt,output=response"),
        (#"{"turns": [{"from": "human", "value": "q"}]}"#, "messages=turns"), (#"{"content": "words", "url": "u"}"#, "text=content"),
    ]) func `keys that are nearly a layout's are told with the columns that they are`(record: String, columns: String) throws {
        let error = failure { try Small.load([record]) }
        let words = "say which is which: --columns \(columns); or use the keys of one of the layouts (messages)"
        #expect(error?.fix?.hasPrefix(words) == true, "\(error?.fix ?? "")")
        // What is suggested is taken.
        let answered = record.replacing("}]}", with: #"}, {"from": "gpt", "value": "a"}]}"#)
        _ = try Small.load([answered]) {
            $0.columns = columns.split(separator: ",").map { pair in
                let parts = pair.split(separator: "=").map(String.init)
                return (parts[0], parts[1])
            }
        }
    }

    @Test(arguments: [
        #"{"title": "t", "abstract": "a"}"#, #"{"a": "1", "b": "2"}"#, #"{"user": "alice", "tweet": "t"}"#, #"{"test": "t"}"#, #"{"context": "c"}"#,
        #"{"question": 1, "reply": 2}"#, #"{"output": "a", "x": "1", "y": "2"}"#,
    ]) func `keys of which nothing is known suggest no columns`(record: String) {
        let error = failure { try Small.load([record]) }
        #expect(error?.fix?.hasSuffix("or say which of yours stand for them: --columns instruction=KEY,output=KEY") == true, "\(error?.fix ?? "")")
    }

    @Test func `a column or field that is not there is told with the nearest`() {
        let record = #"{"query": "q", "reply": "a"}"#
        #expect(failure { try Small.load([record]) { $0.columns = [("instruction", "qurey"), ("output", "reply")] } }?.fix == "did you mean 'query'?")
        #expect(failure { try Small.load([record]) { $0.textField = "replys" } }?.fix == "did you mean 'reply'?")
        #expect(failure { try Small.load([record]) { $0.textField = "body" } }?.fix == "name one of these")
        let other = failure { try Small.load([record]) { $0.layout = .question } }
        #expect(other?.fix == "name another format, or --columns question=query", "\(other?.fix ?? "")")
    }

    @Test func `a wide table's columns are not all listed`() {
        let record = "{" + (0..<50).map { "\"column\($0)\": \"x\"" }.joined(separator: ",") + "}"
        #expect(failure { try Small.load([record]) }?.what.hasSuffix("column18, column19 and 30 more") == true)
    }

    @Test(arguments: [
        ("", "no records"), ("\n  \n\r\n", "no records"), ("\u{FEFF}", "no records"),
        ("\"text\"", "not a JSON object"), ("{}", "the record has no keys"),
    ])
    func `a file without records says so`(content: String, words: String) throws {
        let error = failure { try Small.load(files: ["data.jsonl": content]) }
        #expect(error?.exit == .unusableInput)
        #expect(error?.what.contains(words) == true, "\(error?.description ?? "no error")")
    }

    @Test func `UTF-16 is named`() throws {
        var files = MemoryFiles()
        files.contents["data.jsonl"] = [0xFF, 0xFE, 0x7B, 0x00]
        #expect(failure { try RowBlocks(path: "data.jsonl", files: files) }?.what == "the file is UTF-16")
    }

    @Test func `a missing file and a directory without train.jsonl say what is wrong`() throws {
        let missing = failure { try Small.load(files: [:]) }
        #expect(missing?.exit == .unusableInput)
        #expect(missing?.place == "data.jsonl")
        let directory = failure { try Small.load(files: ["set/other.jsonl": "{}"], data: "set") }
        #expect(directory?.what.contains("no train.jsonl (it has other.jsonl)") == true)
        let validation = failure { try Small.load(Small.alpaca(2)) { $0.validation = ["gone.jsonl"] } }
        #expect(validation?.place == "gone.jsonl")
    }

    @Test func `a directory gives training and validation`() throws {
        let files = [
            "set/train.jsonl": Small.alpaca(3).joined(separator: "\n"),
            "set/validation.jsonl": #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}]}"#,
        ]
        for data in ["set", "set/"] {
            let set = try Small.load(files: files, data: data)
            #expect(set.train.count == 3)
            #expect(set.validation.count == 1)
            #expect(set.report.validation?.layout == .messages)
        }
    }

    @Test func `messages without a template are an error, prompt and completion are not`() throws {
        #expect(failure { try Small.load(Small.alpaca(2), template: nil) }?.what.contains("no chat template") == true)
        #expect(try Small.load([#"{"prompt": "p", "completion": "c"}"#], template: nil).train.count == 1)
    }
}

struct BadRecordTests {
    @Test(arguments: [
        (#"{"instruction": "q"}"#, "no 'output'"),
        (#"{"instruction": "q", "output": null}"#, "no 'output'"),
        (#"{"instruction": "q", "output": " \n"}"#, "the answer ('output') is empty"),
        (#"{"instruction": "q", "output": 5}"#, "'output' is not text"),
        (#"{"instruction": "", "input": " ", "output": "a"}"#, "instruction and input are empty"),
        (#"[1]"#, "not a JSON object"),
        (#"{"instruction": "\#(String(repeating: "x", count: 600))", "output": "a"}"#, "the prompt alone is longer than max_length"),
    ])
    func `one unusable record in a hundred is passed over and named`(line: String, reason: String) throws {
        var lines = Small.alpaca(100)
        lines[41] = line
        let data = try Small.load(lines)
        #expect(data.train.count == 99)
        #expect(!data.train.contains { $0.record == 41 })
        #expect(data.report.train.unusable == 1)
        let named = try #require(data.report.train.firstUnusable.first)
        #expect(named.place == "data.jsonl:42")
        #expect(named.reason.hasPrefix(reason), "\(named.reason)")
        #expect(data.report.warnings.contains { $0.contains("data.jsonl:42") })
    }

    @Test(arguments: [
        (#"[]"#, "no answer"), (#"[{"role": "user", "content": "q"}]"#, "no answer"),
        (#"[{"role": "assistant", "content": "a"}]"#, "no message stands before"),
        (#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}]"#, "the answer is empty"),
        (#"[{"role": "alien", "content": "q"}]"#, "message 1 has the unknown role 'alien'"),
        (#"[{"role": "user", "content": null}]"#, "message 1 has no text"),
        (#"[{"content": "q"}]"#, "message 1 has no role"), (#"["q"]"#, "message 1 is not an object"), (#""q""#, "'messages' is not a list"),
    ])
    func `an unusable conversation says why`(messages: String, reason: String) throws {
        let error = failure { try Small.load([#"{"messages": \#(messages)}"#]) }
        #expect(error?.exit == .unusableInput)
        #expect(error?.place == "data.jsonl:1")
        #expect(error?.what.hasPrefix(reason) == true, "\(error?.description ?? "no error")")
    }

    @Test func `more than max_bad_records is an error that counts them and names five`() throws {
        let lines = Small.alpaca(200) { $0 % 20 == 7 ? "" : "a" }
        let error = failure { try Small.load(lines) }
        #expect(error?.exit == .unusableInput)
        #expect(error?.place == "data.jsonl:8")
        #expect(error?.what.contains("10 of 200 records cannot be used, max_bad_records allows 2") == true)
        for line in [28, 48, 68, 88] { #expect(error?.what.contains("data.jsonl:\(line):") == true) }
        #expect(error?.what.contains("and 5 more") == true)
        #expect(try Small.load(lines) { $0.maxBadRecords = 0.05 }.train.count == 190)
    }

    @Test func `prompts longer than max_length fall under the same rule, with their own fix`() throws {
        let long = String(repeating: "x", count: 100)
        let lines = Small.alpaca(4) + [#"{"instruction": "\#(long)", "output": "a"}"#]
        let error = failure { try Small.load(lines) { $0.maxLength = 64 } }
        #expect(error?.place == "data.jsonl:5")
        #expect(error?.fix == "raise max_length")
    }

    @Test func `a run with nothing left is an error even when every bad record is allowed`() throws {
        #expect(failure { try Small.load([#"{"text": ""}"#]) { $0.maxBadRecords = 1 } }?.exit == .unusableInput)
    }
}

struct RecipeTests {
    @Test func `every data key of a recipe reaches the settings`() throws {
        var recipe = Recipe()
        for (key, value) in [
            ("data", KeyValue.text("d.jsonl")), ("validation", .list(["v.jsonl", "w.jsonl"])), ("validation_share", .number(0.1)),
            ("max_train_samples", .integer(5)), ("max_validation_samples", .integer(6)), ("sample", .text("first")),
            ("instruction_role", .text("system")), ("max_length", .integer(77)), ("max_bad_records", .number(0.2)), ("seed", .integer(-1)),
            ("format", .text("question")), ("columns", .list(["question=q", "answer=a"])), ("dataset_text_field", .text("body")),
            ("assistant_only_loss", .flag(false)), ("completion_only_loss", .flag(true)),
        ] { recipe.set(key, value) }
        var expected = DatasetSettings(data: "d.jsonl")
        expected.validation = ["v.jsonl", "w.jsonl"]
        expected.validationShare = 0.1
        expected.maxTrainSamples = 5
        expected.maxValidationSamples = 6
        expected.sample = .first
        expected.instructionRole = .system
        expected.maxLength = 77
        expected.maxBadRecords = 0.2
        expected.seed = .max
        expected.layout = .question
        expected.columns = [("question", "q"), ("answer", "a")]
        expected.textField = "body"
        expected.assistantOnlyLoss = false
        expected.completionOnlyLoss = true
        #expect(try DatasetSettings(recipe) == expected)
        #expect(KeyTable.formats == ["auto"] + RecordLayout.allCases.map(\.rawValue))
        recipe.set("columns", .list(["nothing=q"]))
        #expect(failure { try DatasetSettings(recipe) }?.what == "'nothing' is no key of a layout")
        // The names are those of the recipe's own table.
        for key in ["data", "validation", "validation_share", "sample", "instruction_role", "max_bad_records", "max_length", "seed"] {
            #expect(KeyTable.keys.contains { $0.name == key }, "\(key)")
        }
    }
}
