import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// A model's tokenizer and chat templates as a GGUF's metadata has them (`tokenizer.*`): byte-level BPE as `gpt2`, SentencePiece's BPE as `llama`.
/// Those of a base that is a GGUF itself are copied.
package struct GGUFTokenizer: Sendable {
    package private(set) var entries: [(key: String, value: GGUFValue)] = []
    /// What the metadata cannot say of the tokenizer.
    package private(set) var warnings: [String] = []

    /// Kinds of tokens, by llama.cpp's numbers.
    enum Kind: Int64 {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// - Parameters:
    ///   - source: the model.
    ///   - rows: of its embedding table. llama.cpp wants as many tokens: missing ones are made up, further ones are left out.
    ///   - template: the Jinja text that the model was trained with, where that is not its own.
    /// - Throws: exit 2 where the model has no tokenizer, or one that llama.cpp does not have.
    package init(_ source: ModelFiles, rows: Int, template: String? = nil, files: any Files = RealFiles()) throws {
        let tokenizer = try Tokenizer.load(from: source, files: files)
        if let gguf = source.gguf {
            for key in gguf.metadata.keys.sorted() where key.hasPrefix("tokenizer.") { add(key, gguf.metadata[key]) }
            // Bytes: other programs refuse wider numbers.
            if let map = gguf.metadata["tokenizer.ggml.precompiled_charsmap"]?.ints {
                set("tokenizer.ggml.precompiled_charsmap", .byteArray(map.map { UInt8(truncatingIfNeeded: $0) }))
            }
        } else {
            try addTables(tokenizer, source.path, rows: rows, files)
            addNames(tokenizer, source.path)
            addTemplates(tokenizer.chatTemplates)
        }
        guard let template else { return }
        entries.removeAll { $0.key.hasPrefix("tokenizer.chat_template") }
        add("tokenizer.chat_template", .string(template))
    }

    private mutating func add(_ key: String, _ value: GGUFValue?) { if let value { entries.append((key, value)) } }
    private mutating func set(_ key: String, _ value: GGUFValue) {
        entries.removeAll { $0.key == key }
        entries.append((key, value))
    }

    private mutating func addID(_ name: String, _ id: Int32?) { add("tokenizer.ggml.\(name)_token_id", id.map { .unsigned(UInt64(max(0, $0))) }) }

    // MARK: tokens

    /// The tables of tokens, made from a directory's tokenizer files. Arrays are indexed by token id.
    struct Tables {
        var model: String
        var pre: String
        var tokens: [String]
        var kinds: [Kind]
        /// nil for byte-level BPE, which has merges instead.
        var scores: [Float]?
        var merges: [String]?
        /// nil where the files say nothing of it.
        var addsSpace: Bool?
        var warnings: [String] = []
    }

    private mutating func addTables(_ tokenizer: Tokenizer, _ directory: String, rows: Int, _ files: any Files) throws {
        var tables = try Tables(tokenizer, directory: directory, files: files)
        warnings += tables.warnings
        if tables.tokens.count > rows {
            warnings.append(
                "\(directory): tokens from \(rows) on are left out: the model's embedding has \(rows) rows, and the tokenizer \(tables.tokens.count) tokens")
            tables.cut(to: rows)
        }
        tables.fill(to: rows)
        add("tokenizer.ggml.model", .string(tables.model))
        add("tokenizer.ggml.pre", .string(tables.pre))
        add("tokenizer.ggml.tokens", .stringArray(tables.tokens))
        add("tokenizer.ggml.scores", tables.scores.map { .floatArray($0) })
        add("tokenizer.ggml.token_type", .intArray(tables.kinds.map(\.rawValue)))
        add("tokenizer.ggml.merges", tables.merges.map { .stringArray($0) })
        add("tokenizer.ggml.add_space_prefix", tables.addsSpace.map { .bool($0) })
    }

    // MARK: names

    private mutating func addNames(_ tokenizer: Tokenizer, _ directory: String) {
        for (name, id) in [("bos", tokenizer.bos), ("eos", tokenizer.eos), ("unknown", tokenizer.unknown), ("padding", tokenizer.pad)] { addID(name, id) }
        // Always written: without the key a reader's default depends on the pre-tokenizer's name.
        add("tokenizer.ggml.add_bos_token", .bool(tokenizer.addsBOS))
        add("tokenizer.ggml.add_eos_token", .bool(tokenizer.addsEOS))
        for (place, ids, known) in [("before", tokenizer.prefix, tokenizer.bos), ("behind", tokenizer.suffix, tokenizer.eos)] {
            let others = ids.filter { $0 != known }
            guard !others.isEmpty else { continue }
            let words = others.map { "'\(tokenizer.text(of: $0))'" }.joined(separator: " ")
            warnings.append(
                "\(directory): llama.cpp does not add \(words) \(place) a text without a chat template, although transformers does; with the chat template it is there"
            )
        }
        addEnds(tokenizer.endTokens, tokenizer, directory)
    }

    /// Adds the tokens that end an answer and that no reader knows by their names or as `eos`.
    private mutating func addEnds(_ ends: [Int32], _ tokenizer: Tokenizer, _ place: String) {
        let named = Set(TokenNames.endOfTurn.compactMap(tokenizer.id(of:)).filter(tokenizer.isSpecial))
        var free = ["eot", "eom"].filter { name in !entries.contains { $0.key == "tokenizer.ggml.\(name)_token_id" } }
        for end in ends where end != tokenizer.eos && !named.contains(end) {
            guard !free.isEmpty else {
                warnings.append(
                    "\(place): '\(tokenizer.text(of: end))' also ends an answer, but a GGUF can name no more such tokens: give it to llama.cpp as a stop word")
                continue
            }
            addID(free.removeFirst(), end)
        }
    }

    private mutating func addTemplates(_ templates: ChatTemplateSources) {
        let others = templates.names.filter { $0 != "default" }
        // Of a single template the name does not count.
        if let only = templates.templates.first, templates.templates.count == 1 { return add("tokenizer.chat_template", .string(only.value)) }
        if !others.isEmpty { add("tokenizer.chat_templates", .stringArray(others.map(Self.plain))) }
        for name in others { add("tokenizer.chat_template.\(Self.plain(name))", templates.templates[name].map { .string($0) }) }
        add("tokenizer.chat_template", templates.templates["default"].map { .string($0) })
    }

    /// A template's name as a metadata key may have it.
    private static func plain(_ name: String) -> String {
        String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
    }
}

extension GGUFTokenizer.Tables {
    mutating func cut(to rows: Int) {
        tokens = Array(tokens.prefix(rows))
        kinds = Array(kinds.prefix(rows))
        scores = scores.map { Array($0.prefix(rows)) }
    }

    /// Gives every row of the embedding a token: ids without one get a placeholder, which llama.cpp never finds in a text.
    mutating func fill(to rows: Int) {
        for id in 0..<max(rows, tokens.count) {
            if id < tokens.count, !tokens[id].isEmpty { continue }
            if id >= tokens.count {
                tokens.append("")
                kinds.append(.unused)
                scores?.append(0)
            }
            tokens[id] = "[PAD\(id)]"
            kinds[id] = .unused
            scores?[id] = -10000
        }
    }

    /// - Throws: exit 2 for a tokenizer that llama.cpp does not have.
    init(_ tokenizer: Tokenizer, directory: String, files: any Files) throws {
        let path = directory + "/tokenizer.json"
        let model = Tokenizer.sentencePieceNames.map { directory + "/" + $0 }.first(where: files.exists)
        let pieces = try model.map { try SentencePieceFile(files.read($0), source: $0) }
        if files.exists(path) {
            let file = TokenizerFile(json: try JSON.parse(files.read(path), source: path), source: path)
            guard file.modelKind == "BPE", !file.hasAffixes else {
                throw Self.refusal("a tokenizer of type \(file.modelKind)" + (file.hasAffixes ? " with prefixes or suffixes of words" : ""), path)
            }
            switch try PipelineReading(file: file).alphabet {
            case .byteLevel: try self.init(byteLevel: file, tokenizer)
            case .spaces: try self.init(spaces: file, pieces: pieces, tokenizer)
            case .scalars: throw Self.refusal("a BPE tokenizer that is neither byte-level nor SentencePiece's", path)
            }
        } else if let pieces {
            try self.init(pieces: pieces, tokenizer)
        } else {
            throw LorikeetError.input(
                "the model has no tokenizer, without which llama.cpp loads no model", at: directory, fix: "save the model with its tokenizer")
        }
        let stripping = tokenizer.core.added.filter { $0.stripsLeft || $0.stripsRight || $0.isSingleWord }
        if let first = stripping.first {
            let more = stripping.count > 1 ? " and \(stripping.count - 1) more" : ""
            warnings.append(
                "\(directory): '\(first.text)'\(more) takes the white space beside it (lstrip, rstrip, single_word), which a GGUF cannot express: llama.cpp makes "
                    + "tokens of it")
        }
    }

    static func refusal(_ what: String, _ place: String) -> LorikeetError {
        .input("\(what) cannot be written to a GGUF", at: place, fix: "use the safetensors directory (lorikeet merge), or a base whose tokenizer llama.cpp has")
    }

    // MARK: byte-level BPE

    private init(byteLevel file: TokenizerFile, _ tokenizer: Tokenizer) throws {
        let ignoresMerges = file.json["model"]?["ignore_merges"]?.bool ?? false
        guard let name = try GGUFPreTokenizer.name(of: file, ignoresMerges: ignoresMerges) else {
            throw Self.refusal("the pre-tokenizer, which llama.cpp does not have (\(Self.words(file))),", file.source)
        }
        for step in file.normalizerSteps where step["type"]?.string != "NFC" {
            throw Self.refusal("the normaliser “\(step["type"]?.string ?? "")”", file.source)
        }
        model = "gpt2"
        pre = name
        tokens = tokenizer.core.texts
        kinds = tokens.map { _ in .normal }
        merges = try file.merges().map { Self.joined($0.0) + " " + Self.joined($0.1) }
        if file.preTokenizerSteps.last?["add_prefix_space"]?.bool == true { addsSpace = true }
        mark(added: tokenizer.core.added, spaces: false)
    }

    /// A space in a merge's half, which separates the two, as the alphabet of bytes writes it.
    private static func joined(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == " " ? "\u{120}" : $0 }))
    }

    private static func words(_ file: TokenizerFile) -> String {
        let steps = file.preTokenizerSteps.map { $0["pattern"]?["Regex"]?.string ?? $0["type"]?.string ?? "" }
        return steps.isEmpty ? "none" : steps.joined(separator: ", ").prefix(200) + ""
    }

    /// The kinds of added tokens, and their texts.
    ///
    /// - Parameter spaces: a user's `▁` means a space of the text.
    private mutating func mark(added: [AddedToken], spaces: Bool) {
        for token in added where tokens.indices.contains(Int(token.id)) {
            let id = Int(token.id)
            let isControl = token.isSpecial || Self.looksSpecial(token.text)
            kinds[id] = isControl ? .control : .userDefined
            tokens[id] = spaces && !isControl ? PythonText.replace(token.text, "\u{2581}", " ") : token.text
            scores?[id] = -1000
        }
    }

    /// Tokens that models mark as a user's though they control: llama.cpp's converter makes these control tokens.
    private static func looksSpecial(_ text: String) -> Bool {
        ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(text) || text.hasPrefix("<|") && text.hasSuffix("|>")
            || text.hasPrefix("<\u{FF5C}") && text.hasSuffix("\u{FF5C}>") || text.hasPrefix("<unused") && text.hasSuffix(">")
    }

    // MARK: SentencePiece

    /// SentencePiece's BPE in a tokenizer.json. The scores are those of the SentencePiece model beside it, else of the merges' order.
    private init(spaces file: TokenizerFile, pieces: SentencePieceFile?, _ tokenizer: Tokenizer) throws {
        for step in file.normalizerSteps where !["Replace", "Prepend"].contains(step["type"]?.string ?? "") {
            throw Self.refusal("the normaliser “\(step["type"]?.string ?? "")”", file.source)
        }
        guard file.json["model"]?["byte_fallback"]?.bool == true else {
            throw Self.refusal("a SentencePiece tokenizer without tokens for bytes (byte_fallback)", file.source)
        }
        (model, pre) = ("llama", "default")
        tokens = tokenizer.core.texts
        kinds = tokens.map { $0.utf8.count == 6 && ByteAlphabet.fallbackByte($0) != nil ? .byte : .normal }
        if let pieces, pieces.pieces.count <= tokens.count, zip(pieces.pieces, tokens).allSatisfy({ $0.text == $1 || $0.kind != .normal }) {
            scores = pieces.pieces.map(\.score) + [Float](repeating: -1000, count: tokens.count - pieces.pieces.count)
            for (id, piece) in pieces.pieces.enumerated() { kinds[id] = GGUFTokenizer.Kind(rawValue: Int64(piece.kind.rawValue)) ?? .normal }
        } else {
            scores = try MergeScores(file, tokens, added: Set(tokenizer.core.added.map { Int($0.id) })).scores
            if let unknown = tokenizer.unknown, kinds.indices.contains(Int(unknown)) { kinds[Int(unknown)] = .unknown }
        }
        let steps = file.normalizerSteps + file.preTokenizerSteps
        let metaspace = steps.last { $0["type"]?.string == "Metaspace" }
        let scheme = metaspace.map { $0["prepend_scheme"]?.string ?? ($0["add_prefix_space"]?.bool == false ? "never" : "always") }
        addsSpace = steps.contains { $0["type"]?.string == "Prepend" } || scheme.map { $0 != "never" } ?? false
        if scheme == "first" {
            warnings.append("\(file.source): llama.cpp puts a space before the text behind every special token, transformers before the first text alone")
        }
        mark(added: tokenizer.core.added, spaces: true)
    }

    /// A SentencePiece model alone.
    private init(pieces file: SentencePieceFile, _ tokenizer: Tokenizer) throws {
        guard file.modelType != 1 else { throw Self.refusal("a Unigram tokenizer", file.source) }
        guard file.charsmap.isEmpty else { throw Self.refusal("the table of replacements of a SentencePiece model (precompiled_charsmap)", file.source) }
        (model, pre, addsSpace) = ("llama", "default", file.addsPrefix)
        tokens = tokenizer.core.texts
        kinds = tokens.map { _ in .normal }
        scores = [Float](repeating: -1000, count: tokens.count)
        for (id, piece) in file.pieces.enumerated() {
            kinds[id] = GGUFTokenizer.Kind(rawValue: Int64(piece.kind.rawValue)) ?? .normal
            scores?[id] = piece.score
        }
        // The model's own control pieces stand among the added ones too, and keep their kind and score.
        let own = Set(file.pieces.indices.filter { [.unknown, .control].contains(file.pieces[$0].kind) })
        mark(added: tokenizer.core.added.filter { !own.contains(Int($0.id)) }, spaces: true)
    }
}

