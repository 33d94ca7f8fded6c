import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// A chat template that a model was trained with and that its base does not have.
package struct MergedTemplate: Sendable {
    /// The Jinja text.
    package let source: String
    /// The token that ends a turn in it, where that is one.
    package let endToken: Int32?

    package init(source: String, endToken: Int32?) { (self.source, self.endToken) = (source, endToken) }
}

/// What stands beside the weights of a merged model: tokenizer, chat template, generation settings. Of a base that is a directory, its files
/// unchanged; of a GGUF, what its metadata say.
package struct Sidecar {
    let source: ModelFiles
    let files: any Files

    package init(source: ModelFiles, files: any Files) { (self.source, self.files) = (source, files) }

    private static let generation = "generation_config.json"
    /// Templates for purposes of their own, one file each.
    private static let templates = "additional_chat_templates"

    private static let names = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
        "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json", "chat_template.jinja", "chat_template.json",
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
                throw LorikeetError.input("a folder has the name of a file that goes with the model", at: path, fix: "move it away")
            }
            let bytes = try files.byteCount(of: path)
            guard bytes <= Self.mostBytes else {
                throw LorikeetError.input("the file is \(Units.formatBytes(Int64(bytes))) long, too large for a tokenizer's", at: path, fix: "fetch it again")
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
    ///   - template: takes the place of the base's own; its end token is one of those that generation stops at.
    /// - Returns: why there is no tokenizer in the directory, for the user; nil where there is one, or the base has none.
    func write(to directory: String, configuration: JSON, template: MergedTemplate? = nil) throws -> String? {
        let names = try copied().map(\.name)
        if names.contains(where: { $0.hasPrefix(Self.templates + "/") }) { try files.createDirectory(directory + "/" + Self.templates) }
        for name in names { try files.writeDurably(files.read(source.path + "/" + name), to: directory + "/" + name) }
        if !names.contains(Self.generation) {
            let settings = source.gguf.map(Self.settings) ?? Self.settings(of: configuration)
            try files.writeDurably(JSON.object(settings).serialized(pretty: true) + "\n", to: directory + "/" + Self.generation)
        }
        let missing = try source.gguf.flatMap { try MergedTokenizer(gguf: $0, files: files).write(to: directory) }
        if let template { try write(template, to: directory) }
        return missing
    }

    /// The template's file, which takes the place of all that other files say; and its end among those that generation stops at.
    private func write(_ template: MergedTemplate, to directory: String) throws {
        try files.writeDurably(template.source, to: directory + "/chat_template.jinja")
        guard let end = template.endToken.map({ JSON(Int($0)) }) else { return }
        let path = directory + "/" + Self.generation
        var settings = try JSON.parse(files.read(path), source: path).object ?? [:]
        let ends = settings["eos_token_id"].map { $0.array ?? ($0.isNull ? [] : [$0]) } ?? []
        guard !ends.contains(end) else { return }
        settings["eos_token_id"] = ends.isEmpty ? end : .array(ends + [end])
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
