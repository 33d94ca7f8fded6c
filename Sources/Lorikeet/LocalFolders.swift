import LorikeetGround
import LorikeetHub

/// Finds the model or the records in a folder that is one above them, as a notebook's inputs (`/kaggle/input/NAME/transformers/0.6b/1`), a folder of
/// GGUF files and the hub's cache are.
struct LocalFolders {
    let files: any Files

    private func isFolder(_ path: String) -> Bool { files.isDirectory(path) }

    /// - Returns: `path` itself where it is a model, or holds none.
    /// - Throws: exit 2 naming them where it holds several.
    func model(_ path: String) throws -> InputLocator.Located {
        let folder = RealFiles.trimmed(path)
        guard isFolder(path), !["config.json", "adapter_config.json"].contains(where: { files.exists(folder + "/" + $0) }) else { return .init(path: path) }
        if let snapshot = Hub.newestSnapshot(in: folder, files: files) {
            return .init(path: snapshot, notes: ["\(path): its newest snapshot is used: \(snapshot)"])
        }
        let paths = try FolderListing.paths(in: folder, files: files)
        let configurations = paths.filter { $0.hasSuffix("/config.json") }.map { String($0.dropLast("/config.json".count)) }
        let models = configurations.filter { inner in paths.contains { $0.hasPrefix(inner + "/") && $0.hasSuffix(".safetensors") } }
        let ggufs = paths.filter { $0.lowercased().hasSuffix(".gguf") }
        guard !models.isEmpty || !ggufs.isEmpty else {
            // A run that has not merged yet.
            if let error = MissingPart.error(at: folder + "/merged", files: files) { throw error }
            return .init(path: path)
        }
        var found = models
        if models.isEmpty {
            guard
                case .gguf(let parts) = try ModelChoice(
                    of: ggufs.map { ($0, (try? files.byteCount(of: folder + "/" + $0)).map(Int64.init)) }, part: nil, name: path),
                let first = parts.first
            else { return .init(path: path) }
            found = [first]
        }
        guard found.count == 1 else {
            let list = found.sorted().prefix(12).map { "\(folder)/\($0)" }.joined(separator: ", ") + (found.count > 12 ? ", …" : "")
            throw LorikeetError.input("the folder holds \(found.count) models", at: path, fix: "name one: " + list)
        }
        return .init(path: "\(folder)/\(found[0])", notes: ["the model of \(path) is \(folder)/\(found[0])"])
    }

    /// - Returns: the adapter of a run's output; of another folder what `model` returns.
    /// - Throws: exit 2 where the run has not made its adapter yet.
    func adapter(_ path: String) throws -> InputLocator.Located {
        let folder = RealFiles.trimmed(path)
        guard files.exists(folder + "/run.yaml"), !files.exists(folder + "/adapter_config.json") else { return try model(path) }
        let inner = folder + "/" + OutputParts.Part.adapter.rawValue
        if let error = MissingPart.error(at: inner, files: files) { throw error }
        return .init(path: inner, notes: ["the adapter of \(path) is \(inner)"])
    }

    /// - Returns: `path` itself where it is a file, or a folder whose records are at its top under the usual name.
    /// - Throws: exit 2 naming the files where several could be meant, or none can be read.
    func data(_ path: String) throws -> InputLocator.Located {
        guard isFolder(path) else { return .init(path: path) }
        let folder = RealFiles.trimmed(path)
        guard try !files.list(folder).contains(where: { $0.hasPrefix("train.") }) else { return .init(path: path) }
        let choice = try DataChoice(
            of: FolderListing.paths(in: folder, files: files), part: nil, name: path,
            conversion: "python3 -c \"import pandas; pandas.read_parquet('\(path)').to_json('train.jsonl', orient='records', lines=True)\"",
            written: { "\(folder)/\($0)" })
        func full(_ paths: [String]) -> [String] { paths.map { "\(folder)/\($0)" } }
        func words(_ paths: [String]) -> String { (paths.first ?? "") + (paths.count > 1 ? " and \(paths.count - 1) more" : "") }
        return .init(
            paths: full(choice.train), validation: full(choice.validation),
            notes: [
                "the records of \(path) are \(words(choice.train))" + (choice.validation.isEmpty ? "" : ", those of validation \(words(choice.validation))")
            ])
    }
}
