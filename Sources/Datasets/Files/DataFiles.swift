import LorikeetGround

/// The files that a recipe's `data` and `validation` name.
package struct DataFiles: Sendable, Equatable {
    /// In the order in which they are read; never empty.
    package let train: [String]
    /// Empty where no validation records are named.
    package let validation: [String]

    /// Endings of files with records; each also with `.gz` and `.zst`.
    static let endings = [".jsonl", ".ndjson", ".json", ".csv", ".tsv"]

    /// Finds the files: names, patterns with `*`, `?` and `[…]`, and folders, of which `train.jsonl` and `validation.jsonl` (or another ending, or the
    /// numbered pieces of one: `train-00000-of-00002.jsonl`) are taken.
    ///
    /// - Throws: exit 2 where a name leads to no file, a folder has no training file or several of one name, or a file is named twice.
    package static func find(data: [String], validation: [String], files: any Files) throws -> DataFiles {
        guard !data.isEmpty, !data.contains("") else {
            throw LorikeetError.input("no data is named", fix: "give --data a file with records or a directory with train.jsonl")
        }
        var train: [String] = []
        var beside: [String] = []
        for name in data {
            if files.isDirectory(name) {
                let folder = try Folder(name, files: files)
                train += try folder.required("train")
                if validation.isEmpty { beside += try folder.validation() }
            } else {
                train += try expanded(name, files: files)
            }
        }
        let held = validation.isEmpty ? beside : try heldOut(validation, files: files)
        for list in [train, held] {
            var seen = Set<String>()
            if let twice = list.first(where: { !seen.insert($0).inserted }) {
                throw LorikeetError.input("the file is named twice", at: twice, fix: "name it once")
            }
        }
        return DataFiles(train: train, validation: held)
    }

    /// The files that `validation` names.
    package static func heldOut(_ validation: [String], files: any Files) throws -> [String] {
        try validation.flatMap { name in
            guard files.isDirectory(name) else { return try expanded(name, files: files) }
            let folder = try Folder(name, files: files)
            let found = try folder.validation()
            return found.isEmpty ? try folder.required("validation") : found
        }
    }

    private init(train: [String], validation: [String]) { (self.train, self.validation) = (train, validation) }

    /// A file, or the files that a pattern matches, sorted.
    private static func expanded(_ name: String, files: any Files) throws -> [String] {
        if files.exists(name) { return [name] }
        guard name.contains(where: { "*?[".contains($0) }) else { return [name] }
        let absolute = name.isAbsolutePath
        var found = [absolute ? "/" : ""]
        for part in name.pathParts {
            let pattern = Array(part.utf8)
            var next: [String] = []
            for folder in found {
                guard part.contains(where: { "*?[".contains($0) }) else {
                    next.append(joined(folder, part))
                    continue
                }
                let place = folder.isEmpty ? "." : folder
                guard files.isDirectory(place) else { continue }
                // As in a shell, a pattern does not match hidden files.
                let names = try files.list(place).filter { ($0.hasPrefix(".") == part.hasPrefix(".")) && matches(Array($0.utf8)[...], pattern[...]) }
                next += names.map { joined(folder, $0) }
            }
            found = next
        }
        let paths = found.filter { files.exists($0) && !files.isDirectory($0) }
        guard !paths.isEmpty else { throw LorikeetError.input("no file matches the pattern", at: name, fix: "check the path of the data") }
        return paths.sorted()
    }

    private static func joined(_ folder: String, _ name: String) -> String { folder.isEmpty || folder.hasSuffix("/") ? folder + name : folder + "/" + name }

    /// A shell's pattern: `*` any number of bytes, `?` one, `[abc]` and `[a-z]` one of them, `[!…]` another. Linear in text times stars.
    static func matches(_ text: ArraySlice<UInt8>, _ pattern: ArraySlice<UInt8>) -> Bool {
        var (text, pattern) = (text, pattern)
        /// Where to go on when what follows the last star does not match: one byte further.
        var retry: (text: ArraySlice<UInt8>, pattern: ArraySlice<UInt8>)?
        while true {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                retry = (text, pattern)
                continue
            }
            if text.isEmpty && pattern.isEmpty { return true }
            if let byte = text.first, let rest = matchesOne(byte, pattern) {
                text = text.dropFirst()
                pattern = rest
                continue
            }
            guard let (begin, after) = retry, !begin.isEmpty else { return false }
            retry = (begin.dropFirst(), after)
            (text, pattern) = (begin.dropFirst(), after)
        }
    }

    /// What is left of the pattern when its first element matches the byte.
    private static func matchesOne(_ byte: UInt8, _ pattern: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard let first = pattern.first else { return nil }
        if first == UInt8(ascii: "?") { return pattern.dropFirst() }
        if first == UInt8(ascii: "["), let close = pattern.dropFirst(2).firstIndex(of: UInt8(ascii: "]")) {
            var set = pattern[(pattern.startIndex + 1)..<close]
            let negated = set.first == UInt8(ascii: "!")
            if negated { set = set.dropFirst() }
            var inside = false
            while let low = set.first {
                if set.count >= 3, set[set.startIndex + 1] == UInt8(ascii: "-") {
                    inside = inside || low <= byte && byte <= set[set.startIndex + 2]
                    set = set.dropFirst(3)
                } else {
                    inside = inside || low == byte
                    set = set.dropFirst()
                }
            }
            return inside != negated ? pattern[(close + 1)...] : nil
        }
        return first == byte ? pattern.dropFirst() : nil
    }

    /// A folder with a training file and perhaps a validation file.
    private struct Folder {
        let path: String
        let names: [String]

        init(_ path: String, files: any Files) throws {
            self.path = path.hasSuffix("/") ? path : path + "/"
            names = try files.list(RealFiles.trimmed(path))
        }

        /// The file of this name with any ending, or its numbered pieces.
        func find(_ stem: String) throws -> [String] {
            let endings = DataFiles.endings.flatMap { [$0, $0 + ".gz", $0 + ".zst"] }
            let whole = names.filter { name in endings.contains { name == stem + $0 } }
            let pieces = names.filter { name in
                guard name.hasPrefix(stem + "-"), let ending = endings.first(where: { name.hasSuffix($0) }) else { return false }
                return name.dropFirst(stem.count).dropLast(ending.count).wholeMatch(of: /-\d+-of-\d+/) != nil
            }
            guard whole.count < 2, whole.isEmpty || pieces.isEmpty else {
                throw LorikeetError.input(
                    "the directory has several training files, \((whole + pieces).prefix(3).joined(separator: " and "))", at: path,
                    fix: "name the file that is meant")
            }
            return (whole + pieces).map { path + $0 }
        }

        func required(_ stem: String) throws -> [String] {
            let found = try find(stem)
            guard found.isEmpty else { return found }
            if let columns = names.first(where: { $0.hasPrefix(stem) && ($0.hasSuffix(".parquet") || $0.hasSuffix(".arrow")) }) { return [path + columns] }
            let shown = names.prefix(8).joined(separator: ", ")
            throw LorikeetError.input(
                "the directory has no \(stem).jsonl (it has \(shown.isEmpty ? "nothing" : shown))", at: RealFiles.trimmed(path),
                fix: "name a file or a pattern (\(path)*.jsonl), or put train.jsonl and validation.jsonl there")
        }

        func validation() throws -> [String] {
            let found = try SplitNames.validation.map { try find($0) }.filter { !$0.isEmpty }
            guard found.count < 2 else {
                throw LorikeetError.input(
                    "the directory has several validation files: \(found.compactMap(\.first).joined(separator: ", "))", at: path,
                    fix: "name one with --validation")
            }
            return found.first ?? []
        }
    }
}
