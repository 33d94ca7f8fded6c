import Glibc
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import Synchronization

/// A file of the store could not be written: samples are then kept in memory.
struct StoreFailure: Error {
    let cause: LorikeetError
}

/// Samples on disk, by the content they were made from: a second start need not tokenise again, and memory does not grow with the data.
///
/// An entry is two files: `samples-KEY.data` (the samples one behind the other) and `samples-KEY.index` (what they were made from, the data's
/// check sum, tables, the data report, its own check sum). Both are written under names of their own and renamed when they are whole, the
/// index last, so that several processes may make one entry. An entry is used only when both check sums hold and it was made from the same
/// inputs; else it is made anew. So nothing waits for the disk: what a power cut takes away is made anew. Above `limit`
/// the entries that were used longest ago are removed. A plan for a card checks the index alone, for the samples are many times as large: it takes lengths
/// from the index, and the few questions of the test from the samples as they are.
package struct SampleStore: Sendable {
    /// Bytes that all entries may have together.
    package static let limit: Int64 = 8 << 30
    /// Files under construction that were not written for so many seconds belong to a process that was killed.
    private static let abandonedAfter = 3600.0
    private static let prefix = "samples-"

    private let folder: String
    /// What decides the samples beside data and settings: program, tokenizer, template.
    private let identity: String
    private let files: any Files
    private let limit: Int64

    /// - Parameters:
    ///   - folder: made when it is missing.
    ///   - identity: of the program, the tokenizer and the template; see `description` of each.
    package init(folder: String, identity: String, files: any Files, limit: Int64 = SampleStore.limit) {
        (self.folder, self.identity, self.files, self.limit) = (folder, identity, files, limit)
    }

    /// What an entry is made from, as text.
    ///
    /// - Parameter check: called between two pieces of the files; what it throws ends the reading.
    /// - Throws: as reading the data files does.
    func key(_ settings: DatasetSettings, _ paths: DataFiles, embeddingRows: Int?, cpu: CPU, check: @escaping () throws -> Void) throws -> String {
        var lines = ["lorikeet samples 1", identity, settings.description, "embedding rows \(embeddingRows.map(String.init) ?? "any")"]
        for (name, list) in [("train", paths.train), ("validation", paths.validation)] {
            for path in list {
                let sum = try ContentHash(ofFile: path, files: files, parallel: { count, body in cpu.parallel(over: count, body) }, check: check)
                lines.append("\(name) \(path.debugDescription) \(sum)")
            }
        }
        return lines.joined(separator: "\n")
    }

    private func path(_ key: String) -> String {
        folder + "/" + Self.prefix + (ContentHash(of: Array(key.utf8)).description.split(separator: "-").last.map(String.init) ?? "")
    }

    /// The entry of a key; nil where there is none that holds.
    ///
    /// - Parameters:
    ///   - checksSamples: false does not read the samples for their check sum, only the index.
    ///   - check: called between two pieces of the samples; where it throws, the entry counts as none.
    func find(_ key: String, checksSamples: Bool, cpu: CPU, check: @escaping () throws -> Void) -> Dataset? {
        let place = path(key)
        guard files.exists(place + ".index"), let bytes = try? files.read(place + ".index"), let index = StoreIndex(bytes), index.key == key,
            let file = try? files.open(place + ".data"), let dataset = index.dataset(file),
            !checksSamples || (try? Self.sum(of: place + ".data", files, cpu, check: check)) == index.dataSum
        else { return nil }
        files.touch(place + ".index")
        return dataset
    }

    /// Opens a file for the samples of a key.
    ///
    /// - Parameter bytes: about how many it will have.
    /// - Throws: `StoreFailure` where the folder cannot be written or has too little room.
    func create(_ key: String, about bytes: Int) throws -> StoreFile {
        try StoreFile.guarded {
            try files.createDirectory(folder)
            let free = try files.freeBytes(at: folder)
            guard free > Int64(bytes) + 64 << 20 else {
                throw LorikeetError.machine(
                    "only \(Units.formatBytes(free)) are free", at: folder, fix: "free some space, or name another folder with --scratch")
            }
        }
        return try StoreFile(place: path(key), files: files)
    }

    /// Completes the entry of a dataset whose samples were written to `file`, and removes what is too much.
    func commit(_ dataset: Dataset, _ key: String, _ file: StoreFile, cpu: CPU) throws {
        try StoreFile.guarded {
            try file.commit(index: StoreIndex.bytes(dataset, key: key, dataSum: try Self.sum(of: file.partial, files, cpu)))
        }
        prune(keeping: path(key))
    }

    private static func sum(of path: String, _ files: any Files, _ cpu: CPU, check: @escaping () throws -> Void = {}) throws -> String {
        try ContentHash(ofFile: path, files: files, parallel: { count, body in cpu.parallel(over: count, body) }, check: check).description
    }

    // MARK: - What is too much

    /// Removes the entries that were used longest ago until the rest is below the limit, and what killed processes left.
    private func prune(keeping current: String) {
        guard let names = try? files.list(folder).filter({ $0.hasPrefix(Self.prefix) }), let now = files.modificationSeconds(of: current + ".index") else {
            return
        }
        func age(_ name: String) -> Double { files.modificationSeconds(of: folder + "/" + name).map { now - $0 } ?? 0 }
        let stems = Set(names.filter { $0.hasSuffix(".index") }.map { String($0.dropLast(".index".count)) })
        for name in names where name.hasSuffix(RealFiles.partialSuffix) || name.hasSuffix(".data") && !stems.contains(String(name.dropLast(".data".count))) {
            if age(name) > Self.abandonedAfter { try? files.remove(folder + "/" + name) }
        }
        func bytes(_ stem: String) -> Int64 {
            [".index", ".data"].reduce(0) { $0 + Int64((try? files.byteCount(of: folder + "/" + stem + $1)) ?? 0) }
        }
        var entries = stems.map { (stem: $0, age: age($0 + ".index"), bytes: bytes($0)) }.sorted { ($0.age, $0.stem) > ($1.age, $1.stem) }
        var total = entries.reduce(0) { $0 + $1.bytes }
        entries.removeAll { folder + "/" + $0.stem == current }
        for entry in entries where total > limit {
            // The index goes first: without it the rest is no entry.
            for ending in [".index", ".data"] { try? files.remove(folder + "/" + entry.stem + ending) }
            total -= entry.bytes
        }
    }
}

