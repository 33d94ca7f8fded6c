import FailingFiles
import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// `resume_from`: a run goes on from an output that stands somewhere else and cannot be written.
struct ResumeFromTests {
    private let files = RealFiles()
    private static let results = [
        "adapter/adapter_model.safetensors", "adapter/adapter_config.json", "merged/model.safetensors", "merged/config.json", "inputs.json",
    ]

    private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

    /// Every file below a folder: its bytes and when it was last changed.
    private func snapshot(_ folder: String) throws -> [String: String] {
        var found: [String: String] = [:]
        for name in FileManager.default.enumerator(atPath: folder)?.compactMap({ $0 as? String }) ?? [] {
            let path = folder + "/" + name
            found[name] = files.isDirectory(path) ? "folder" : "\(try ContentHash(ofFile: path, files: files)) \(files.modificationSeconds(of: path) ?? 0)"
        }
        return found
    }

    /// A run that was stopped after some steps, as an input of a notebook: `inputs/NAME/out`.
    private func attached(_ run: TinyRun, _ name: String, stopAfter: Int?) throws -> String {
        var earlier = run
        earlier.output = run.folder + "/inputs/\(name)/out"
        earlier.options["resume-from"] = nil
        let outcome = try earlier.run(on: nil, stopAfter: stopAfter)
        #expect(outcome.error?.exit == (stopAfter == nil ? nil : .stoppedEarly), "\(String(describing: outcome.error))")
        return earlier.output
    }

    @Test func `the result has the same bits as if the folder had stayed, and the earlier output is not touched`() throws {
        var run = try TinyRun()
        let undisturbed = try run.run(on: nil)
        #expect(undisturbed.error == nil && undisturbed.count(.step) == 6)
        let made = try Self.results.map { try bytes(run.output + "/" + $0) }
        let earlier = try attached(run, "version-1", stopAfter: 3)
        let before = try snapshot(earlier)
        run.output += "-next"
        run.options["resume-from"] = earlier
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil && outcome.count(.step) == 3, "\(String(describing: outcome.error))")
        #expect(outcome.texts.contains { $0.contains(earlier) && $0.contains("at step 3") }, "\(outcome.texts)")
        for (name, expected) in zip(Self.results, made) { #expect(try bytes(run.output + "/" + name) == expected, "\(name)") }
        #expect(try bytes(run.output + "/plan.json") == bytes(earlier + "/plan.json"))
        #expect(try snapshot(earlier) == before)
        // The earlier part of the run's history is there too.
        let events = try String(contentsOfFile: run.output + "/events.jsonl", encoding: .utf8).split(separator: "\n")
        #expect(events.count { $0.contains(#""event": "step""#) || $0.contains(#""event":"step""#) } == 6, "\(events.first ?? "")")
        // The next start needs the earlier output no more.
        try FileManager.default.removeItem(atPath: earlier)
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
    }

