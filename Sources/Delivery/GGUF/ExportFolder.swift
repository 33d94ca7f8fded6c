import LorikeetEngine
import LorikeetGround

/// One of the things that an export writes into its folder.
package struct ExportItem {
    /// As the user asked for it: `f16`, `lora-gguf`.
    package let form: String
    /// The file's name in the folder.
    package let name: String
    package let bytes: Int
    /// Writes it, through the files of the folder under construction; `progress` is called with the share that is done.
    let write: (_ path: String, _ files: any Files, _ progress: (Double) throws -> Void) throws -> Void
}

/// A folder of exported files. It is built beside its place and renamed when whole (see `PendingFolder`): a killed export leaves nothing in its place,
/// and the same command begins anew.
package struct ExportFolder {
    package let items: [ExportItem]
    /// Small files: name and text.
    private let texts: [(name: String, text: String)]
    private let files: any Files
    /// What the items are made from.
    private let sources: [ModelSource]

    /// - Parameter sources: what the items are made from: where one of its files has been changed meanwhile, the folder does not come about.
    package init(_ items: [ExportItem], texts: [(name: String, text: String)], from sources: [ModelSource], files: any Files) {
        (self.items, self.texts, self.sources, self.files) = (items, texts, sources, files)
    }

    /// Writes every item, after a check that the disk has room for all.
    ///
    /// - Parameters:
    ///   - directory: nothing may stand there.
    ///   - whenFull: the class of the error where the disk is too small: nothing was started, or a run fails that had begun.
    ///   - progress: called with the item and the share of it that is done; what it throws ends the writing, and nothing stays on the disk.
    ///   - whenBuilt: called with the folder that is built, complete, before it is renamed to `directory`; what it throws ends the writing likewise.
    /// - Throws: exit 3 (or `whenFull`) where the disk is too small; what an item throws.
    package func write(
        to directory: String, whenFull: LorikeetError.ExitClass = .doesNotFit, progress: (ExportItem, Double) throws -> Void = { _, _ in },
        whenBuilt: (_ folder: String) throws -> Void = { _ in }
    ) throws {
        try files.requireNew(directory)
        let needed = Int64(items.reduce(0) { $0 + $1.bytes } + texts.reduce(0) { $0 + $1.text.utf8.count })
        try DiskSpace.require(needed, for: "the export", at: directory, whenFull, files)
        let pending = try PendingFolder(for: directory, files: files)
        do {
            for item in items { try item.write(pending.path + "/" + item.name, pending.files) { try progress(item, $0) } }
            for (name, text) in texts { try pending.files.writeDurably(text, to: pending.path + "/" + name) }
            for source in sources { try source.files.requireUnchanged() }
            try whenBuilt(pending.path)
            try pending.commit()
        } catch {
            pending.discard()
            throw error
        }
    }
}
