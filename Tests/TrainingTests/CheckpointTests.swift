import FailingFiles
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetTraining

/// What a checkpoint promises: what was saved is never lost, and what is damaged never used.
struct CheckpointTests {
    private func folder() -> String { FileManager.default.temporaryDirectory.appending(path: "checkpoints-" + UUID().uuidString).path }

    /// Adapters whose numbers all differ, and their like with other numbers.
    private func adapters(rank: Int = 4, start: Float) throws -> TrainedSet {
        let model = try Compute(cpu: CPU(threads: 1)).model(
            ModelSource.open(TrainerTests.llama), storage: .stored, lora: LoRASettings(r: rank, alpha: 8, targetModules: ["q_proj"]), seed: 5)
        for (offset, value) in model.adapters.program.checkpointValues.filter({ $0.name != PersistentName.state }).enumerated() {
            let floats = model.adapters.floats(named: value.name)
            for i in floats.indices { floats[i] = start + Float(offset) + Float(i) / 1024 }
        }
        return model.adapters
    }

    private func numbers(_ adapters: TrainedSet) -> [Float] {
        adapters.program.checkpointValues.flatMap { Array(adapters.floats(named: $0.name)) }
    }

    private func store(_ directory: String, _ files: any Files = RealFiles()) -> CheckpointStore {
        CheckpointStore(directory: directory, files: files, adapterConfiguration: AdapterConfiguration(r: 4, alpha: 8, dropout: 0, targetModules: ["q_proj"]))
    }

    private func state(step: Int, loss: Double = 3.25) -> TrainerState {
        var state = TrainerState()
        (state.step, state.lossSum, state.tokens, state.trainedTokens) = (step, loss * 3, 1234, 567)
        (state.skipped, state.stepsWithoutLoss, state.lossScaling) = (1, 1, LossScaling(scale: 4096, goodSteps: 1))
        state.evaluations = [.init(step: step, loss: 2.5)]
        return state
    }

    /// What the newest usable checkpoint holds, and the warnings on the way to it.
    private func newest(_ directory: String, _ files: any Files = RealFiles()) throws -> (state: TrainerState?, numbers: [Float], warnings: [String]) {
        let adapters = try adapters(start: -9)
        var warnings: [String] = []
        let state = try store(directory, files).loadNewest(into: adapters) { warnings.append($0) }
        return (state, numbers(adapters), warnings)
    }

    private func change(_ path: String, _ body: (inout Data) -> Void) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        body(&bytes)
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    @Test func `a state that is saved is not saved again`() throws {
        let directory = folder()
        try store(directory).save(adapters(start: 1), state(step: 2), limit: 0)
        let disk = DyingFiles(last: 1, end: .failure)
        try store(directory, disk).save(adapters(start: 1), state(step: 2), limit: 2)
        #expect(disk.changes == 0)
        // Damaged it is.
        try change(directory + "/step-000002/optimizer.safetensors") { $0[$0.count - 1] ^= 1 }
        try store(directory).save(adapters(start: 1), state(step: 2), limit: 2)
        #expect(try newest(directory).warnings.isEmpty && RealFiles().list(directory) == ["step-000002"])
    }

    @Test(arguments: DyingFiles.End.allCases)
    func `a checkpoint that is replaced goes only when the new one is whole`(end: DyingFiles.End) throws {
        let (old, new) = (try adapters(start: 1), try adapters(start: 2))
        let count = DyingFiles(last: .max, end: end)
        let calm = folder()
        try store(calm).save(old, state(step: 2), limit: 0)
        try store(calm, count).save(new, state(step: 2, loss: 1), limit: 0)
        #expect(try newest(calm).numbers == numbers(new) && count.changes > 30)
        for last in 1...count.changes {
            let directory = folder()
            try store(directory).save(old, state(step: 2), limit: 0)
            #expect(throws: LorikeetError.self) { try store(directory, DyingFiles(last: last, end: end)).save(new, state(step: 2, loss: 1), limit: 0) }
            let found = try newest(directory)
            #expect(found.warnings.isEmpty, "change \(last): \(found.warnings)")
            #expect(found.numbers == numbers(found.state?.lossSum == 3 ? new : old) && found.state != nil, "change \(last)")
            #expect(try RealFiles().list(directory) == ["step-000002"] && RealFiles().list(directory + "/step-000002").count == 4, "change \(last)")
        }
    }

