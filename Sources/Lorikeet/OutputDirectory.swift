import Glibc
import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetRecipe
import LorikeetTraining

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
    private var inputsJSON: String { path + "/inputs.json" }
    /// What of the run is delivered, and its record.
    var parts: OutputParts { OutputParts(path: path, files: files) }

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
            warnings = recipe.differences(from: theirs, role: .affectsBits).map { "\($0): the result will not be bit-identical to an undisturbed run's" }
        } else if files.isDirectory(path), try !files.list(path).allSatisfy(Self.firstNames.contains) {
            throw LorikeetError.input("the directory is not empty and holds no run", at: path, mend: "name another --output")
        } else if files.exists(path), !files.isDirectory(path) {
            throw LorikeetError.input("a file of that name is there", at: path, mend: "name another --output")
        }
        return warnings
    }

    /// What a directory may hold before it holds a recipe: a process was killed while it made it its own. The last is an older version's.
    private static let firstNames = [".lock", "run.yaml" + RealFiles.partialSuffix, "run.yaml.partial"]

    /// Makes the directory this recipe's; nobody else may use it while this object lives.
    ///
    /// - Throws: exit 2 when another process works in it, exit 4 when it cannot be written.
    package func claim(for recipe: Recipe) throws {
        try files.createDirectory(path)
        try takeLock()
        try files.writeDurably(recipe.yaml(), to: runYAML)
    }

    private func takeLock() throws {
        lock = open(path + "/.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
        // A file system without locks is not a reason to refuse work.
        guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK else { return }
        throw LorikeetError.input("another process works in the directory", at: path, mend: "wait for it, or name another --output")
    }

    /// A JSON file of the run.
    ///
    /// - Returns: nil where it is missing or damaged; `damaged` tells which.
    /// - Throws: exit 4 when it is there and cannot be read: what it says must not be forgotten for that.
    private func json(_ file: String) throws -> (json: JSON?, damaged: Bool) {
        guard files.exists(file) else { return (nil, false) }
        let bytes: [UInt8]
        do { bytes = try files.read(file) } catch let error as LorikeetError {
            throw LorikeetError.machine(
                "the run's file could not be read (\(error.what))", at: file,
                mend: "nothing is lost: mend the disk or the permissions and run the same command again")
        }
        let json = try? JSON.parse(bytes, source: file)
        return (json, json?.object == nil)
    }

    /// The summary of a run that ended; nil while there is work left.
    package func finishedSummary() throws -> JSON? {
        let summary = try json(summaryJSON).json
        return summary?["stopped_early"]?.bool == false ? summary : nil
    }

    /// Marks a finished run's summary as stopped early before something is made again: should this process be killed, the run must not
    /// count as tested.
    func markUnfinished() throws {
        guard var summary = try finishedSummary()?.object else { return }
        summary["stopped_early"] = true
        try write(.object(summary), to: summaryJSON)
    }

    /// Files and folders of a finished run that are missing, or not as they were made.
    ///
    /// - Parameter merged: the merged model is one of them.
    func brokenParts(merged: Bool) throws -> [String] {
        var broken: [String] = []
        if try keptChoices() == nil { broken.append(planJSON) }
        for part in merged ? [OutputParts.Part.adapter, .merged] : [.adapter] where try !parts.isWhole(part) { broken.append(parts.place(part)) }
        return broken
    }

    /// Bytes that an earlier process has already written here: they are part of what the plan asks for.
    package func keptBytes() throws -> Int64 {
        guard files.isDirectory(path) else { return 0 }
        return try parts.keptBytes() + CheckpointStore.recognisedBytes(in: checkpoints, files: files)
    }

    /// The choices of an earlier plan, to be replayed; nil without a plan that can be read.
    package func keptChoices() throws -> Plan.Choices? { try json(planJSON).json.flatMap(Plan.choices) }

    /// Whether an earlier plan is there and says nothing that can be used.
    func planIsDamaged() throws -> Bool { try files.exists(planJSON) && keptChoices() == nil }

    /// What the earlier plan foresaw on the card; 0 without one.
    func keptGPUBytes() throws -> Int64 { Int64(try json(planJSON).json?["predicted_gpu_bytes"]?.int ?? 0) }

    package func write(_ json: JSON, to file: String) throws { try files.writeDurably(json.serialized(pretty: true) + "\n", to: file) }

    // MARK: inputs

    /// The inputs of the first start; nil where none are kept.
    func keptInputs() throws -> RunInputs? { try json(inputsJSON).json.flatMap(RunInputs.init) }

    /// Whether a run has begun here whose inputs are not known: an older version began it, or the file is damaged.
    func inputsAreUnknown() throws -> Bool { try keptInputs() == nil && files.exists(planJSON) }

    /// Keeps the inputs of the first start.
    func save(_ inputs: RunInputs) throws { if try keptInputs() == nil { try write(inputs.json, to: inputsJSON) } }
}
