extension Files {
    /// Checks that an output can be made at a path: it has a name, and nothing stands there that it would replace.
    ///
    /// - Throws: exit 2.
    package func requireNew(_ path: String) throws {
        guard !path.isEmpty else { throw LorikeetError.input("the output has no name", fix: "name a file or folder that does not exist yet") }
        guard exists(path) else { return }
        let what = isLink(path) ? "link" : isDirectory(path) ? "folder" : "file"
        throw LorikeetError.input("a \(what) of this name exists, and nothing is overwritten", at: path, fix: "name another output, or move the \(what) away")
    }
}
