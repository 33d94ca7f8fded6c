import LorikeetJSON
import LorikeetTokenizers

/// What differs between the kinds of tokenizers in a `tokenizer.json`.
struct TokenizerParts {
    let normalizer: JSON
    var preTokenizer: JSON = .null
    let decoder: JSON
    /// `model`, with its vocabulary.
    let model: JSON

    private static func vocabulary(_ tokens: [String]) -> JSON { .object(JSONObject(tokens.enumerated().map { ($1, JSON($0)) })) }

    /// Byte-level BPE.
    static func byteLevel(_ kind: GGUFPreTokenizer, addsSpace: Bool, tokens: [String], merges: [String]) -> TokenizerParts {
        TokenizerParts(
            normalizer: kind.normalizer, preTokenizer: kind.preTokenizer(addsSpace: addsSpace),
            decoder: ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
            model: [
                "type": "BPE", "dropout": .null, "unk_token": .null, "continuing_subword_prefix": .null, "end_of_word_suffix": .null, "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": .bool(kind.ignoresMerges), "vocab": vocabulary(tokens), "merges": JSON(merges),
            ])
    }

    /// SentencePiece's BPE as transformers writes Llama 2's: a space is `▁`, bytes without a token are `<0xNN>`.
    static func sentencePiece(_ spaces: SentencePieceSpaces, tokens: [String], merges: [String], unknown: Int?) -> TokenizerParts {
        TokenizerParts(
            normalizer: spaces.normalizer, decoder: spaces.decoder,
            model: [
                "type": "BPE", "dropout": .null, "unk_token": unknown.map { .string(tokens[$0]) } ?? .null, "continuing_subword_prefix": .null,
                "end_of_word_suffix": .null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary(tokens),
                "merges": JSON(merges),
            ])
    }

    /// SentencePiece's Unigram.
    ///
    /// - Parameter types: llama.cpp's, one for each token. `tokenizers` knows no kinds of pieces: those that text never becomes get the least
    ///   score of the others, which the score of unknown characters hangs on.
    static func unigram(_ spaces: SentencePieceSpaces, tokens: [String], scores: [Float], types: [Int], unknown: Int?) -> TokenizerParts {
        let isNormal = tokens.indices.map { $0 >= types.count || types[$0] == 1 }
        let least = tokens.indices.filter { isNormal[$0] }.map { scores[$0] }.min() ?? 0
        let pieces = tokens.indices.map { id -> JSON in [.string(tokens[id]), JSON(Double(isNormal[id] ? scores[id] : least))] }
        return TokenizerParts(
            normalizer: spaces.normalizer, decoder: spaces.decoder,
            model: ["type": "Unigram", "unk_id": unknown.map { JSON($0) } ?? .null, "vocab": .array(pieces), "byte_fallback": .bool(types.contains(6))])
    }
}

/// What SentencePiece does to a text before its pieces, as steps of a `tokenizer.json`.
struct SentencePieceSpaces {
    /// The precompiled table of replacements; empty for none.
    var charsmap: [UInt8] = []
    /// A space is put before every text.
    var addsPrefix: Bool
    /// Runs of spaces become one, none stays at either end.
    var removesExtra: Bool

    private static func replace(_ pattern: JSON, _ content: String) -> JSON { ["type": "Replace", "pattern": pattern, "content": .string(content)] }

    var normalizer: JSON {
        var steps: [JSON] = []
        if !charsmap.isEmpty { steps.append(["type": "Precompiled", "precompiled_charsmap": .string(Base64.encode(charsmap))]) }
        if removesExtra { steps += [Self.replace(["Regex": "\\A +|[ \u{2581}]+\\z"], ""), Self.replace(["Regex": " {2,}"], " ")] }
        if addsPrefix { steps.append(["type": "Prepend", "prepend": "\u{2581}"]) }
        steps.append(Self.replace(["String": " "], "\u{2581}"))
        return ["type": "Sequence", "normalizers": .array(steps)]
    }

    var decoder: JSON {
        let bytes: [JSON] = [Self.replace(["String": "\u{2581}"], " "), ["type": "ByteFallback"], ["type": "Fuse"]]
        return ["type": "Sequence", "decoders": .array(bytes + (addsPrefix ? [["type": "Strip", "content": " ", "start": 1, "stop": 0]] : []))]
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
