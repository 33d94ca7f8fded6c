extension Files {
    /// Bytes of all files in a folder and the folders below it. Links are not followed, and what cannot be read counts for nothing.
    package func bytes(under folder: String) -> Int64 {
        guard !isLink(folder), let names = try? list(folder) else { return 0 }
        return names.reduce(0) { sum, name in
            let path = folder + "/" + name
            if isLink(path) { return sum }
            return sum + (isDirectory(path) ? bytes(under: path) : Int64((try? byteCount(of: path)) ?? 0))
        }
    }
}