    @Test func `one changed bit of any file is noticed, or changes nothing`() throws {
        let directory = folder()
        let (first, second) = (try adapters(start: 1), try adapters(start: 2))
        try store(directory).save(first, state(step: 2), limit: 0)
        try store(directory).save(second, state(step: 4), limit: 0)
        var skipped = 0
        for name in try RealFiles().list(directory + "/step-000004") {
            let path = directory + "/step-000004/" + name
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            for index in stride(from: 0, to: bytes.count, by: name.hasSuffix("json") ? 1 : 977) {
                try change(path) { $0[index] ^= 1 << UInt8(index % 8) }
                let found = try newest(directory)
                if found.state == state(step: 4) {
                    // White space between the numbers.
                    #expect(name == "trainer_state.json" && found.numbers == numbers(second), "\(name) at \(index)")
                } else {
                    skipped += 1
                    #expect(found.state == state(step: 2) && found.numbers == numbers(first), "\(name) at \(index)")
                    #expect(found.warnings.count == 1 && found.warnings[0].contains("step-000004 is damaged and skipped"), "\(found.warnings)")
                }
                try bytes.write(to: URL(fileURLWithPath: path))
            }
            try RealFiles().remove(path)
            #expect(try newest(directory).warnings.first?.contains("\(name) is missing") == true)
            try bytes.write(to: URL(fileURLWithPath: path))
        }
        #expect(skipped > 900)
    }

    // MARK: numbers of older checkpoints, which have no check sum of their own

    /// Length and FNV-1a over 64-bit words.
    private func olderSum(_ path: String) throws -> String {
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        let words = bytes.count / 8 * 8
        for i in stride(from: 0, to: words, by: 8) {
            hash = (hash ^ (0..<8).reduce(0) { $0 | UInt64(bytes[i + $1]) << (8 * UInt64($1)) }) &* 0x100_0000_01B3
        }
        for byte in bytes[words...] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return "\(bytes.count)-" + String(hash, radix: 16)
    }

