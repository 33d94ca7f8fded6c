import LorikeetJSON

/// What differs between the kinds of tokenizers in a `tokenizer.json`.
struct TokenizerParts {
    let normalizer: JSON
    let preTokenizer: JSON
    let decoder: JSON
    let merges: [String]
    /// A word that is a token is taken whole without looking at merges.
    var ignoresMerges = false
    var isSentencePiece = false
    var unknown: String?

    /// Byte-level BPE, by llama.cpp's name for what comes before it; nil for names that are not known here.
    static func byteLevel(kind: String, merges: [String]) -> TokenizerParts? {
        guard let preTokenizer = preTokenizer(kind) else { return nil }
        return TokenizerParts(
            normalizer: kind == "qwen2" ? ["type": "NFC"] : .null, preTokenizer: preTokenizer,
            decoder: ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true], merges: merges,
            ignoresMerges: kind == "llama-bpe")
    }

    private static func preTokenizer(_ kind: String) -> JSON? {
        func byteLevel(_ regex: Bool) -> JSON { ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": .bool(regex)] }
        func split(_ pattern: String) -> JSON {
            [
                "type": "Sequence",
                "pretokenizers": [["type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated", "invert": false], byteLevel(false)],
            ]
        }
        switch kind {
        case "gpt-2", "default": return byteLevel(true)
        // What the model was trained with here: digits alone ("Digits" would also split ½ and Ⅻ).
        case "smollm":
            return [
                "type": "Sequence",
                "pretokenizers": [["type": "Split", "pattern": ["Regex": "\\d"], "behavior": "Isolated", "invert": false], byteLevel(true)],
            ]
        case "llama-bpe":
            return split(#"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#)
        case "qwen2":
            return split(#"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#)
        default: return nil
        }
    }

    /// SentencePiece's BPE as transformers writes Llama 2's: a space is `▁`, bytes without a token are `<0xNN>`.
    static func sentencePiece(merges: [String], addsPrefix: Bool, unknown: String?) -> TokenizerParts {
        let replace: JSON = ["type": "Replace", "pattern": ["String": " "], "content": "\u{2581}"]
        let back: JSON = ["type": "Replace", "pattern": ["String": "\u{2581}"], "content": " "]
        let bytes: [JSON] = [back, ["type": "ByteFallback"], ["type": "Fuse"]]
        return TokenizerParts(
            normalizer: ["type": "Sequence", "normalizers": addsPrefix ? [["type": "Prepend", "prepend": "\u{2581}"], replace] : [replace]],
            preTokenizer: .null,
            decoder: [
                "type": "Sequence", "decoders": .array(bytes + (addsPrefix ? [["type": "Strip", "content": " ", "start": 1, "stop": 0]] : [])),
            ], merges: merges, isSentencePiece: true, unknown: unknown)
    }
}

/// SentencePiece's scores as the merges that `tokenizers` wants, as transformers' `generate_merges` orders them.
enum SentencePieceMerges {
    /// Longest token whose splits are looked at: real ones have some dozen characters, and the work grows with the square.
    private static let longest = 1024

    /// Every way to make a token of two others, best score first; of equal scores the longer left half first, then the longer right one.
    ///
    /// - Parameter added: ids of tokens that are matched whole.
    static func merges(_ tokens: [String], _ scores: [Float], added: Set<Int>) -> [String] {
        // By bytes: Swift's strings are equal where they are canonically equivalent.
        var ids: [ArraySlice<UInt8>: Int] = [:]
        let bytes = tokens.map { Array($0.utf8)[...] }
        for (id, token) in bytes.enumerated() where !added.contains(id) && ids[token] == nil { ids[token] = id }
        var found: [(left: Int, right: Int, score: Float, lengths: (Int, Int))] = []
        for (id, token) in bytes.enumerated() where !added.contains(id) && token.count <= longest {
            // Cuts stand before the first byte of a character.
            let cuts = token.indices.dropFirst().filter { token[$0] & 0xC0 != 0x80 }
            for (number, cut) in cuts.enumerated() {
                guard let left = ids[token[..<cut]], let right = ids[token[cut...]] else { continue }
                found.append((left, right, scores[id], (number + 1, cuts.count - number)))
            }
        }
        found.sort { a, b in
            if a.score != b.score { return a.score > b.score }
            if a.lengths != b.lengths { return a.lengths > b.lengths }
            return (a.left, a.right) < (b.left, b.right)
        }
        return found.map { tokens[$0.left] + " " + tokens[$0.right] }
    }

    /// A token's text: every `▁` a space.
    static func text(_ token: String) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: token.unicodeScalars.map { $0 == "\u{2581}" ? " " : $0 })
        return String(view)
    }
}
