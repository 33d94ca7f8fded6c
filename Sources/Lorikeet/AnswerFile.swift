import LorikeetDatasets
import LorikeetGround
import LorikeetJSON

/// The records of a JSONL file that ask a model, each with what it asks.
package struct AskedRecords {
    package struct Entry {
        /// The line as the file has it, without the brace that ends it.
        fileprivate let start: String
        package let asked: AskedRecord
        /// `file:line`.
        package let place: String
    }

    package let entries: [Entry]

    /// Reads all lines; empty ones count for nothing.
    ///
    /// - Parameters:
    ///   - source: the file's name, for errors.
    ///   - system: the system message of records that have none.
    ///   - fields: the keys that answers get.
    /// - Throws: exit 2 at the first line that is no record, asks nothing clearly, or already has one of the answer's keys.
    package init(_ bytes: [UInt8], source: String, system: String?, fields: AnswerFields) throws {
        var entries: [Entry] = []
        var start = 0
        var line = 0
        try bytes.withUnsafeBytes { bytes in
            if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { start = 3 }
            while start < bytes.count {
                let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
                defer { start = end + 1 }
                line += 1
                let text = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                if text.allSatisfy({ [0x20, 0x09, 0x0D].contains($0) }) { continue }
                entries.append(try Self.entry(text, source: source, line: line, system: system, fields: fields))
            }
        }
        guard !entries.isEmpty else { throw LorikeetError.input("the file has no record", at: source, fix: #"write one a line: {"prompt": "…"}"#) }
        self.entries = entries
    }

    private static func entry(
        _ text: UnsafeRawBufferPointer, source: String, line: Int, system: String?, fields: AnswerFields
    ) throws -> Entry {
        let place = "\(source):\(line)"
        guard let object = try JSON.parse(text, source: source, firstLine: line).object else {
            throw LorikeetError.input("the line is no JSON object", at: place, fix: #"write {"prompt": "…"}"#)
        }
        // First what it asks: another key for the answer helps only a record that asks something.
        let asked: AskedRecord
        do { asked = try AskedRecord(object, system: system) } catch { throw LorikeetError.input(error.reason, at: place, fix: error.fix) }
        if let key = fields.all.first(where: { object[$0] != nil }) {
            throw LorikeetError.input("the record already has the key '\(key)', which the answer gets", at: place, fix: "name another with --answer-field")
        }
        return Entry(start: Self.start(of: text), asked: asked, place: place)
    }

    /// A line's object without its last brace. Nothing else of it changes, so that its numbers keep every digit; only unprintable characters, which may
    /// go to a terminal, are escaped.
    ///
    /// - Parameter line: one JSON object.
    private static func start(of line: UnsafeRawBufferPointer) -> String {
        let space: [UInt8] = [0x20, 0x09, 0x0D]
        var bytes = line.drop { space.contains($0) }
        while let last = bytes.last, space.contains(last) { bytes.removeLast() }
        bytes.removeLast()
        while let last = bytes.last, space.contains(last) { bytes.removeLast() }
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.unicodeScalars.contains(where: \.isUnprintable) else { return text }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            // In a string they would be escaped: these stand between values.
            case "\t", "\r": result += " "
            case _ where scalar.isUnprintable: result += JSON.string(String(scalar)).serialized().dropFirst().dropLast()
            default: result.unicodeScalars.append(scalar)
            }
        }
    }

    /// Whether a line of an answer file is the answered record with this index.
    package func isAnswered(_ index: Int, by line: ArraySlice<UInt8>, _ fields: AnswerFields) -> Bool {
        guard entries.indices.contains(index), line.starts(with: entries[index].beginning(fields).utf8) else { return false }
        guard let object = try? line.withUnsafeBytes({ try JSON.parse($0, source: "") }).object else { return false }
        return object[fields.answer]?.string != nil && object[fields.reason]?.string != nil && object[fields.tokens]?.int != nil
    }
}

/// The keys that an answered record has beside its own.
package struct AnswerFields: Sendable {
    /// The answer's text.
    package let answer: String
    /// Why it ended: see `Answer.Ending`.
    package var reason: String { answer + "_finish_reason" }
    /// Its tokens, the end token included.
    package var tokens: String { answer + "_tokens" }

    package init(answer: String = "answer") { self.answer = answer }

    package var all: [String] { [answer, reason, tokens] }
}

/// Answers the records of a file, in their order, and writes each with its answer as a line.
///
/// Lines are collected in `OUTPUT.lorikeet-partial`, which is renamed to `OUTPUT` when the last is written. Where a process was stopped, the same
/// command goes on after the last whole line of it: `OUTPUT.lorikeet-partial.json` says which command that was. Another command is refused, and
/// leaves both files as they are, and so does a second process that is started meanwhile.
package final class AnswerFile {
    private let path: String
    private let files: any Files
    private let identity: JSON
    private var writer: (any FileWriter)?
    private var lock: FileLock?
    /// Records that an earlier process has answered.
    package private(set) var done = 0
    /// Lines that an earlier process left and that answer no record: the disk or another program has damaged them.
    package private(set) var damagedLines = 0

    private var partial: String { path + RealFiles.partialSuffix }
    private var sidecar: String { partial + ".json" }

    /// Finds what an earlier process left; writes nothing yet.
    ///
    /// - Parameter identity: everything that decides the answers.
    /// - Throws: exit 2 where a file of this name exists, or another command has begun to write it.
    package init(path: String, identity: JSONObject, files: any Files = RealFiles()) throws {
        self.path = path
        self.files = files
        self.identity = .object(identity)
        try requireOwn()
    }

    private func requireOwn() throws {
        try files.requireNew(path)
        // An empty one holds nothing that could be lost.
        guard files.exists(partial), try files.byteCount(of: partial) > 0, let different = try differences() else { return }
        throw LorikeetError.input(
            "answers of another command (\(different)) are there, which only that command can go on with", at: partial,
            fix: "run it again, name another --output, or remove the file to begin anew")
    }

    /// The identity of the command that began to write `path`; nil where none is known.
    ///
    /// - Throws: exit 4 where it cannot be read.
    package static func begun(_ path: String, files: any Files = RealFiles()) throws -> JSON? {
        try files.ownJSON(path + RealFiles.partialSuffix + ".json")
    }

    /// In what the command that began to write differs from this one; nil where it is this one.
    private func differences() throws -> String? {
        guard let known = try Self.begun(path, files: files)?.object else { return "unknown: \(sidecar) is missing or damaged" }
        let ours = identity.object ?? [:]
        let keys = ours.keys.filter { known[$0] != ours[$0] } + known.keys.filter { ours[$0] == nil }
        return keys.isEmpty ? nil : "other " + keys.joined(separator: ", ")
    }

    /// Opens the partial file: the one that this command began, or a new one. Its lines are kept up to the first that is torn or damaged.
    ///
    /// - Parameter isAnswered: whether a line, without its line feed, answers the record with this index.
    /// - Throws: exit 2 where another process is writing it, exit 4 where the disk fails.
    package func open(isAnswered: (Int, ArraySlice<UInt8>) -> Bool = { _, _ in true }) throws {
        try files.createDirectory(RealFiles.parent(of: path))
        lock = try files.lock(partial)
        // Another process may have ended since this one looked.
        try requireOwn()
        let bytes = try files.exists(partial) ? files.read(partial) : []
        var kept = 0
        while let end = bytes[kept...].firstIndex(of: UInt8(ascii: "\n")), isAnswered(done, bytes[kept..<end]) { (done, kept) = (done + 1, end + 1) }
        damagedLines = bytes[kept...].count { $0 == UInt8(ascii: "\n") }
        if kept < bytes.count {
            try files.writeDurably(Array(bytes[..<kept]), to: partial)
            // Another file has the name by now.
            lock = try files.lock(partial)
        }
        if kept == 0 { try files.writeDurably(identity.serialized(pretty: true) + "\n", to: sidecar) }
        writer = try files.openAppending(partial)
    }

    package func append(_ line: String) throws {
        var bytes = Array(line.utf8)
        bytes.append(UInt8(ascii: "\n"))
        try bytes.withUnsafeBytes { try writer?.write($0) }
    }

    /// Gives the file its name.
    ///
    /// - Throws: exit 2 where something has that name by now, exit 4 where the disk fails.
    package func finish() throws {
        try files.requireNew(path)
        try writer?.sync()
        try writer?.close()
        writer = nil
        do { try files.rename(partial, to: path) } catch {
            // The name may not outlive a power failure: taken back, so that the same command goes on.
            if !files.exists(partial) { try? files.rename(path, to: partial) }
            throw error
        }
        // The answers are whole; what says how far they were is of no use any more.
        try? files.remove(sidecar)
        lock = nil
    }
}

extension AnsweringModel {
    /// Answers the records of a file and hands each out as a line, in the records' order.
    ///
    /// All prompts are read before the first is answered, so that a bad one stops everything while nothing is lost.
    ///
    /// - Parameters:
    ///   - done: records at the start that have been answered before.
    ///   - atATime: answers that are computed together.
    ///   - onLine: called with each line and the new tokens of its answer; returning false stops the rest.
    /// - Returns: how many records have been answered by now: not all where `onLine`, or the processor's `interruption` between two operations of the
    ///   model, stopped the rest.
    /// - Throws: exit 2 at the record that the model cannot be asked, exit 1 where logits are not finite.
    package func answer(
        _ records: AskedRecords, done: Int, maxNewTokens: Int, sampling: SamplingOptions, atATime slots: Int, fields: AnswerFields,
        onLine: (String, Int) throws -> Bool
    ) throws -> Int {
        var counter = RepetitionCounter()
        let repetitions = try records.entries.map { counter.next(try prompt($0.asked, at: $0.place)).repetition }
        var answered = done
        // Answers of a window end in any order; its lines wait for those before them.
        let window = 64 * max(1, slots)
        for start in stride(from: done, to: records.entries.count, by: window) {
            let range = start..<min(records.entries.count, start + window)
            let prompts = try range.map { AskedPrompt(ids: try prompt(records.entries[$0].asked, at: records.entries[$0].place), repetition: repetitions[$0]) }
            var waiting: [Int: Answer] = [:]
            var failure: (any Error)?
            var isStopped = false
            do {
                _ = try answers(to: prompts, maxNewTokens: maxNewTokens, sampling: sampling, slots: slots) { event in
                    guard case .answer(let index, let answer) = event else { return true }
                    waiting[start + index] = answer
                    do {
                        while !isStopped, let answer = waiting.removeValue(forKey: answered) {
                            let goesOn = try onLine(records.entries[answered].line(answer, fields), answer.newTokens)
                            answered += 1
                            if !goesOn { isStopped = true }
                        }
                    } catch {
                        (failure, isStopped) = (error, true)
                    }
                    return !isStopped
                }
            } catch is Interrupted {
                isStopped = true
            }
            if let failure { throw failure }
            if isStopped { break }
        }
        return answered
    }
}

extension AskedRecords.Entry {
    /// The record's line up to the text of the answer.
    fileprivate func beginning(_ fields: AnswerFields) -> String { start + "," + JSON.string(fields.answer).serialized() + ":" }

    /// The record with its answer, on one line.
    fileprivate func line(_ answer: Answer, _ fields: AnswerFields) -> String {
        let rest: [(key: String, value: JSON)] = [(fields.reason, .string(answer.ending.rawValue)), (fields.tokens, JSON(answer.newTokens))]
        return beginning(fields) + JSON.string(answer.text).serialized() + "," + JSON.object(JSONObject(rest)).serialized().dropFirst()
    }
}
