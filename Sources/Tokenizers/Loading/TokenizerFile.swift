import LorikeetGround
import LorikeetJSON

/// Reads the parts of a `tokenizer.json` (Hugging Face's `tokenizers`): byte-pair models, byte-level or SentencePiece's.
/// Whatever it does not know it refuses by name, for a tokenizer that is nearly right trains the wrong thing.
struct TokenizerFile {
    let json: JSON
    let source: String

    private func unsupported(_ what: String) -> LorikeetError {
        .input("\(what) is not supported yet", at: source)
    }

    private func broken(_ what: String) -> LorikeetError { .input(what, at: source) }

    /// Parts of a `Sequence`, or the one part.
    private func parts(_ json: JSON?, _ key: String) -> [JSON] {
        guard let json, !json.isNull else { return [] }
        if json["type"]?.string == "Sequence" { return (json[key]?.array ?? []).flatMap { parts($0, key) } }
        return [json]
    }

    // MARK: Vocabulary

    /// Texts by id (ids that are missing: empty), and ids by text in UTF-8.
    func vocabulary() throws -> (texts: [String], ids: [[UInt8]: Int32]) {
        let model = json["model"]
        let type = model?["type"]?.string ?? "BPE"
        guard type == "BPE" else { throw unsupported("the tokenizer model “\(type)”") }
        guard let vocabulary = model?["vocab"]?.object else { throw broken("“model” has no “vocab”") }
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            if let value = model?[key], !value.isNull, value.string != "", value.double != 0 { throw unsupported("“\(key)” of the model") }
        }
        var texts: [String] = []
        var ids: [[UInt8]: Int32] = [:]
        ids.reserveCapacity(vocabulary.entries.count)
        for (text, value) in vocabulary.entries {
            guard let id = value.int, id >= 0, id < BytePairModel.maximumTokens else {
                throw broken("the token “\(text)” has no usable id")
            }
            while texts.count <= id { texts.append("") }
            texts[id] = text
            ids[Array(text.utf8)] = Int32(id)
        }
        return (texts, ids)
    }

    /// Pairs, written as `"a b"` or `["a", "b"]`.
    func merges() throws -> [(String, String)] {
        guard let merges = json["model"]?["merges"]?.array else { throw broken("“model” has no “merges”") }
        return try merges.enumerated().map { index, merge in
            if let text = merge.string, let pair = splitMerge(text) { return pair }
            if let pair = merge.array, pair.count == 2, let left = pair[0].string, let right = pair[1].string {
                return (left, right)
            }
            throw broken("merge \(index) is not two tokens")
        }
    }

    func added() throws -> [AddedToken] {
        try (json["added_tokens"]?.array ?? []).map { token in
            guard let text = token["content"]?.string, let id = token["id"]?.int.flatMap(Int32.init(exactly:)) else {
                throw broken("an added token has no “content” or “id”")
            }
            func flag(_ key: String) -> Bool { token[key]?.bool ?? false }
            return AddedToken(
                id: id, text: text, isSpecial: flag("special"), stripsLeft: flag("lstrip"), stripsRight: flag("rstrip"),
                isSingleWord: flag("single_word"))
        }
    }

    /// Whether the post-processor begins every text with `token`.
    func addsToken(_ token: String) -> Bool {
        parts(json["post_processor"], "processors").contains { part in
            guard let first = part["single"]?.array?.first?["SpecialToken"]?["id"]?.string else { return false }
            return PythonText.equal(first, token)
        }
    }

    // MARK: Rules

    func rules() throws -> TokenizerRules {
        let steps = parts(json["pre_tokenizer"], "pretokenizers")
        var rules: TokenizerRules
        if steps.contains(where: { $0["type"]?.string == "ByteLevel" }) {
            rules = try byteLevelRules(steps)
        } else {
            rules = try sentencePieceRules(steps)
        }
        rules.ignoresMerges = json["model"]?["ignore_merges"]?.bool ?? false
        rules.fusesUnknown = json["model"]?["fuse_unk"]?.bool ?? false
        rules.fallsBackToBytes = json["model"]?["byte_fallback"]?.bool ?? false
        return rules
    }

    private func byteLevelRules(_ steps: [JSON]) throws -> TokenizerRules {
        var pattern: SplitPattern?
        var (splitsDigits, decimalOnly) = (false, false)
        var prefix = false
        for step in steps {
            switch step["type"]?.string ?? "" {
            case "Digits":
                guard step["individual_digits"]?.bool == true else { throw unsupported("“Digits” that keeps numbers whole") }
                splitsDigits = true
            case "Split":
                let text = step["pattern"]?["Regex"]?.string ?? step["pattern"]?["String"]?.string ?? ""
                guard pattern == nil, step["behavior"]?.string == "Isolated", step["invert"]?.bool != true else {
                    throw unsupported("a “Split” of this kind (“\(text)”)")
                }
                if text == #"\p{N}"# || text == #"\d"# {
                    // "Digits" and \p{N} take every kind of number, \d decimal digits alone.
                    decimalOnly = !splitsDigits && text == #"\d"#
                    splitsDigits = true
                    continue
                }
                guard let known = SplitPattern.regex(text) else { throw unsupported("the split pattern “\(text)”") }
                pattern = known
            case "ByteLevel":
                prefix = step["add_prefix_space"]?.bool ?? false
                if step["use_regex"]?.bool ?? true {
                    guard pattern == nil else { throw unsupported("“ByteLevel” with a pattern after a “Split”") }
                    pattern = .gpt2
                }
            case let other: throw unsupported("the pre-tokenizer “\(other)” beside ByteLevel")
            }
        }
        guard var pattern else { throw unsupported("“ByteLevel” without a pattern") }
        if splitsDigits {
            guard pattern == .gpt2 else { throw unsupported("“Digits” with a “Split”") }
            pattern = .digitsThenGPT2(decimalOnly: decimalOnly)
        }
        var rules = TokenizerRules(.byteLevel(pattern))
        if prefix { rules.prefix = .everywhere }
        for step in parts(json["normalizer"], "normalizers") {
            guard step["type"]?.string == "NFC" else {
                throw unsupported("the normalizer “\(step["type"]?.string ?? "")” with byte-level tokens")
            }
            rules.normalizesNFC = true
        }
        return rules
    }

    private func sentencePieceRules(_ steps: [JSON]) throws -> TokenizerRules {
        var rules = TokenizerRules(.sentencePiece)
        var replacesSpaces = false
        for step in parts(json["normalizer"], "normalizers") {
            switch step["type"]?.string ?? "" {
            case "Prepend" where step["prepend"]?.string == "\u{2581}":
                rules.prefix = .everywhere
                rules.prefixOnlyIfMissing = false
            case "Replace" where step["pattern"]?["String"]?.string == " " && step["content"]?.string == "\u{2581}":
                replacesSpaces = true
            case "NFC": rules.normalizesNFC = true
            case let other: throw unsupported("the normalizer “\(other)” of this kind")
            }
        }
        for step in steps {
            switch step["type"]?.string ?? "" {
            case "Metaspace" where (step["replacement"]?.string ?? "\u{2581}") == "\u{2581}":
                replacesSpaces = true
                rules.splitsAtSpaces = step["split"]?.bool ?? true
                switch step["prepend_scheme"]?.string ?? (step["add_prefix_space"]?.bool == false ? "never" : "always") {
                case "first": rules.prefix = .atStart
                case "never": rules.prefix = .never
                default: rules.prefix = .everywhere
                }
            // After every space has become `▁` there is none left to split at (Gemma).
            case "Split" where step["pattern"]?["String"]?.string == " " && replacesSpaces: break
            case let other: throw unsupported("the pre-tokenizer “\(other)” of this kind")
            }
        }
        guard replacesSpaces else { throw unsupported("a byte-pair model without ByteLevel or Metaspace") }
        rules.stripsLeadingSpace = parts(json["decoder"], "decoders").contains { step in
            switch step["type"]?.string {
            case "Strip": (step["start"]?.int ?? 0) > 0 && step["content"]?.string == " "
            case "Metaspace": step["prepend_scheme"]?.string != "never" && step["add_prefix_space"]?.bool != false
            default: false
            }
        }
        return rules
    }
}
