import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// What a tokenizer's file says does not decide how much memory or time is taken.
struct FileLimitTests {
    private func file(vocabulary: JSON = ["a": 0, "é": 1, "<s>": 2], _ parts: JSONObject = [:]) -> JSON {
        var all: JSONObject = ["model": ["type": "WordLevel", "vocab": vocabulary, "unk_token": "<s>"]]
        for part in parts.entries { all[part.key] = part.value }
        return .object(all)
    }

    private func steps(_ key: String, _ step: JSON, _ count: Int) -> JSON {
        .object(JSONObject([("type", "Sequence"), (key, .array(Array(repeating: step, count: count)))]))
    }

    private func failure(_ file: JSON, settings: JSON? = nil, _ text: String = "aéa") -> String {
        do {
            let tokenizer = try Tokenizer(json: file, source: "tokenizer.json", settings: settings)
            _ = try tokenizer.encode(text)
            _ = try tokenizer.encodeWithRanges(text)
            return "no error"
        } catch { return (error as? LorikeetError)?.description ?? "\(error)" }
    }

    @Test func `rules that lengthen a text again and again end in an error`() {
        let double: JSON = ["type": "Replace", "pattern": ["String": "a"], "content": "aa"]
        let bytes: JSON = ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false]
        let words = "times as long"
        #expect(failure(file(["normalizer": steps("normalizers", double, 60)])).contains(words))
        #expect(failure(file(["normalizer": steps("normalizers", ["type": "ByteLevel"], 60)])).contains(words))
        #expect(failure(file(["pre_tokenizer": steps("pretokenizers", bytes, 60)])).contains(words))
        // As many as real files have are fine.
        #expect(failure(file(["normalizer": steps("normalizers", double, 3)])) == "no error")
    }

    @Test func `one rule that makes a text of a character is judged before it works`() {
        let long: JSON = ["type": "Replace", "pattern": ["String": "a"], "content": .string(String(repeating: "b", count: 1 << 20))]
        #expect(failure(file(["normalizer": long]), String(repeating: "a", count: 1 << 20)).contains("times as long"))
    }

    @Test func `a character map with a replacement of any length is refused`() {
        // A trie of one unit, and one replacement.
        let blob: (Int) -> [UInt8] = { [4, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0x61, count: $0) + [0] }
        #expect(throws: Never.self) { try Charsmap(blob(256), place: "x") }
        let error = #expect(throws: LorikeetError.self) { try Charsmap(blob(257), place: "x") }
        #expect(error?.description.contains("has a replacement of 257 bytes") == true)
    }

    /// Ids of the library tokenizers 0.23.3.
    @Test func `of a merge that is listed twice the last one counts`() throws {
        func ids(_ merges: [String]) throws -> [Int32] {
            let model: JSON = ["type": "BPE", "vocab": ["a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4], "merges": .array(merges.map { .string($0) })]
            let bytes: JSON = ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true]
            let file: JSON = ["model": model, "pre_tokenizer": bytes, "decoder": ["type": "ByteLevel"]]
            return try Tokenizer(json: file, source: "tokenizer.json", settings: nil).encode("abc")
        }
        #expect(try ids(["a b", "b c"]) == [3, 2])
        #expect(try ids(["a b", "b c", "a b"]) == [0, 4])
    }

    @Test func `a token's number does not decide how long the tables are`() {
        #expect(failure(file(vocabulary: ["a": 0, "b": 4_000_000])).contains("the token “b” has no usable id"))
        #expect(failure(file(vocabulary: ["a": 0, "b": 60_000])) == "no error")
        #expect(failure(file(vocabulary: ["a": 0, "b": 7, "c": 7])).contains("the tokens “b” and “c” have the same id 7"))
        let core = #expect(throws: LorikeetError.self) {
            try TokenizerCore(
                texts: ["a"], added: [AddedToken(id: 4_000_000, text: "b", isSpecial: true)],
                parts: TokenizerCore.Parts(plan: .steps(PreTokenizer(), readsBytes: false), model: .wordLevel(WordLevelModel(ids: [:], unknown: nil))),
                source: "x")
        }
        #expect(core?.description.contains("outside the vocabulary") == true)
    }
}
