import LorikeetGround
import LorikeetJSON

/// Which files of a repository are needed.
struct NeededFiles {
    let name: HubName
    let settings: HubSettings
    let files: any Files

    struct Choice {
        /// nil for a data set.
        var model: ModelChoice?
        /// Files that are known to be needed; the shards that an index names come from `shards`.
        var files: [String]
        /// The weights among them.
        var weights: [String] = []
        /// The file that is opened; nil where it is the folder.
        var opened: String?
        var train: [String] = []
        var validation: [String] = []
    }

    /// - Parameter all: paths, and bytes where they are known.
    /// - Throws: exit 2 as `ModelChoice` and `DataChoice` say.
    func choose(_ all: [(path: String, size: Int64?)]) throws -> Choice {
        guard name.kind == .model else {
            let revision = name.revision.map { "@" + $0 } ?? ""
            let data = try DataChoice(
                of: all.map(\.path), part: name.part, name: name.id,
                conversion: "python3 -c \"from datasets import load_dataset; load_dataset('\(name.id)', split='train').to_json('train.jsonl')\"",
                written: { "hf://datasets/\(name.id)\(revision)/\($0)" })
            return Choice(files: data.train + data.validation, opened: data.train.first, train: data.train, validation: data.validation)
        }
        let model = try ModelChoice(of: all, part: name.part, name: name.id + (name.revision.map { "@" + $0 } ?? ""))
        switch model {
        case .gguf(let paths): return Choice(model: model, files: paths, weights: paths, opened: paths.first)
        case .directory(let beside, .files(let weights)): return Choice(model: model, files: beside + weights, weights: weights)
        case .directory(let beside, .index(let index)): return Choice(model: model, files: beside + [index])
        }
    }

    /// The shards that a model's index names, once it is in `folder`. The index is untrusted.
    ///
    /// - Throws: exit 2 where the file is not an index, or where it names anything but a file in the folder.
    func shards(of choice: Choice, folder: String) throws -> [String] {
        guard case .directory(_, .index(let index)) = choice.model else { return [] }
        let place = folder + "/" + index
        guard let map = try JSON.parse(files.read(place), source: place)["weight_map"]?.object else {
            throw LorikeetError.input("no 'weight_map' in it", at: place, fix: "name another model or revision")
        }
        let shards = try map.entries.map { entry -> String in
            guard let shard = entry.value.string, shard.isNameInFolder else {
                throw LorikeetError.input("the shard of '\(entry.key)' is no file's name", at: place, fix: "name another model or revision")
            }
            return shard
        }
        return Set(shards).sorted()
    }
}
