import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// Where training stands after a step: what a checkpoint holds beside the adapter and the optimiser's moments.
package struct TrainerState: Sendable, Equatable {
    /// Optimiser steps done.
    package var step = 0
    /// Sum over steps of their losses, and tokens so far: for the averages of the summary.
    package var lossSum = 0.0
    package var tokens = 0
    package var trainedTokens = 0
    /// Seconds spent in steps, over all processes that worked on this run.
    package var seconds = 0.0
    /// Steps that changed nothing, for their gradients were not finite; and those of them whose loss was no number either.
    package var skipped = 0
    package var unmeasured = 0
    /// Skipped steps in a row that no smaller loss scale can save.
    package var unrecoverable = 0
    /// Steps whose records are left out: they failed in a row, and would fail again the same way. Ascending.
    package var leftOut: [Range<Int>] = []
    /// How often training went back to a checkpoint.
    package var rewinds = 0
    /// float16's loss scale; nil where gradients need none.
    package var lossScaling: LossScaling?
    /// Evaluations so far: step and loss.
    package var evaluations: [Evaluation] = []

    package struct Evaluation: Sendable, Equatable {
        package var step: Int
        package var loss: Double
    }

    package init() {}

    /// The step state of a checkpoint that holds it here alone.
    var stepState: StepState {
        var result = StepState()
        if let lossScaling { (result.lossScale, result.goodSteps) = (lossScaling.scale, Float(lossScaling.goodSteps)) }
        result.updates = Float(step - skipped)
        return result
    }

    /// Mean loss of the steps so far.
    package var meanLoss: Double { step > unmeasured ? lossSum / Double(step - unmeasured) : 0 }

    var json: JSON {
        var json: JSONObject = [
            "global_step": JSON(step), "loss_sum": JSON(lossSum), "tokens": JSON(tokens), "trained_tokens": JSON(trainedTokens),
            "seconds": JSON(seconds),
            "evaluations": .array(evaluations.map { ["step": JSON($0.step), "eval_loss": JSON($0.loss)] }),
            "skipped_steps": JSON(skipped), "unmeasured_steps": JSON(unmeasured), "unrecoverable_steps": JSON(unrecoverable), "rewinds": JSON(rewinds),
            "left_out_steps": .array(leftOut.map { [JSON($0.lowerBound), JSON($0.upperBound)] }),
        ]
        if let lossScaling {
            json["loss_scale"] = JSON(Double(lossScaling.scale))
            json["loss_scale_good_steps"] = JSON(lossScaling.goodSteps)
        }
        return .object(json)
    }

    init?(json: JSON) {
        guard let step = json["global_step"]?.int, step >= 0 else { return nil }
        self.step = step
        lossSum = json["loss_sum"]?.double ?? 0
        tokens = json["tokens"]?.int ?? 0
        trainedTokens = json["trained_tokens"]?.int ?? 0
        seconds = json["seconds"]?.double ?? 0
        skipped = json["skipped_steps"]?.int ?? 0
        unmeasured = json["unmeasured_steps"]?.int ?? 0
        // Earlier checkpoints call it `hopeless_steps`.
        unrecoverable = json["unrecoverable_steps"]?.int ?? json["hopeless_steps"]?.int ?? 0
        rewinds = json["rewinds"]?.int ?? 0
        for entry in json["left_out_steps"]?.array ?? [] {
            if let bounds = entry.array?.compactMap(\.int), bounds.count == 2, bounds[0] >= 0, bounds[0] < bounds[1] { leftOut.append(bounds[0]..<bounds[1]) }
        }
        if let scale = json["loss_scale"]?.double { lossScaling = LossScaling(scale: Float(scale), goodSteps: json["loss_scale_good_steps"]?.int ?? 0) }
        for entry in json["evaluations"]?.array ?? [] {
            if let step = entry["step"]?.int, let loss = entry["eval_loss"]?.double { evaluations.append(Evaluation(step: step, loss: loss)) }
        }
    }
}

