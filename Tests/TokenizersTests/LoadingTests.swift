import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// Forms of tokenizer.json and tokenizer_config.json one by one; the ids are those of `tokenizers` 0.23 and transformers 5.24.
@Suite struct LoadingTests {
    private static let replace: JSON = ["type": "Replace", "pattern": ["String": " "], "content": "\u{2581}"]

    private func json(_ change: (inout JSONObject, inout JSONObject) -> Void = { _, _ in }) -> JSON {
        var model: JSONObject = [
            "type": "BPE", "vocab": ["\u{2581}": 0, "a": 1, "b": 2, "ab": 3, "\u{2581}a": 4, "\n": 5, "c": 6], "merges": ["a b", "\u{2581} a"],
        ]
        var all: JSONObject = ["normalizer": ["type": "Sequence", "normalizers": [["type": "Prepend", "prepend": "\u{2581}"], Self.replace]]]
        change(&all, &model)
        all["model"] = .object(model)
        return .object(all)
    }

    private func tokenizer(_ settings: JSON? = nil, _ change: (inout JSONObject, inout JSONObject) -> Void = { _, _ in }) throws -> Tokenizer {
        try Tokenizer(json: json(change), source: "tokenizer.json", settings: settings)
    }

    private func added(_ id: Int, _ text: String, _ flags: String...) -> JSON {
        var token: JSONObject = ["id": JSON(id), "content": .string(text), "normalized": false]
        for flag in flags { token[flag] = true }
        return .object(token)
    }

