import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The folders a run delivers, `adapter/`, `merged/`, `gguf/` and `bnb-4bit/`, and `files.json`: the check sum of every file the run made in them.
///
/// With these sums a missing or damaged part is recognised and made again, and the program's files are distinguished from a user's.
struct OutputParts {
    enum Part: String {
        case adapter, merged, gguf
        case bitsAndBytes = "bnb-4bit"

        static let all = [adapter, merged, gguf, bitsAndBytes]
    }

    /// The run's directory.
    let path: String
    let files: any Files
    /// How the recipe merges; nil where that does not matter.
    var merging: String?
    /// The forms in `gguf/` that the recipe exports; nil where that does not matter.
    var exports: String?
    /// Whether the recipe exports `bnb-4bit`; nil where that does not matter.
    var exportsDirectory: Bool?
    /// Called between two pieces of the files that are hashed or copied; what it throws ends that work.
    var check: () throws -> Void = {}

    var recordPath: String { path + "/files.json" }

    func place(_ part: Part) -> String { path + "/" + part.rawValue }

    /// Whether the part is there as it was made, and, for the merged model, made of the adapter that is there now, as the recipe says. A
    /// part without a record (of an older version) is whole when it can be opened.
    ///
    /// - Throws: exit 4 when something cannot be read.
    func isWhole(_ part: Part) throws -> Bool {
        guard files.isDirectory(place(part)) else { return false }
        guard let sums = try sums(part) else { return try opens(part) }
        guard try sums.allSatisfy({ try currentSum(place(part) + "/" + $0.name) == $0.sum }) else { return false }
        guard part != .adapter, let made = try record()[part.rawValue] else { return true }
        if let how = made["merging"]?.string, let merging, how != merging { return false }
        if part == .gguf, let exports, made["exports"]?.string != exports { return false }
        guard let origin = made["adapter"]?.string else { return true }
        return try origin == adapterSum()
    }

    /// Whether `files.json` says what the part was when it was made.
    func isRecorded(_ part: Part) throws -> Bool { try sums(part) != nil }

    /// Makes a part. An older part in its place is removed first, as far as its files are those that the record lists.
    ///
    /// - Parameter build: builds the part beside its place, calls `record` with the folder it built, and renames that to `place`. The check sums are
    ///   recorded before the renaming, so that a part in its place is always one that the record knows, whenever the process is killed.
    /// - Returns: where the older part is kept, when something in it is not, or no longer, what the run made.
    func make(_ part: Part, _ build: (_ place: String, _ record: (_ folder: String) throws -> Void) throws -> Void) throws -> String? {
        let kept = try discard(part)
        try build(place(part)) { try keepRecord(of: part, in: $0) }
        return kept
    }

    /// Makes a part of a folder that is built already.
    ///
    /// - Returns: as `make` above.
    func make(_ part: Part, from built: PendingFolder) throws -> String? {
        try make(part) { _, record in
            try record(built.path)
            try built.commit()
        }
    }

    /// The exported parts that the recipe asks for.
    var exported: [Part] { (exports ?? "" == "" ? [] : [.gguf]) + (exportsDirectory == true ? [.bitsAndBytes] : []) }

    /// Records the check sums of a part that `files.json` does not have.
    func recordIfNeeded(_ part: Part) throws {
        if try sums(part) == nil { try keepRecord(of: part, in: place(part)) }
    }

    /// The files of a folder, by name, with their check sums.
    func sums(in folder: String) throws -> [String: String] {
        var sums: [String: String] = [:]
        for name in try names(in: folder) where name != PendingFolder.marker && name != Self.card {
            sums[name] = try ContentHash(ofFile: folder + "/" + name, files: files, check: check).description
        }
        return sums
    }

