import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The checkpoints of a run: `checkpoints/step-000500/` with adapter, optimiser and, last of all, `trainer_state.json`.
///
/// A checkpoint is built beside its place and renamed. It counts when all its files are there and have the check sums that
/// `trainer_state.json` holds, its own among them. Nothing is removed before what replaces it is whole.
package struct CheckpointStore {
    package let directory: String
    package let files: any Files
    package let adapterConfiguration: AdapterConfiguration

    package init(directory: String, files: any Files, adapterConfiguration: AdapterConfiguration) {
        self.directory = directory
        self.files = files
        self.adapterConfiguration = adapterConfiguration
    }

    private static let stateFile = "trainer_state.json"
    private static let contents = ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors"]
    /// All that is ever written into a checkpoint; the second names are those of files that an older version left half written.
    static let known = fileNames.flatMap { [$0, $0 + ".partial"] }
    /// The files of a checkpoint.
    static let fileNames = contents + [stateFile]

    static func name(step: Int) -> String { "step-" + step.zeroPadded(to: 6) }

    private func path(step: Int) -> String { directory + "/" + Self.name(step: step) }

    /// Bytes of what checkpoints wrote into `directory`, leftovers of killed processes among it.
    package static func recognisedBytes(in directory: String, files: any Files) throws -> Int64 {
        guard files.isDirectory(directory) else { return 0 }
        return try files.list(directory).filter { $0.hasPrefix("step-") }.reduce(0) {
            try $0 + PendingFolder.recognisedBytes(in: directory + "/" + $1, known: known, files: files)
        }
    }

    // MARK: writing

    /// Writes a checkpoint, whole or not at all. A good checkpoint of this very state is not written again.
    ///
    /// - Throws: exit 4 when the disk fails; what was half written is removed and earlier checkpoints stay.
    package func save(_ adapters: TrainedSet, _ state: TrainerState) throws {
        if try isSaved(state) { return }
        let pending = try PendingFolder(for: path(step: state.step), files: files)
        do {
            try Self.writeAdapter(adapters, configuration: adapterConfiguration, to: pending.path, files: pending.files)
            try writeMoments(adapters, to: pending.path + "/optimizer.safetensors", files: pending.files)
            var json = state.json.object ?? [:]
            var sums = JSONObject()
            for file in Self.contents { sums[file] = .string(try ContentHash(ofFile: pending.path + "/" + file, files: files).description) }
            json["check_sums"] = .object(sums)
            sums[Self.stateFile] = .string(Self.checkSum(of: json))
            json["check_sums"] = .object(sums)
            try pending.files.writeDurably(JSON.object(json).serialized(pretty: true) + "\n", to: pending.path + "/" + Self.stateFile)
            try pending.commit(replacing: Self.known)
        } catch {
            pending.discard()
            throw error
        }
    }

    /// Whether a good checkpoint of exactly this state is there.
    private func isSaved(_ state: TrainerState) throws -> Bool {
        guard files.exists(path(step: state.step)) else { return false }
        do { return try verified(step: state.step).json.serialized() == state.json.serialized() } catch is Damage { return false }
    }

    /// Removes the oldest checkpoints so that `limit` good ones stay (0 keeps all).
    ///
    /// - Parameters:
    ///   - step: later checkpoints are not looked at.
    ///   - sparing: of the checkpoints up to this step the newest good one stays too: training may have to go back that far.
    ///   - best: the step of a checkpoint that stays too.
    func removeOld(upTo step: Int, limit: Int, sparing spared: Int = -1, best: Int? = nil) throws {
        guard limit > 0 else { return }
        var (kept, sparesOne) = (0, false)
        for old in try steps().reversed() where old <= step && old != best {
            let isNeeded = kept < limit || old <= spared && !sparesOne
            if !isNeeded {
                try PendingFolder.remove(path(step: old), known: Self.known, files: files)
            } else if try looksComplete(step: old) {
                kept += 1
                if old <= spared { sparesOne = true }
            }
        }
    }

    /// Removes the checkpoints of later steps, newest first.
    func remove(after step: Int) throws {
        for later in try steps().reversed() where later > step { try PendingFolder.remove(path(step: later), known: Self.known, files: files) }
    }

    /// Writes the adapter in PEFT's format.
    package static func writeAdapter(_ adapters: TrainedSet, configuration: AdapterConfiguration, to directory: String, files: any Files) throws {
        let values = UnsafeBufferPointer(adapters.floats(.values))
        try AdapterFile.write(
            directory: directory, configuration: configuration,
            tensors: adapters.tensors.map { ($0.name, $0.shape, UnsafeBufferPointer(rebasing: values[$0.range])) }, files: files)
    }

    private func writeMoments(_ adapters: TrainedSet, to path: String, files: any Files) throws {
        let values = Self.optimiserValues(adapters)
        let writer = try SafetensorsWriter(path: path, files: files, tensors: values.map { ($0.name, .f32, $0.shape) })
        for value in values { try writer.append(UnsafeRawBufferPointer(adapters.floats(named: value.name))) }
        try writer.finish()
    }

    /// What a checkpoint holds beside the trained tensors, as the step program names it.
    private static func optimiserValues(_ adapters: TrainedSet) -> [Value] {
        adapters.program.checkpointValues.filter { $0.name != PersistentName.parameters }
    }

    // MARK: reading

    /// Why a checkpoint cannot be used: its files are not what was written. What cannot be read is another matter, and an error: the
    /// next attempt may succeed, and an earlier checkpoint, or none, would throw away what was trained.
    struct Damage: Error {
        let what: String
    }

    /// Loads the newest checkpoint that is whole into `adapters`; nil when there is none. `warn` is called for each damaged one.
    ///
    /// - Parameter last: checkpoints of more steps are not looked at.
    /// - Throws: exit 4 when a checkpoint cannot be read; `adapters` and what is on the disk stay as they are.
    package func loadNewest(into adapters: TrainedSet, notAfter last: Int = .max, warn: (String) -> Void) throws -> TrainerState? {
        for step in try steps().reversed() where step <= last {
            do {
                return try load(step: step, into: adapters)
            } catch let damage as Damage {
                warn("the checkpoint \(path(step: step)) is damaged and skipped (\(damage.what))")
            }
        }
        return nil
    }

    /// Steps of the checkpoints that are there, ascending. What a killed process left is put right first.
    func steps() throws -> [Int] {
        guard files.exists(directory) else { return [] }
        let names = try files.list(directory)
        // `step-000500`, and `step-000500.partial` and `step-000500.replaced` beside it.
        let steps = Set(names.compactMap { $0.hasPrefix("step-") ? Int($0.prefix { $0 != "." }.dropFirst(5)) : nil }).filter { $0 >= 0 }
        for step in steps
        where names.contains(where: { $0.hasPrefix(Self.name(step: step) + ".") }) || files.exists(path(step: step) + "/" + PendingFolder.marker) {
            try PendingFolder.restore(path(step: step), known: Self.known, files: files)
        }
        return steps.filter { files.isDirectory(path(step: $0)) }.sorted()
    }

    /// Loads one checkpoint; everything is verified before the first number is copied.
    ///
    /// - Throws: `Damage`, or exit 4 where it cannot be read.
    @discardableResult func load(step: Int, into adapters: TrainedSet) throws -> TrainerState {
        let state = try verified(step: step)
        let path = path(step: step)
        func opened<Result>(_ body: () throws -> Result) throws -> Result {
            do { return try body() } catch let error as LorikeetError where error.exit == .unusableInput { throw Damage(what: error.description) }
        }
        let adapter = try opened { try AdapterFile.read(directory: path, files: files) }
        for tensor in adapters.tensors {
            guard let view = adapter.tensors[tensor.name], view.shape == tensor.shape, view.type == .f32 else {
                throw Damage(what: "its '\(tensor.name)' does not fit this adapter")
            }
        }
        let optimizer = try opened { try SafetensorsFile(path: path + "/optimizer.safetensors", files: files) }
        var views: [(name: String, view: TensorView)] = []
        for value in Self.optimiserValues(adapters) {
            // Older checkpoints have the step state in `trainer_state.json` alone.
            if value.name == PersistentName.state, optimizer.tensors[value.name] == nil { continue }
            guard let view = optimizer.tensors[value.name], view.type == .f32, view.elementCount == value.elementCount else {
                throw Damage(what: "its '\(value.name)' does not fit this adapter")
            }
            views.append((value.name, view))
        }
        try adapters.load(adapter)
        adapters.state = state.stepState
        for (name, view) in views { UnsafeMutableRawBufferPointer(adapters.floats(named: name)).copyMemory(from: view.bytes) }
        return state
    }

    /// The state a checkpoint holds, once all its files are found to be as they were written.
    private func verified(step: Int) throws -> TrainerState { try verified(step: step, in: path(step: step)) }

    /// The same for a checkpoint that stands in another folder.
    func verified(step: Int, in path: String) throws -> TrainerState {
        let names = try read { try files.list(path) }
        for name in Self.fileNames {
            guard names.contains(name) else { throw Damage(what: "\(name) is missing") }
            guard files.isRegular(path + "/" + name) else { throw Damage(what: "\(name) is not a regular file") }
        }
        let (state, sums) = try self.state(step: step, in: path)
        for file in Self.contents {
            let path = path + "/" + file
            let found = try read { try sums[Self.stateFile] == nil ? olderCheckSum(path) : ContentHash(ofFile: path, files: files).description }
            guard sums[file]?.string == found else { throw Damage(what: "the bytes of \(file) are not those that were written") }
        }
        return state
    }

    /// `trainer_state.json`, held to its own check sum and the ranges of its numbers.
    private func state(step: Int, in path: String) throws -> (state: TrainerState, sums: JSON) {
        let bytes = try read { try files.read(path + "/" + Self.stateFile) }
        guard let json = try? JSON.parse(bytes, source: Self.stateFile), let sums = json["check_sums"] else {
            throw Damage(what: "\(Self.stateFile) is not what was written")
        }
        // An older version wrote none for this file.
        if let sum = sums[Self.stateFile] {
            var (object, others) = (json.object ?? [:], sums.object ?? [:])
            others[Self.stateFile] = nil
            object["check_sums"] = .object(others)
            guard sum.string == Self.checkSum(of: object) else { throw Damage(what: "\(Self.stateFile) is not what was written") }
        }
        guard let state = TrainerState(json: json), state.step == step else { throw Damage(what: "a number of \(Self.stateFile) is out of its range") }
        return (state, sums)
    }

    /// Of `trainer_state.json`: of its text in one line, without the sum itself.
    private static func checkSum(of json: JSONObject) -> String { ContentHash(of: Array(JSON.object(json).serialized().utf8)).description }

    /// A checkpoint's files are there with the lengths that were written: enough to count it, without reading it all.
    private func looksComplete(step: Int) throws -> Bool {
        do {
            let path = path(step: step)
            let (_, sums) = try state(step: step, in: path)
            return try Self.contents.allSatisfy { name in
                guard files.exists(path + "/" + name) else { return false }
                let bytes = try read { try files.byteCount(of: path + "/" + name) }
                return sums[name]?.string?.hasPrefix("\(bytes)-") == true
            }
        } catch is Damage {
            return false
        }
    }

    /// Whatever keeps a checkpoint's file from being read is the machine's failure, permissions too.
    private func read<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as LorikeetError {
            throw LorikeetError.machine(
                "the checkpoint could not be read (\(error.what))", at: error.place,
                fix: "nothing is lost: fix the disk or the permissions and run the same command again, or move the checkpoint away to do without it")
        }
    }

    /// Length and FNV-1a over 64-bit words, as version 0.1 wrote before `ContentHash`.
    private func olderCheckSum(_ path: String) throws -> String {
        let bytes = try files.read(path)
        var hash = FNV1a()
        bytes.withUnsafeBytes { raw in
            let words = raw.count / 8
            for i in 0..<words { hash.add(raw.loadUnaligned(fromByteOffset: i * 8, as: UInt64.self)) }
            for byte in raw[(words * 8)...] { hash.add(UInt64(byte)) }
        }
        return "\(bytes.count)-" + String(hash.value, radix: 16)
    }
}
