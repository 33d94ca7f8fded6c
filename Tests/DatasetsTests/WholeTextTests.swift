import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

/// A sample is tokenised as a whole and cut by offsets.
struct WholeTextTests {
    @Test func `the ids are those of the whole text, and a token over the cut is learnt`() throws {
        let special = ["<s>", "<|im_end|>"]
        let characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        let tokenizer = try Tokenizer(
            vocabulary: special + characters + [":."], merges: [(":", ".")], rules: TokenizerRules(.byteLevel(.gpt2)),
            added: special.enumerated().map { AddedToken(id: Int32($0.offset), text: $0.element, isSpecial: true) }, names: TokenNames(bos: 0, eos: 1))
        let template = "{% for m in messages %}{{ m.role[0] + ':' + m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
        let data = try Small.load([#"{"instruction": "q", "output": ".b"}"#], template: template, tokenizer: tokenizer)
        #expect(try data.train[0].ids == tokenizer.encode("u:q<|im_end|>a:.b<|im_end|>"))
        #expect(try Small.trainedTexts(data.train[0], tokenizer: tokenizer) == [":.b<|im_end|>"])
    }

    /// Llama 2's form puts a `▁` before a text, Gemma's nowhere, Metaspace's where a text begins.
    @Test(arguments: ["llama2", "gemma", "metaspace-first"]) func `SentencePiece's answers have no space of their own in front`(kind: String) throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let file = try Data(contentsOf: tests.appending(path: "TokenizersTests/Fixtures/tokenizers/\(kind).json"))
        let tokenizer = try Tokenizer(
            json: JSON.parse(Array(file), source: kind), source: kind, settings: ["bos_token": "<s>", "eos_token": "</s>"])
        let template =
            "<s>{% for m in messages %}{{ ('u' if m.role == 'user' else 't') + ':\\n' + m.content + '</s>\\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ 't:\\n' }}{% endif %}"
        let data = try Small.load([#"{"question": "Como?", "answer": "Lake Como."}"#], template: template, tokenizer: tokenizer)
        let sample = data.train[0]
        let whole = try tokenizer.encode("<s>u:\nComo?</s>\nt:\nLake Como.</s>\n")
        #expect(sample.ids == Array(whole.prefix(sample.ids.count)) && whole.count - sample.ids.count < 3)
        let trained = zip(sample.ids, sample.trained).filter(\.1).map { tokenizer.text(of: $0.0) }
        #expect(trained.joined() == "Lake▁Como.</s>", "\(trained)")
        let shown = try data.preview(rows: 1, tokenizer: tokenizer)[0].tokens.filter(\.trained).map(\.text).joined()
        #expect(shown == "Lake Como.</s>", "\(shown)")
    }

    @Test(arguments: [
        ([0..<3, 3..<5, 5..<9], [3..<5], [false, true, false]), ([0..<3, 3..<5, 5..<9], [4..<6], [false, true, true]),
        ([0..<4, 0..<4, 4..<5], [2..<4], [true, true, false]),
        ([0..<0, 0..<2, 2..<2, 2..<3], [0..<2], [false, true, false, false]), ([0..<2, 2..<4, 4..<6, 6..<8], [0..<1, 5..<7], [true, false, true, true]),
        ([0..<2], [], [false]), ([0..<2, 3..<3, 3..<4, 4..<4], [2..<4], [false, true, true, false]), ([1..<1, 2..<2, 2..<3], [1..<3], [false, true, true]),
    ])
    func `a token that holds a byte of what is learnt is learnt`(tokens: [Range<Int>], ranges: [Range<Int>], expected: [Bool]) {
        #expect(SampleMaker.overlapping(tokens, ranges) == expected)
    }

    @Test func `a completion begins at the length of the prompt's own tokens, and a difference is counted`() throws {
        let special = ["<s>", "<|im_end|>"]
        let characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        let tokenizer = try Tokenizer(
            vocabulary: special + characters + ["ab", "abc"], merges: [("a", "b"), ("ab", "c")], rules: TokenizerRules(.byteLevel(.gpt2)),
            added: special.enumerated().map { AddedToken(id: Int32($0.offset), text: $0.element, isSpecial: true) }, names: TokenNames(bos: 0, eos: 1))
        let data = try Small.load([#"{"prompt": "xab", "completion": "cd"}"#, #"{"prompt": "xab", "completion": " d"}"#], template: nil, tokenizer: tokenizer)
        // "xabcd" is x, abc, d: the prompt's own two tokens are x and ab.
        #expect(try data.train[0].ids == tokenizer.encode("xabcd<|im_end|>"))
        #expect(data.train[0].trained == [false, false, true, true])
        #expect(data.train[1].trained == [false, false, true, true, true])
        #expect(data.report.train.splitsDiffer == 1 && data.report.warnings.contains { $0.contains("in 1 training records the prompt has other tokens") })
    }

    @Test(arguments: ["abc<|im_end|>\n", "abc<|im_end|>", "abc<|im_end|> \n\n"]) func `a text that ends itself gets no second end`(text: String) throws {
        let sample = try Small.load([#"{"text": "\#(text.replacing("\n", with: "\\n"))"}"#], template: nil).train[0]
        #expect(sample.ids.count { $0 == 1 } == 1)
        #expect(try Small.text(sample.ids) == text)
    }

    @Test func `an end inside a text, and two behind each other, are told`() throws {
        let data = try Small.load([#"{"text": "ab<|im_end|>\n<|im_end|>"}"#], template: nil)
        #expect(data.report.train.endsTwice == 1)
        let inside = try Small.load([#"{"instruction": "q", "output": "x<|im_end|>y"}"#, #"{"instruction": "<s> q", "output": "y"}"#])
        #expect(inside.report.train.specialInContent == 2 && inside.report.train.firstSpecial == "data.jsonl:1: '<|im_end|>'")
        #expect(inside.report.warnings.contains { $0.contains("2 training records have the text of a special token inside a message") })
        #expect(try Small.load(Small.alpaca(2)).report.train.specialInContent == 0)
    }
}

struct PreviewTests {
    @Test func `rows are a number, or which ones`() throws {
        #expect(try PreviewRows("2") == .first(2) && PreviewRows("0,5-7") == .records([0...0, 5...7]) && PreviewRows("5-5") == .records([5...5]))
        for text in ["", "x", "-1", "3-1", "1-2-3", "1,x", "99999999999999999999"] {
            #expect(failure { try PreviewRows(text) }?.exit == .unusableInput, "\(text)")
        }
        let data = try Small.load(Small.alpaca(9))
        let shown = try data.dataset.preview(PreviewRows("1,3-4,77"), tokenizer: Small.tokenizer()).map(\.record)
        #expect(shown == [1, 3, 4])
        #expect(try PreviewRows("1,3-4,77").missing(in: shown) == [77])
    }

    @Test func `spaces are visible, what is learnt is marked, and control characters are escapes`() throws {
        let preview = SamplePreview(
            record: 0,
            tokens: [
                .init(id: 0, text: " a", trained: false), .init(id: 1, text: "b ", trained: true), .init(id: 2, text: "\t", trained: false),
                .init(id: 3, text: "\u{1B}[2J\n", trained: true),
            ])
        #expect(preview.text(.visibleSpaces) == "·a[b·]→[\\u{1B}[2J⏎]\n")
        #expect(preview.text(.brackets).hasPrefix(" a[b ]"))
        let coloured = preview.text(.colours)
        #expect(coloured.contains("\u{1B}[4;92mb·\u{1B}[0m") && !coloured.contains("\u{1B}[2J") && !coloured.contains("[b"))
    }

    @Test func `lengths have a histogram`() {
        let lengths = TokenLengths([1, 15, 16, 31, 32, 100, 127])
        #expect(lengths.histogram.map { [$0.from, $0.to, $0.count] } == [[1, 15, 2], [16, 31, 2], [32, 63, 1], [64, 127, 2]])
        #expect(TokenLengths([70]).histogram.map { [$0.from, $0.to, $0.count] } == [[64, 127, 1]])
        #expect(TokenLengths([]).histogram.isEmpty)
    }
}
