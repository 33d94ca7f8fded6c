import LorikeetGround

/// Checkpoints of another directory, which are read and never changed.
extension CheckpointStore {
    /// A checkpoint of which every byte was found to be as it was written.
    package struct Whole: Sendable, Equatable {
        package let step: Int
        /// Where it stands.
        package let folder: String
        /// All of its files together.
        package let byteCount: Int64
        /// The step of the best checkpoint so far, where one is kept.
        package let best: Int?
        /// Where the steps were planned anew.
        let changes: [StepCourse.Change]
        /// Steps after which training ended early.
        let endedAt: Int?

        /// Steps that are left of training.
        ///
        /// - Parameter planned: steps by the recipe.
        package func left(of planned: Int) -> Int { max(0, (endedAt ?? StepCourse(planned: planned, changes: changes).total) - step) }
    }

    /// Finds the newest checkpoint that is whole, without changing anything on the disk. Links are not followed.
    ///
    /// - Parameter warn: called for each damaged one.
    /// - Throws: exit 4 when a checkpoint cannot be read.
    package func newestWhole(warn: (String) -> Void = { _ in }) throws -> Whole? { try whole(where: { _ in true }, warn: warn) }

    /// The checkpoint of one step; as `newestWhole`.
    package func whole(step: Int, warn: (String) -> Void = { _ in }) throws -> Whole? { try whole(where: { $0 == step }, warn: warn) }

    private func whole(where isMeant: (Int) -> Bool, warn: (String) -> Void) throws -> Whole? {
        guard files.isDirectory(directory), !files.isLink(directory) else { return nil }
        // `step-000500`, or `step-000500.replaced` where a process was killed before the new one had its name.
        let found = try files.list(directory).compactMap { name -> (step: Int, name: String)? in
            guard name.hasPrefix("step-"), !name.contains(".partial"), let step = Int(name.prefix { $0 != "." }.dropFirst(5)), step >= 0, isMeant(step) else {
                return nil
            }
            return (step, name)
        }
        for (step, name) in found.sorted(by: { ($0.step, $1.name) > ($1.step, $0.name) }) {
            let folder = directory + "/" + name
            guard files.isDirectory(folder), !files.isLink(folder) else { continue }
            do {
                let state = try verified(step: step, in: folder)
                let bytes = try Self.fileNames.reduce(Int64(0)) { try $0 + Int64(files.byteCount(of: folder + "/" + $1)) }
                return Whole(
                    step: step, folder: folder, byteCount: bytes, best: state.best.step, changes: state.changes, endedAt: state.endedAt)
            } catch let damage as Damage {
                warn("the checkpoint \(folder) is damaged and skipped (\(damage.what))")
            }
        }
        return nil
    }

    /// Copies a checkpoint of another directory here, unless a whole one of the same step is here. The copy is verified before it gets its name,
    /// and only then is what stood at its place removed.
    ///
    /// - Parameter check: called between two pieces of the copying; what it throws ends it.
    /// - Throws: exit 4 when the disk fails, or the copy has other bytes than the original; nothing here has changed then.
    package func adopt(_ whole: Whole, check: () throws -> Void = {}) throws {
        if try self.whole(step: whole.step) != nil { return }
        let pending = try PendingFolder(for: directory + "/" + Self.name(step: whole.step), files: files)
        do {
            for name in Self.fileNames { try pending.files.copyFile(whole.folder + "/" + name, to: pending.path + "/" + name, check: check) }
            do { _ = try verified(step: whole.step, in: pending.path) } catch let damage as Damage {
                throw LorikeetError.machine(
                    "the copy of the checkpoint is damaged (\(damage.what))", at: whole.folder, fix: "check both disks and run the same command again")
            }
            try pending.commit(replacing: Self.known)
        } catch {
            pending.discard()
            throw error
        }
    }
}
