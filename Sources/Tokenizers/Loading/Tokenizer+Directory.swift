import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

extension Tokenizer {
    /// The tokenizer of a model, whichever form it came in.
    package static func load(from source: ModelFiles, files: any Files = RealFiles()) throws -> Tokenizer {
        if let gguf = source.gguf { return try Tokenizer(gguf: gguf) }
        return try Tokenizer(directory: source.path, files: files)
    }

    /// The tokenizer of a Hugging Face directory: `tokenizer.json`, with the names of special tokens and the template from
    /// `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja` and `generation_config.json` as present.
    ///
    /// - Throws: exit 2 naming the file, and the part that is missing or not supported yet.
    package init(directory: String, files: any Files = RealFiles()) throws {
        let path = directory + "/tokenizer.json"
        guard files.exists(path) else {
            throw LorikeetError.input(
                "the model has no tokenizer.json", at: directory,
                fix: "save the model with its fast tokenizer (tokenizer.json), or use a .gguf of it")
        }
        func optional(_ name: String) throws -> JSON? {
            let path = directory + "/" + name
            return files.exists(path) ? try JSON.parse(files.read(path), source: path) : nil
        }
        var template: String?
        if files.exists(directory + "/chat_template.jinja") {
            template = try files.readText(directory + "/chat_template.jinja")
        } else {
            template = try optional("chat_template.json")?["chat_template"]?.string
        }
        let generation = try optional("generation_config.json")
        let model = try optional("config.json")
        try self.init(
            json: JSON.parse(files.read(path), source: path), source: path,
            settings: optional("tokenizer_config.json"), specials: optional("special_tokens_map.json"),
            endIDs: Self.ids(generation?["eos_token_id"] ?? model?["eos_token_id"]), chatTemplateSource: template)
    }

    /// The tokenizer in the text of a `tokenizer.json`, with what stands beside it.
    package init(
        json: JSON, source: String, settings: JSON? = nil, specials: JSON? = nil, endIDs: [Int32] = [],
        chatTemplateSource: String? = nil
    ) throws {
        let file = TokenizerFile(json: json, source: source)
        let unknownText = json["model"]?["unk_token"]?.string
        let (texts, ids) = try file.vocabulary()
        let rules = try file.rules()
        let added = try file.added()
        func id(_ name: String) -> Int32? {
            guard let text = Self.tokenText(settings?[name]) ?? Self.tokenText(specials?[name]) else { return nil }
            return added.first { PythonText.equal($0.text, text) }?.id ?? ids[Array(text.utf8)]
        }
        var names = TokenNames(bos: id("bos_token"), eos: id("eos_token"), pad: id("pad_token"), unknown: id("unk_token"))
        let unknown = unknownText.flatMap { ids[Array($0.utf8)] }
        if names.unknown == nil { names.unknown = unknown }
        names.ends = endIDs
        if names.eos == nil { names.eos = endIDs.first }
        let model = try BytePairModel(
            vocabulary: texts, merges: .pairs(file.merges()), rules: rules, added: added, unknown: unknown, source: source)
        names.addsBOS =
            settings?["add_bos_token"]?.bool
            ?? names.bos.map { file.addsToken(model.texts[Int($0)]) } ?? false
        self.init(
            model: model, names: names, chatTemplateSource: chatTemplateSource ?? Self.template(settings?["chat_template"]))
    }

    /// A token's text: a string, or an object with `content`.
    private static func tokenText(_ json: JSON?) -> String? { json?.string ?? json?["content"]?.string }

    private static func ids(_ json: JSON?) -> [Int32] {
        (json?.array ?? json.map { [$0] } ?? []).compactMap { $0.int.flatMap(Int32.init(exactly:)) }
    }

    /// One template, or of several the one called `default`.
    private static func template(_ json: JSON?) -> String? {
        if let text = json?.string { return text }
        let named = json?.array ?? []
        return (named.first { $0["name"]?.string == "default" } ?? named.first)?["template"]?.string
    }
}