    private func makeOlder(_ checkpoint: String, _ body: (inout JSONObject) -> Void = { _ in }) throws {
        let path = checkpoint + "/trainer_state.json"
        var json = try JSON.parse(RealFiles().read(path), source: path).object ?? [:]
        var sums: JSONObject = [:]
        for name in ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors"] {
            sums[name] = .string(try olderSum(checkpoint + "/" + name))
        }
        json["check_sums"] = .object(sums)
        body(&json)
        try RealFiles().writeDurably(JSON.object(json).serialized(pretty: true), to: path)
    }

    @Test func `a checkpoint of an older version is used, and a damaged one is not`() throws {
        let directory = folder()
        try store(directory).save(adapters(start: 1), state(step: 2), limit: 0)
        try makeOlder(directory + "/step-000002")
        #expect(try newest(directory).state == state(step: 2) && newest(directory).warnings.isEmpty)
        try change(directory + "/step-000002/optimizer.safetensors") { $0[700] ^= 4 }
        #expect(try newest(directory).state == nil && newest(directory).warnings.count == 1)
    }

    private static let outOfRange: [(key: String, value: JSON)] = [
        ("global_step", .integer(.max)), ("global_step", -1), ("global_step", 3), ("global_step", 2.5), ("global_step", "2"), ("global_step", .null),
        ("loss_sum", 1e300), ("loss_sum", .null), ("tokens", .integer(.max)), ("tokens", -1), ("trained_tokens", .integer(.min)),
        ("skipped_steps", .integer(.max)), ("skipped_steps", 3), ("unmeasured_steps", -1), ("hopeless_steps", .integer(.max)),
        ("unrecoverable_steps", .integer(.max)), ("rewinds", -1), ("left_out_steps", [[3, 3]]), ("left_out_steps", [[0, .integer(.max)]]),
        ("loss_scale", 0), ("loss_scale", -4), ("loss_scale", 1e39), ("loss_scale", 1e8), ("loss_scale_good_steps", .integer(.max)),
        ("overflowed_steps", -1), ("repeated_steps", .integer(.max)), ("loss_spikes", 0.5), ("rate_changes", [["step": -1, "factor": 0.5]]),
        ("rate_changes", [["step": 1, "factor": 0]]), ("rate_changes", [["step": 1]]), ("course_changes", [["step": 4, "total_steps": 4]]),
        ("course_changes", [["step": 1, "total_steps": 9], ["step": 1, "total_steps": 8]]), ("loss_watch", ["losses": ["x"], "high": 0]),
        ("loss_watch", ["losses": [], "high": 9]), ("loss_scale_good_steps", -1), ("evaluations", [["step": .integer(.max), "eval_loss": 1]]),
        ("evaluations", [["step": 1]]),
    ]

    @Test(arguments: outOfRange)
    func `a number out of its range is damage, never a trap`(key: String, value: JSON) throws {
        let directory = folder()
        try store(directory).save(adapters(start: 1), state(step: 2), limit: 0)
        try makeOlder(directory + "/step-000002") {
            // The older name counts where the newer is missing.
            if key == "hopeless_steps" { $0["unrecoverable_steps"] = nil }
            $0[key] = value
        }
        let found = try newest(directory)
        #expect(found.state == nil && found.warnings.count == 1, "\(key) \(value): \(found.warnings)")
    }

    // MARK: what cannot be read, what does not fit, what is not ours

    @Test(arguments: [
        "step-000004", "step-000004/trainer_state.json", "step-000004/optimizer.safetensors", "step-000004/adapter_model.safetensors", "/steps",
    ])
    func `what cannot be read is the machine's failure: nothing is skipped, changed or removed`(path: String) throws {
        let directory = folder() + "/steps"
        try store(directory).save(adapters(start: 1), state(step: 2), limit: 0)
        try store(directory).save(adapters(start: 2), state(step: 4), limit: 0)
        for error in [LorikeetError.machine("cannot be read: Input/output error"), .input("cannot be read: Permission denied")] {
            let disk = UnreadableFiles(error: error) { $0.hasSuffix(path) }
            let adapters = try adapters(start: -9)
            let before = numbers(adapters)
            let thrown = #expect(throws: LorikeetError.self) {
                try store(directory, disk).loadNewest(into: adapters) { Issue.record("a warning: \($0)") }
            }
            #expect(numbers(adapters) == before && (thrown?.exit == .machineFailed || path == "/steps"), "\(String(describing: thrown))")
        }
        #expect(try newest(directory).state == state(step: 4) && newest(directory).warnings.isEmpty)
    }

    @Test func `nothing is copied from a checkpoint of another shape`() throws {
        let directory = folder()
        try store(directory).save(adapters(rank: 2, start: 1), state(step: 2), limit: 0)
        let found = try newest(directory)
        #expect(try found.state == nil && found.numbers == numbers(adapters(start: -9)))
        #expect(found.warnings.count == 1 && found.warnings[0].contains("does not fit this adapter"), "\(found.warnings)")
    }

    @Test func `damaged checkpoints do not push out good ones`() throws {
        let directory = folder()
        let adapters = try adapters(start: 1)
        for step in [2, 4, 6] { try store(directory).save(adapters, state(step: step), limit: 0) }
        try change(directory + "/step-000006/trainer_state.json") { $0.removeLast(40) }
        #expect(try newest(directory).state == state(step: 4))
        // Training goes on from step 4, and what is saved now is the newest that can be used.
        try store(directory).save(adapters, state(step: 5), limit: 1)
        #expect(try RealFiles().list(directory) == ["step-000005", "step-000006"])
        #expect(try newest(directory).state == state(step: 5))
        try change(directory + "/step-000005/optimizer.safetensors") { $0.removeLast(40) }
        try store(directory).save(adapters, state(step: 6), limit: 2)
        #expect(try RealFiles().list(directory) == ["step-000005", "step-000006"])
        #expect(try newest(directory).state == state(step: 6))
    }

    @Test func `what a user put among the checkpoints stays`() throws {
        let directory = folder()
        let files = RealFiles()
        let adapters = try adapters(start: 1)
        try files.createDirectory(directory + "/old.partial/mine")
        try files.createDirectory(directory + "/step-000099.partial")
        try files.writeDurably("mine", to: directory + "/step-000099.partial/notes.txt")
        // What an older version left half written.
        try files.createDirectory(directory + "/step-000098.partial")
        for name in ["adapter_model.safetensors", "optimizer.safetensors.partial"] {
            try files.writeDurably("x", to: directory + "/step-000098.partial/" + name)
        }
        try store(directory).save(adapters, state(step: 2), limit: 1)
        try files.writeDurably("mine", to: directory + "/step-000002/notes.txt")
        for step in [4, 6] { try store(directory).save(adapters, state(step: step), limit: 1) }
        #expect(try files.list(directory) == ["old.partial", "step-000002.partial", "step-000006", "step-000099.partial"])
        #expect(try files.list(directory + "/step-000002.partial") == ["notes.txt"])
        #expect(try files.readText(directory + "/step-000099.partial/notes.txt") == "mine" && files.isDirectory(directory + "/old.partial/mine"))
        #expect(try newest(directory).state == state(step: 6))
    }

    @Test func `what a kill after a save left goes when the run goes on`() throws {
        let directory = folder()
        for step in [2, 4, 6] { try store(directory).save(adapters(start: 1), state(step: step), limit: 0) }
        // Killed before the marker of the newest was removed, and before the oldest was.
        let marker = directory + "/step-000006/" + PendingFolder.marker
        try RealFiles().writeDurably("trainer_state.json\n", to: marker)
        #expect(try newest(directory).state == state(step: 6))
        #expect(!RealFiles().exists(marker))
        try store(directory).removeOld(upTo: 6, limit: 2)
        #expect(try RealFiles().list(directory) == ["step-000004", "step-000006"])
    }
}

extension CheckpointStore {
    /// Saves as training does: then the oldest beyond `limit` go.
    fileprivate func save(_ adapters: TrainedSet, _ state: TrainerState, limit: Int) throws {
        try save(adapters, state)
        try removeOld(upTo: state.step, limit: limit)
    }
}
