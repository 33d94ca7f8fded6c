import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetTokenizers

private let kinds = ["gpt2", "gpt2-prefix", "smollm", "llama3", "qwen2", "llama2", "gemma", "metaspace-first"]

private func tokenizer(_ kind: String) throws -> Tokenizer {
    try Tokenizer(json: Fixture.json("tokenizers/\(kind).json"), source: "\(kind).json")
}

/// Texts of random scalars, half of them common ones; the same for the same seed.
private struct RandomTexts {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(bound))
    }

    mutating func text() -> String {
        let common = Array(" \n\t\r'.,!?-_aeiousrt0123\u{a0}éßñ½你世кир<|>".unicodeScalars)
        var result = String.UnicodeScalarView()
        for _ in 0..<next(40) {
            if next(2) == 0 {
                result.append(common[next(common.count)])
            } else if let scalar = Unicode.Scalar(UInt32(next(next(2) == 0 ? 0x3000 : 0x110000))) {
                result.append(scalar)
            }
        }
        return String(result)
    }
}

@Suite struct TokenizerTests {
    @Test(arguments: kinds) func `ids and decoded texts are those of Hugging Face's tokenizers`(kind: String) throws {
        let fixture = try Fixture.value("ids.json")
        let texts = fixture["texts"]?.items.map(\.text) ?? []
        let rows = fixture["ids"]?[kind]?.items.map(\.ids) ?? []
        let ranges = try Fixture.value("ranges.json")[kind]?.items.map(\.ids) ?? []
        let decoded = fixture["decoded"]?[kind]?.items.map(\.text) ?? []
        #expect(texts.count > 100 && rows.count == texts.count && decoded.count == texts.count)
        let tokenizer = try tokenizer(kind)
        for index in texts.indices {
            let ids = try tokenizer.encode(texts[index])
            #expect(ids == rows[index], "\(texts[index].debugDescription): \(ids.map(tokenizer.text)) / \(rows[index].map(tokenizer.text))")
            let placed = try tokenizer.encodeWithRanges(texts[index])
            #expect(placed.ids == ids)
            #expect(placed.ranges.flatMap { [$0.lowerBound, $0.upperBound] } == ranges[index].map(Int.init), "\(texts[index].debugDescription)")
            let text = tokenizer.decode(rows[index], skipSpecial: true)
            #expect(PythonText.equal(text, decoded[index]), "\(texts[index].debugDescription): \(text.debugDescription)")
        }
    }

    @Test(arguments: ["gpt2", "smollm", "llama3", "gemma"])
    func `decoding what was encoded gives the text back`(kind: String) throws {
        let tokenizer = try tokenizer(kind)
        var random = RandomTexts(seed: 7)
        for _ in 0..<2000 {
            // SentencePiece's own `▁` is a space to it.
            let text = PythonText.replace(random.text(), "\u{2581}", "")
            let ids = try tokenizer.encode(text, parseSpecial: false)
            #expect(PythonText.equal(tokenizer.decode(ids), text), "\(text.debugDescription)")
        }
    }

    @Test(arguments: kinds) func `a stream's pieces joined are the whole, and no piece has half a character`(kind: String) throws {
        let tokenizer = try tokenizer(kind)
        var random = RandomTexts(seed: 11)
        for _ in 0..<500 {
            let ids = try tokenizer.encode(random.text())
            var stream = Tokenizer.StreamDecoder(tokenizer)
            let pieces = ids.map { stream.append($0) }
            let whole = tokenizer.decode(ids)
            if !whole.unicodeScalars.contains("\u{FFFD}") {
                #expect(!pieces.contains { $0.unicodeScalars.contains("\u{FFFD}") })
            }
            #expect(PythonText.equal(pieces.joined() + stream.finish(), whole))
        }
    }

    @Test func `a character that never becomes whole is replaced at the end`() throws {
        let tokenizer = try tokenizer("gpt2")
        let ids = try tokenizer.encode("\u{1D11E}")
        #expect(ids.count == 4)
        var stream = Tokenizer.StreamDecoder(tokenizer)
        #expect(ids.dropLast().map { stream.append($0) }.joined() == "")
        #expect(stream.finish() == "\u{FFFD}")
        var broken = Tokenizer.StreamDecoder(tokenizer)
        #expect(try broken.append(ids[0]) + broken.append(tokenizer.encode("a")[0]) == "\u{FFFD}a")
    }

    @Test func `special tokens in a text are ids, or plain characters where they must not be`() throws {
        let tokenizer = try tokenizer("smollm")
        let end = try #require(tokenizer.id(of: "<|im_end|>"))
        #expect(tokenizer.isSpecial(end))
        #expect(try tokenizer.encode("a<|im_end|>") == tokenizer.encode("a") + [end])
        let plain = try tokenizer.encode("a<|im_end|>", parseSpecial: false)
        #expect(!plain.contains(end))
        #expect(tokenizer.decode(plain, skipSpecial: true) == "a<|im_end|>")
        #expect(try tokenizer.decode([end] + tokenizer.encode("b"), skipSpecial: true) == "b")
        #expect(tokenizer.endTokens == [end])
        #expect(tokenizer.chatTemplateSource == nil)
    }

