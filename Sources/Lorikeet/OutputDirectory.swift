import Glibc
import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetRecipe

/// A run's directory: who owns it, what was planned in it, what is finished.
package final class OutputDirectory {
    package let path: String
    private let files: any Files
    private var lock: Int32 = -1

    package var runYAML: String { path + "/run.yaml" }
    package var planJSON: String { path + "/plan.json" }
    package var summaryJSON: String { path + "/summary.json" }
    package var events: String { path + "/events.jsonl" }
    package var checkpoints: String { path + "/checkpoints" }
    package var adapter: String { path + "/adapter" }
    package var merged: String { path + "/merged" }

    package init(path: String, files: any Files) {
        self.path = path
        self.files = files
    }

    deinit { if lock >= 0 { close(lock) } }

    /// Finds whether the directory is free or this recipe's; writes nothing.
    ///
    /// - Returns: warnings about what has changed without making it another run.
    /// - Throws: exit 2 when it belongs to another recipe (naming the keys) or holds something else.
    package func check(for recipe: Recipe) throws -> [String] {
        var warnings: [String] = []
        if files.exists(runYAML) {
            let theirs = try Recipe.resolve(file: runYAML, options: [], files: files).recipe
            let different = recipe.differences(from: theirs, role: .identity)
            guard different.isEmpty else {
                throw LorikeetError.input(
                    "the directory belongs to another recipe (\(different.joined(separator: ", ")))", at: path,
                    mend: "name another --output, or remove the directory to start anew")
            }
            warnings = recipe.differences(from: theirs, role: .machine).map { "\($0): the result will not be bit-identical to an undisturbed run's" }
        } else if files.isDirectory(path), try files.list(path).contains(where: { $0 != ".lock" }) {
            throw LorikeetError.input("the directory is not empty and holds no run", at: path, mend: "name another --output")
        } else if files.exists(path), !files.isDirectory(path) {
            throw LorikeetError.input("a file of that name is there", at: path, mend: "name another --output")
        }
        return warnings
    }

    /// Makes the directory this recipe's; nobody else may use it while this object lives.
    ///
    /// - Throws: exit 2 when another process works in it, exit 4 when it cannot be written.
    package func claim(for recipe: Recipe) throws {
        try files.createDirectory(path)
        try takeLock()
        try files.writeDurably(recipe.yaml(), to: runYAML)
    }

    private func takeLock() throws {
        lock = open(path + "/.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        // A file system without locks is not a reason to refuse work.
        guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK else { return }
        throw LorikeetError.input("another process works in the directory", at: path, mend: "wait for it, or name another --output")
    }

    /// The summary of a run that ended; nil while there is work left.
    package func finishedSummary() -> JSON? {
        guard files.exists(summaryJSON), let text = try? files.read(summaryJSON), let json = try? JSON.parse(text, source: summaryJSON),
            json["stopped_early"]?.bool == false
        else { return nil }
        return json
    }

    /// Bytes that an earlier process has already written here: they are part of what the plan asks for.
    func keptBytes() -> Int64 {
        var sum: Int64 = 0
        var open = [checkpoints, adapter, merged]
        while let place = open.popLast() {
            if files.isDirectory(place) {
                open += ((try? files.list(place)) ?? []).map { place + "/" + $0 }
            } else {
                var status = stat()
                if stat(place, &status) == 0 { sum += Int64(status.st_size) }
            }
        }
        return sum
    }

    /// The choices of an earlier plan, to be replayed.
    package func keptChoices() throws -> Plan.Choices? {
        guard files.exists(planJSON) else { return nil }
        return Plan.choices(from: try JSON.parse(files.read(planJSON), source: planJSON))
    }

    /// What the earlier plan foresaw on the card; 0 without one.
    func keptGPUBytes() throws -> Int64 {
        guard files.exists(planJSON) else { return 0 }
        return Int64(try JSON.parse(files.read(planJSON), source: planJSON)["predicted_gpu_bytes"]?.int ?? 0)
    }

    package func write(_ json: JSON, to file: String) throws { try files.writeDurably(json.serialized(pretty: true) + "\n", to: file) }
}
