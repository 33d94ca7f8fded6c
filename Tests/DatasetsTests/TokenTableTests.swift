import LorikeetDevices
import LorikeetTokenizers
import MemoryFiles
import Testing

@testable import LorikeetDatasets

/// Tokens are held to the model's embedding table where samples are made.
struct TokenTableTests {
    /// The small tokenizer's 99 tokens and one more, as `add_special_tokens` adds it.
    private static func tokenizer() throws -> Tokenizer {
        let special = ["<s>", "<|im_end|>", "<|im_start|>"]
        let characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        let added = special.enumerated().map { AddedToken(id: Int32($0.offset), text: $0.element, isSpecial: true) }
        return try Tokenizer(
            vocabulary: special + characters, merges: [], rules: TokenizerRules(.byteLevel(.gpt2)),
            added: added + [AddedToken(id: 99, text: "<|tool|>", isSpecial: true)], names: TokenNames(bos: 0, eos: 1))
    }

    private func load(_ lines: [String], rows: Int?, _ change: (inout DatasetSettings) -> Void = { _ in }) throws -> LoadedData {
        var settings = DatasetSettings(data: "data.jsonl")
        change(&settings)
        let tokenizer = try Self.tokenizer()
        return try LoadedData(
            Dataset.load(
                settings, tokenizer: tokenizer, template: ChatTemplate(Small.chatML, name: "template", specialTokens: tokenizer.namedTokens),
                embeddingRows: rows, files: MemoryFiles(texts: ["data.jsonl": lines.joined(separator: "\n") + "\n"]), cpu: CPU(threads: 2)))
    }

    private static let tool = #"{"instruction": "q <|tool|>", "output": "a"}"#

    @Test func `a token without a row is refused with its id, text, line and the table's size`() throws {
        // Also where records may be bad: tokenizer and model do not belong together.
        let error = failure { try load(Small.alpaca(6) + [Self.tool] + Small.alpaca(3), rows: 99) { $0.maxBadRecords = 0.9 } }
        #expect(error?.exit == .unusableInput && error?.place == "data.jsonl:7")
        for word in ["token id 99", #""<|tool|>""#, "99 rows (ids 0 to 98)", "100 tokens", "resize"] {
            #expect(error?.description.contains(word) == true, "\(String(describing: error))")
        }
    }

    @Test func `in the answer, in raw text and in a held-out record it is refused too`() throws {
        for line in [#"{"instruction": "q", "output": "<|tool|>"}"#, #"{"prompt": "<|tool|>", "completion": "a"}"#, #"{"text": "a<|tool|>"}"#] {
            #expect(failure { try load([line], rows: 99) }?.place == "data.jsonl:1", "\(line)")
        }
        for share in [0.5] {
            // Whichever side the record falls on.
            #expect(failure { try load(Small.alpaca(7) + [Self.tool], rows: 99) { $0.validationShare = share } }?.place == "data.jsonl:8")
        }
    }

    @Test func `a table as large as the tokenizer, or padded, is fine; so are unused tokens without a row`() throws {
        for rows in [100, 128, nil] { #expect(try load([Self.tool], rows: rows).train.count == 1) }
        let plain = try load(Small.alpaca(5), rows: 99)
        #expect(try plain.train == load(Small.alpaca(5), rows: nil).train)
        // A row that is not chosen, and a token that is cut off.
        let chosen = try load(Small.alpaca(5) + [Self.tool], rows: 99) {
            $0.maxTrainSamples = 5
            $0.sample = .first
        }
        #expect(chosen.train.count == 5)
    }

    @Test func `control characters of a token's text are shown as escapes`() throws {
        let tokenizer = try Tokenizer(
            vocabulary: ["a", "\u{1B}[2J\n"], merges: [], rules: TokenizerRules(.byteLevel(.gpt2)),
            added: [AddedToken(id: 1, text: "\u{1B}[2J\n", isSpecial: true)])
        let error = failure { try tokenizer.requireRows(for: [0, 1], rows: 1, at: "x") }
        #expect(error?.description.contains(#"\u{1B}[2J\n"#) == true && error?.description.contains("\u{1B}") == false, "\(String(describing: error))")
        #expect(failure { try tokenizer.requireRows(for: [-1], rows: 1, at: nil) }?.description.contains("token id -1") == true)
        #expect(failure { try tokenizer.requireRows(for: [0, 0], rows: 1, at: nil) } == nil)
    }
}
