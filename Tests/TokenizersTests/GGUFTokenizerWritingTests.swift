import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetTokenizers

/// A directory's tokenizer as GGUF metadata, read again.
struct GGUFTokenizerWritingTests {
    private let files = RealFiles()

    /// A folder with a fixture's tokenizer.json, and what else is given.
    private func folder(_ tokenizer: JSON, settings: JSON = ["eos_token": "</s>"], more: [(String, JSON)] = []) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path
        try files.createDirectory(path)
        for (name, json) in [("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)] + more {
            try files.writeDurably(json.serialized(), to: path + "/" + name)
        }
        // A model of one number.
        try files.writeDurably("{}", to: path + "/config.json")
        let writer = try SafetensorsWriter(path: path + "/model.safetensors", tensors: [("one", .f32, [1])])
        try [UInt8](repeating: 0, count: 4).withUnsafeBytes { try writer.append($0) }
        try writer.finish()
        return path
    }

    private func source(_ path: String) throws -> ModelFiles { try ModelFiles.open(path) }

    /// The tokenizer of a folder, and the one that a GGUF of its metadata has.
    private func both(
        _ path: String, rows: Int? = nil, template: String? = nil
    ) throws -> (own: Tokenizer, read: Tokenizer, file: GGUFFile, warnings: [String]) {
        let own = try Tokenizer(directory: path)
        let written = try GGUFTokenizer(source(path), rows: rows ?? own.vocabularySize, template: template)
        let gguf = path + "/tokenizer.gguf"
        try GGUFWriter(path: gguf, metadata: written.entries, tensors: []).finish()
        let file = try GGUFFile(path: gguf)
        return (own, try Tokenizer(gguf: file), file, written.warnings)
    }

    private static let texts = [
        "Hello world", "  two spaces\n\n\tand lines", "don't WE'LL 1234567 3.14", "é 漢字 🦙 e\u{301}", "x\u{1}y", "<|im_end|> and </s> inside", "", " ",
        "naïve CamelCase words_and_more", "a  b   c    d",
    ]

