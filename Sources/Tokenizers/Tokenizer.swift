import LorikeetGround

/// Text ↔ token ids, as the reference library (Hugging Face's `tokenizers`) makes them: byte-pair models (byte-level as GPT-2's, or over
/// scalars as SentencePiece's), Unigram, WordPiece, whole words; with every normaliser, pre-tokenizer, decoder and added token of theirs.
///
///     let tokenizer = try Tokenizer(gguf: file)
///     let ids = tokenizer.encode("Paris.<|im_end|>")
///     tokenizer.decode(ids, skipSpecial: true)      // "Paris."
///
/// A value: copies share the tables. Every method may be called from any number of threads.
package struct Tokenizer: Sendable {
    private(set) var core: TokenizerCore
    /// The ids run from 0 up to this, not included.
    package let vocabularySize: Int
    /// Beginning of sequence, end of sequence, padding, unknown: where the file names them.
    package let bos: Int32?
    package let eos: Int32?
    package let pad: Int32?
    package let unknown: Int32?
    /// Whatever ends an answer: `eos` and the end-of-turn tokens, ascending, each once.
    package let endTokens: [Int32]
    /// The chat templates that the model came with.
    package let chatTemplates: ChatTemplateSources
    /// The text (Jinja) of the usual one; nil when the model came without.
    package var chatTemplateSource: String? { chatTemplates.standard }
    /// The ids that the file's post-processor puts before and behind every text (`[CLS] … [SEP]`, `<bos> … <eos>`). `encode` never adds
    /// them: a text that is to be trained or answered as a whole gets them from the caller; templates write their own.
    package let prefix: [Int32]
    package let suffix: [Int32]
    /// What the files say and the tokenizer does not do.
    package var warnings: [String] { core.warnings }
    /// Whether `bos` begins every text by the file's rule.
    package var addsBOS: Bool { bos.map(prefix.contains) ?? false }
    /// Whether `eos` ends every text by the file's rule.
    package var addsEOS: Bool { eos.map(suffix.contains) ?? false }

    /// A byte-pair tokenizer from its parts.
    ///
    /// - Parameters:
    ///   - vocabulary: the text of every id, as the model's file writes it.
    ///   - merges: pairs of token texts, most urgent first.
    ///   - added: tokens matched before anything else; their ids may lie in the vocabulary or follow it.
    /// - Throws: `LorikeetError.input` when a merge names a text that is no token, or an id is out of range.
    package init(
        vocabulary: [String], merges: [(String, String)], rules: TokenizerRules, added: [AddedToken] = [],
        names: TokenNames = TokenNames(), chatTemplateSource: String? = nil, source: String = "tokenizer"
    ) throws {
        let model = try BytePairModel(
            vocabulary: vocabulary, isFindable: vocabulary.map { !$0.isEmpty }, merges: .pairs(merges), rules: rules, unknown: names.unknown,
            source: source)
        let plan: WordPlan
        switch rules.alphabet {
        case .byteLevel(let pattern): plan = .pattern(pattern, addsSpace: false)
        case .spaces: plan = .spaces(.never, splits: false)
        case .scalars: plan = .steps(PreTokenizer(), readsBytes: false)
        }
        var parts = TokenizerCore.Parts(plan: plan, model: .bytePair(model))
        parts.decoder.steps = rules.isByteLevel ? [.byteLevel] : [.replace(.literal(Array("\u{2581}".utf8)), content: [0x20]), .byteFallback, .fuse]
        try self.init(
            core: TokenizerCore(texts: vocabulary, added: added, parts: parts, source: source), names: names,
            chatTemplates: ChatTemplateSources(standard: chatTemplateSource))
    }

    init(core: TokenizerCore, names: TokenNames, chatTemplates: ChatTemplateSources) {
        self.core = core
        vocabularySize = core.texts.count
        let range = 0..<Int32(clamping: core.texts.count)
        func valid(_ id: Int32?) -> Int32? { id.flatMap { range.contains($0) ? $0 : nil } }
        bos = valid(names.bos)
        eos = valid(names.eos)
        pad = valid(names.pad)
        unknown = valid(names.unknown)
        prefix = names.prefix.filter(range.contains)
        suffix = names.suffix.filter(range.contains)
        var ends = Set(names.ends.filter(range.contains))
        if let eos = valid(names.eos) { ends.insert(eos) }
        for name in TokenNames.endOfTurn {
            if let id = core.id(of: name), core.isSpecial(id) { ends.insert(id) }
        }
        endTokens = ends.sorted()
        self.chatTemplates = chatTemplates
    }

    /// The same tokenizer for the work of one thread.
    ///
    /// Every method may be called from any number of threads, but each call then takes a lock and counts references that all threads share: with
    /// many cores and short texts that costs more than the encoding. What such a copy writes is its own; the large tables are shared, and only read.
    package func forOneThread() -> Tokenizer {
        var copy = self
        copy.core = TokenizerCore(sharing: core)
        return copy
    }

    /// The ids of `text`. Never adds a BOS or EOS by itself.
    ///
    /// - Parameter parseSpecial: whether special tokens written out in the text become their ids; with false they are
    ///   ordinary characters (text from outside that must not end a turn).
    /// - Throws: exit 2 where the text cannot be cut by the tokenizer's expressions within their limit of steps.
    package func encode(_ text: String, parseSpecial: Bool = true) throws(LorikeetError) -> [Int32] {
        try encode(text, parseSpecial: parseSpecial, wantsRanges: false).ids
    }

    /// The same ids, and the bytes of `text` that each stands for.
    package func encodeWithRanges(_ text: String, parseSpecial: Bool = true) throws(LorikeetError) -> TokenizedText {
        try encode(text, parseSpecial: parseSpecial, wantsRanges: true)
    }

    private func encode(_ text: String, parseSpecial: Bool, wantsRanges: Bool) throws(LorikeetError) -> TokenizedText {
        var text = text
        return try text.withUTF8 { bytes -> Result<TokenizedText, LorikeetError> in
            do throws(LorikeetError) {
                return .success(try core.encode(bytes, parseSpecial: parseSpecial, wantsRanges: wantsRanges))
            } catch { return .failure(error) }
        }.get()
    }

    /// The text of `ids`; bytes that are not UTF-8 become U+FFFD, ids out of range nothing.
    package func decode(_ ids: some Sequence<Int32>, skipSpecial: Bool = false) -> String {
        var decoder = StreamDecoder(self, skipSpecial: skipSpecial)
        guard decoder.joins else {
            let tokens = ids.filter { !(skipSpecial && core.isSpecial($0)) && core.texts.indices.contains(Int($0)) }.map(core.decoderText)
            return tokens.isEmpty ? "" : String(decoding: core.decoder.decode(tokens), as: UTF8.self)
        }
        var bytes: [UInt8] = []
        for id in ids { decoder.append(bytesOf: id, to: &bytes) }
        decoder.appendRest(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The id of a token by its text, as the model's file writes it (`Ġthe`, `<|im_end|>`).
    package func id(of text: String) -> Int32? { core.id(of: text) }

    /// Whether `id` is a special token.
    package func isSpecial(_ id: Int32) -> Bool { core.isSpecial(id) }

    /// The token's own text as the model's file writes it; empty for an id out of range.
    package func text(of id: Int32) -> String {
        core.texts.indices.contains(Int(id)) ? core.texts[Int(id)] : ""
    }

    /// The text of every named special token, as chat templates read them: `bos_token`, `eos_token`, `pad_token`, `unk_token`.
    package var namedTokens: [String: String] {
        var result: [String: String] = [:]
        for (name, id) in [("bos_token", bos), ("eos_token", eos), ("pad_token", pad), ("unk_token", unknown)] {
            if let id { result[name] = text(of: id) }
        }
        return result
    }
}

/// Which ids have the well-known parts.
package struct TokenNames: Sendable, Equatable {
    package var bos: Int32?
    package var eos: Int32?
    package var pad: Int32?
    package var unknown: Int32?
    /// Further tokens that end an answer.
    package var ends: [Int32] = []
    /// What the post-processor puts before and behind a text.
    package var prefix: [Int32] = []
    package var suffix: [Int32] = []

    package init(bos: Int32? = nil, eos: Int32? = nil, pad: Int32? = nil, unknown: Int32? = nil) {
        self.bos = bos
        self.eos = eos
        self.pad = pad
        self.unknown = unknown
    }

    /// Texts of special tokens that end a turn, whatever the file says (the families' own names).
    static let endOfTurn = [
        "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
        "<|end_of_turn|>", "<|eot|>", "<turn|>",
    ]
}
