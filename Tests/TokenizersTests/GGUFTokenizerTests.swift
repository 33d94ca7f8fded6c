import Foundation
import LorikeetGround
import LorikeetModelFiles
import Testing

@testable import LorikeetTokenizers

/// A GGUF without tensors: metadata only.
private struct MetadataFile {
    private var entries: [UInt8] = []
    private var count: UInt64 = 0

    private static func bytes<Integer: FixedWidthInteger>(_ value: Integer) -> [UInt8] { withUnsafeBytes(of: value.littleEndian, Array.init) }
    private static func bytes(_ text: String) -> [UInt8] { bytes(UInt64(text.utf8.count)) + text.utf8 }

    private mutating func add(_ key: String, _ type: UInt32, _ value: [UInt8]) {
        entries += Self.bytes(key) + Self.bytes(type) + value
        count += 1
    }

    mutating func set(_ key: String, _ value: String) { add(key, 8, Self.bytes(value)) }
    mutating func set(_ key: String, _ value: UInt32) { add(key, 4, Self.bytes(value)) }
    mutating func set(_ key: String, _ value: Bool) { add(key, 7, [value ? 1 : 0]) }
    mutating func set(_ key: String, _ values: [String]) {
        add(key, 9, Self.bytes(UInt32(8)) + Self.bytes(UInt64(values.count)) + values.flatMap { Self.bytes($0) })
    }
    mutating func set(_ key: String, _ values: [Int32]) {
        add(key, 9, Self.bytes(UInt32(5)) + Self.bytes(UInt64(values.count)) + values.flatMap { Self.bytes($0) })
    }
    mutating func set(_ key: String, _ values: [Float]) {
        add(key, 9, Self.bytes(UInt32(6)) + Self.bytes(UInt64(values.count)) + values.flatMap { Self.bytes($0.bitPattern) })
    }

    func tokenizer() throws -> Tokenizer {
        let url = FileManager.default.temporaryDirectory.appending(path: "lorikeet-\(UUID()).gguf")
        defer { try? FileManager.default.removeItem(at: url) }
        let head = Array("GGUF".utf8) + Self.bytes(UInt32(3)) + Self.bytes(UInt64(0)) + Self.bytes(count)
        var file = head + entries
        while file.count % 32 != 0 { file.append(0) }
        try Data(file).write(to: url)
        return try Tokenizer(gguf: GGUFFile(path: url.path))
    }
}

/// Vocabulary by id and merges of a tokenizer.json among the fixtures.
private func parts(_ kind: String) throws -> (tokens: [String], merges: [String], types: [Int32]) {
    let json = try Fixture.json("tokenizers/\(kind).json")
    let file = TokenizerFile(json: json, source: kind)
    var tokens = try file.vocabulary().texts
    var types = [Int32](repeating: 1, count: tokens.count)
    for token in try file.added() {
        while tokens.count <= Int(token.id) { tokens.append(""); types.append(5) }
        tokens[Int(token.id)] = token.text
        types[Int(token.id)] = token.isSpecial ? 3 : 4
    }
    return (tokens, try file.merges().map { $0.0 + " " + $0.1 }, types)
}

