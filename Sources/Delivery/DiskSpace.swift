import LorikeetGround

/// The check that a folder has room on the disk before it is written.
enum DiskSpace {
    /// - Parameters:
    ///   - needed: bytes of the folder.
    ///   - what: the folder's content, as the subject of the error's sentence.
    ///   - whenFull: the class of the error.
    /// - Throws: `whenFull` where the disk has less room, with how much is needed and how much is there.
    static func require(
        _ needed: Int64, for what: String, at directory: String, _ whenFull: LorikeetError.ExitClass, _ files: any Files
    ) throws {
        // What a killed process left is cleared first.
        let free = try files.freeBytes(at: directory) + PendingFolder.reusableBytes(of: directory, known: [], files: files)
        guard needed > free else { return }
        throw LorikeetError(
            whenFull, "\(what) takes \(Units.formatBytes(needed)) on the disk, which has \(Units.formatBytes(free))", at: directory,
            fix: "free some space, name another output, or choose a smaller form or type")
    }
}
