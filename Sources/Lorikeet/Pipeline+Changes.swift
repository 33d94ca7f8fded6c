import LorikeetGround
import LorikeetJSON

/// Going on although settings or inputs have changed since the run began (`--accept-changes`).
extension Pipeline {
    /// What has changed, where that is to be accepted: settings, and inputs by their check sums.
    ///
    /// - Throws: exit 2 where an input is missing, exit 4 where it cannot be read.
    func changesToAccept() throws -> [String] {
        guard environment.acceptsChanges else { return [] }
        var changes = output.changes
        if let kept = try output.keptInputs(), let now = try currentInputs() { changes += now.differences(from: kept).map { "\($0.path): \($0.what)" } }
        return changes
    }

    /// Records the accepted changes in changes.json, and tells them.
    func recordChanges() throws {
        guard !acceptedChanges.isEmpty else { return }
        let entry: JSON = ["time": .number(environment.clock.now), "steps": JSON(checkpointBefore?.step ?? 0), "changes": JSON(acceptedChanges)]
        try output.write(["accepted": .array((output.recordedChanges()) + [entry])], to: output.changesJSON)
        for change in acceptedChanges { try reporter.warning("changed since the run began, and accepted: \(change)") }
    }
}

extension OutputDirectory {
    var changesJSON: String { path + "/changes.json" }

    /// The changes that were accepted so far: each with its time (seconds since 1970), the steps that were done, and the changes.
    func recordedChanges() throws -> [JSON] { try files.ownJSON(changesJSON)?["accepted"]?.array ?? [] }
}
