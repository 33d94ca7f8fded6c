import LorikeetGround

/// The files of a data set that are trained on and validated with, found by their usual names.
package struct DataChoice: Equatable {
    /// One file, or the numbered pieces of one (`train-00000-of-00002.jsonl`) in order.
    package let train: [String]
    /// Empty where none is named so.
    package let validation: [String]

    /// Formats that are read, the preferred first, where the same name has several.
    private static let endings = ["jsonl", "ndjson", "json", "csv", "tsv"]
    private static let packed = [".gz", ".zst"]
    /// JSON that describes a data set.
    private static let descriptions: Set<String> = ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "dataset-metadata.json"]
    private static let words: [(split: Split, words: Set<String>)] = [
        (.train, Set(SplitNames.train)), (.validation, Set(SplitNames.validation)), (.test, ["test", "testing"]),
    ]

    private enum Split { case train, validation, test, unnamed }

    private struct File {
        let path: String
        let split: Split
        /// The path without its endings.
        let stem: String
        /// Lower is preferred.
        let rank: Int
    }

    /// - Parameters:
    ///   - paths: all files of the repository or folder.
    ///   - part: a file, or a folder that the files have to be in.
    ///   - name: what the files belong to, for errors.
    ///   - conversion: the command that makes JSONL of a data set that has Parquet alone.
    ///   - written: how one file of it is named, for the hint.
    /// - Throws: exit 2 where nothing fits, or several files do.
    package init(of paths: [String], part: String?, name: String, conversion: String, written: (String) -> String) throws {
        if let part, paths.contains(part) {
            guard Self.file(part) != nil else { throw Self.unreadable([part], name, conversion) }
            (train, validation) = ([part], [])
            return
        }
        let inside = part.map { part in paths.filter { $0.hasPrefix(part + "/") } } ?? paths
        guard !inside.isEmpty || part == nil else {
            let near = nearestName(to: part ?? "", among: paths.lazy.filter { $0.utf8.count < 200 && Self.file($0) != nil }.prefix(500).map { $0 })
            throw LorikeetError.input(
                "it has no file or folder '\(part ?? "")'", at: name, fix: near.map { "did you mean \(written($0))?" } ?? "look at its list of files")
        }
        let sets = try Self.sets(Self.preferred(inside.compactMap(Self.file)), name)
        guard !sets.isEmpty else { throw Self.unreadable(inside, name, conversion) }
        func list(_ sets: [[File]]) -> String {
            sets.prefix(12).map { written($0[0].path) }.joined(separator: ", ") + (sets.count > 12 ? " and \(sets.count - 12) more" : "")
        }
        let named = sets.filter { $0[0].split == .train }
        let candidates = named.isEmpty ? sets.filter { $0[0].split == .unnamed } : named
        guard candidates.count == 1 else {
            throw LorikeetError.input(
                candidates.isEmpty ? "it has no file of training records by its name" : "\(candidates.count) files of it could be the training records",
                at: name, fix: "name one: " + list(candidates.isEmpty ? sets : candidates))
        }
        let held = sets.filter { $0[0].split == .validation }
        guard held.count < 2 else {
            throw LorikeetError.input(
                "\(held.count) files of it could be the validation records", at: name,
                fix: "name the training file, \(list(candidates)), and with --validation one of: \(list(held))")
        }
        train = candidates[0].map(\.path)
        validation = held.first?.map(\.path) ?? []
    }

    /// Files that belong together: the numbered pieces of one, else each by itself.
    private static func sets(_ files: [File], _ name: String) throws -> [[File]] {
        var pieces: [String: [(number: Int, of: Int, file: File)]] = [:]
        var alone: [[File]] = []
        for file in files {
            if let match = file.stem.wholeMatch(of: /(.*)-(\d{1,6})-of-(\d{1,6})/), let number = Int(match.2), let count = Int(match.3) {
                pieces["\(match.1) \(file.rank) \(count)", default: []].append((number, count, file))
            } else {
                alone.append([file])
            }
        }
        let whole = try pieces.sorted { $0.key < $1.key }.map { _, found in
            guard found.count == found[0].of else {
                throw LorikeetError.input(
                    "only \(found.count) of the \(found[0].of) pieces are there (\(found[0].file.path))", at: name, fix: "name one file, or bring the others")
            }
            return found.sorted { $0.number < $1.number }.map(\.file)
        }
        return (alone + whole).sorted { $0[0].path < $1[0].path }
    }

    private static func file(_ path: String) -> File? {
        let base = path.lastPathPart ?? ""
        guard !descriptions.contains(base.lowercased()), !path.hasPrefix(".") else { return nil }
        var stem = Substring(path)
        var rank = 0
        for ending in packed where stem.lowercased().hasSuffix(ending) { (stem, rank) = (stem.dropLast(ending.count), 1) }
        guard let place = endings.firstIndex(where: { stem.lowercased().hasSuffix("." + $0) }) else { return nil }
        stem = stem.dropLast(endings[place].count + 1)
        return File(path: path, split: split(of: stem), stem: String(stem), rank: 2 * place + rank)
    }

    /// By the words of the path: the file's own name first, then its folders, the nearest first.
    private static func split(of stem: Substring) -> Split {
        for piece in stem.lowercased().pathParts.reversed() {
            let parts = piece.split { !$0.isLetter }.map(String.init)
            for (split, words) in words where parts.contains(where: words.contains) { return split }
        }
        return .unnamed
    }

    /// One file of those that have the same name in several formats.
    private static func preferred(_ files: [File]) -> [File] {
        Dictionary(grouping: files, by: \.stem).values.compactMap { $0.min { $0.rank < $1.rank } }.sorted { $0.path < $1.path }
    }

    private static func unreadable(_ paths: [String], _ name: String, _ conversion: String) -> LorikeetError {
        if let parquet = paths.first(where: { $0.lowercased().hasSuffix(".parquet") }) {
            return .input("its records are Parquet (\(parquet)), which is not read", at: name, fix: "convert them once: " + conversion)
        }
        let shown = paths.filter { !$0.hasPrefix(".") }.prefix(6).joined(separator: ", ")
        return .input(
            "it holds no JSONL, JSON or CSV records" + (shown.isEmpty ? "" : " (it has \(shown))"), at: name,
            fix: "name a data set with such files, or convert it")
    }
}
