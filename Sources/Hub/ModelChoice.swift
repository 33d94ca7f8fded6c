import LorikeetGround

/// The files of a model that are needed, out of all that a repository or folder holds.
package enum ModelChoice: Equatable {
    /// Safetensors: the files beside the weights (configuration, tokenizer, templates), and the weights.
    case directory(beside: [String], weights: Weights)
    /// A GGUF file, or the parts of one in order.
    case gguf([String])

    package enum Weights: Equatable {
        case files([String])
        /// Shards that this index names.
        case index(String)
    }

    static let index = "model.safetensors.index.json"
    private static let single = "model.safetensors"
    private static let adapter = "adapter_model.safetensors"

    /// Configuration, tokenizer and chat template under the names that transformers gives them, and the model card, which says the licence.
    private static let beside: Set<String> = [
        "config.json", "generation_config.json", "adapter_config.json", "quantization_config.json", "quantize_config.json", "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model",
        "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "chat_template.jinja", "chat_template.json", "README.md",
    ]
    /// Chat templates for purposes of their own, one file each.
    private static let templates = "additional_chat_templates/"

    /// Whether a file of a model's folder, that is no weights, is one of those fetched.
    package static func isNeeded(_ path: String) -> Bool { beside.contains(path) || path == index || isTemplate(path) }

    private static func isTemplate(_ path: String) -> Bool {
        path.hasPrefix(templates) && path.hasSuffix(".jinja") && !path.dropFirst(templates.utf8.count).holdsSlash
    }

    /// - Parameters:
    ///   - files: paths in the repository, and bytes where they are known.
    ///   - part: of a GGUF repository, the quantisation or file that is wanted.
    ///   - name: what the files belong to, for errors.
    /// - Throws: exit 2 where there are no weights that can be read, saying what there is, and where several GGUF files fit.
    package init(of files: [(path: String, size: Int64?)], part: String?, name: String) throws {
        let paths = files.map(\.path)
        let top = Set(paths.filter { !$0.utf8.contains(UInt8(ascii: "/")) })
        let ggufs = GGUFVariant.all(in: files)
        if let part {
            guard !ggufs.isEmpty else {
                throw LorikeetError.input("there is no GGUF file in it, so '\(part)' chooses nothing", at: name, fix: "leave ':\(part)' out")
            }
            self = .gguf(try GGUFVariant.named(part, among: ggufs, name: name).paths)
            return
        }
        if let weights = try Self.weights(top, name) {
            let templates = paths.filter(Self.isTemplate)
            self = .directory(beside: (Self.beside.intersection(top) + templates).sorted(), weights: weights)
        } else if !ggufs.isEmpty {
            self = .gguf(try GGUFVariant.only(among: ggufs, name: name).paths)
        } else {
            throw Self.noWeights(paths, name)
        }
    }

    /// The safetensors at the top, as transformers looks for them; nil where there are none.
    private static func weights(_ top: Set<String>, _ name: String) throws -> Weights? {
        if top.contains(index) { return .index(index) }
        if top.contains(single) { return .files([single]) }
        let shards = top.filter { $0.hasPrefix("model-") && $0.hasSuffix(".safetensors") }.sorted()
        if !shards.isEmpty {
            throw LorikeetError.input("the shards have no \(index), which says what they hold", at: name, fix: "use a repository that has one")
        }
        if top.contains(adapter), top.contains("adapter_config.json") { return .files([adapter]) }
        return nil
    }

    /// Says what a repository holds instead of weights that can be read.
    private static func noWeights(_ paths: [String], _ name: String) -> LorikeetError {
        func ending(_ endings: String...) -> String? { paths.first { path in endings.contains { path.lowercased().hasSuffix($0) } } }
        let save = "save it once with transformers: AutoModelForCausalLM.from_pretrained(\"\(name)\").save_pretrained(\"model\")"
        if let file = ending(".bin", ".pth", ".pt", ".ckpt") {
            return .input(
                "its weights are pickled (\(file)), which can run code and is not read", at: name, fix: save + "; or name a repository with safetensors")
        }
        if let file = ending(".safetensors") {
            return .input("its safetensors are not a language model's (\(file); there is no \(single))", at: name, fix: "name a model for text")
        }
        if let file = ending(".msgpack", ".h5") {
            return .input("its weights are Flax's or TensorFlow's (\(file)), which are not read", at: name, fix: "name a repository with safetensors")
        }
        if let file = ending(".onnx") {
            return .input("its model is in ONNX format (\(file)), which cannot be trained", at: name, fix: "name the original model")
        }
        if let file = ending(".npz") { return .input("it holds MLX weights (\(file)), which are not read", at: name, fix: "name the original model") }
        return .input("it holds no weights", at: name, fix: "name a repository with model.safetensors or a .gguf file")
    }
}

