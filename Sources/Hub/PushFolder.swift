import LorikeetGround
import LorikeetJSON

/// A folder as it is uploaded: a model's or an adapter's files and nothing else.
package struct PushFolder: Sendable, Equatable {
    package struct File: Sendable, Equatable {
        /// The path in the repository.
        package let path: String
        /// The path on this machine.
        package let place: String
        package let bytes: Int64
    }

    package let folder: String
    /// Ordered by path.
    package let files: [File]

    package var bytes: Int64 { files.reduce(0) { $0 + $1.bytes } }

    /// Names of files that belong to a model: weights, configuration, tokenizer, templates, its card, licences and the card's pictures.
    private static let endings = [
        ".safetensors", ".gguf", ".json", ".jinja", ".txt", ".md", ".model", ".jpg", ".jpeg", ".png", ".svg", ".gif", ".webp",
    ]
    private static let names: Set<String> = ["Modelfile", "LICENSE", "LICENCE", "NOTICE", ".gitattributes"]
    /// Files of checkpoints, which end in `.json` and `.safetensors` too.
    private static let checkpointNames: Set<String> = ["trainer_state.json", "optimizer.safetensors", "inputs.json", "summary.json", "plan.json", "files.json"]
    private static let mostFiles = 10_000

    /// - Throws: exit 2 naming the first entry that does not belong to a model, or is not whole: links, half-written files, checkpoints, hidden files,
    ///   anything of another kind; for a folder without a model; exit 4 where it cannot be read.
    package init(_ folder: String, disk: any Files) throws {
        let folder = RealFiles.trimmed(folder)
        guard disk.isDirectory(folder) else {
            throw LorikeetError.input(
                disk.exists(folder) ? "not a folder" : "no such folder", at: folder, fix: "name a folder: a run's merged/, adapter/, gguf/ or bnb-4bit/")
        }
        if disk.exists(folder + "/run.yaml"), !disk.exists(folder + "/config.json") {
            throw LorikeetError.input("a run's output holds several models", at: folder, fix: "say which: --part merged, adapter, gguf or bnb-4bit")
        }
        self.folder = folder
        files = try Self.list(folder, prefix: "", disk: disk).sorted { $0.path < $1.path }
        try requireModel(disk)
    }

    private static func list(_ folder: String, prefix: String, disk: any Files) throws -> [File] {
        var found: [File] = []
        for name in try disk.list(folder) {
            let (place, path) = (folder + "/" + name, prefix + name)
            if disk.isLink(place) {
                throw foreign("a link, which is not followed", place, fix: "put the file itself there, or move the link away")
            }
            guard path.isPathInFolder else { throw foreign("something whose name cannot be a path on a hub", place) }
            if let what = unfinished(name) { throw foreign(what, place, fix: "let the program that writes it finish, or move it away") }
            if disk.isDirectory(place) {
                guard prefix.utf8.count < 200, name != "checkpoints", !name.hasPrefix("checkpoint-"), !name.hasPrefix("step-") else {
                    throw foreign("a checkpoint, which is no model", place)
                }
                guard !name.hasPrefix(".") else { throw foreign("a hidden folder", place) }
                found += try list(place, prefix: path + "/", disk: disk)
            } else {
                if let what = kindProblem(name) { throw foreign(what, place) }
                found.append(File(path: path, place: place, bytes: Int64(try disk.byteCount(of: place))))
            }
            guard found.count <= mostFiles else { throw foreign("a folder of more than \(mostFiles) files", folder) }
        }
        return found
    }

    private static func unfinished(_ name: String) -> String? {
        if name == PendingFolder.marker || name.hasSuffix(RealFiles.partialSuffix) { return "half written" }
        let lower = name.lowercased()
        return [".partial", ".incomplete", ".part", ".tmp"].contains { lower.hasSuffix($0) || lower.contains($0 + "-") } ? "half written" : nil
    }

    private static func kindProblem(_ name: String) -> String? {
        // An export writes a Modelfile for each form: `Modelfile-Q4_K_M`.
        if names.contains(name) || name.wholeMatch(of: /Modelfile-[A-Za-z0-9_]+/) != nil { return nil }
        if ["LICENSE", "LICENCE", "NOTICE"].contains(where: { name.uppercased().hasPrefix($0) && !name.holdsSlash }) { return nil }
        if name.hasPrefix(".") { return "a hidden file, which is no part of a model" }
        if checkpointNames.contains(name) { return "a file of a run or checkpoint, which is no part of a model" }
        if [".bin", ".pt", ".pth", ".pkl", ".ckpt"].contains(where: name.lowercased().hasSuffix) {
            return "a pickle, which can run any code where it is loaded"
        }
        return endings.contains(where: name.lowercased().hasSuffix) ? nil : "no file of a model"
    }

    private static func foreign(_ what: String, _ place: String, fix: String = "move it away: only a model's files are uploaded") -> LorikeetError {
        .input("the folder is not uploaded: this is \(what)", at: place, fix: fix)
    }

    /// Checks that there are weights, and every shard that an index names.
    private func requireModel(_ disk: any Files) throws {
        let paths = Set(files.map(\.path))
        if paths.contains(ModelChoice.index) {
            let place = folder + "/" + ModelChoice.index
            let map = try JSON.parse(disk.read(place), source: place)["weight_map"]?.object
            if let missing = Set(map?.entries.compactMap(\.value.string) ?? []).sorted().first(where: { !paths.contains($0) }) {
                throw LorikeetError.input("the index names \(missing), which is not there", at: place, fix: "make the folder again")
            }
        }
        let isModel = paths.contains("config.json") && paths.contains { $0.hasSuffix(".safetensors") && !$0.holdsSlash }
        let isAdapter = paths.contains("adapter_config.json") && paths.contains("adapter_model.safetensors")
        guard isModel || isAdapter || paths.contains(where: { $0.lowercased().hasSuffix(".gguf") }) else {
            throw LorikeetError.input(
                "it holds no model: neither config.json with safetensors, nor an adapter, nor a GGUF", at: folder,
                fix: "name a run's merged/, adapter/, gguf/ or bnb-4bit/, or the output with --part")
        }
    }
}