    private func failure(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "no error"
        } catch { return (error as? LorikeetError)?.description ?? "\(error)" }
    }

    @Test func `a mark that a normaliser writes is no white space beside an added token`() throws {
        let tokenizer = try tokenizer { all, _ in all["added_tokens"] = [added(9, "X", "normalized", "lstrip", "rstrip")] }
        #expect(try tokenizer.encode("a X a") == [4, 7, 4])
        #expect(try tokenizer.encode("a \nX\n a") == [4, 0, 5, 5, 4])
        #expect(tokenizer.text(of: 7) == "X")
    }

    @Test func `characters without a token stand between neighbours where there is no unknown token`() throws {
        let tokenizer = try tokenizer()
        #expect(try tokenizer.encode("aéb") == [0, 3] && tokenizer.encode("éab é b") == [0, 3, 0, 0, 2])
    }

    @Test func `a word is taken whole as a word alone, not as a part of one`() throws {
        let tokenizer = try tokenizer { all, model in
            all["normalizer"] = .null
            all["pre_tokenizer"] = ["type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "never", "split": true]
            model["ignore_merges"] = true
            model["vocab"] = ["\u{2581}": 0, "a": 1, "b": 2, "ab": 3, "\u{2581}a": 4, "\n": 5, "c": 6, "ba": 7]
        }
        for _ in 0..<2 { #expect(try tokenizer.encode("ba") == [7] && tokenizer.encode("cba") == [6, 2, 1] && tokenizer.encode("c ba") == [6, 0, 2, 1]) }
    }

    @Test func `added tokens get their ids as the library gives them, whatever the file writes`() throws {
        let tokenizer = try tokenizer { all, _ in
            all["added_tokens"] = [added(20, "<x>"), added(1, "ab"), added(3, "<y>", "special"), added(30, "<x>", "lstrip")]
        }
        #expect(try tokenizer.encode("<x>") == [7] && tokenizer.encode("ab") == [3] && tokenizer.encode("<y>") == [8] && tokenizer.encode(" <x>") == [7])
        // Said where the file has other ids.
        #expect(tokenizer.warnings.count == 1 && tokenizer.warnings.first?.contains("“<x>” has the id 7, as in the tokenizers library, not 20") == true)
        #expect(tokenizer.warnings.first?.contains("2 more") == true, "\(tokenizer.warnings)")
    }

    private func named(_ settings: JSON) throws -> Tokenizer {
        try tokenizer(settings) { all, model in
            all["added_tokens"] = [added(9, "<z>")]
            model["vocab"] = ["\u{2581}": 0, "a": 1, "b": 2, "ab": 3, "\u{2581}a": 4, "\n": 5, "c": 6, "</s>": 7, "<pad>": 8]
        }
    }

    @Test func `special tokens that the settings name are found in texts, and their flags count`() throws {
        let plain = try named(["eos_token": "</s>", "pad_token": "<new>"])
        #expect(try plain.encode("a</s>") == [4, 7] && plain.encode("<new>") == [10] && plain.encode("<z>") == [9])
        #expect(plain.eos == 7 && plain.pad == 10 && plain.isSpecial(7) && plain.isSpecial(10) && !plain.isSpecial(9))
        let flagged = try named([
            "eos_token": "</s>", "additional_special_tokens": ["<more>"],
            "added_tokens_decoder": [
                "7": ["content": "</s>", "special": true, "lstrip": true, "normalized": false], "8": ["content": "<pad>", "special": true],
                "9": ["content": "<z>", "rstrip": true, "normalized": false],
            ],
        ])
        #expect(try flagged.encode("a </s>") == [4, 7] && flagged.encode("<z> a") == [9, 4])
        #expect(try flagged.encode("<pad>") == [8] && flagged.encode("<more>") == [10])
    }

    @Test func `one of the settings for the ends of a text takes the place of the file's post-processor`() throws {
        let settings: [(JSON, [Int32], [Int32])] = [
            (["eos_token": "c", "bos_token": "b"], [1], [2]), (["eos_token": "c", "bos_token": "b", "add_bos_token": true], [2], []),
            (["eos_token": "c", "bos_token": "b", "add_eos_token": true], [], [6]), (["eos_token": "c", "bos_token": "b", "add_bos_token": false], [], []),
        ]
        for (settings, prefix, suffix) in settings {
            let tokenizer = try tokenizer(settings) { all, _ in all["post_processor"] = ["type": "BertProcessing", "sep": ["b", 2], "cls": ["a", 1]] }
            #expect(tokenizer.prefix == prefix && tokenizer.suffix == suffix)
        }
    }

    @Test func `of equal pieces the last counts`() throws {
        let unigram: JSONObject = ["type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["\u{2581}", -2], ["a", -3], ["a", -4]]]
        #expect(try tokenizer { _, model in model = unigram }.encode("a") == [1, 3])
    }

    /// SentencePiece gives a user's piece a tenth for every byte but the first, whatever the file says.
    @Test func `a user's piece beats what is less than its bonus better`() throws {
        func tokens(_ rival: Double) throws -> [Int32] {
            var settings = UnigramModel.Settings(unknown: 0, isSinglePrecision: true, hasSpaces: true)
            settings.userDefined = [1]
            settings.excluded = [0]
            let model = try UnigramModel(
                pieces: ["<unk>", "abcd", "a", "b", "c", "d", "Z", "abcdZ"], scores: [0, 0, -40, -40, -40, -40, -60, rival], settings: settings, source: "x")
            var sink = TokenSink(wantsRanges: false, cache: nil)
            try Array("abcdZ".utf8).withUnsafeBufferPointer { try model.encode($0, at: 0, splitsAtSpaces: false, &sink) }
            return sink.ids
        }
        #expect(try tokens(-59.75) == [1, 6] && tokens(-59.65) == [7])
    }

    @Test func `leading spaces are dropped piece by piece until something stands`() {
        let decoder = TokenDecoder(steps: [.replace(.literal(Array("\u{2581}".utf8)), content: [0x20]), .leadingSpaces, .fuse])
        func text(_ tokens: String...) -> String { String(decoding: decoder.decode(tokens.map { Array($0.utf8) }), as: UTF8.self) }
        #expect(text("\u{2581}", "\u{2581}", "\u{2581}a", "\u{2581}b") == "a b")
        #expect(text("\u{2581}", "\u{2581}\u{2581}", "x") == " x" && text("a", "\u{2581}") == "a ")
    }

    @Test func `what would give other ids is refused by name`() {
        let template: JSON = ["type": "TemplateProcessing", "single": [["Sequence": ["id": "A", "type_id": 0]]], "special_tokens": [:]]
        for pattern: JSON in [["String": ""], ["Regex": "x*"], ["Regex": "^"], ["Regex": #"\b"#]] {
            let error = failure {
                _ = try tokenizer { all, _ in all["normalizer"] = ["type": "Replace", "pattern": pattern, "content": "_"] }
            }
            #expect(error.contains("empty text"), "\(pattern): \(error)")
        }
        #expect(failure { _ = try tokenizer { all, _ in all["normalizer"] = ["type": "Prepend", "prepend": ""] } }.contains("Prepend"))
        #expect(
            failure {
                _ = try tokenizer { all, _ in all["post_processor"] = ["type": "Sequence", "processors": [template, template]] }
            }.contains("TemplateProcessing"))
        #expect(failure { _ = try tokenizer(["split_special_tokens": true]) }.contains("split_special_tokens"))
        // A denormalizer with rules, behind a piece.
        let piece: [UInt8] = [0x0A, 3, 0x0A, 1, 0x61]
        #expect(failure { _ = try SentencePieceFile(piece + [0x2A, 3, 0x12, 1, 9], source: "x.model") }.contains("denormalizer"))
        #expect(
            failure {
                _ = try BytePairModel(
                    vocabulary: ["a", "aa", "aaa"], isFindable: [true, true, true], merges: .scores([-2, -1, 0]), rules: TokenizerRules(.spaces),
                    unknown: nil, unused: [2], source: "x.model")
            }.contains("several ways"))
    }
}
