import LorikeetDevices
import LorikeetGround
import LorikeetTokenizers
import MemoryFiles
import Testing

@testable import LorikeetDatasets

/// What people hand in as data although it is none, and the sentence that each gets.
struct CatalogueTests {
    /// A text, or bytes, and a part of the sentence.
    struct Case: Sendable, CustomStringConvertible {
        let bytes: [UInt8]
        let sentence: String
        let name: String

        init(_ text: String, _ sentence: String, name: String = "data.jsonl") { self.init(Array(text.utf8), sentence, name: name) }
        init(_ bytes: [UInt8], _ sentence: String, name: String = "data.jsonl") { (self.bytes, self.sentence, self.name) = (bytes, sentence, name) }
        var description: String { "\(name): \(sentence): \(String(decoding: bytes.prefix(60), as: UTF8.self).debugDescription)" }
    }

    private static let good = #"{"instruction": "q", "output": "a"}"#
    private static func utf16(_ text: String, bigEndian: Bool = false) -> [UInt8] {
        text.utf16.flatMap { bigEndian ? [UInt8($0 >> 8), UInt8($0 & 255)] : [UInt8($0 & 255), UInt8($0 >> 8)] }
    }
    private static func utf32(_ text: String) -> [UInt8] { text.unicodeScalars.flatMap { [UInt8($0.value & 255), UInt8($0.value >> 8 & 255), 0, 0] } }