/// One GGUF model of a repository: a file, or all parts of one that is split.
struct GGUFVariant: Equatable {
    /// In the parts' order.
    let paths: [String]
    let bytes: Int64?
    /// The file's name without part number and ending: `dir/Qwen3-0.6B-Q4_K_M`.
    let stem: String
    /// Parts that the names promise; 1 for a whole file.
    let promised: Int

    /// All of them, by path. Files beside a language model (vision projectors, importance matrices) are none.
    static func all(in files: [(path: String, size: Int64?)]) -> [GGUFVariant] {
        struct Key: Hashable {
            let stem: String
            let count: Int
        }
        var parts: [Key: [(number: Int, path: String, size: Int64?)]] = [:]
        for file in files where file.path.lowercased().hasSuffix(".gguf") {
            let base = (file.path.lastPathPart ?? "").lowercased()
            guard !base.hasPrefix("mmproj"), !base.contains("imatrix") else { continue }
            let stem = String(file.path.dropLast(5))
            if let match = stem.wholeMatch(of: /(.+)-(\d{5})-of-(\d{5})/), let number = Int(match.2), let count = Int(match.3) {
                parts[Key(stem: String(match.1), count: count), default: []].append((number, file.path, file.size))
            } else {
                parts[Key(stem: stem, count: 1), default: []].append((1, file.path, file.size))
            }
        }
        return parts.sorted { ($0.key.stem, $0.key.count) < ($1.key.stem, $1.key.count) }.map { key, found in
            let inOrder = found.sorted { $0.number < $1.number }
            let sizes = inOrder.compactMap(\.size)
            let bytes = sizes.count == inOrder.count ? sizes.reduce(Int64(0)) { $0.addingReportingOverflow($1).partialValue } : nil
            return GGUFVariant(paths: inOrder.map(\.path), bytes: bytes, stem: key.stem, promised: key.count)
        }
    }

    /// The one that `part` names: a file, the name of a file, or the quantisation at the end of one's name.
    static func named(_ part: String, among all: [GGUFVariant], name: String) throws -> GGUFVariant {
        let wanted = part.lowercased()
        let byFile = all.filter { variant in
            ([variant.stem] + variant.paths).contains { path in
                let lower = path.lowercased()
                return lower == wanted || lower.hasSuffix("/" + wanted) || lower == wanted + ".gguf" || lower.hasSuffix("/\(wanted).gguf")
            }
        }
        let found = byFile.isEmpty ? all.filter { $0.hasLabel(wanted) } : byFile
        switch found.count {
        case 1: return try found[0].complete(name)
        case 0: throw LorikeetError.input("no GGUF file of it is called '\(part)'", at: name, fix: "choose one of " + list(all))
        default: throw LorikeetError.input("several GGUF files of it fit '\(part)'", at: name, fix: "name the file: " + list(found))
        }
    }

    static func only(among all: [GGUFVariant], name: String) throws -> GGUFVariant {
        guard all.count == 1 else {
            throw LorikeetError.input(
                "it holds \(all.count) GGUF models and none is named", at: name, fix: "write \(name):QUANTISATION or \(name):FILE, of " + list(all))
        }
        return try all[0].complete(name)
    }

    private func complete(_ name: String) throws -> GGUFVariant {
        guard paths.count == promised else {
            throw LorikeetError.input(
                "only \(paths.count) of the \(promised) parts of \(stem) are there", at: name, fix: "name another file, or use another repository")
        }
        return self
    }

    /// Whether the file's name or its folder ends with a quantisation, as `-Q4_K_M` does.
    private func hasLabel(_ label: String) -> Bool {
        stem.lowercased().pathParts.contains { piece in piece == label || ["-", ".", "_"].contains { piece.hasSuffix($0 + label) } }
    }

    private static func list(_ all: [GGUFVariant]) -> String {
        let shown = all.prefix(24).map { $0.stem + ($0.bytes.map { " (\(Units.formatBytes($0)))" } ?? "") }
        return shown.joined(separator: ", ") + (all.count > shown.count ? " and \(all.count - shown.count) more" : "")
    }
}
