import FailingFiles
import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetReporting
import Synchronization
import Testing

@testable import Lorikeet

/// A run that is asked to stop, or loses its directory or its model, in any of its steps.
struct GoingOnTests {
    private let files = RealFiles()

    /// The bytes of every file that a run makes and that tells no time.
    private func results(_ run: TinyRun) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for part in ["adapter", "checkpoints", "merged", "gguf", "run.yaml", "inputs.json", "files.json"] {
            let path = run.output + "/" + part
            guard files.isDirectory(path) else {
                found[part] = try Data(contentsOf: URL(fileURLWithPath: path))
                continue
            }
            for case let name as String in FileManager.default.enumerator(atPath: path) ?? .init() where files.isRegular(path + "/" + name) {
                found[part + "/" + name] = try Data(contentsOf: URL(fileURLWithPath: path + "/" + name))
            }
        }
        return found
    }

    private func tiny() throws -> TinyRun {
        var run = try TinyRun()
        run.options["export"] = "f16"
        return run
    }

    /// The run whose output has the same path as that of `run`, undisturbed.
    private func undisturbed(_ run: TinyRun) throws -> [String: Data] {
        #expect(try run.run(on: nil).error == nil)
        let made = try results(run)
        try FileManager.default.removeItem(atPath: run.output)
        return made
    }

    @Test func `asked to stop in any step it ends with 75, and the same command comes to the same bytes`() throws {
        let run = try tiny()
        let made = try undisturbed(run)
        #expect(made.count > 20 && made.keys.contains { $0.hasPrefix("checkpoints/step-000006/") } && made["gguf/model-F16.gguf"] != nil)
        for name in ["environment", "data", "formatting", "checks", "planning", "model loading", "training", "merging", "testing", "report"] {
            let heard = Heard()
            let stopped = try run.run(on: nil) {
                $0.sinks.append(heard)
                $0.shouldStop = { heard.isIn(name) }
            }
            #expect(stopped.error?.exit == .stoppedEarly, "\(name): \(String(describing: stopped.error))")
            if name != "training" { #expect(stopped.error?.description.contains("(\(name))") == true, "\(String(describing: stopped.error))") }
        }
        // Step after step of one run: each start came further than the one before.
        #expect(try run.run(on: nil).error == nil)
        let again = try results(run)
        for name in Set(made.keys).union(again.keys) { #expect(made[name] == again[name], "\(name)") }
    }

    @Test func `a test that was ended goes on behind the last form that was done`() throws {
        let run = try tiny()
        let whole = try run.run(on: nil)
        let summary = try run.json("summary.json")
        #expect(!files.exists(run.output + "/test.json"))
        let all = whole.events.count { $0.kind == .progress && $0.fields["name"]?.string == "testing" }
        try files.remove(run.output + "/summary.json")
        let heard = Heard()
        let kept = run.output + "/test.json"
        let stopped = try run.run(on: nil) {
            $0.sinks.append(heard)
            $0.shouldStop = { heard.isIn("testing") && ((try? RealFiles().readText(kept))?.contains(#""merged":"#) ?? false) }
        }
        #expect(stopped.error?.exit == .stoppedEarly && files.exists(kept), "\(String(describing: stopped.error))")
        let again = try run.run(on: nil)
        let rest = again.events.count { $0.kind == .progress && $0.fields["name"]?.string == "testing" }
        #expect(again.error == nil && rest < all / 2, "\(rest) of \(all)")
        for key in ["validation_loss_before", "validation_loss_after", "answers_right_after", "transfer", "merged_matches_adapter", "sidecar", "exports"] {
            #expect(try run.json("summary.json")[key] == summary[key], "\(key)")
        }
        #expect(!files.exists(kept))
        // What was found of other bytes does not count.
        try files.remove(run.output + "/summary.json")
        try files.writeDurably(#"{"key": "another", "found": {"merged": {"loss": 1, "answers": []}}}"#, to: kept)
        #expect(try run.run(on: nil).error == nil && run.json("summary.json")["transfer"] == summary["transfer"])
    }

    @Test(arguments: ["training", "merging", "testing"])
    func `a directory that is removed or renamed while the run works is not made again`(name: String) throws {
        let run = try tiny()
        let made = try undisturbed(run)
        let aside = run.output + "-aside"
        let outcome = try run.run(on: nil) { $0.sinks.append(Once(in: name) { try RealFiles().rename(run.output, to: aside) }) }
        #expect(outcome.error?.exit == .machineFailed && outcome.error?.place == run.output, "\(String(describing: outcome.error))")
        #expect(outcome.error?.description.contains("removed, renamed or emptied") == true && !files.exists(run.output))
        try files.rename(aside, to: run.output)
        #expect(try run.run(on: nil).error == nil)
        let again = try results(run)
        for file in Set(made.keys).union(again.keys) { #expect(made[file] == again[file], "\(file)") }
    }

    @Test(arguments: ["training", "merging", "testing"])
    func `a model that is written while it is in use ends the run, and nothing is made of it`(name: String) throws {
        let run = try tiny()
        let made = try undisturbed(run)
        let model = run.folder + "/model/model.safetensors"
        let own = try Data(contentsOf: URL(fileURLWithPath: model))
        let outcome = try run.run(on: nil) {
            $0.sinks.append(
                Once(in: name) {
                    let file = try #require(FileHandle(forWritingAtPath: model))
                    try file.seek(toOffset: UInt64(own.count - 8))
                    try file.write(contentsOf: Data(repeating: 0x3F, count: 8))
                })
        }
        #expect(outcome.error?.exit == .machineFailed && outcome.error?.place == model, "\(String(describing: outcome.error))")
        #expect(files.exists(run.output + "/merged") == (name == "testing") && !files.exists(run.output + "/summary.json"))
        // Another model is another run.
        #expect(try run.run(on: nil).error?.exit == .unusableInput)
        try own.write(to: URL(fileURLWithPath: model))
        #expect(try run.run(on: nil).error == nil)
        let again = try results(run)
        for file in Set(made.keys).union(again.keys) { #expect(made[file] == again[file], "\(file)") }
    }

    @Test func `where the file system has no locks a sentence says so, and elsewhere a second run is refused`() throws {
        let run = try TinyRun()
        let without = try run.run(on: nil, goal: .adapter, stopAfter: 1, files: FilesWithoutLocks())
        #expect(without.error?.exit == .stoppedEarly && without.texts.contains { $0.hasSuffix("has no locks: start no second process in it") })
        let lock = try files.lock(run.output + "/.lock")
        let second = try withExtendedLifetime(lock) { try run.run(on: nil, goal: .adapter) }
        #expect(second.error?.exit == .unusableInput && second.error?.kind == .alreadyRunning, "\(String(describing: second.error))")
        #expect(second.count(.step) == 0)
    }
}

extension GoingOnTests {
    /// Does something once, when the first event, or progress, of a numbered step comes that is not the step's beginning.
    private final class Once: EventSink {
        private let name: String
        private let body: () throws -> Void
        private var isIn = false
        private var isDone = false

        init(in name: String, _ body: @escaping () throws -> Void) { (self.name, self.body) = (name, body) }

        func receive(_ event: Event) throws {
            if event.kind == .phase { isIn = event.fields["name"]?.string == name }
            guard isIn, !isDone, event.kind != .phase else { return }
            isDone = true
            try body()
        }
    }

    /// The real disk, whose file system has no locks.
    private struct FilesWithoutLocks: Files {
        private let real = RealFiles()

        func read(_ path: String) throws -> [UInt8] { try real.read(path) }
        func map(_ path: String) throws -> MappedFile { try real.map(path) }
        func exists(_ path: String) -> Bool { real.exists(path) }
        func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
        func list(_ directory: String) throws -> [String] { try real.list(directory) }
        func createDirectory(_ path: String) throws { try real.createDirectory(path) }
        func remove(_ path: String) throws { try real.remove(path) }
        func rename(_ from: String, to: String) throws { try real.rename(from, to: to) }
        func create(_ path: String) throws -> any FileWriter { try real.create(path) }
        func openAppending(_ path: String) throws -> any FileWriter { try real.openAppending(path) }
        func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
    }
}
