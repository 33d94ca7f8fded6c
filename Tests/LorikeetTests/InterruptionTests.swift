import EmulatedDevice
import Foundation
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetReporting
import Synchronization
import Testing

@testable import Lorikeet

/// A stop request that comes while weights are loaded, tensors are written or files are hashed ends that work between two of its pieces.
struct InterruptionTests {
    private let files = RealFiles()

    /// A stop request that is there from the ask of a number on. It counts the asks.
    private final class Stop: Sendable {
        private let count = Atomic<Int>(0)
        let at: Int

        init(at: Int = .max) { self.at = at }

        var asks: Int { count.load(ordering: .relaxed) }
        func asked() -> Bool { count.add(1, ordering: .relaxed).newValue >= at }
    }

    /// The first, the middle and the last ask of a work that asked so often.
    private func moments(_ asks: Int) -> [Int] { [1, asks / 2, asks] }

    /// Names and bytes of everything in a folder.
    private func contents(_ folder: String) throws -> [String: [UInt8]] {
        let names = try files.list(folder).filter { !files.isDirectory(folder + "/" + $0) }
        return try Dictionary(uniqueKeysWithValues: names.map { ($0, try files.read(folder + "/" + $0)) })
    }

    // MARK: loading

    private static func model(hidden: Int) throws -> RandomModel {
        try RandomModel(
            [
                ("hidden_size", hidden), ("intermediate_size", 2 * hidden), ("num_hidden_layers", 2), ("num_attention_heads", 4), ("num_key_value_heads", 2),
                ("vocab_size", 300),
            ], type: .bf16)
    }

