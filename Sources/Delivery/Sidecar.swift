import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// What stands beside the weights of a merged model: tokenizer, chat template, generation settings. Of a base that is a directory, its files
/// unchanged; of a GGUF, what its metadata say. Where the model was trained with another template, that one is written in both places that
/// transformers reads: `chat_template.jinja`, which today's versions prefer, and `tokenizer_config.json`, which older ones know alone.
package struct Sidecar {
    let source: ModelFiles
    let files: any Files

    package init(source: ModelFiles, files: any Files) { (self.source, self.files) = (source, files) }

    private static let generation = "generation_config.json"
    static let templateFile = "chat_template.jinja"
    private static let settingsFile = "tokenizer_config.json"
    /// The template's place in older processors.
    private static let olderTemplate = "chat_template.json"
    /// Templates for purposes of their own, one file each.
    private static let templates = "additional_chat_templates"

    private static let names = [
        "tokenizer.json", settingsFile, "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
        "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json", templateFile, olderTemplate,
        "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", generation,
    ]

    /// The largest that a tokenizer's file may have: a gigabyte is thirty times the largest known.
    private static let mostBytes = 1 << 30

    /// The base directory's files that are copied, by their names there; none for a GGUF.
    ///
    /// - Throws: exit 2 where an entry of such a name cannot be read as a file: a folder, a link whose target is missing, a pipe.
    package func copied() throws -> [(name: String, bytes: Int)] {
        guard source.gguf == nil else { return [] }
        var names = Self.names
        let folder = source.path + "/" + Self.templates
        if files.isDirectory(folder) { names += try files.list(folder).filter { $0.hasSuffix(".jinja") }.map { Self.templates + "/" + $0 } }
        return try names.compactMap { name in
            let path = source.path + "/" + name
            guard files.exists(path) else { return nil }
            guard !files.isDirectory(path) else {
                throw LorikeetError.input("this is a folder, where a file of the model should be", at: path, fix: "move it away")
            }
            let bytes = try files.byteCount(of: path)
            guard bytes <= Self.mostBytes else {
                throw LorikeetError.input(
                    "the file is \(Units.formatBytes(Int64(bytes))) long, longer than any file of a tokenizer can be", at: path, fix: "fetch it again")
            }
            return (name, bytes)
        }
    }

    /// About how many bytes the written files will have. A GGUF's metadata becomes JSON, which names each token twice.
    package func bytes() throws -> Int {
        if source.gguf != nil { return 2 * (source.tensors.values.map(\.offset).min() ?? 0) }
        return try copied().reduce(0) { $0 + $1.bytes }
    }

    /// Writes the files.
    ///
    /// - Parameters:
    ///   - configuration: the `config.json` beside them.
    ///   - template: the Jinja text that the model was trained with, where it is not the base's own, whose place it takes.
    /// - Returns: why there is no tokenizer in the directory, for the user; nil where there is one, or the base has none.
    func write(to directory: String, configuration: JSON, template: String? = nil) throws -> String? {
        let names = try copied().map(\.name).filter { template == nil || $0 != Self.olderTemplate }
        if names.contains(where: { $0.hasPrefix(Self.templates + "/") }) { try files.createDirectory(directory + "/" + Self.templates) }
        for name in names { try files.writeDurably(files.read(source.path + "/" + name), to: directory + "/" + name) }
        if !names.contains(Self.generation) {
            let settings = source.gguf.map(Self.settings) ?? Self.settings(of: configuration)
            try files.writeDurably(JSON.object(settings).serialized(pretty: true) + "\n", to: directory + "/" + Self.generation)
        }
        let missing = try source.gguf.flatMap { try MergedTokenizer(gguf: $0, files: files).write(to: directory) }
        if let template { try write(template, to: directory) }
        try addEnds(in: directory)
        return missing
    }

    /// The template in both of its places.
    private func write(_ template: String, to directory: String) throws {
        try files.writeDurably(template, to: directory + "/" + Self.templateFile)
        let path = directory + "/" + Self.settingsFile
        guard files.exists(path), var settings = try JSON.parse(files.read(path), source: path).object else { return }
        settings["chat_template"] = .string(template)
        try files.writeDurably(JSON.object(settings).serialized(pretty: true) + "\n", to: path)
    }

    /// Adds the tokens that end a turn in the written template to those that generation stops at: a base that was never trained on conversations
    /// names its end of text alone (`<|endoftext|>` where its template writes `<|im_end|>`), and text would go on behind the answer.
    private func addEnds(in directory: String) throws {
        let tokenizer: Tokenizer
        do { tokenizer = try Tokenizer(directory: directory, files: files) } catch let error as LorikeetError where error.exit == .unusableInput { return }
        guard let template = tokenizer.chatTemplateSource else { return }
        let path = directory + "/" + Self.generation
        var settings = try JSON.parse(files.read(path), source: path).object ?? [:]
        let ends = settings["eos_token_id"].map { $0.array ?? ($0.isNull ? [] : [$0]) } ?? []
        let missing = tokenizer.endTokens.filter { template.contains(tokenizer.text(of: $0)) }.map { JSON(Int($0)) }.filter { !ends.contains($0) }
        guard !missing.isEmpty else { return }
        let all = ends + missing
        settings["eos_token_id"] = all.count == 1 ? all[0] : .array(all)
        try files.writeDurably(JSON.object(settings).serialized(pretty: true) + "\n", to: path)
    }

    private static func settings(of configuration: JSON) -> JSONObject {
        var settings: JSONObject = [:]
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] { settings[key] = configuration[key] }
        return settings
    }

    /// Sampling settings that llama.cpp's converter takes from `generation_config.json`: the key there, and the name behind `general.sampling.`.
    static let sampling = [
        ("temperature", "temp"), ("top_k", "top_k"), ("top_p", "top_p"), ("min_p", "min_p"), ("repetition_penalty", "penalty_repeat"),
    ]

    /// A GGUF's special tokens, every end among them, and its sampling settings.
    private static func settings(_ gguf: GGUFFile) -> JSONObject {
        func id(_ name: String) -> Int? { gguf.metadata["tokenizer.ggml.\(name)_token_id"]?.int }
        var settings: JSONObject = [:]
        settings["bos_token_id"] = id("bos").map { JSON($0) }
        var ends: [Int] = []
        for end in ["eos", "eot", "eom"].compactMap(id) where !ends.contains(end) { ends.append(end) }
        settings["eos_token_id"] = ends.count == 1 ? JSON(ends[0]) : ends.isEmpty ? Optional.none : .array(ends.map { JSON($0) })
        settings["pad_token_id"] = id("padding").map { JSON($0) }
        for (key, name) in sampling {
            guard let value = gguf.metadata["general.sampling.\(name)"] else { continue }
            settings[key] = value.int.map { JSON($0) } ?? value.double.map { JSON(Double("\(Float($0))") ?? $0) }
        }
        if settings["temperature"] != nil || settings["top_k"] != nil || settings["top_p"] != nil { settings["do_sample"] = true }
        return settings
    }
}