/// Scores that make SentencePiece merge in the order of a tokenizer.json's merges: a token's is the negative place of its first merge.
private struct MergeScores {
    let scores: [Float]

    /// - Parameter added: ids of tokens that are matched whole.
    /// - Throws: exit 2 where no scores do: SentencePiece merges any two neighbours that are a token together, so that the list has to have
    ///   every such pair, those of one token behind each other.
    init(_ file: TokenizerFile, _ tokens: [String], added: Set<Int>) throws {
        var ids: [ArraySlice<UInt8>: Int] = [:]
        let bytes = tokens.map { Array($0.utf8)[...] }
        for (id, token) in bytes.enumerated() where !token.isEmpty && ids[token] == nil { ids[token] = id }
        var scores = [Float?](repeating: nil, count: tokens.count)
        var last: Int?
        var (count, pairs) = (0, 0)
        for (left, right) in try file.merges() {
            // Added tokens are matched whole, before anything is merged.
            let parts = [left + right, left, right].map { ids[Array($0.utf8)[...]] }
            guard let id = parts[0], !parts.contains(where: { $0.map(added.contains) ?? true }) else { continue }
            pairs += 1
            if id == last { continue }
            guard scores[id] == nil else {
                throw GGUFTokenizer.Tables.refusal("merges that no SentencePiece scores give ('\(tokens[id])' is made at two places of the list)", file.source)
            }
            scores[id] = -Float(count)
            (last, count) = (id, count + 1)
        }
        let possible = Self.pairs(bytes, ids, added)
        guard possible <= pairs else {
            throw GGUFTokenizer.Tables.refusal(
                "merges that no SentencePiece scores give (\(possible - pairs) pairs that are a token are not merged)", file.source)
        }
        self.scores = scores.map { $0 ?? -Float(count) }
    }

    /// In how many ways tokens are made of two others.
    private static func pairs(_ tokens: [ArraySlice<UInt8>], _ ids: [ArraySlice<UInt8>: Int], _ added: Set<Int>) -> Int {
        var count = 0
        for (id, token) in tokens.enumerated() where !added.contains(id) && token.count <= 1024 {
            for cut in token.indices.dropFirst() where token[cut] & 0xC0 != 0x80 {
                if let left = ids[token[..<cut]], let right = ids[token[cut...]], !added.contains(left), !added.contains(right) { count += 1 }
            }
        }
        return count
    }
}