    private func same(_ own: Tokenizer, _ read: Tokenizer) throws {
        for text in Self.texts { #expect(try own.encode(text) == read.encode(text), "\(text.debugDescription)") }
        for id in 0..<Int32(own.vocabularySize) where !own.text(of: id).isEmpty { #expect(own.decode([id]) == read.decode([id]), "\(id)") }
        #expect(own.endTokens == read.endTokens && own.namedTokens == read.namedTokens && own.prefix == read.prefix && own.suffix == read.suffix)
        #expect(own.chatTemplates == read.chatTemplates)
    }

    @Test(arguments: [("gpt2", "gpt-2"), ("gpt2-prefix", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("smollm", "smollm")])
    func `a byte-level tokenizer comes back with the same ids`(name: String, pre: String) throws {
        let json = try Fixture.json("tokenizers/\(name).json")
        let named = (json["added_tokens"]?.array ?? []).compactMap { $0["content"]?.string }
        let settings: JSON = ["eos_token": .string(named[0]), "bos_token": .string(named[1]), "add_bos_token": true, "chat_template": "{{ messages }}"]
        let (own, read, file, _) = try both(folder(json, settings: settings))
        try same(own, read)
        #expect(file.metadata["tokenizer.ggml.model"]?.string == "gpt2" && file.metadata["tokenizer.ggml.pre"]?.string == pre)
        #expect(read.addsBOS && !read.addsEOS)
    }

    @Test func `every name of the table is found again from its own steps`() throws {
        for name in GGUFPreTokenizer.names {
            let kind = try #require(GGUFPreTokenizer.named(name))
            let file = TokenizerFile(json: kind.json(addsSpace: false), source: name)
            let found = try #require(try GGUFPreTokenizer.name(of: file, ignoresMerges: kind.ignoresMerges), "\(name)")
            // Another name of the same steps.
            #expect(GGUFPreTokenizer.named(found)?.json(addsSpace: false)["pre_tokenizer"] == kind.json(addsSpace: false)["pre_tokenizer"], "\(name): \(found)")
        }
    }

    /// SentencePiece's BPE: every split of a token into two others is a merge, best score first.
    private func sentencePiece(_ change: (inout JSONObject) -> Void = { _ in }) -> JSON {
        let bytes = (0..<256).map { byte -> String in
            let hex = String(byte, radix: 16, uppercase: true)
            return "<0x\(hex.count == 1 ? "0" : "")\(hex)>"
        }
        let tokens = ["<unk>", "<s>", "</s>"] + bytes + ["▁", "a", "b", "c", "ab", "▁a", "▁ab", "bc", "abc"]
        var model: JSONObject = [
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": .object(JSONObject(tokens.enumerated().map { ($1, JSON($0)) })),
            "merges": ["a b", "▁ a", "▁ ab", "▁a b", "b c", "ab c", "a bc"],
        ]
        change(&model)
        let added = ["<unk>", "<s>", "</s>"].enumerated().map { ["id": JSON($0), "content": .string($1), "special": true, "normalized": false] as JSON }
        return [
            "added_tokens": .array(added), "model": .object(model),
            "normalizer": [
                "type": "Sequence",
                "normalizers": [["type": "Prepend", "prepend": "▁"], ["type": "Replace", "pattern": ["String": " "], "content": "▁"]],
            ],
            "decoder": [
                "type": "Sequence",
                "decoders": [
                    ["type": "Replace", "pattern": ["String": "▁"], "content": " "], ["type": "ByteFallback"], ["type": "Fuse"],
                    ["type": "Strip", "content": " ", "start": 1, "stop": 0],
                ],
            ],
        ]
    }

    @Test func `merges of SentencePiece become scores that merge in the same order`() throws {
        let (own, read, file, warnings) = try both(folder(sentencePiece(), settings: ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"]))
        try same(own, read)
        for text in ["abc ab abcab", "bcabc", " ab  abc", "cba\nab"] { #expect(try own.encode(text) == read.encode(text), "\(text)") }
        #expect(file.metadata["tokenizer.ggml.model"]?.string == "llama" && file.metadata["tokenizer.ggml.add_space_prefix"]?.bool == true && warnings.isEmpty)
        let types = try #require(file.metadata["tokenizer.ggml.token_type"]?.ints)
        #expect(Array(types.prefix(4)) == [3, 3, 3, 6] && types.last == 1)
    }

    @Test func `merges that no scores give are refused by name`() throws {
        // "ab c" is missing: SentencePiece would merge it. And "abc" at two places.
        for merges in [["a b", "▁ a", "▁ ab", "▁a b", "b c", "a bc"], ["a b", "ab c", "▁ a", "▁ ab", "▁a b", "b c", "a bc"]] as [JSON] {
            let path = try folder(sentencePiece { $0["merges"] = merges })
            let error = #expect(throws: LorikeetError.self) { try GGUFTokenizer(source(path), rows: 268) }
            #expect(error?.exit == .unusableInput && error?.what.contains("merges that no SentencePiece scores give") == true, "\(String(describing: error))")
        }
    }

    @Test func `what llama cpp does not have is refused by name`() throws {
        let gpt2 = try Fixture.json("tokenizers/gpt2.json")
        func changed(_ key: String, _ value: JSON) -> JSON {
            var object = gpt2.object ?? [:]
            object[key] = value
            return .object(object)
        }
        let odd: JSON = [
            "type": "Sequence",
            "pretokenizers": [
                ["type": "Split", "pattern": ["Regex": "[A-Z]+"], "behavior": "Isolated", "invert": false],
                ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
            ],
        ]
        for (json, word) in [
            (changed("pre_tokenizer", odd), "[A-Z]+"), (changed("normalizer", ["type": "Lowercase"]), "Lowercase"),
            (["model": ["type": "WordLevel", "vocab": ["a": 0, "[UNK]": 1], "unk_token": "[UNK]"]], "WordLevel"),
            (["model": ["type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]]], "Unigram"),
        ] as [(JSON, String)] {
            let path = try folder(json, settings: [:])
            let error = #expect(throws: LorikeetError.self, "\(word)") { try GGUFTokenizer(source(path), rows: 520) }
            #expect(error?.exit == .unusableInput && error?.what.contains(word) == true, "\(String(describing: error))")
        }
        let empty = try folder([:])
        try files.remove(empty + "/tokenizer.json")
        #expect(throws: LorikeetError.self) { try GGUFTokenizer(source(empty), rows: 1) }
    }

    @Test func `rows without a token get one, tokens without a row are left out with a warning`() throws {
        let path = try folder(Fixture.json("tokenizers/gpt2.json"), settings: [:])
        let count = try Tokenizer(directory: path).vocabularySize
        let more = try both(path, rows: count + 3)
        #expect(more.file.metadata["tokenizer.ggml.tokens"]?.strings?.suffix(3) == ["[PAD\(count)]", "[PAD\(count + 1)]", "[PAD\(count + 2)]"])
        #expect(more.file.metadata["tokenizer.ggml.token_type"]?.ints?.suffix(3) == [5, 5, 5])
        let fewer = try both(path, rows: count - 2)
        #expect(fewer.file.metadata["tokenizer.ggml.tokens"]?.strings?.count == count - 2)
        #expect(fewer.warnings.contains { $0.contains("left out") } && !more.warnings.contains { $0.contains("left out") }, "\(fewer.warnings)")
    }

    @Test func `a template that was trained with takes the place of the model's`() throws {
        let json = try Fixture.json("tokenizers/gpt2.json")
        let named = (json["added_tokens"]?.array ?? []).compactMap { $0["content"]?.string }
        let path = try folder(json, settings: ["eos_token": .string(named[0]), "chat_template": "old"])
        let own = try Tokenizer(directory: path)
        let read = try both(path, template: "new").read
        #expect(read.chatTemplateSource == "new" && read.endTokens == own.endTokens)
        // Of a GGUF too, whose other keys are copied.
        let base = path + "/tokenizer.gguf"
        let again = try GGUFTokenizer(ModelFiles.open(base), rows: own.vocabularySize, template: "newest")
        try GGUFWriter(path: base + "2", metadata: again.entries, tensors: []).finish()
        let copied = try Tokenizer(gguf: GGUFFile(path: base + "2"))
        #expect(copied.chatTemplateSource == "newest" && copied.endTokens == read.endTokens)
        try same(Tokenizer(directory: path, files: files), try both(path).read)
    }
}
