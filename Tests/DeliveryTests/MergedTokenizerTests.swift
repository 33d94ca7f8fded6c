import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers
import Testing

@testable import LorikeetDelivery

/// The tokenizer that is written beside a model merged from a GGUF gives the ids that the GGUF's own gives.
struct MergedTokenizerTests {
    private typealias Metadata = [(key: String, value: GGUFValue)]
    private let files = RealFiles()

    /// A GGUF of metadata alone.
    private func gguf(_ metadata: Metadata) throws -> String {
        var bytes = Data("GGUF".utf8)
        func number<N: FixedWidthInteger>(_ n: N) { withUnsafeBytes(of: n.littleEndian) { bytes.append(contentsOf: $0) } }
        func string(_ s: String) {
            number(UInt64(s.utf8.count))
            bytes.append(contentsOf: Array(s.utf8))
        }
        func array(_ type: UInt32, _ count: Int) {
            number(UInt32(9))
            number(type)
            number(UInt64(count))
        }
        number(UInt32(3))
        number(UInt64(0))
        number(UInt64(metadata.count))
        for (key, value) in metadata {
            string(key)
            switch value {
            case .unsigned(let n):
                number(UInt32(4))
                number(UInt32(n))
            case .bool(let flag):
                number(UInt32(7))
                number(UInt8(flag ? 1 : 0))
            case .string(let text):
                number(UInt32(8))
                string(text)
            case .stringArray(let texts):
                array(8, texts.count)
                texts.forEach(string)
            case .intArray(let numbers):
                array(5, numbers.count)
                numbers.forEach { number(Int32($0)) }
            case .floatArray(let numbers):
                array(6, numbers.count)
                numbers.forEach { number($0.bitPattern) }
            default: break
            }
        }
        while bytes.count % 32 != 0 { bytes.append(0) }
        let path = Temporary.folder() + ".gguf"
        try bytes.write(to: URL(fileURLWithPath: path))
        return path
    }

    /// The GGUF's tokenizer and the one read from the directory that is written of it.
    private func both(_ metadata: Metadata) throws -> (gguf: Tokenizer, written: Tokenizer) {
        let path = try gguf(metadata)
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        let warning = try MergedTokenizer(gguf: GGUFFile(path: path), files: files).write(to: directory)
        #expect(warning == nil)
        return (try Tokenizer(gguf: GGUFFile(path: path)), try Tokenizer(directory: directory))
    }

    private func same(_ metadata: Metadata, _ texts: [String]) throws {
        let (gguf, written) = try both(metadata)
        #expect(gguf.prefix == written.prefix && gguf.suffix == written.suffix && gguf.namedTokens == written.namedTokens)
        for text in texts {
            let ids = try gguf.encode(text)
            #expect(try written.encode(text) == ids, "\(text.debugDescription)")
            #expect(written.decode(ids) == gguf.decode(ids), "\(text.debugDescription)")
        }
    }

    private func sentencePiece(addsPrefix: Bool?) -> Metadata {
        let tokens = [
            "<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab", "ba", "\u{2581}\u{2581}", "é",
            "e\u{301}",
        ]
        let scores: [Float] = [0, 0, 0, 0, 0, 0, -9, -9.5, -9.25, -1, -2, -3, -0.5, 0, -8, -7]
        var metadata: Metadata = [
            ("tokenizer.ggml.model", .string("llama")), ("tokenizer.ggml.tokens", .stringArray(tokens)), ("tokenizer.ggml.scores", .floatArray(scores)),
            ("tokenizer.ggml.token_type", .intArray([2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4, 1, 1])), ("tokenizer.ggml.bos_token_id", .unsigned(1)),
            ("tokenizer.ggml.eos_token_id", .unsigned(2)), ("tokenizer.ggml.unknown_token_id", .unsigned(0)),
        ]
        if let addsPrefix { metadata.append(("tokenizer.ggml.add_space_prefix", .bool(addsPrefix))) }
        return metadata
    }

    @Test(arguments: [nil, true, false]) func `SentencePiece with scores becomes merges`(addsPrefix: Bool?) throws {
        try same(sentencePiece(addsPrefix: addsPrefix), ["ab", "aba", "a b", "ab ab", "é\n", "e\u{301}", "x", "ab</s>ab", "a  b", " ab", "", "baab"])
    }

    @Test func `SentencePiece without a prefix has other ids than with one`() throws {
        let (with, without) = (try both(sentencePiece(addsPrefix: true)).written, try both(sentencePiece(addsPrefix: false)).written)
        #expect(try with.encode("ab") == [11] && without.encode("ab") == [9])
    }