@Suite struct GGUFTokenizerTests {
    @Test(arguments: [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2")])
    func `a GGUF's byte-level tokenizer gives the ids of its tokenizer json`(kind: String, pre: String) throws {
        let (tokens, merges, types) = try parts(kind)
        var file = MetadataFile()
        file.set("tokenizer.ggml.model", "gpt2")
        file.set("tokenizer.ggml.pre", pre)
        file.set("tokenizer.ggml.tokens", tokens)
        file.set("tokenizer.ggml.merges", merges)
        file.set("tokenizer.ggml.token_type", types)
        // Writers that have no such token write the largest number.
        file.set("tokenizer.ggml.eos_token_id", UInt32.max)
        let tokenizer = try file.tokenizer()
        #expect(tokenizer.eos == nil && tokenizer.chatTemplateSource == nil)
        let fixture = try Fixture.value("ids.json")
        // A GGUF does not tell which tokens strip white space or stand alone.
        let rows = zip(fixture["texts"]?.items ?? [], fixture["ids"]?[kind]?.items ?? []).filter {
            !["left", "right", "parrotword"].contains(where: $0.0.text.contains)
        }
        #expect(rows.count > 100)
        for (text, ids) in rows { #expect(try tokenizer.encode(text.text) == ids.ids, "\(text.text.debugDescription)") }
    }

    @Test func `a GGUF's SentencePiece tokenizer merges by score and decodes to the text`() throws {
        let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab", "ba", "  "]
        var file = MetadataFile()
        file.set("tokenizer.ggml.model", "llama")
        file.set("tokenizer.ggml.tokens", tokens)
        file.set("tokenizer.ggml.scores", [0, 0, 0, 0, 0, 0, -9, -9, -9, -1, -2, -3, -0.5, 0] as [Float])
        file.set("tokenizer.ggml.token_type", [2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4] as [Int32])
        file.set("tokenizer.ggml.bos_token_id", UInt32(1))
        file.set("tokenizer.ggml.unknown_token_id", UInt32(0))
        let tokenizer = try file.tokenizer()
        #expect(tokenizer.addsBOS && tokenizer.bos == 1)
        #expect(try tokenizer.encode("ab") == [11])
        // “ba” has the better score: ▁a b a → ▁a ba; a run of equal scores merges from the left.
        #expect(try tokenizer.encode("aba") == [10, 12])
        #expect(try tokenizer.encode("é\n") == [6, 4, 5, 3])
        #expect(try tokenizer.encode("x") == [6, 0])
        #expect(try tokenizer.encode("</s>ab") == [2, 11])
        // As llama.cpp: a `▁` before every stretch, after an added token too.
        #expect(try tokenizer.encode("a  b") == [10, 13, 6, 8])
        for text in ["ab", "aba b", "é\na"] { #expect(try tokenizer.decode(tokenizer.encode(text)) == text) }
    }

    @Test(arguments: [("unigram", "t5"), ("bpe", "llama")])
    func `a GGUF of a SentencePiece model gives the model's ids`(kind: String, name: String) throws {
        let root = try #require(Bundle.module.resourceURL)
        let model = try SentencePieceFile([UInt8](try Data(contentsOf: root.appending(path: "Fixtures/kinds/\(kind).model"))), source: kind)
        var file = MetadataFile()
        file.set("tokenizer.ggml.model", name)
        file.set("tokenizer.ggml.tokens", model.pieces.map(\.text))
        file.set("tokenizer.ggml.scores", model.pieces.map(\.score))
        file.set("tokenizer.ggml.token_type", model.pieces.map { Int32($0.kind.rawValue) })
        file.set("tokenizer.ggml.unknown_token_id", UInt32(0))
        file.set("tokenizer.ggml.add_space_prefix", true)
        file.set("tokenizer.ggml.remove_extra_whitespaces", kind == "unigram")
        file.set("tokenizer.ggml.precompiled_charsmap", model.charsmap.map { Int32($0) })
        let tokenizer = try file.tokenizer()
        let fixture = try Fixture.json("kinds.json")
        var compared = 0
        for (text, row) in zip(fixture["texts"]?.array ?? [], fixture[kind]?.array ?? []) {
            // A GGUF's user-defined tokens are found in the text as it is given, before spaces are put or taken away.
            guard let text = text.string, let ids = row.array?[0].array?.compactMap({ $0.int.map(Int32.init) }), !text.contains("  "), !text.contains("<tool>"),
                !text.contains("\u{2581}"), !text.contains("\t "), !text.contains("\t"), !text.contains("\u{3000}"), !text.hasPrefix(" ")
            else { continue }
            compared += 1
            #expect(try tokenizer.encode(text, parseSpecial: false) == ids, "\(text.debugDescription)")
        }
        #expect(compared > 60)
    }

    @Test func `every pre-tokenizer that is named has expressions that compile`() throws {
        #expect(GGUFPreTokenizer.names.count > 60)
        for name in GGUFPreTokenizer.names {
            for addsSpace in [false, true] { _ = try GGUFPreTokenizer.named(name)?.reading(addsSpace: addsSpace, place: "x.gguf") }
        }
        #expect(GGUFPreTokenizer.named("martian") == nil)
    }

    @Test func `what a GGUF's tokenizer lacks or we do not support is an error that names it`() throws {
        func failure(_ build: (inout MetadataFile) -> Void) -> String {
            var file = MetadataFile()
            build(&file)
            do {
                _ = try file.tokenizer()
                return "no error"
            } catch { return (error as? LorikeetError)?.description ?? "\(error)" }
        }
        #expect(failure { _ in }.contains("tokenizer.ggml.model"))
        for key in ["bos_token_id", "eos_token_id"] {
            #expect(
                failure {
                    $0.set("tokenizer.ggml.model", "gpt2")
                    $0.set("tokenizer.ggml.tokens", ["a", "b"])
                    $0.set("tokenizer.ggml.merges", [String]())
                    $0.set("tokenizer.ggml.\(key)", UInt32(2))
                }.contains("tokenizer.ggml.\(key) is 2, and there are 2 tokens"))
        }
        #expect(failure { $0.set("tokenizer.ggml.model", "gpt2") }.contains("tokenizer.ggml.tokens"))
        #expect(
            failure {
                $0.set("tokenizer.ggml.model", "bert"); $0.set("tokenizer.ggml.tokens", ["a"])
            }.contains("“bert”"))
        #expect(
            failure {
                $0.set("tokenizer.ggml.model", "gpt2")
                $0.set("tokenizer.ggml.tokens", ["a"])
                $0.set("tokenizer.ggml.pre", "martian")
            }.contains("“martian”"))
        #expect(
            failure {
                $0.set("tokenizer.ggml.model", "gpt2")
                $0.set("tokenizer.ggml.tokens", ["a"])
            }.contains("tokenizer.ggml.merges"))
        #expect(
            failure {
                $0.set("tokenizer.ggml.model", "gpt2")
                $0.set("tokenizer.ggml.tokens", ["a", "b"])
                $0.set("tokenizer.ggml.merges", ["a b"])
            }.contains("merge 0"))
        #expect(
            failure {
                $0.set("tokenizer.ggml.model", "gpt2")
                $0.set("tokenizer.ggml.tokens", ["a", "b"])
                $0.set("tokenizer.ggml.merges", ["a"])
            }.contains("merge 0"))
        #expect(
            failure {
                $0.set("tokenizer.ggml.model", "llama")
                $0.set("tokenizer.ggml.tokens", ["a", "b"])
                $0.set("tokenizer.ggml.scores", [1] as [Float])
            }.contains("tokenizer.ggml.scores"))
    }

    @Test(arguments: [
        ("x ½2 ½½ Ⅷ", true, ["x", " ½", "2", " ½½", " Ⅷ"]), ("x ½2 ½½ Ⅷ", false, ["x", " ", "½", "2", " ", "½", "½", " ", "Ⅷ"]),
        ("a 12  3", true, ["a", " ", "1", "2", "  ", "3"]), ("a 12  3", false, ["a", " ", "1", "2", "  ", "3"]),
        ("\t1\n ½\u{a0}½ 's", true, ["\t", "1", "\n", " ½", "\u{a0}", "½", " '", "s"]),
    ])
    func `digits stand alone, and other numbers too where the rule says so`(text: String, decimalOnly: Bool, words: [String]) {
        let bytes = Array(text.utf8)
        var found: [String] = []
        bytes.withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress, let table = CharacterClass.table else { return }
            var at = 0
            while at < bytes.count {
                let end = DigitsScanner(decimalOnly: decimalOnly).wordEnd(ClassReader(bytes: base, classes: table), from: at, to: bytes.count)
                found.append(String(decoding: bytes[at..<end], as: UTF8.self))
                at = end
            }
        }
        #expect(found == words)
    }
}
