import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe

/// The content of everything that decides a run's result or a number it reports: model, tokenizer and template, data, the adapter it
/// starts from. `inputs.json` keeps the check sums of the first start, and a run goes on only with the same bytes, wherever they stand.
struct RunInputs: Equatable {
    struct Input: Equatable {
        var path: String
        var sum: String
    }

    /// By what they are to the run: `model/config.json`, `model` (a GGUF), `data`, `validation`, `init_adapter/adapter_config.json`.
    private(set) var inputs: [String: Input]

    /// Reads every input once.
    ///
    /// - Parameters:
    ///   - check: called before each file and between two pieces of one, on any thread; what it throws ends the reading.
    ///   - parallel: runs a body for each index below a count, on as many threads as it likes.
    /// - Throws: exit 2 when an input is missing, exit 4 when it cannot be read.
    init(recipe: Recipe, source: ModelSource, files: any Files, check: @escaping () throws -> Void = {}, parallel: (Int, (Int) -> Void) -> Void) throws {
        inputs = [:]
        for (name, path) in try Self.paths(recipe, source, files) where !files.isDirectory(path) {
            try check()
            inputs[name] = Input(path: path, sum: try ContentHash(ofFile: path, files: files, parallel: parallel, check: check).description)
        }
    }

    /// nil where `json` is not what `json` below writes.
    init?(json: JSON) {
        guard let object = json["inputs"]?.object else { return nil }
        inputs = [:]
        for entry in object.entries {
            guard let path = entry.value["path"]?.string, let sum = entry.value["sum"]?.string else { return nil }
            inputs[entry.key] = Input(path: path, sum: sum)
        }
    }

    var json: JSON {
        ["inputs": .object(JSONObject(inputs.sorted { $0.key < $1.key }.map { ($0.key, ["path": .string($0.value.path), "sum": .string($0.value.sum)]) }))]
    }

    private static func paths(_ recipe: Recipe, _ source: ModelSource, _ files: any Files) throws -> [String: String] {
        var paths: [String: String] = [:]
        if let gguf = source.files.gguf {
            // The parts of a split model by their numbers, whichever was named.
            for (number, path) in gguf.paths.enumerated() { paths[gguf.paths.count == 1 ? "model" : "model/part-\(number + 1)"] = path }
        } else {
            // The weights that are used, and what stands beside them: configuration, tokenizer, template.
            let endings = [".json", ".jinja", ".txt", ".model"]
            // A snapshot in the hub's cache is shared: other programs add files to it that are none of the run's.
            let shared = Hub.isSnapshot(source.path)
            let templates = "additional_chat_templates"
            let inside = files.isDirectory(source.path + "/" + templates) ? try files.list(source.path + "/" + templates).map { templates + "/" + $0 } : []
            let beside = try (files.list(source.path) + inside).filter { name in
                shared ? ModelChoice.isNeeded(name) : endings.contains { name.hasSuffix($0) }
            }
            let weights = source.files.weightPaths.map { String($0.dropFirst(source.path.count + 1)) }
            for name in beside + weights { paths["model/" + name] = source.path + "/" + name }
        }
        if !recipe.data.isEmpty {
            let data = try DataFiles.find(data: recipe.data, validation: recipe.validation, files: files)
            for (name, list) in [("data", data.train), ("validation", data.validation)] {
                for (index, path) in list.enumerated() { paths[index == 0 ? name : "\(name)/\(index + 1)"] = path }
            }
        }
        if let template = recipe.chatTemplate, files.exists(template) { paths["chat_template"] = template }
        if let start = recipe.initAdapter {
            for name in ["adapter_config.json", "adapter_model.safetensors"] { paths["init_adapter/" + name] = start + "/" + name }
        }
        return paths
    }

    /// Refuses inputs that are not those of the first start.
    ///
    /// - Throws: exit 2 that names the first file and what became of it.
    func requireSame(as first: RunInputs) throws { try Self.refuse(differences(from: first)) }

    /// What has become of the inputs of the first start: paths and words.
    func differences(from first: RunInputs) -> [(path: String, what: String)] {
        var different: [(path: String, what: String)] = []
        for name in Set(inputs.keys).union(first.inputs.keys).sorted() {
            switch (first.inputs[name], inputs[name]) {
            case (let old?, let new?): if old.sum != new.sum { different.append((new.path, "the file has changed since the run began")) }
            case (nil, let new?): different.append((new.path, "the file was not there when the run began"))
            case (let old?, nil): different.append((old.path, "the file is gone since the run began"))
            case (nil, nil): break
            }
        }
        return different
    }

    /// The same for a run that is finished and needs its inputs no more: those that are still there.
    ///
    /// - Parameter check: as for `init`.
    func requireUnchanged(files: any Files, check: @escaping () throws -> Void = {}) throws {
        var different: [(path: String, what: String)] = []
        for (_, input) in inputs.sorted(by: { $0.key < $1.key }) where files.exists(input.path) && !files.isDirectory(input.path) {
            try check()
            guard try ContentHash(ofFile: input.path, files: files, check: check).description != input.sum else { continue }
            different.append((input.path, "the file has changed since the run began"))
        }
        try Self.refuse(different)
    }

    private static func refuse(_ different: [(path: String, what: String)]) throws {
        guard let first = different.first else { return }
        let others = different.count - 1
        throw LorikeetError.input(
            first.what + (others > 0 ? ", and \(others) more \(others == 1 ? "has" : "have")" : "") + ": a run goes on with the same inputs only",
            at: first.path,
            fix: "bring back what the run began with, or name another --output; --accept-changes goes on with what is changed")
    }
}
