import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

private let files = [
    "gpt4o", "tekken", "qwen35", "deepseek", "falcon", "trimmed", "expression", "behaviours", "suffix", "llama2", "metaspace", "unfused", "t5", "t5-bytes",
    "albert", "bert", "words",
]

private func tokenizer(_ kind: String) throws -> Tokenizer {
    let root = try #require(Bundle.module.resourceURL)
    let path = root.appending(path: "Fixtures/kinds/\(kind).model").path
    if FileManager.default.fileExists(atPath: path) {
        let data = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        return try Tokenizer(
            sentencePiece: data, source: path, settings: nil, specials: nil, addedTokens: nil, endIDs: [], chatTemplates: ChatTemplateSources())
    }
    return try Tokenizer(json: Fixture.json("kinds/\(kind).json"), source: "\(kind).json")
}

@Suite struct KindsTests {
    @Test(arguments: files + ["unigram", "bpe"])
    func `every family and step gives the library's ids, ranges and decoded texts`(kind: String) throws {
        let fixture = try Fixture.json("kinds.json")
        let texts = (fixture["texts"]?.array ?? []).compactMap(\.string)
        let rows = fixture[kind]?.array ?? []
        #expect(texts.count > 100 && rows.count == texts.count)
        let tokenizer = try tokenizer(kind)
        let copy = tokenizer.forOneThread()
        for (text, row) in zip(texts, rows) {
            guard let row = row.array else { continue }
            let ids = (row[0].array ?? []).compactMap { $0.int.map(Int32.init) }
            // SentencePiece's own library takes special tokens of a text for text.
            let parses = files.contains(kind)
            let result = try tokenizer.encodeWithRanges(text, parseSpecial: parses)
            #expect(result.ids == ids, "\(text.debugDescription): \(result.ids.map(tokenizer.text)) / \(ids.map(tokenizer.text))")
            #expect(try tokenizer.encode(text, parseSpecial: parses) == ids)
            #expect(try copy.encodeWithRanges(text, parseSpecial: parses) == result)
            if let ranges = row[1].array?.compactMap(\.int) {
                #expect(result.ranges.flatMap { [$0.lowerBound, $0.upperBound] } == ranges, "\(text.debugDescription): \(ids.map(tokenizer.text))")
            }
            #expect(result.ranges.count == ids.count && result.ranges.allSatisfy { $0.upperBound <= text.utf8.count })
            if let decoded = row[2].string {
                #expect(PythonText.equal(tokenizer.decode(ids), decoded), "\(tokenizer.decode(ids).debugDescription) / \(decoded.debugDescription)")
            }
        }
    }

    @Test(arguments: files) func `a stream's pieces joined are the decoded text`(kind: String) throws {
        let tokenizer = try tokenizer(kind)
        for text in (try Fixture.json("kinds.json")["texts"]?.array ?? []).compactMap(\.string) {
            let ids = try tokenizer.encode(text)
            var stream = Tokenizer.StreamDecoder(tokenizer)
            let pieces = ids.map { stream.append($0) }
            #expect(PythonText.equal(pieces.joined() + stream.finish(), tokenizer.decode(ids)), "\(text.debugDescription)")
        }
    }