/// The checkpoints of a run: `checkpoints/step-000500/` with adapter, optimiser and, last of all, `trainer_state.json`.
///
/// A checkpoint is built beside its place and renamed; it counts when `trainer_state.json` is there and the files have the
/// sizes and check sums it names.
package struct CheckpointStore {
    package let directory: String
    package let files: any Files
    package let adapterConfiguration: AdapterConfiguration

    package init(directory: String, files: any Files, adapterConfiguration: AdapterConfiguration) {
        self.directory = directory
        self.files = files
        self.adapterConfiguration = adapterConfiguration
    }

    private static let contents = ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors"]

    static func name(step: Int) -> String {
        let digits = String(step)
        return "step-" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
    }

    /// Bytes of one checkpoint on disk, headers not counted.
    package static func bytes(elementCount: Int) -> Int { 12 * elementCount }

    /// Writes a checkpoint, whole or not at all, then removes the oldest beyond `limit` (0 keeps all).
    ///
    /// - Throws: exit 4 when the disk fails; what was half written is removed and earlier checkpoints stay.
    package func save(_ adapters: AdapterSet, _ state: TrainerState, limit: Int) throws {
        let name = Self.name(step: state.step)
        let beside = directory + "/" + name + ".partial"
        do {
            try files.remove(beside)
            try files.createDirectory(beside)
            try Self.writeAdapter(adapters, configuration: adapterConfiguration, to: beside, files: files)
            try writeMoments(adapters, to: beside + "/optimizer.safetensors")
            var sums = JSONObject()
            for file in Self.contents { sums[file] = .string(try checkSum(beside + "/" + file)) }
            var json = state.json.object ?? [:]
            json["check_sums"] = .object(sums)
            try files.writeDurably(JSON.object(json).serialized(pretty: true) + "\n", to: beside + "/trainer_state.json")
            try files.remove(directory + "/" + name)
            try files.rename(beside, to: directory + "/" + name)
        } catch {
            try? files.remove(beside)
            throw error
        }
        guard limit > 0 else { return }
        for old in try steps().dropLast(limit) { try files.remove(directory + "/" + Self.name(step: old)) }
    }

    /// Writes the adapter in PEFT's format.
    package static func writeAdapter(_ adapters: AdapterSet, configuration: AdapterConfiguration, to directory: String, files: any Files) throws {
        let values = UnsafeBufferPointer(adapters.floats(.values))
        try AdapterFile.write(
            directory: directory, configuration: configuration,
            tensors: adapters.entries.map {
                ($0.name, $0.shape, UnsafeBufferPointer(rebasing: values[$0.offset..<$0.offset + $0.elementCount]))
            }, files: files)
    }

    /// Loads the newest checkpoint that is whole into `adapters`; nil when there is none. `warn` hears of damaged ones.
    package func loadNewest(into adapters: AdapterSet, warn: (String) -> Void) throws -> TrainerState? {
        for step in try steps().reversed() {
            let path = directory + "/" + Self.name(step: step)
            do {
                return try load(path, into: adapters)
            } catch {
                warn("the checkpoint \(path) is damaged and skipped (\(error))")
            }
        }
        return nil
    }

    /// Steps of the checkpoints that are there, ascending; leftovers of a crash are removed.
    func steps() throws -> [Int] {
        guard files.isDirectory(directory) else { return [] }
        var steps: [Int] = []
        for name in try files.list(directory) {
            if name.hasSuffix(".partial") { try files.remove(directory + "/" + name) }
            if name.hasPrefix("step-"), let step = Int(name.dropFirst(5)) { steps.append(step) }
        }
        return steps.sorted()
    }

    private func load(_ path: String, into adapters: AdapterSet) throws -> TrainerState {
        let statePath = path + "/trainer_state.json"
        let json = try JSON.parse(files.read(statePath), source: statePath)
        guard let state = TrainerState(json: json) else { throw LorikeetError.input("no usable 'global_step'", at: statePath) }
        for file in Self.contents {
            guard json["check_sums"]?[file]?.string == (try checkSum(path + "/" + file)) else {
                throw LorikeetError.input("its bytes are not those that were written", at: path + "/" + file)
            }
        }
        let optimizer = try SafetensorsFile(path: path + "/optimizer.safetensors", files: files)
        for value in Self.optimiserValues(adapters) {
            if value.name == PersistentName.state, optimizer.tensors[value.name] == nil {
                // Written before the step state was part of it.
                adapters.state = state.stepState
                continue
            }
            guard let view = optimizer.tensors[value.name], view.type == .f32, view.elementCount == value.elementCount else {
                throw LorikeetError.input("'\(value.name)' does not fit this adapter", at: path + "/optimizer.safetensors")
            }
            UnsafeMutableRawBufferPointer(adapters.floats(named: value.name)).copyMemory(from: view.bytes)
        }
        try adapters.load(AdapterFile.read(directory: path, files: files))
        return state
    }

    private func writeMoments(_ adapters: AdapterSet, to path: String) throws {
        let writer = try SafetensorsWriter(
            path: path, files: files,
            tensors: Self.optimiserValues(adapters).map { ($0.name, .f32, $0.shape) })
        for value in Self.optimiserValues(adapters) { try writer.append(UnsafeRawBufferPointer(adapters.floats(named: value.name))) }
        try writer.finish()
    }

    /// What a checkpoint holds beside the trained matrices, as the step program names it.
    private static func optimiserValues(_ adapters: AdapterSet) -> [Value] {
        adapters.program.checkpointValues.filter { $0.name != PersistentName.parameters }
    }

    /// Length and FNV-1a over 64-bit words: finds damage, not malice.
    private func checkSum(_ path: String) throws -> String {
        let bytes = try files.read(path)
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        bytes.withUnsafeBytes { raw in
            let words = raw.count / 8
            for i in 0..<words { hash = (hash ^ raw.loadUnaligned(fromByteOffset: i * 8, as: UInt64.self)) &* 0x100_0000_01B3 }
            for byte in raw[(words * 8)...] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        }
        return "\(bytes.count)-" + String(hash, radix: 16)
    }
}
