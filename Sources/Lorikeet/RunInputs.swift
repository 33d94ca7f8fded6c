import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe

/// The content of everything that decides a run's result or a number it reports: model, tokenizer and template, data, the adapter it
/// starts from. `inputs.json` keeps the check sums of the first start, and a run goes on only with the same bytes.
struct RunInputs: Equatable {
    /// By path, as the recipe leads to it.
    private(set) var sums: [String: String]

    /// Reads every input once.
    ///
    /// - Parameter parallel: runs a body for each index below a count, on as many threads as it likes.
    /// - Throws: exit 2 when an input is missing, exit 4 when it cannot be read.
    init(recipe: Recipe, source: ModelSource, files: any Files, parallel: (Int, (Int) -> Void) -> Void) throws {
        sums = [:]
        for path in try Self.paths(recipe, source, files) {
            sums[path] = try ContentHash(ofFile: path, files: files, parallel: parallel).description
        }
    }

    /// nil where `json` is not what `json` below writes.
    init?(json: JSON) {
        guard let object = json["files"]?.object else { return nil }
        sums = [:]
        for entry in object.entries {
            guard let sum = entry.value.string else { return nil }
            sums[entry.key] = sum
        }
    }

    var json: JSON { ["files": .object(JSONObject(sums.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))] }

    private static func paths(_ recipe: Recipe, _ source: ModelSource, _ files: any Files) throws -> [String] {
        // The weights that are used, and what stands beside them: configuration, tokenizer, template.
        var paths = Set(source.files.tensors.values.map(\.file.path))
        if !source.isGGUF {
            let endings = [".json", ".jinja", ".txt", ".model"]
            paths.formUnion(try files.list(source.path).filter { name in endings.contains { name.hasSuffix($0) } }.map { source.path + "/" + $0 })
        } else {
            paths.insert(source.path)
        }
        if let data = recipe.data {
            let folder = files.isDirectory(data)
            paths.insert(folder ? data + "/train.jsonl" : data)
            if let validation = recipe.validation ?? (folder && files.exists(data + "/validation.jsonl") ? data + "/validation.jsonl" : nil) {
                paths.insert(validation)
            }
        }
        if let start = recipe.initAdapter { paths.formUnion(["adapter_config.json", "adapter_model.safetensors"].map { start + "/" + $0 }) }
        return paths.filter { !files.isDirectory($0) }.sorted()
    }

    /// Refuses inputs that are not those of the first start.
    ///
    /// - Throws: exit 2 that names the first file and what became of it.
    func requireSame(as first: RunInputs) throws {
        var different: [(path: String, what: String)] = []
        for path in Set(sums.keys).union(first.sums.keys).sorted() {
            switch (first.sums[path], sums[path]) {
            case (let old?, let new?): if old != new { different.append((path, "the file has changed since the run began")) }
            case (nil, _?): different.append((path, "the file was not there when the run began"))
            default: different.append((path, "the file is gone since the run began"))
            }
        }
        try Self.refuse(different)
    }

    /// The same for a run that is finished and needs its inputs no more: those that are still there.
    func requireUnchanged(files: any Files) throws {
        var different: [(path: String, what: String)] = []
        for (path, sum) in sums.sorted(by: { $0.key < $1.key }) where files.exists(path) && !files.isDirectory(path) {
            guard try ContentHash(ofFile: path, files: files).description != sum else { continue }
            different.append((path, "the file has changed since the run began"))
        }
        try Self.refuse(different)
    }

    private static func refuse(_ different: [(path: String, what: String)]) throws {
        guard let first = different.first else { return }
        let others = different.count - 1
        throw LorikeetError.input(
            first.what + (others > 0 ? ", and \(others) more \(others == 1 ? "has" : "have")" : "") + ": another input is another run", at: first.path,
            mend: "bring back what the run began with, or name another --output")
    }
}
