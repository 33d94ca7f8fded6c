import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetRecipe
import LorikeetTraining

/// A run's directory: who owns it, what was planned in it, what is finished.
package final class OutputDirectory {
    package let path: String
    let files: any Files
    private var lock: FileLock?
    private var isClaimed = false
    /// The directory that was claimed, whatever its name is by now.
    private var claimed: FolderIdentity?
    /// The recipe names other paths for its inputs than the run had before; `check` finds it.
    private(set) var inputsMoved = false
    /// The recipe delivers another merged model than the run did before; `check` finds it.
    private(set) var deliversOtherwise = false

    package var runYAML: String { path + "/run.yaml" }
    package var planJSON: String { path + "/plan.json" }
    package var summaryJSON: String { path + "/summary.json" }
    package var events: String { path + "/events.jsonl" }
    package var checkpoints: String { path + "/checkpoints" }
    package var adapter: String { path + "/adapter" }
    package var merged: String { path + "/merged" }
    package var gguf: String { path + "/gguf" }
    package var bitsAndBytes: String { path + "/" + OutputParts.Part.bitsAndBytes.rawValue }
    /// What `check` accepted, as `key: then -> now`.
    private(set) var changes: [String] = []
    private var inputsJSON: String { path + "/inputs.json" }
    /// What of the run is delivered, and its record.
    var parts: OutputParts {
        var parts = OutputParts(path: path, files: files, merging: merging, exports: exports?.words, exportsDirectory: exports?.hasDirectory)
        parts.check = check
        return parts
    }
    /// Called between two pieces of files that are hashed or copied, which may be as large as the model; what it throws ends that work.
    var check: () throws -> Void = {}
    private let merging: String?
    private let exports: ExportForms?

    /// - Parameter recipe: what will be delivered here; nil where that does not matter.
    package init(path: String, files: any Files, recipe: Recipe? = nil) {
        self.path = path
        self.files = files
        merging = recipe.map { "\($0.mergeDtype), \($0.mergeInto)" }
        exports = recipe.flatMap { try? ExportForms($0) }
    }

    /// The recipe of the run that made an adapter or a model, where its folder lies in the run's directory.
    static func recipe(ofPart folder: String, files: any Files = RealFiles()) -> Recipe? {
        let run = OutputDirectory(path: RealFiles.parent(of: folder), files: files)
        guard files.exists(run.runYAML), files.exists(run.planJSON) else { return nil }
        return try? Recipe.resolve(file: run.runYAML, options: [], files: files).recipe
    }

    /// Keys that decide which tensors are trained: checkpoints of other values cannot be gone on from.
    private static let shapingKeys = ["lora.r:", "lora.target_modules:"]

    /// Finds whether the directory is free or this recipe's; writes nothing.
    ///
    /// - Parameter accepting: another recipe is taken as a change of this run's; `changes` has its keys then.
    /// - Returns: warnings about what has changed without making it another run.
    /// - Throws: exit 2 when it belongs to another recipe (naming the keys) or holds something else.
    package func check(for recipe: Recipe, accepting: Bool = false) throws -> [String] {
        var warnings: [String] = []
        changes = []
        if files.exists(runYAML) {
            let theirs = try Recipe.resolve(file: runYAML, options: [], files: files).recipe
            let moved = recipe.differences(from: theirs, role: .input)
            inputsMoved = !moved.isEmpty
            // Where the first start's inputs are not known, their paths have to do.
            let different = try (keptInputs() == nil ? moved : []) + recipe.differences(from: theirs, role: .identity)
            let shaping = different.filter { change in Self.shapingKeys.contains { change.hasPrefix($0) } }
            guard different.isEmpty || accepting && shaping.isEmpty else {
                let fix = "name another --output, or remove the directory to start anew"
                throw LorikeetError.input(
                    "the directory belongs to another recipe (\(different.joined(separator: ", ")))", at: path,
                    fix: shaping.isEmpty ? fix + "; --accept-changes goes on with what is changed" : fix + ": checkpoints do not fit other trained tensors")
            }
            changes = different
            warnings = recipe.differences(from: theirs, role: .affectsBits).map { "\($0): the result will not be bit-identical to an undisturbed run's" }
            deliversOtherwise = !recipe.differences(from: theirs, role: .delivery).isEmpty
            if files.exists(checkpoints), files.isLink(checkpoints) || !files.isDirectory(checkpoints) {
                throw LorikeetError.input(
                    "this is a link or a file, and not the directory of checkpoints that the run made", at: checkpoints, fix: "move it away")
            }
        } else if files.isDirectory(path), try !files.list(path).allSatisfy(Self.firstNames.contains) {
            throw LorikeetError.input("the directory is not empty and holds no run", at: path, fix: "name another --output")
        } else if files.exists(path), !files.isDirectory(path) {
            throw LorikeetError.input("a file has this name", at: path, fix: "name another --output")
        }
        return warnings
    }

    /// Files that a directory without a recipe may hold: left by a process that was killed while it claimed the directory. The last name is an
    /// older version's.
    private static let firstNames = [".lock", "run.yaml" + RealFiles.partialSuffix, "run.yaml.partial"]

    /// Claims the directory for this recipe: writes `run.yaml` and holds a lock that keeps other processes out while this object lives. May be
    /// called again.
    ///
    /// - Returns: a warning where the file system has no locks.
    /// - Throws: exit 2 when another process works in it, exit 4 when it cannot be written.
    @discardableResult package func claim(for recipe: Recipe) throws -> String? {
        try files.createDirectory(path)
        var warning: String?
        if !isClaimed {
            do { lock = try files.lock(path + "/.lock") } catch let error as LorikeetError where error.kind == .alreadyRunning {
                throw LorikeetError.input("another process is using the directory", at: path, fix: "wait for it, or name another --output")
                    .of(.alreadyRunning)
            }
            isClaimed = true
            if lock == nil { warning = "the file system of \(path) has no locks: start no second process in it" }
        }
        try files.writeDurably(recipe.yaml(), to: runYAML)
        claimed = FolderIdentity(path)
        return warning
    }

    /// Checks that the directory that was claimed is still in its place; does nothing before it is claimed. What is written later would make half of it
    /// anew.
    ///
    /// - Throws: exit 4.
    func requireInPlace() throws {
        guard let claimed, FolderIdentity(path) != claimed || !files.exists(runYAML) else { return }
        throw LorikeetError.machine(
            "the output directory was removed, renamed or emptied while the run worked in it", at: path,
            fix: "bring it back and run the same command again; without it the run begins anew")
    }

    /// The summary of a run that ended; nil while there is work left.
    package func finishedSummary() throws -> JSON? {
        let summary = try files.ownJSON(summaryJSON)
        return summary?["stopped_early"]?.bool == false ? summary : nil
    }

    /// Marks a finished run's summary as stopped early before something is made again: should this process be killed, the run must not
    /// count as tested.
    func markUnfinished() throws {
        guard var summary = try finishedSummary()?.object else { return }
        summary["stopped_early"] = true
        try write(.object(summary), to: summaryJSON)
    }

    /// What keeps a finished run from being whole, a sentence each: files and folders that are missing, or not as they were made.
    ///
    /// - Parameter merged: the merged model is one of them.
    func faults(merged: Bool) throws -> [String] {
        let again = "is missing, or not as this recipe makes it: it is made again"
        var faults = try keptChoices() == nil ? ["\(planJSON) \(again)"] : []
        let tested = [OutputParts.Part.adapter, .merged] + parts.exported
        for part in merged ? tested : [.adapter] {
            if try !parts.isWhole(part) {
                faults.append("\(parts.place(part)) \(again)")
            } else if try !parts.isRecorded(part), files.exists(inputsJSON) {
                // Versions that keep no check sums of their inputs kept none of these either.
                faults.append("files.json has no check sums of \(parts.place(part)): it is looked at again")
            }
        }
        return faults
    }

    /// Bytes that an earlier process has already written here: they are part of what the plan asks for.
    package func keptBytes() throws -> Int64 {
        guard files.isDirectory(path) else { return 0 }
        return try readingOwn { try parts.keptBytes() + CheckpointStore.recognisedBytes(in: checkpoints, files: files) }
    }

    /// The choices of an earlier plan, to be replayed; nil without a plan that can be read.
    package func keptChoices() throws -> Plan.Choices? { try files.ownJSON(planJSON).flatMap(Plan.choices) }

    /// Whether the earlier plan makes the same choices and writes the same files; its predicted times may be others.
    func keepsPlan(_ plan: Plan) throws -> Bool {
        guard let kept = try files.ownJSON(planJSON) else { return false }
        return Plan.choices(from: kept) == plan.choices && kept["disk"] == plan.json["disk"]
    }

    /// Whether an earlier plan is there and says nothing that can be used.
    func planIsDamaged() throws -> Bool { try files.exists(planJSON) && keptChoices() == nil }

    /// What the earlier plan foresaw on the card; 0 without one.
    func keptGPUBytes() throws -> Int64 { Int64(try files.ownJSON(planJSON)?["predicted_gpu_bytes"]?.int ?? 0) }

    package func write(_ json: JSON, to file: String) throws { try files.writeDurably(json.serialized(pretty: true) + "\n", to: file) }

    // MARK: inputs

    /// The inputs of the first start; nil where none are kept.
    func keptInputs() throws -> RunInputs? { try files.ownJSON(inputsJSON).flatMap(RunInputs.init) }

    /// Whether a run has begun here whose inputs are not known: an older version began it, or the file is damaged.
    func inputsAreUnknown() throws -> Bool { try keptInputs() == nil && files.exists(planJSON) }

    /// Keeps the inputs of the first start, and where they stand now.
    func save(_ inputs: RunInputs) throws { if try keptInputs() != inputs { try write(inputs.json, to: inputsJSON) } }
}

/// Reads a file that the run itself wrote. Every failure to read it counts as the machine's, permissions included: going on without the
/// file would lose what it records.
///
/// - Throws: exit 4.
private func readingOwn<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as LorikeetError where error.exit == .unusableInput {
        throw LorikeetError.machine(
            "the run's file could not be read (\(error.what))", at: error.place,
            fix: "nothing is lost: fix the disk or the permissions and run the same command again")
    }
}

extension Files {
    /// A JSON file that the run wrote.
    ///
    /// - Returns: nil where it is missing or damaged.
    /// - Throws: exit 4 when it is there and cannot be read.
    func ownJSON(_ file: String) throws -> JSON? {
        guard exists(file) else { return nil }
        let bytes = try readingOwn { try read(file) }
        return try? JSON.parse(bytes, source: file)
    }
}