/// The data file of an entry while it is written.
final class StoreFile {
    private let place: String
    private let files: any Files
    /// Where the samples are until the entry is complete.
    let partial: String
    private let writer: any FileWriter
    private var isDone = false

    private static let counter = Atomic<Int>(0)

    init(place: String, files: any Files) throws {
        self.place = place
        self.files = files
        // One name a process and file: several may write the same entry.
        let partial = "\(place).\(getpid())-\(Self.counter.add(1, ordering: .relaxed).newValue)" + RealFiles.partialSuffix
        self.partial = partial
        writer = try Self.guarded { try files.create(partial) }
    }

    deinit { if !isDone { try? files.remove(partial) } }

    static func guarded<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as LorikeetError { throw StoreFailure(cause: error) }
    }

    func write(_ bytes: [UInt8]) throws { try Self.guarded { try bytes.withUnsafeBytes { try writer.write($0) } } }

    /// Everything written, for reading.
    func finish() throws -> any FileReader {
        try Self.guarded {
            try writer.close()
            return try files.open(partial)
        }
    }

    /// Gives both files their names, the index last.
    func commit(index: [UInt8]) throws {
        try files.rename(partial, to: place + ".data")
        isDone = true
        let beside = partial + ".index" + RealFiles.partialSuffix
        do {
            let writer = try files.create(beside)
            try index.withUnsafeBytes { try writer.write($0) }
            try writer.close()
            try files.rename(beside, to: place + ".index")
        } catch {
            try? files.remove(beside)
            throw error
        }
    }
}
