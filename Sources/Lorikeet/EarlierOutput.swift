import LorikeetGround
import LorikeetJSON
import LorikeetRecipe
import LorikeetTraining

/// How far a run has come in its directory.
enum RunProgress: Comparable, Equatable {
    /// No checkpoint is whole.
    case nothing
    case trained(steps: Int)
    /// The summary says that nothing is left to do.
    case finished

    var words: String {
        switch self {
        case .nothing: "without a complete checkpoint"
        case .trained(let steps): "at step \(steps)"
        case .finished: "finished"
        }
    }
}

/// An output of the same recipe that stands somewhere else: it is read where it is and never written.
struct EarlierOutput {
    let directory: OutputDirectory
    /// The recipe as it ran there: with the date that its chat template wrote.
    let recipe: Recipe
    let progress: RunProgress
}

extension OutputDirectory {
    private func checkpointStore(_ recipe: Recipe) -> CheckpointStore {
        CheckpointStore(directory: checkpoints, files: files, adapterConfiguration: recipe.adapterConfiguration)
    }

    /// The newest whole checkpoint; nil without one. Changes nothing on the disk.
    func newestCheckpoint(_ recipe: Recipe) throws -> CheckpointStore.Whole? { try checkpointStore(recipe).newestWhole() }

    func progress(_ recipe: Recipe, goal: Pipeline.Goal) throws -> RunProgress {
        guard files.exists(runYAML) else { return .nothing }
        if let summary = try finishedSummary(), goal == .adapter || summary["merged_matches_adapter"] != nil { return .finished }
        return try newestCheckpoint(recipe).map { .trained(steps: $0.step) } ?? .nothing
    }

    /// Copies what a run needs to go on from an earlier output of the same recipe. Everything is copied beside its place, verified and renamed,
    /// and the summary that ends a run comes last: a process that is killed meanwhile leaves what the same command goes on from.
    ///
    /// The directory has to be claimed.
    ///
    /// - Parameter warn: called for what is damaged there, and for what is kept here.
    /// - Throws: exit 3 when the disk has no room for it, exit 4 when something cannot be read or written.
    func adopt(_ earlier: EarlierOutput, warn: (String) throws -> Void) throws {
        let from = earlier.directory
        var warnings: [String] = []
        let checkpoint = try from.checkpointStore(earlier.recipe).newestWhole { warnings.append($0) }
        let best = try checkpoint?.best.flatMap {
            $0 == checkpoint?.step ? nil : try from.checkpointStore(earlier.recipe).whole(step: $0) { warnings.append($0) }
        }
        for warning in warnings { try warn(warning) }
        let missing = try OutputParts.delivered.filter { try !parts.isWhole($0) && from.parts.canBeAdopted($0) }
        let needed = try missing.reduce((checkpoint?.byteCount ?? 0) + (best?.byteCount ?? 0)) { try $0 + from.parts.bytes(of: $1) } + Self.recordBytes
        let free = try files.freeBytes(at: path)
        guard needed <= free else {
            throw LorikeetError(
                .doesNotFit,
                "copying the earlier output \(from.path) takes \(Units.formatBytes(needed)) on the disk, and \(Units.formatBytes(free)) are free", at: path,
                fix: "free some space, or name another --output")
        }
        for (name, isGood) in [
            ("inputs.json", try from.keptInputs() != nil), ("plan.json", try from.keptChoices() != nil), ("changes.json", try !from.recordedChanges().isEmpty),
        ] where isGood {
            try files.writeDurably(files.read(from.path + "/" + name), to: path + "/" + name)
        }
        var sessions = try from.sessions()
        for entry in try self.sessions().entries { sessions.add(entry) }
        if !sessions.entries.isEmpty { try save(sessions) }
        if !files.exists(events), files.isRegular(from.events) {
            try files.writeDurably(files.read(from.events), to: events)
        }
        // The newest comes last: with it the run goes on.
        for whole in [best, checkpoint].compactMap({ $0 }) { try checkpointStore(earlier.recipe).adopt(whole, check: check) }
        for part in missing {
            let result = try parts.adopt(part, from: from.parts)
            if !result.isWhole { try warn("the copy of \(from.parts.place(part)) has other bytes: the part is made again") }
            if let kept = result.kept { try warn("what stood at \(parts.place(part)) is kept in \(kept)") }
        }
        if earlier.progress == .finished, let summary = try from.finishedSummary() { try write(summary, to: summaryJSON) }
    }

    /// Room for run.yaml, plan.json and the other small files.
    private static let recordBytes: Int64 = 4 << 20
}

extension OutputParts {
    /// Parts that can be copied from an earlier output.
    static let delivered: [Part] = [.adapter, .merged]

    /// Whether the part is whole by the sums of `files.json`, and consists of regular files alone.
    func canBeAdopted(_ part: Part) throws -> Bool {
        guard !files.isLink(place(part)), let sums = try sums(part), try isWhole(part) else { return false }
        return sums.allSatisfy { entry in
            let folder = entry.name.beforeLastSlash.map { place(part) + "/" + $0 }
            return files.isRegular(place(part) + "/" + entry.name) && folder.map { !files.isLink($0) } ?? true
        }
    }

    /// Bytes of the files that the record lists.
    func bytes(of part: Part) throws -> Int64 { try (sums(part) ?? []).reduce(0) { try $0 + Int64(files.byteCount(of: place(part) + "/" + $1.name)) } }

    /// Makes a part by copying it.
    ///
    /// - Returns: `isWhole` false where the copy has other bytes than were recorded, with nothing changed here; `kept` as `make` says.
    func adopt(_ part: Part, from earlier: OutputParts) throws -> (isWhole: Bool, kept: String?) {
        let sums = try earlier.sums(part) ?? []
        let pending = try PendingFolder(for: place(part), files: files)
        do {
            for (name, _) in sums {
                if let folder = name.beforeLastSlash { try pending.files.createDirectory(pending.path + "/" + folder) }
                try pending.files.copyFile(earlier.place(part) + "/" + name, to: pending.path + "/" + name, check: check)
            }
            guard try sums.allSatisfy({ try currentSum(pending.path + "/" + $0.name) == $0.sum }) else {
                pending.discard()
                return (false, nil)
            }
            return (true, try make(part, from: pending))
        } catch {
            pending.discard()
            throw error
        }
    }
}