    @Test(arguments: [BaseStorage.stored, .nf4, .f16, .f32], [false, true])
    func `loading ends before the next part of a tensor, and frees what it had`(storage: BaseStorage, onCard: Bool) throws {
        // On the processor a linear is converted in several parts.
        let model = try Self.model(hidden: onCard ? 64 : 192)
        let cpu = CPU(threads: 2)
        let device = onCard ? EmulatedDevice() : nil
        let compute = Compute(cpu: cpu, device: device, element: onCard ? .bf16 : .f32)
        let whole = Stop()
        cpu.interruption = { whole.asked() }
        _ = try compute.model(model.source, storage: storage, lora: nil)
        #expect(whole.asks >= model.source.configuration.weights.count)
        if !onCard, storage == .nf4 { #expect(whole.asks > 2 * model.source.configuration.weights.count) }
        for moment in moments(whole.asks) {
            let stop = Stop(at: moment)
            cpu.interruption = { stop.asked() }
            #expect(throws: Interrupted.self) { _ = try compute.model(model.source, storage: storage, lora: nil) }
            // A second thread may be in the middle of a part.
            #expect(stop.asks <= moment + 1 && device?.allocatedBytes ?? 0 == 0, "\(moment) of \(whole.asks): \(stop.asks)")
        }
        cpu.interruption = nil
        #expect(throws: Never.self) { _ = try compute.model(model.source, storage: storage, lora: nil) }
    }

    @Test func `the check of float16's range ends before the next operation`() throws {
        var run = try TinyRun()
        run.options["compute-type"] = "float16"
        let heard = Heard()
        let stop = Stop(at: 4)
        let stopped = try run.run(on: EmulatedDevice(), goal: .adapter) {
            $0.sinks.append(heard)
            $0.shouldStop = { heard.isIn("training") && stop.asked() }
        }
        #expect(stopped.error?.exit == .stoppedEarly && stopped.error?.description.contains("(training)") == true, "\(String(describing: stopped.error))")
        #expect(heard.steps == 0 && !stopped.texts.contains { $0.hasPrefix("float16 is enough") })
        let again = try run.run(on: EmulatedDevice(), goal: .adapter)
        #expect(again.error == nil && again.texts.contains { $0.hasPrefix("float16 is enough") }, "\(String(describing: again.error))")
    }

    // MARK: exporting

    @Test(arguments: [["f16", "q8_0"], ["lora-gguf"], ["bnb-4bit"]])
    func `an export ends before the next block of rows, leaves nothing, and comes to the same bytes afterwards`(forms: [String]) throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil, goal: .adapter).error == nil)
        let input = { (path: String) in Exporter.Input(named: path, path: path) }
        let folder = run.folder + "/exports"
        try files.createDirectory(folder)
        func export(_ interruption: (@Sendable () -> Bool)?) throws -> Int {
            var exporter = try Exporter(.init(forms: forms, adapter: run.output + "/adapter"))
            exporter.interruption = interruption
            var tensors = 0
            _ = try exporter.write(
                input(run.folder + "/model"), adapter: input(run.output + "/adapter"), to: folder + "/made", warn: { _ in }, progress: { _, _ in tensors += 1 })
            return tensors
        }
        let whole = Stop()
        let tensors = try export { whole.asked() }
        let made = try contents(folder + "/made")
        #expect(tensors > 10 && whole.asks > 10 && !made.isEmpty)
        for moment in moments(whole.asks) {
            try FileManager.default.removeItem(atPath: folder)
            try files.createDirectory(folder)
            let stop = Stop(at: moment)
            #expect(throws: Interrupted.self) { _ = try export { stop.asked() } }
            #expect(stop.asks <= moment + 1, "\(moment) of \(whole.asks): \(stop.asks)")
            #expect(try files.list(folder) == [])
        }
        #expect(try export(nil) == tensors && contents(folder + "/made") == made)
    }

    @Test func `a large tensor is written a block of rows at a time, and a stop is heard between two`() throws {
        let model = try RandomModel(
            [
                ("hidden_size", 512), ("intermediate_size", 64), ("num_hidden_layers", 1), ("num_attention_heads", 8), ("num_key_value_heads", 1),
                ("vocab_size", 6144),
            ], type: .bf16)
        let cpu = CPU(threads: 2)
        let output = model.directory + "-merged"
        for into in [BaseStorage.stored, .nf4] {
            // The embedding comes first and has three blocks.
            let stop = Stop(at: 2)
            cpu.interruption = { stop.asked() }
            var tensors = 0
            #expect(throws: Interrupted.self) {
                try Merger(base: model.source, adapter: nil, settings: MergeSettings(type: .f16, into: into), files: files, cpu: cpu).write(
                    to: output, progress: { _ in tensors += 1 })
            }
            #expect(stop.asks == 2 && tensors == 0 && !files.exists(output))
        }
    }

    // MARK: a run

    /// The bytes of every file that a run makes and that tells no time.
    private func results(_ run: TinyRun) throws -> [String: [UInt8]] {
        try ["adapter", "merged", "gguf", "bnb-4bit"].reduce(into: [:]) { all, part in
            for (name, bytes) in try contents(run.output + "/" + part) { all[part + "/" + name] = bytes }
        }
    }

    @Test(arguments: ["model loading", "merging", "testing"])
    func `a run stops between two tensors, and the same command comes to the same bytes`(name: String) throws {
        var run = try TinyRun()
        run.options["export"] = "f16,lora-gguf,bnb-4bit"
        let (heard, whole) = (Heard(), Stop())
        let undisturbed = try run.run(on: nil) {
            $0.sinks.append(heard)
            $0.shouldStop = { heard.isIn(name) && whole.asked() }
        }
        #expect(undisturbed.error == nil && whole.asks > 20, "\(String(describing: undisturbed.error)) \(whole.asks)")
        let made = try results(run)
        for moment in [2, whole.asks / 2, whole.asks - 1] {
            try FileManager.default.removeItem(atPath: run.output)
            let (heard, stop) = (Heard(), Stop(at: moment))
            let stopped = try run.run(on: nil) {
                $0.sinks.append(heard)
                $0.shouldStop = { heard.isIn(name) && stop.asked() }
            }
            #expect(stopped.error?.exit == .stoppedEarly && stopped.error?.description.contains("(\(name))") == true, "\(String(describing: stopped.error))")
            // The work's own threads, and then the run, which says so.
            #expect(stop.asks <= moment + 3, "\(moment) of \(whole.asks): \(stop.asks)")
            #expect(try files.list(run.output).filter { $0.contains(".partial") } == [])
            #expect(try run.run(on: nil).error == nil)
            let again = try results(run)
            for file in Set(made.keys).union(again.keys) { #expect(made[file] == again[file], "\(file)") }
        }
    }

    @Test func `a run stops while its inputs are hashed, before it has written anything`() throws {
        let run = try TinyRun()
        let heard = Heard()
        let stopped = try run.run(on: nil, goal: .adapter) {
            $0.sinks.append(heard)
            $0.shouldStop = {
                let last = heard.events.last { $0.kind == .phase || $0.kind == .phaseEnd }
                return last?.kind == .phaseEnd && last?.fields["name"]?.string == "planning"
            }
        }
        #expect(stopped.error?.exit == .stoppedEarly && stopped.error?.description.contains("(planning)") == true, "\(String(describing: stopped.error))")
        #expect(!files.exists(run.output))
        #expect(try run.run(on: nil, goal: .adapter).error == nil)
    }

    // MARK: answering

    @Test func `answers end before the next operation of the model, and the rest is the same afterwards`() throws {
        let run = try TinyRun()
        let lines = (0..<6).map { #"{"prompt": "say \#(String(repeating: "x", count: $0)):"}"# }
        let records = try AskedRecords(Array(lines.joined(separator: "\n").utf8), source: "in.jsonl", system: nil, fields: AnswerFields())
        func answer(done: Int, _ interruption: (@Sendable () -> Bool)?) throws -> (count: Int, lines: [String]) {
            let cpu = CPU(threads: 2)
            cpu.interruption = interruption
            let model = try AnsweringModel(model: run.folder + "/model", adapter: nil, baseStorage: "auto", compute: Compute(cpu: cpu))
            var written: [String] = []
            let count = try model.answer(records, done: done, maxNewTokens: 6, sampling: SamplingOptions(), atATime: 1, fields: AnswerFields()) { line, _ in
                written.append(line)
                return true
            }
            return (count, written)
        }
        let whole = Stop()
        let all = try answer(done: 0) { whole.asked() }
        #expect(all.count == lines.count && all.lines.count == lines.count)
        let stop = Stop(at: whole.asks * 3 / 4)
        let some = try answer(done: 0) { stop.asked() }
        #expect(some.count > 0 && some.count < lines.count && stop.asks == stop.at, "\(some.count), \(stop.asks) of \(whole.asks)")
        #expect(try some.lines + answer(done: some.count, nil).lines == all.lines)
        // While the weights are loaded there is no answer yet.
        #expect(throws: Interrupted.self) { _ = try answer(done: 0) { true } }
    }

    @Test func `who calls the library is told that it was interrupted`() {
        let failure = LorikeetFailure(Interrupted())
        #expect(failure.kind == .interrupted && failure.exitCode == 75)
    }
}