    /// The files of a folder and of the folders in it (`additional_chat_templates/…`); links to folders are not followed.
    private func names(in folder: String) throws -> [String] {
        try files.list(folder).flatMap { name -> [String] in
            let path = folder + "/" + name
            guard files.isDirectory(path) else { return [name] }
            return files.isLink(path) ? [] : try files.list(path).filter { !files.isDirectory(path + "/" + $0) }.map { name + "/" + $0 }
        }
    }

    /// Bytes that the parts already take on the disk, and bytes left by a killed process that the next one frees.
    func keptBytes() throws -> Int64 {
        var sum: Int64 = 0
        // Files that this recipe does not export stay, and free nothing.
        for part in Part.all where part != .gguf && part != .bitsAndBytes || exported.contains(part) {
            let place = place(part)
            if files.isDirectory(place) {
                for name in try names(in: place) { sum += Int64(try files.byteCount(of: place + "/" + name)) }
            }
            sum += try PendingFolder.reusableBytes(of: place, known: [], files: files)
        }
        return sum
    }

    /// Clears what a killed process left of the parts; only the run's owner may.
    func clearLeftovers() throws {
        for part in Part.all { try PendingFolder.restore(place(part), known: [], files: files) }
    }

    // MARK: the record

    private func discard(_ part: Part) throws -> String? {
        var known = try (sums(part) ?? []).filter { try currentSum(place(part) + "/" + $0.name) == $0.sum }.map(\.name)
        if let sum = try currentSum(cardPath(part)), try cardSums(part).contains(sum) { known.append(Self.card) }
        var record = try record()
        if record[part.rawValue] != nil {
            record[part.rawValue] = nil
            try files.writeDurably(JSON.object(record).serialized(pretty: true) + "\n", to: recordPath)
        }
        guard let old = try PendingFolder.setAside(place(part), files: files) else { return nil }
        // A folder goes after what is in it.
        let folders = known.compactMap(\.beforeLastSlash)
        return try PendingFolder.clear(old, known: known + folders, files: files) ? nil : old
    }

    /// - Parameter folder: where the part is: in its place, or where it is built.
    private func keepRecord(of part: Part, in folder: String) throws {
        var entry: JSONObject = ["files": .object(JSONObject(try sums(in: folder).sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))]
        if part != .adapter {
            if part == .gguf { entry["exports"] = exports.map { .string($0) } }
            entry["adapter"] = try adapterSum().map { .string($0) }
            entry["merging"] = merging.map { .string($0) }
        }
        var record = try record()
        record[part.rawValue] = .object(entry)
        try files.writeDurably(JSON.object(record).serialized(pretty: true) + "\n", to: recordPath)
    }

    /// What `files.json` holds; nothing where it is missing or damaged.
    func record() throws -> JSONObject { try files.ownJSON(recordPath)?.object ?? [:] }

    func sums(_ part: Part) throws -> [(name: String, sum: String)]? {
        guard let entries = try record()[part.rawValue]?["files"]?.object?.entries else { return nil }
        // A name that leads out of the folder is not one of ours.
        let sums = entries.compactMap { entry in entry.value.string.map { (name: entry.key, sum: $0) } }.filter(\.name.isPathInFolder)
        return sums.isEmpty ? nil : sums
    }

    /// nil for what is not there.
    func currentSum(_ path: String) throws -> String? {
        guard files.exists(path), !files.isDirectory(path) else { return nil }
        return try ContentHash(ofFile: path, files: files, check: check).description
    }

    private func adapterSum() throws -> String? { try currentSum(place(.adapter) + "/adapter_model.safetensors") }

    private func opens(_ part: Part) throws -> Bool {
        do {
            switch part {
            case .adapter: _ = try AdapterFile.read(directory: place(part), files: files)
            case .merged, .bitsAndBytes: _ = try ModelSource.open(place(part), files: files)
            // Without a record it is not known which forms were meant.
            case .gguf: return false
            }
            return true
        } catch let error as LorikeetError where error.exit == .unusableInput {
            return false
        }
    }
}
