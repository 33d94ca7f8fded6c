extension Files {
    /// Checks that an output can be made at a path: it has a name that file systems take, nothing stands there that it would replace, and the folder it
    /// shall stand in is none or a folder.
    ///
    /// - Throws: exit 2.
    package func requireNew(_ path: String) throws {
        guard !path.isEmpty else { throw LorikeetError.input("the output has no name", fix: "name a file or folder that does not exist yet") }
        for part in path.pathParts where part.utf8.count > longestName {
            throw LorikeetError.input("the name is longer than \(longestName) bytes", at: path, fix: "name another output")
        }
        var parent = RealFiles.parent(of: path)
        while !exists(parent), parent != "/", parent != "." { parent = RealFiles.parent(of: parent) }
        guard !exists(parent) || isDirectory(parent) else {
            throw LorikeetError.input("this is no folder, so that nothing can be made in it", at: parent, fix: "name another output")
        }
        guard exists(path) else { return }
        let what = isLink(path) ? "link" : isDirectory(path) ? "folder" : "file"
        throw LorikeetError.input("a \(what) of this name exists, and nothing is overwritten", at: path, fix: "name another output, or move the \(what) away")
    }

    /// File systems take 255 bytes; a file or folder that is being written has a longer name than in the end.
    private var longestName: Int { 220 }
}