    @Test func `a post-processor's tokens are told, and settings beat them`() throws {
        var json = try Fixture.text("kinds/t5.json")
        json.removeLast(json.hasSuffix("\n") ? 2 : 1)
        let template =
            #"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}"#
        json = json.replacing(#""post_processor":null"#, with: "\"post_processor\":\(template)") + "}"
        let parsed = try JSON.parse(json, source: "t5.json")
        let names: JSON = ["bos_token": "<s>", "eos_token": "</s>"]
        let tokenizer = try Tokenizer(json: parsed, source: "t5.json", settings: names)
        #expect(tokenizer.prefix == [1] && tokenizer.suffix == [2] && tokenizer.addsBOS && tokenizer.addsEOS)
        let settings: JSON = ["bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false, "add_eos_token": false]
        let plain = try Tokenizer(json: parsed, source: "t5.json", settings: settings)
        #expect(plain.prefix.isEmpty && plain.suffix.isEmpty && !plain.addsBOS && !plain.addsEOS)
    }
}

@Suite struct UntrustedTokenizerTests {
    private func failure(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "no error"
        } catch { return (error as? LorikeetError)?.description ?? "\(error)" }
    }

    private func splitting(_ expression: String) throws -> Tokenizer {
        let text = JSON.string(expression).serialized()
        return try Tokenizer(
            json: JSON.parse(
                #"{"model": {"vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": \#(text)}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}}"#,
                source: "tokenizer.json"), source: "tokenizer.json")
    }

    @Test(arguments: [
        "(?~a)", #"(?i:straße)"#, #"(?i)ss"#, "(a", "a)", "[a", #"\y"#, #"\xff"#, "(?x: a)", "*a", #"\p{Klingon}"#, "(?(1)a|b)", #"[^\W]"#,
    ])
    func `an expression that the two engines understand differently, or neither, is refused by name`(expression: String) {
        let error = failure { _ = try splitting(expression) }
        #expect(error.contains("expression") && error.contains("tokenizer.json"), "\(expression): \(error)")
    }

    @Test func `an expression that backtracks without end is a sentence, not a hang`() throws {
        let tokenizer = try splitting("(a+)+$|(a|aa)+b")
        let text = String(repeating: "a", count: 5_000) + "c"
        #expect(failure { _ = try tokenizer.encode(text) }.contains("too many steps"))
    }

    @Test func `tokens of hundreds of kilobytes are refused or taken in linear time`() throws {
        let long = String(repeating: "a", count: 400_000)
        #expect(
            failure {
                _ = try Tokenizer(
                    json: JSON.parse(
                        #"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["\#(long)", -1]]}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}}"#,
                        source: "tokenizer.json"), source: "tokenizer.json")
            }.contains("400000 bytes"))
        #expect(
            failure {
                _ = try BytePairModel(
                    vocabulary: ["a", long], isFindable: [true, true], merges: .scores([0, 1]), rules: TokenizerRules(.spaces), unknown: nil, source: "x.gguf")
            }.contains("400000 bytes"))
        #expect(
            failure {
                _ = try AddedTokenMatcher([AddedToken(id: 1, text: long, isSpecial: true)], texts: [Array(long.utf8)], source: "x")
            }.contains("400000 bytes"))
    }

    @Test(
        arguments: [[], [1, 0, 0], [255, 255, 255, 255, 0], [8, 0, 0, 0, 1, 2, 3, 4], [3, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFE]] as [[UInt8]])
    func `a character map that does not fit its blob is refused`(blob: [UInt8]) {
        #expect(failure { _ = try Charsmap(blob, place: "x") }.contains("character map"))
    }

    @Test func `a character map of random numbers neither crashes nor goes on without end`() throws {
        var state: UInt64 = 9
        for _ in 0..<200 {
            var blob: [UInt8] = [0, 4, 0, 0]
            for _ in 0..<1040 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                blob.append(UInt8(truncatingIfNeeded: state >> 33) & (blob.count >= 1028 ? 0x7F : 0xFF))
            }
            let map = try Charsmap(blob, place: "x")
            var stretch = Stretch(bytes: Array("Grüße … 你好 e\u{301} abc".utf8), sources: nil, origin: 0)
            map.apply(to: &stretch)
            #expect(stretch.bytes.count < 100_000)
        }
    }

    @Test func `a SentencePiece model cut short or changed anywhere gives an error or a tokenizer, never a crash`() throws {
        let root = try #require(Bundle.module.resourceURL)
        let data = [UInt8](try Data(contentsOf: root.appending(path: "Fixtures/kinds/bpe.model")))
        func load(_ data: [UInt8]) { _ = try? SentencePieceFile(data, source: "x").core(added: [], prefixOnlyAtStart: false).encodeText("Grüße a  b") }
        for count in stride(from: 0, to: data.count, by: 97) { load(Array(data[..<count])) }
        for place in stride(from: 0, to: data.count, by: 61) {
            var changed = data
            changed[place] ^= 0x5A
            load(changed)
        }
        #expect(failure { _ = try SentencePieceFile(Array("IQ== 0\nIg== 1\n".utf8), source: "tokenizer.model") }.contains("tiktoken"))
        #expect(failure { _ = try SentencePieceFile([], source: "tokenizer.model") }.contains("no pieces"))
    }
}

extension TokenizerCore {
    fileprivate func encodeText(_ text: String) throws -> [Int32] {
        var text = text
        return try text.withUTF8 { bytes in try encode(bytes, parseSpecial: true, wantsRanges: true).ids }
    }
}