    @Test func `auto takes the furthest output of the recipe, and says which`() throws {
        var run = try TinyRun()
        _ = try attached(run, "a", stopAfter: 2)
        let best = try attached(run, "b/deeper", stopAfter: 4)
        _ = try attached(run, "c", stopAfter: 3)
        var other = run
        other.options["learning-rate"] = "2e-2"
        let others = try attached(other, "d", stopAfter: 5)
        // The same recipe on other records.
        let (data, own) = (run.folder + "/train.jsonl", try String(contentsOfFile: run.folder + "/train.jsonl", encoding: .utf8))
        try (own + #"{"prompt": "more:", "completion": "a"}"# + "\n").write(toFile: data, atomically: true, encoding: .utf8)
        let elsewhere = try attached(run, "e", stopAfter: 5)
        try own.write(toFile: data, atomically: true, encoding: .utf8)
        try files.createDirectory(run.folder + "/inputs/f")
        run.options["resume-from"] = "auto"
        let outcome = try run.run(on: nil, stopAfter: 0) { $0.inputFolders = [run.folder + "/nothing", run.folder + "/inputs"] }
        #expect(outcome.error?.description.contains("stopped at step 4") == true, "\(String(describing: outcome.error))")
        #expect(outcome.texts.contains { $0.contains("going on from \(best)") })
        #expect(outcome.texts.contains { $0.contains(others) && $0.contains("learning_rate") }, "\(outcome.texts)")
        #expect(outcome.texts.contains { $0.hasPrefix("not used: ") && $0.contains("has changed since the run began") }, "\(elsewhere) \(outcome.texts)")
        // A link to an output is not followed.
        var linked = run
        linked.output += "-linked"
        try files.createDirectory(run.folder + "/links")
        #expect(try files.createLink(run.folder + "/links/out", to: best))
        let none = try linked.run(on: nil, stopAfter: 0) { $0.inputFolders = [run.folder + "/links"] }
        #expect(none.error?.description.contains("stopped at step 0") == true && none.texts.contains { $0.contains("begins from the start") }, "\(none.texts)")
    }

    @Test func `what cannot be gone on from is refused by name before anything is written`() throws {
        var run = try TinyRun()
        var other = run
        other.options["lora-r"] = "4"
        let others = try attached(other, "other", stopAfter: 2)
        try files.createDirectory(run.folder + "/inputs/empty")
        for (place, words) in [(others, "lora.r: 4 -> 8"), (run.folder + "/inputs/empty", "holds no output"), (run.folder + "/missing", "no folder")] {
            run.options["resume-from"] = place
            let error = try run.run(on: nil).error
            #expect(error?.exit == .unusableInput && error?.description.contains(words) == true, "\(String(describing: error))")
            #expect(error?.description.contains("resume-from") == true && error?.place == place)
            #expect(!files.exists(run.output))
        }
    }

    @Test func `an output that is as far goes on by itself`() throws {
        var run = try TinyRun()
        let earlier = try attached(run, "version-1", stopAfter: 2)
        #expect(try run.run(on: nil, stopAfter: 3).error?.exit == .stoppedEarly)
        run.options["resume-from"] = earlier
        let outcome = try run.run(on: nil, stopAfter: 1)
        #expect(outcome.error?.description.contains("stopped at step 4") == true, "\(String(describing: outcome.error))")
        #expect(outcome.texts.contains { $0.contains("is continued") && $0.contains(earlier) }, "\(outcome.texts)")
        // One that is behind is overtaken.
        run.options["resume-from"] = try attached(run, "version-2", stopAfter: 5)
        #expect(try run.run(on: nil, stopAfter: 0).error?.description.contains("stopped at step 5") == true)
        // Its own earlier output may be gone by then.
        run.options["resume-from"] = run.folder + "/detached"
        #expect(try run.run(on: nil, stopAfter: 0).error?.description.contains("stopped at step 5") == true)
    }

    @Test func `a finished output is copied with its parts, and a damaged part is made again`() throws {
        var run = try TinyRun()
        let earlier = try attached(run, "version-1", stopAfter: nil)
        let made = try Self.results.map { try bytes(earlier + "/" + $0) }
        let calm = run.output
        for damage in [nil, "merged/model.safetensors", "adapter/adapter_model.safetensors"] {
            run.output = calm + (damage.map { $0.prefix(3) + "" } ?? "")
            run.options["resume-from"] = earlier
            var kept: Data?
            if let damage {
                kept = try bytes(earlier + "/" + damage)
                var bad = kept ?? Data()
                bad[bad.count - 3] ^= 1
                try bad.write(to: URL(fileURLWithPath: earlier + "/" + damage))
            }
            let outcome = try run.run(on: nil)
            #expect(outcome.error == nil && outcome.count(.step) == 0, "\(String(describing: outcome.error))")
            #expect((outcome.count(.phase) == 0) == (damage == nil))
            if damage == nil {
                // The parts that it names are those of the new folder.
                let text = outcome.texts.first { $0.hasPrefix("this run is finished: \(run.output)/summary.json\n") }
                #expect(text?.contains(run.output + "/merged") == true && text?.contains(earlier) == false, "\(outcome.texts)")
            }
            for (name, expected) in zip(Self.results, made) { #expect(try bytes(run.output + "/" + name) == expected, "\(damage ?? "whole"): \(name)") }
            run.options["resume-from"] = nil
            #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
            if let damage, let kept { try kept.write(to: URL(fileURLWithPath: earlier + "/" + damage)) }
        }
    }

    @Test func `the exports of a finished output are made again by the command that takes it over`() throws {
        var run = try TinyRun()
        run.options["export"] = "f16"
        let earlier = try attached(run, "version-1", stopAfter: nil)
        let made = try bytes(earlier + "/gguf/model-F16.gguf")
        run.options["resume-from"] = earlier
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil && outcome.count(.step) == 0, "\(String(describing: outcome.error))")
        #expect(try bytes(run.output + "/gguf/model-F16.gguf") == made)
        #expect(outcome.texts.contains { $0.hasPrefix("\(run.output)/gguf is missing") }, "\(outcome.texts)")
    }

    @Test func `a damaged checkpoint is named, the one before is used, and links in an output are not followed`() throws {
        var run = try TinyRun()
        let earlier = try attached(run, "version-1", stopAfter: 4)
        let newest = earlier + "/checkpoints/step-000004/optimizer.safetensors"
        let whole = try bytes(newest)
        try Data(whole.dropLast(9)).write(to: URL(fileURLWithPath: newest))
        run.options["resume-from"] = earlier
        let outcome = try run.run(on: nil, stopAfter: 0)
        #expect(outcome.error?.description.contains("stopped at step 2") == true, "\(String(describing: outcome.error))")
        #expect(outcome.texts.contains { $0.contains("step-000004 is damaged and skipped") }, "\(outcome.texts)")
        try whole.write(to: URL(fileURLWithPath: run.folder + "/elsewhere"))
        try files.remove(newest)
        #expect(try files.createLink(newest, to: run.folder + "/elsewhere"))
        run.output += "-2"
        #expect(try run.run(on: nil, stopAfter: 0).error?.description.contains("stopped at step 2") == true)
        // A folder of checkpoints that is a link is refused.
        try files.rename(earlier + "/checkpoints", to: run.folder + "/moved")
        #expect(try files.createLink(earlier + "/checkpoints", to: run.folder + "/moved"))
        run.output += "-3"
        let refused = try run.run(on: nil)
        let isRefused = refused.error?.exit == .unusableInput && refused.error?.description.contains("this is a link or a file, and not the dir") == true
        #expect(isRefused, "\(String(describing: refused.error))")
        #expect(!files.exists(run.output))
    }

    @Test func `a disk without room for the copy is exit 3`() throws {
        var run = try TinyRun()
        run.options["resume-from"] = try attached(run, "version-1", stopAfter: nil)
        let outcome = try run.run(on: nil, files: FullDisk(bytes: 1 << 30, said: 100_000))
        #expect(outcome.error?.exit == .doesNotFit && outcome.error?.description.contains("are free") == true, "\(String(describing: outcome.error))")
        #expect(try run.run(on: nil).error == nil)
    }

    @Test(arguments: [nil, 1])
    func `killed or failing at any change of the copy, the same command comes to the same bits`(stopAfter: Int?) throws {
        var run = try TinyRun()
        (run.options, run.threads) = (["max-steps": "2", "eval-steps": "0", "test-samples": "1", "save-steps": "0"], 1)
        let names = ["adapter/adapter_model.safetensors", "merged/model.safetensors"]
        #expect(try run.run(on: nil).error == nil)
        let made = try names.map { try bytes(run.output + "/" + $0) }
        let earlier = try attached(run, "version-1", stopAfter: stopAfter)
        let before = try snapshot(earlier)
        run.options["resume-from"] = earlier
        let calm = run.output
        func goal() -> Pipeline.Goal { stopAfter == nil ? .testedModel : .adapter }
        run.output = calm + "-count"
        let count = DyingFiles(last: .max, end: .kill)
        // What is copied is written before the first step.
        #expect(try run.run(on: nil, goal: goal(), stopAfter: 0, files: count).error?.exit == (stopAfter == nil ? nil : .stoppedEarly))
        #expect(count.changes > 25)
        for last in 1...count.changes {
            run.output = calm + "-\(last)"
            let end = DyingFiles.End.allCases[last % DyingFiles.End.allCases.count]
            let dead = try run.run(on: nil, goal: goal(), stopAfter: 0, files: DyingFiles(last: last, end: end))
            // What only shows a run ends none: its page, TensorBoard's file, the cards. Then everything else is written.
            let isSaved = [nil, .stoppedEarly].contains(dead.error?.exit) && files.exists(run.output + "/summary.json")
            #expect(dead.error?.exit == .machineFailed || isSaved, "change \(last): \(String(describing: dead.error))")
            let again = try run.run(on: nil, goal: goal())
            #expect(again.error == nil, "change \(last): \(String(describing: again.error))")
            for (name, expected) in zip(names, made).prefix(stopAfter == nil ? 2 : 1) {
                #expect(try bytes(run.output + "/" + name) == expected, "change \(last): \(name)")
            }
            #expect(try !files.list(run.output).contains { $0.contains(".partial") || $0.contains(".replaced") }, "change \(last)")
            try FileManager.default.removeItem(atPath: run.output)
        }
        #expect(try snapshot(earlier) == before)
    }
}