    /// Bytes "a" to "d" and a word that merges never reach.
    private func byteLevel(_ kind: String, _ more: Metadata = []) -> Metadata {
        let tokens = ["a", "b", "c", "ab", "abc", "Ġ", "<|begin|>", "Ã", "©", "Ã©"]
        return [
            ("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string(kind)), ("tokenizer.ggml.tokens", .stringArray(tokens)),
            ("tokenizer.ggml.merges", .stringArray(["a b", "Ã ©"])), ("tokenizer.ggml.token_type", .intArray([1, 1, 1, 1, 1, 1, 3, 1, 1, 1])),
            ("tokenizer.ggml.bos_token_id", .unsigned(6)),
        ] + more
    }

    @Test(arguments: GGUFPreTokenizer.names) func `byte-level kinds keep what they do beside merging`(kind: String) throws {
        for adds in [true, false] {
            try same(byteLevel(kind, [("tokenizer.ggml.add_bos_token", .bool(adds))]), ["abc", "ab c", "<|begin|>abc", "c é", ""])
        }
        // Llama 3 takes a word that is a token whole.
        #expect(try both(byteLevel(kind)).written.encode("abc") == (GGUFPreTokenizer.named(kind)?.ignoresMerges == true ? [4] : [3, 2]))
    }

    @Test(arguments: [true, false]) func `a space before the text is put by ByteLevel alone, as transformers has it`(adds: Bool) throws {
        let more: Metadata = [("tokenizer.ggml.add_space_prefix", .bool(adds))]
        for kind in ["gpt-2", "llama-bpe", "superbpe"] { try same(byteLevel(kind, more), ["abc", " abc", "ab c", ""]) }
        #expect(try both(byteLevel("gpt-2", more)).written.encode("c") == (adds ? [5, 2] : [2]))
        #expect(try both(byteLevel("llama-bpe", more)).written.encode("c") == [2])
    }

    /// A table of one replacement, Q by b: a trie in a double array, then the replacements' text.
    private static let charsmap: [Int64] = {
        var units = [UInt32](repeating: 0, count: 256)
        units[0x51] = 0x51 | 1 << 8 | 1 << 10
        units[0x50] = 1 << 31
        return ([1024] + units).flatMap { unit in (0..<4).map { Int64(unit >> (8 * UInt32($0)) & 0xFF) } } + [0x62, 0]
    }()

    private static let spaces = [
        "ab", "  a  b ", " ", "", "a   b\nab", "aQb", "Q", "x", "xx a xé", "<tool> a", "a<tool>  b", "\u{2581}a \u{2581}",
        "ab</s> ab",
    ]

    @Test(arguments: [true, false], [true, false])
    func `spaces that SentencePiece takes away are taken away by what is written`(removes: Bool, maps: Bool) throws {
        for prefix in [true, false] {
            var more: Metadata = [("tokenizer.ggml.remove_extra_whitespaces", .bool(removes))]
            if maps { more.append(("tokenizer.ggml.precompiled_charsmap", .intArray(Self.charsmap))) }
            try same(sentencePiece(addsPrefix: prefix) + more, Self.spaces)
            try same(unigram(addsPrefix: prefix) + more, Self.spaces)
        }
    }

    private func unigram(addsPrefix: Bool) -> Metadata {
        let tokens = [
            "<pad>", "</s>", "<unk>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab", "<tool>", "\n", "[PAD11]", "spare", "c", "\u{2581}\u{2581}",
        ]
        return [
            ("tokenizer.ggml.model", .string("t5")), ("tokenizer.ggml.tokens", .stringArray(tokens)),
            ("tokenizer.ggml.scores", .floatArray([0, 0, 0, -2, -3.5, -3.25, -4, -4.5, -5.5, 0, -6, -1000, -2, -7, 0])),
            ("tokenizer.ggml.token_type", .intArray([3, 3, 2, 1, 1, 1, 1, 1, 1, 4, 1, 5, 5, 1, 4])), ("tokenizer.ggml.add_space_prefix", .bool(addsPrefix)),
            ("tokenizer.ggml.eos_token_id", .unsigned(1)), ("tokenizer.ggml.padding_token_id", .unsigned(0)),
        ]
    }

    @Test func `a Unigram tokenizer is written with its scores and its end`() throws {
        let (gguf, written) = try both(unigram(addsPrefix: true))
        #expect(written.suffix == [1] && gguf.suffix == [1] && written.prefix.isEmpty && gguf.namedTokens == written.namedTokens)
        #expect(try written.encode("ab") == [8] && written.encode("aab") == [7, 6] && written.encode("xab") == [3, 2, 6])
    }

    @Test func `a single template stands in today's place and in that of older readers`() throws {
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        let path = try gguf(byteLevel("llama-bpe", [("tokenizer.chat_template", .string("{{ messages }}"))]))
        _ = try MergedTokenizer(gguf: GGUFFile(path: path), files: files).write(to: directory)
        #expect(try files.readText(directory + "/chat_template.jinja") == "{{ messages }}")
        let settings = try JSON.parse(files.read(directory + "/tokenizer_config.json"), source: "t")
        #expect(settings["chat_template"] == "{{ messages }}")
    }

    @Test func `every chat template of a GGUF is written by its name`() throws {
        let templates: Metadata = [("tokenizer.chat_template", .string("plain")), ("tokenizer.chat_template.tool_use", .string("tools"))]
        let written = try both(byteLevel("gpt-2", templates)).written
        #expect(written.chatTemplates.templates == ["default": "plain", "tool_use": "tools"])
        #expect(try both(byteLevel("gpt-2", [templates[0]])).written.chatTemplates.templates == ["default": "plain"])
    }

    /// All bytes, and a merge of every two of some characters that patterns treat differently: merges never cross words, so that the ids show
    /// where words begin.
    private func pairs(_ kind: String) -> Metadata {
        let alphabet = (0..<256).map { byte -> String in
            let plain = (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174
            let hidden = (0..<byte).count { !((33...126).contains($0) || (161...172).contains($0) || $0 >= 174) }
            return String(UnicodeScalar(plain ? UInt32(byte) : UInt32(256 + hidden)) ?? " ")
        }
        let some = ["a", "B", "c", "1", "2", "'", "s", "S", "Ġ", ".", "!", "Ċ", "/", "_", "Ã", "©"]
        let doubles = some.flatMap { first in some.map { (first, $0) } }
        let tokens = alphabet + doubles.map { $0.0 + $0.1 }
        return [
            ("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string(kind)), ("tokenizer.ggml.tokens", .stringArray(tokens)),
            ("tokenizer.ggml.merges", .stringArray(doubles.map { $0.0 + " " + $0.1 })), ("tokenizer.ggml.eos_token_id", .unsigned(0)),
        ]
    }

    @Test(arguments: GGUFPreTokenizer.names) func `byte-level kinds cut words as the GGUF's own reader does`(kind: String) throws {
        try same(
            pairs(kind),
            [
                "a1122112 B's aBcBS caa's it'S  aa \n\n cc..!!\n//aa_Bc é aé1 12a", "  a", "aBBaSc 1.2.1", "\n \n a", "aa\r\nBB", "½ Ⅻ1 ２", "e\u{301}a",
                "中文aひら",
                "!!a ..c '' 's", "", " ", "aa  ", "\t\ta",
            ])
    }

    @Test func `generation settings of a GGUF have every end and its sampling`() throws {
        let path = try gguf([
            ("tokenizer.ggml.model", .string("bert")), ("tokenizer.ggml.bos_token_id", .unsigned(1)), ("tokenizer.ggml.eos_token_id", .unsigned(2)),
            ("tokenizer.ggml.eot_token_id", .unsigned(5)), ("tokenizer.ggml.eom_token_id", .unsigned(2)), ("tokenizer.ggml.padding_token_id", .unsigned(0)),
            ("general.sampling.top_k", .unsigned(20)),
        ])
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        _ = try Sidecar(source: ModelFiles.open(path), files: files).write(to: directory, configuration: [:])
        let json = try JSON.parse(files.read(directory + "/generation_config.json"), source: "g")
        #expect(json == ["bos_token_id": 1, "eos_token_id": [2, 5], "pad_token_id": 0, "top_k": 20, "do_sample": true], "\(json.serialized())")
    }

    @Test func `a kind that cannot be written is said`() throws {
        let metadata: Metadata = [("tokenizer.ggml.model", .string("bert")), ("tokenizer.ggml.tokens", .stringArray(["a"]))]
        let directory = Temporary.folder()
        try files.createDirectory(directory)
        let warning = try MergedTokenizer(gguf: GGUFFile(path: gguf(metadata)), files: files).write(to: directory)
        #expect(warning?.contains("'bert'") == true && !files.exists(directory + "/tokenizer.json"))
    }
}