    @Test func `a long run without a break is merged as a short one is`() throws {
        let tokenizer = try tokenizer("gpt2")
        let text = String(repeating: "parrotsé", count: 20_000)
        let ids = try tokenizer.encode(text)
        #expect(tokenizer.decode(ids) == text)
        // Past the first, every repetition is cut alike.
        let one = try tokenizer.encode(String(repeating: "parrotsé", count: 4)).count - tokenizer.encode(String(repeating: "parrotsé", count: 3)).count
        #expect(ids.count > one * 19_990 && ids.count < one * 20_010)
    }

    @Test func `ids out of range are nothing, not a crash`() throws {
        let tokenizer = try tokenizer("gpt2")
        #expect(tokenizer.decode([-1, Int32.max, Int32.min]) == "")
        #expect(tokenizer.text(of: -5) == "" && !tokenizer.isSpecial(Int32.max))
    }

    @Test(arguments: [
        (#"{"model": {"type": "Unigram", "vocab": []}}"#, "Unigram"),
        (#"{"model": {"type": "BPE", "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "vocab"),
        (#"{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "usable id"),
        (#"{"model": {"type": "BPE", "vocab": {"a": 99999999999}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "usable id"),
        (#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "merge 0"),
        (#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["ab"]}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "merge 0"),
        (
            #"{"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(?~[a-z]+)x"}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "use_regex": false}]}}"#,
            "(?~[a"
        ),
        (#"{"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "UnicodeScripts"}}"#, "UnicodeScripts"),
        (#"{"model": {"vocab": {}, "merges": []}, "normalizer": {"type": "Titlecase"}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "Titlecase"),
        (#"{"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}, "added_tokens": [{"content": "x", "id": 4194304}]}"#, "outside"),
        (#"{"model": {"vocab": {}, "merges": [], "dropout": 0.1}, "pre_tokenizer": {"type": "ByteLevel"}}"#, "dropout"),
        ("[]", "vocab"),
    ])
    func `a tokenizer.json that cannot be used is an error that names the reason`(text: String, word: String) throws {
        let error = #expect(throws: LorikeetError.self) {
            try Tokenizer(json: JSON.parse(text, source: "tokenizer.json"), source: "tokenizer.json")
        }
        #expect(error?.what.contains(word) == true, "\(error?.description ?? "")")
        #expect(error?.place == "tokenizer.json")
    }

    @Test func `a directory's names, end tokens and template come from the files beside the tokenizer`() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "lorikeet-tokenizer-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        func write(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: directory.appending(path: name)) }
        #expect(throws: LorikeetError.self) { try Tokenizer(directory: directory.path) }
        try write("tokenizer.json", Fixture.text("tokenizers/llama2.json"))
        try write(
            "tokenizer_config.json",
            #"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]}"#
        )
        try write("generation_config.json", #"{"eos_token_id": [2, 5]}"#)
        let tokenizer = try Tokenizer(directory: directory.path)
        #expect(tokenizer.bos == 1 && tokenizer.eos == 2 && tokenizer.pad == nil && tokenizer.unknown == 0)
        #expect(tokenizer.endTokens == [2, 5])
        #expect(tokenizer.chatTemplateSource == "D")
        #expect(tokenizer.namedTokens == ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"])
        for ends in [#""</s>""#, "[2, null]", "2.5", "true", "-1", #"{"id": 2}"#, "[[2]]"] {
            try write("generation_config.json", #"{"eos_token_id": \#(ends)}"#)
            let error = #expect(throws: LorikeetError.self) { try Tokenizer(directory: directory.path) }
            #expect(error?.exit == .unusableInput && error?.description.contains("generation_config.json: 'eos_token_id' is") == true, "\(ends)")
        }
        try write("generation_config.json", "[]")
        #expect(throws: LorikeetError.self) { try Tokenizer(directory: directory.path) }
        try write("generation_config.json", #"{"eos_token_id": null}"#)
        #expect(try Tokenizer(directory: directory.path).endTokens == [2])
        try write("chat_template.jinja", "{{ messages }}")
        #expect(try Tokenizer(directory: directory.path).chatTemplateSource == "{{ messages }}")
    }

    @Test func `encoding from many threads at once gives the same ids`() async throws {
        let tokenizer = try tokenizer("llama3")
        let texts = try Fixture.value("ids.json")["texts"]?.items.map(\.text) ?? []
        let expected = try texts.map { try tokenizer.encode($0) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 { group.addTask { try (0..<20).allSatisfy { _ in try texts.map { try tokenizer.encode($0) } == expected } } }
            for try await equal in group { #expect(equal) }
        }
    }
}
