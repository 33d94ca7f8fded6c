import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

extension Tokenizer {
    /// The tokenizer of a model, whichever form it came in.
    package static func load(from source: ModelFiles, files: any Files = RealFiles()) throws -> Tokenizer {
        if let gguf = source.gguf { return try Tokenizer(gguf: gguf) }
        return try Tokenizer(directory: source.path, files: files)
    }

    /// The tokenizer of a Hugging Face directory: `tokenizer.json`, else a SentencePiece model (`tokenizer.model`), with the names of special tokens and the template from
    /// `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja` and `generation_config.json` as present.
    ///
    /// - Throws: exit 2 naming the file, and the part that is missing or not supported yet.
    package init(directory: String, files: any Files = RealFiles()) throws {
        let path = directory + "/tokenizer.json"
        let model = Self.sentencePieceNames.map { directory + "/" + $0 }.first(where: files.exists)
        guard files.exists(path) || model != nil else {
            throw LorikeetError.input(
                "the model has no tokenizer.json and no SentencePiece model (tokenizer.model)", at: directory,
                fix: "save the model with its fast tokenizer (tokenizer.json), or use a .gguf of it")
        }
        func optional(_ name: String) throws -> JSON? {
            let path = directory + "/" + name
            guard files.exists(path) else { return nil }
            let json = try JSON.parse(files.read(path), source: path)
            guard json.object != nil else { throw LorikeetError.input("it holds no JSON object", at: path, fix: "download the file again") }
            return json
        }
        let settings = try optional("tokenizer_config.json")
        try Self.requireTexts(of: settings, in: directory + "/tokenizer_config.json")
        let templates = try ChatTemplateSources(directory: directory, settings: settings, files: files)
        let generation = try optional("generation_config.json")
        let configuration = try optional("config.json")
        let settingsOfEnds = generation?["eos_token_id"] != nil ? "generation_config.json" : "config.json"
        let endIDs = try Self.endIDs(generation?["eos_token_id"] ?? configuration?["eos_token_id"], at: directory + "/" + settingsOfEnds)
        if !files.exists(path), let model {
            try self.init(
                sentencePiece: files.read(model), source: model, settings: settings,
                specials: optional("special_tokens_map.json"), addedTokens: optional("added_tokens.json"), endIDs: endIDs, chatTemplates: templates)
            return
        }
        try self.init(
            json: JSON.parse(files.read(path), source: path), source: path,
            settings: settings, specials: optional("special_tokens_map.json"),
            endIDs: endIDs, chatTemplates: templates)
    }

    /// The tokenizer in the text of a `tokenizer.json`, with what stands beside it.
    package init(
        json: JSON, source: String, settings: JSON? = nil, specials: JSON? = nil, endIDs: [Int32] = [],
        chatTemplates: ChatTemplateSources = ChatTemplateSources()
    ) throws {
        let file = TokenizerFile(json: json, source: source)
        let (core, unknown) = try file.core(settings: settings, specials: specials)
        func id(_ name: String) -> Int32? { (Self.tokenText(settings?[name]) ?? Self.tokenText(specials?[name])).flatMap(core.id) }
        var names = TokenNames(bos: id("bos_token"), eos: id("eos_token"), pad: id("pad_token"), unknown: id("unk_token"))
        if names.unknown == nil { names.unknown = unknown }
        names.ends = endIDs
        if names.eos == nil { names.eos = endIDs.first }
        (names.prefix, names.suffix) = try file.affixes()
        names.apply(settings: settings)
        self.init(core: core, names: names, chatTemplates: chatTemplates)
    }

    /// A token's text: a string, or an object with `content`.
    static func tokenText(_ json: JSON?) -> String? { json?.string ?? json?["content"]?.string }

    /// The named tokens of a tokenizer_config.json are texts, or objects with one; null where there is none.
    private static func requireTexts(of settings: JSON?, in source: String) throws {
        for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
            guard let value = settings?[key], !value.isNull, tokenText(value) == nil else { continue }
            throw LorikeetError.input(
                "'\(key)' is \(value.serialized().prefix(60)); it has to be a token's text, or null", at: source, fix: "use the model's own file")
        }
    }

    /// The ids of `eos_token_id`: a number, a list of numbers, or null.
    ///
    /// - Throws: exit 2 for anything else: a model whose ends are not known writes without end.
    private static func endIDs(_ json: JSON?, at source: String) throws -> [Int32] {
        guard let json, !json.isNull else { return [] }
        return try (json.array ?? [json]).map { value in
            guard let id = value.int.flatMap(Int32.init(exactly:)), id >= 0 else {
                throw LorikeetError.input(
                    "'eos_token_id' is \(json.serialized().prefix(60)); it has to be a token's id or a list of ids", at: source,
                    fix: "use the model's own file")
            }
            return id
        }
    }
}

extension TokenNames {
    /// `add_bos_token` and `add_eos_token` of a tokenizer_config.json, where one of them is given, take the place of what the tokenizer's own
    /// file puts around a text; the other one is then false.
    mutating func apply(settings: JSON?) {
        guard settings?["add_bos_token"] != nil || settings?["add_eos_token"] != nil else { return }
        prefix = settings?["add_bos_token"]?.bool == true ? [bos].compactMap { $0 } : []
        suffix = settings?["add_eos_token"]?.bool == true ? [eos].compactMap { $0 } : []
    }
}