    /// Files of other formats.
    static let formats: [Case] = [
        Case(Array("PAR1".utf8) + [0x15, 4], "Parquet, which is not read; convert it: python3 -c"), Case("x", "Parquet, which is not read", name: "d.parquet"),
        Case(Array("ARROW1".utf8) + [0, 0], "an Arrow file"), Case([0xFF, 0xFF, 0xFF, 0xFF, 8, 0, 0, 0], "an Arrow stream"),
        Case([0x50, 0x4B, 3, 4, 20, 0], "a zip archive"), Case(Array("BZh91AY".utf8), "bunzip2"), Case([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0, 0], "unxz"),
        Case([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C, 0], "7z"), Case([0x04, 0x22, 0x4D, 0x18, 0], "unlz4"), Case("Rar!\u{1A}", "RAR"),
        Case("SQLite format 3\u{0}", "SQLite"), Case([0x89, 0x48, 0x44, 0x46, 0x0D], "HDF5"), Case("%PDF-1.7\n", "PDF"), Case("GGUF\u{3}", "--model"),
        Case([0x7F, 0x45, 0x4C, 0x46, 2], "a program"), Case([0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1], "NumPy"),
        Case([0x80, 0x04, 0x95, 0x10], "pickle can run code"),
        Case(Array("Obj".utf8) + [1, 4], "Avro"), Case("ORC\u{8}", "ORC"), Case("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        Case("<!DOCTYPE html><html>", "a web page"), Case("<html><body>404", "a web page"), Case("<?xml version='1.0'?>", "XML"),
        Case([UInt8](repeating: 0x61, count: 257) + Array("ustar".utf8) + [0, 0x30], "tar archive"),
    ]

    /// Texts in another encoding or with other line ends.
    static let encodings: [Case] = [
        Case([0xFF, 0xFE] + utf16(good), "the file is UTF-16;"), Case([0xFE, 0xFF] + utf16(good, bigEndian: true), "the file is UTF-16;"),
        Case(utf16(good), "UTF-16 without a byte order mark"), Case(utf16(good, bigEndian: true), "UTF-16 without a byte order mark"),
        Case(utf16("[" + good + "]"), "UTF-16 without a byte order mark"), Case(utf32(good), "UTF-32"), Case([0xFF, 0xFE, 0, 0] + utf32(good), "UTF-32"),
        Case(Array((good + "\n{\"instruction\": \"caf").utf8) + [0xE9] + Array("\", \"output\": \"a\"}".utf8), "data.jsonl:2: the line is not UTF-8"),
        Case([0xE9, 0x7B], "not UTF-8"), Case(good + "\n\u{FEFF}" + good, "data.jsonl:2: a byte order mark stands in the middle"),
        Case(good + "\r" + good + "\r", "old Mac line ends"), Case("q,a\rx,y\r", "old Mac line ends", name: "d.csv"),
        Case(good + "\n{\"instruction\": \"\u{0}\", \"output\": \"a\"}", "a zero byte"),
        Case(good + "\n" + String(repeating: "\u{0}", count: 64), "a zero byte"),
    ]

    /// Lines that are not JSON.
    static let lines: [Case] = [
        Case("{'instruction': 'q', 'output': 'a'}", "Python's way to print a dictionary"), Case("{ 'a': 1 }", "Python's way to print"),
        Case(#"{"instruction": "q", "output": None}"#, "'None' is Python's"), Case(#"{"a": True}"#, "'True' is Python's"), Case(#"{"a": NaN}"#, "'NaN'"),
        Case(#"{"a": Infinity}"#, "'Infinity'"), Case(#"{"a": undefined}"#, "'undefined'"), Case("{\n  \"instruction\": \"q\"\n}\n", "spans several lines"),
        Case(good + "\n{\n\"instruction\": \"q\"\n}", "spans several lines"), Case("{\"data\": [\n" + good + "]}", "the object is not closed"),
        Case(good + ",\n" + good, "a comma stands behind the object"), Case(good + good, "several objects stand on the line"),
        Case(good + " " + good, "several objects"), Case(good.dropLast(3).description, "a text is not closed"),
        Case(String(good.dropLast()), "the object is not closed"),
        Case(#"{"instruction": "q", "output": "a",}"#, "a comma stands before a closing bracket"),
        Case(#"{"a": [1, 2, ]}"#, "a comma stands before a closing bracket"),
        Case("{\"instruction\": \"q\tx\", \"output\": \"a\"}", "a tab or another control character"), Case("{\"instruction\": \"q\n", "a text is not closed"),
        Case(#"{instruction: "q"}"#, "the keys stand without quotes"), Case(#"{“instruction”: “q”}"#, "typographic"),
        Case(#"{"a": "\x41"}"#, "a backslash stands before"), Case(#"{"a": "C:\path"}"#, "a backslash stands before"), Case(#"{"a": "\ud800"}"#, "surrogate"),
        Case("# data\n" + good, "a comment"), Case("// data\n" + good, "a comment"), Case(good + "\n// more", "the line is a comment"),
        Case(#"{"a": 1 /* one */}"#, "the line holds a comment"), Case("data: " + good, "a stream of events"),
        Case(good + "\ndata: [DONE]", "begins with 'data:'"),
        Case("```json\n" + good, "Markdown's fence"), Case(good + "\n```", "Markdown's fence"), Case("<<<<<<< HEAD\n" + good, "merge conflict"),
        Case(good + "\n=======\n", "merge conflict"), Case("--- \na: 1", "YAML"), Case("- a: 1\n- a: 2", "YAML"),
        Case("question,answer\n1,2\n", "header of a CSV file"),
        Case("question\tanswer\n", "header of a CSV file"), Case("hello world", "broken JSON"), Case("{}{", "several objects"),
        Case("{\"a\" 1}", "broken JSON"),
        Case("{\"a\": 1]", "broken JSON"), Case("{\"a\": 01}", "broken JSON"), Case("{\"a\": tru}", "broken JSON"), Case("{\"a\": +1}", "broken JSON"),
        Case("{\"a\": 1e999}", "broken JSON"), Case(String(repeating: "{\"a\":", count: 300) + "1" + String(repeating: "}", count: 300), "nested too deeply"),
        Case("}", "spans several lines"), Case("\"a\": 1,", "spans several lines"),
        Case(
            good + "\n" + #"{"instruction": "q", "output": "a", "output": "b, ]"}"#,
            "data.jsonl:2: the key 'output' stands twice in the same object"),
        Case(#"{"messages": [{"role": "user", "role": "assistant", "content": "x"}]}"#, "the key 'role' stands twice"),
        Case("[" + good + ",\n{\"instruction\": \"q\",\n\"instruction\": \"r\", \"output\": \"a\"}]", "data.jsonl:3: the key 'instruction' stands twice"),
        Case(#"{"instruction": "q", "output": "a", "note": {"x": 1, "x": 1}}"#, "the key 'x' stands twice"),
    ]

    /// Files that hold no records, or are cut off.
    static let wholes: [Case] = [
        Case("", "no records"), Case("\n\n \t\r\n", "no records"), Case([0xEF, 0xBB, 0xBF], "no records"), Case("[]", "no records"),
        Case("[\n]\n", "no records"),
        Case("[" + good, "the JSON array is not closed"), Case("[" + good + ",", "the JSON array is not closed"),
        Case("[" + good + "] " + good, "text stands behind the end"),
        Case("[" + good + " " + good + "]", "a comma is missing between two records"), Case("[1, 2]", "not a JSON object"),
        Case("[\"q\", \"a\"]\n[\"q\", \"a\"]", "text stands behind"),
        Case("[,]", "a comma of the array has no record behind it"), Case("[" + good + ",\n]", "data.jsonl:2: a comma of the array has no record"),
        Case("\"text\"", "not a JSON object"), Case("17", "not a JSON object"),
        Case("null", "not a JSON object"),
        Case("", "no records", name: "d.csv"), Case("q,q\n1,2", "stands in the header twice", name: "d.csv"),
        Case("question,answer\n", "no records", name: "d.csv"),
        Case("question,answer\n1,2,3\n", "the row has 3 fields and the header 2 (the delimiter is a comma)", name: "d.csv"),
        Case("question,answer\n1\n", "the row has 1 field and the header 2", name: "d.csv"),
        Case("question,answer\n1,\"2\n", "a quote that opens", name: "d.csv"),
        Case("question,answer\n1,\"2\"x\n", "text stands behind the closing quote of field 2", name: "d.csv"),
        Case("a,b\n1,2\n", "no layout has the keys of this record: a, b", name: "d.csv"),
        Case(Array("question,answer\n".utf8) + [0xE9, 0x2C, 0x61], "not UTF-8", name: "d.csv"), Case([0x1F, 0x8B], "ends too early", name: "d.jsonl.gz"),
        Case([0x1F, 0x8B, 9, 9, 9, 9], "damaged", name: "d.jsonl.gz"), Case([0x28, 0xB5, 0x2F, 0xFD, 0xFF, 0xFF, 0xFF, 0xFF], "ends too early"),
        Case("x", "its content is not compressed that way", name: "d.jsonl.zst"),
        Case([0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1], "an old Office document", name: "d.csv"),
        Case("question,answer\n1,2\nquestion,answer\n3,4\n", "d.csv:3: the header line is repeated here", name: "d.csv"),
        Case("question,answer\n1,2\u{0}\n", "d.csv:2: a zero byte stands in the row", name: "d.csv"),
        Case("messages\n\"[{'role': 'user', 'content': 'q'}]\"\n", "'messages' holds a list as Python prints it", name: "d.csv"),
    ]

    /// Records that are JSON and no records.
    static let records: [Case] = [
        Case("{}", "the record has no keys"), Case(#"{"a": 1}"#, "no layout has the keys of this record: a"),
        Case(#"{"chosen": "a", "rejected": "b"}"#, "preference data"),
        Case(#"{"instruction": 1, "output": "a"}"#, "'instruction' is not text"), Case(#"{"question": "", "answer": "a"}"#, "the question is empty"),
        Case(#"{"question": "q", "answer": ["a"]}"#, "'answer' is not text"), Case(#"{"messages": {}}"#, "'messages' is not a list"),
        Case(#"{"messages": "x"}"#, "'messages' is not a list"), Case(#"{"messages": []}"#, "no answer"),
        Case(#"{"conversations": [1]}"#, "message 1 is not an object"),
        Case(#"{"conversations": [{"from": "human"}]}"#, "message 1 has no text"), Case(#"{"conversations": [{"value": "x"}]}"#, "message 1 has no role"),
        Case(#"{"messages": [{"role": "user", "content": 7}]}"#, "message 1 has no text: its content is not text"),
        Case(#"{"prompt": "p", "completion": ""}"#, "the completion is empty"), Case(#"{"prompt": ["p"], "completion": "c"}"#, "message 1 is not an object"),
        Case(#"{"conversation": [{"role": "user", "content": "x"}]}"#, "--columns messages=conversation"), Case(#"{"text": []}"#, "'text' is not text"),
        Case(#"{"text": "  "}"#, "the text is empty"),
        Case(
            chat + "\n" + #"{"prompt": "p", "completion": "c"}"#,
            "data.jsonl:2: the record is laid out as (prompt, completion), and the file is read as (messages)"),
        Case(
            chat + "\n" + #"{"messages": null, "question": "q", "answer": "a"}"#,
            "data.jsonl:2: the record is laid out as (question, [context], answer), and the file is read as (messages)"),
        Case(good + "\n" + chat, "data.jsonl:2: the record is laid out as (messages), and the file is read as (instruction, [input], output)"),
        Case(chat + "\n" + #"{"note": 1}"#, "data.jsonl:2: the record has no 'messages'"),
    ]
    private static let chat = #"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#

    private func error(_ item: Case) throws -> LorikeetError? {
        var files = MemoryFiles()
        files.contents[item.name] = item.bytes
        let tokenizer = try Small.tokenizer()
        return failure {
            try Dataset.load(
                DatasetSettings(data: item.name), tokenizer: tokenizer, template: ChatTemplate(Small.chatML, name: "t", specialTokens: tokenizer.namedTokens),
                files: files, cpu: CPU(threads: 2))
        }
    }

    @Test func `the catalogue has more than a hundred entries`() {
        #expect(Self.formats.count + Self.encodings.count + Self.lines.count + Self.wholes.count + Self.records.count >= 130)
    }

    @Test(arguments: formats + encodings) func `a file of another kind is named by what it is`(item: Case) throws { try expect(item) }
    @Test(arguments: lines) func `a line that is no JSON is named by its cause`(item: Case) throws { try expect(item) }
    @Test(arguments: wholes + records) func `a file without records that can be used says why`(item: Case) throws { try expect(item) }

    private func expect(_ item: Case) throws {
        let error = try error(item)
        #expect(error?.exit == .unusableInput)
        #expect(error?.description.contains(item.sentence) == true, "\(error?.description ?? "no error")")
        // What, where, how to fix it, on one line.
        #expect(error?.place?.hasPrefix(item.name) == true && error?.fix?.isEmpty == false && error?.description.contains("\n") == false)
    }

    @Test func `good files cut at any byte, or with any byte changed, never crash`() throws {
        let csv = "question,answer\n\"a\"\"b\",c\n1,\"x\ny\"\n"
        let chat = #"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]}"#
        for (text, name) in [(Self.good + "\n" + chat, "d.jsonl"), ("[" + Self.good + ",\n" + chat + "]", "d.json"), (csv, "d.csv")] {
            let bytes = Array(text.utf8)
            for count in bytes.indices { _ = try error(Case(Array(bytes[..<count]), "", name: name)) }
            for at in bytes.indices {
                for byte: UInt8 in [0, 0x22, 0x2C, 0x7B, 0x5D, 0xFF] {
                    var changed = bytes
                    changed[at] = byte
                    _ = try error(Case(changed, "", name: name))
                }
            }
        }
    }
}
