import FailingFiles
import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// What the same command finds in its output directory, and what it does about it.
struct OutputTests {
    private let files = RealFiles()

    private func bytes(_ run: TinyRun, _ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: run.output + "/" + name)) }

    private func change(_ path: String, _ body: (inout Data) -> Void) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        body(&bytes)
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    /// The files that the result consists of.
    private static let results = ["adapter/adapter_model.safetensors", "adapter/adapter_config.json", "merged/model.safetensors", "merged/config.json"]

    /// The bytes of all that a run makes and that tells no time: adapter, checkpoints, merged model, exports and their cards, run.yaml without its own place.
    private func everything(_ run: TinyRun) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for part in ["adapter", "checkpoints", "merged", "gguf"] {
            for case let name as String in FileManager.default.enumerator(atPath: run.output + "/" + part) ?? .init()
            where files.isRegular(run.output + "/\(part)/\(name)") { found[part + "/" + name] = try bytes(run, part + "/" + name) }
        }
        for name in ["files.json", "inputs.json"] { found[name] = try bytes(run, name) }
        let recipe = try files.readText(run.output + "/run.yaml").split(separator: "\n").filter { !$0.hasPrefix("output:") }
        found["run.yaml"] = Data(recipe.joined(separator: "\n").utf8)
        return found
    }

    // MARK: finished, and not whole

    @Test func `a missing or damaged part of a finished run is made again, and nothing else is called finished`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let made = try Self.results.map { try bytes(run, $0) }
        #expect(
            try files.list(run.output).filter { !$0.hasPrefix(".") } == [
                "adapter", "checkpoints", "events.jsonl", "files.json", "inputs.json", "merged", "plan.json", "report.html", "run.yaml", "summary.json",
                "tensorboard",
            ])
        let finished = try run.run(on: nil)
        #expect(finished.error == nil && finished.texts.contains { $0.hasPrefix("this run is finished") } && finished.count(.phase) == 0)
        let damages: [(String, (String) throws -> Void)] = [
            ("adapter", { try FileManager.default.removeItem(atPath: $0) }), ("merged", { try FileManager.default.removeItem(atPath: $0) }),
            ("plan.json", { try FileManager.default.removeItem(atPath: $0) }), ("summary.json", { try FileManager.default.removeItem(atPath: $0) }),
            ("plan.json", { try self.change($0) { $0.removeLast(30) } }), ("summary.json", { try self.change($0) { $0.removeLast(30) } }),
            ("merged/model.safetensors", { try self.change($0) { $0[$0.count - 3] ^= 1 } }),
            ("merged/config.json", { try FileManager.default.removeItem(atPath: $0) }),
            ("adapter/adapter_model.safetensors", { try self.change($0) { $0.removeLast(4) } }),
        ]
        for (name, damage) in damages {
            try damage(run.output + "/" + name)
            let again = try run.run(on: nil)
            #expect(again.error == nil && !again.texts.contains { $0.hasPrefix("this run is finished") }, "\(name): \(String(describing: again.error))")
            #expect(name == "summary.json" || again.texts.contains { $0.contains(run.output + "/" + (name.split(separator: "/").first ?? "")) }, "\(name)")
            // Nothing is trained again for it.
            #expect(again.count(.step) == 0, "\(name)")
            for (file, bytes) in zip(Self.results, made) { #expect(try self.bytes(run, file) == bytes, "\(name): \(file)") }
            #expect(try run.json("summary.json")["stopped_early"]?.bool == false && run.json("plan.json")["choices"] != nil, "\(name)")
            // What is damaged is not recognised, so it is kept aside.
            for kept in try files.list(run.output) where kept.contains(".replaced") { try FileManager.default.removeItem(atPath: run.output + "/" + kept) }
            #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") }, "\(name)")
        }
    }

    @Test func `what a user put into a part is kept when the part is made again`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        try files.writeDurably("mine", to: run.output + "/merged/notes.txt")
        // Something of the user's beside the parts does not make the run unfinished.
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
        try files.remove(run.output + "/merged/model.safetensors")
        let again = try run.run(on: nil)
        #expect(again.error == nil && again.texts.contains { $0.contains("merged.replaced") }, "\(again.texts)")
        #expect(try files.list(run.output + "/merged.replaced") == ["notes.txt"] && !files.exists(run.output + "/merged/notes.txt"))
        #expect(files.exists(run.output + "/merged/model.safetensors"))
    }

    @Test func `a merged model of another adapter is not this run's`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let made = try bytes(run, "merged/model.safetensors")
        var other = run
        other.output += "-other"
        other.options["learning-rate"] = "3e-3"
        #expect(try other.run(on: nil).error == nil)
        for name in ["adapter", "checkpoints"] {
            try FileManager.default.removeItem(atPath: run.output + "/" + name)
            try FileManager.default.copyItem(atPath: other.output + "/" + name, toPath: run.output + "/" + name)
        }
        // The adapter is not the one that was recorded: what the checkpoints hold is delivered, and merged anew.
        #expect(try run.run(on: nil).error == nil)
        #expect(try bytes(run, "merged/model.safetensors") == bytes(other, "merged/model.safetensors") && bytes(other, "merged/model.safetensors") != made)
    }

    // MARK: verdicts

    @Test func `a failed proof stays failed until it is repaired`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let transfer = try run.json("summary.json")["transfer"]
        let (trained, merged) = (transfer?["trained_form_loss"]?.double ?? 0, transfer?["merged_loss"]?.double ?? 0)
        // A random model merged into weights it was not trained on is worse.
        #expect(merged > trained + 1e-6)
        run.options["merge-tolerance"] = "0"
        run.output += "-strict"
        let first = try run.run(on: nil)
        #expect(first.error?.exit == .checkFailed && first.error?.description.contains("merge_tolerance") == true, "\(String(describing: first.error))")
        let again = try run.run(on: nil)
        #expect(again.error == first.error && again.count(.phase) == 0)
        for part in ["adapter", "merged", "plan.json", "summary.json"] {
            try FileManager.default.removeItem(atPath: run.output + "/" + part)
            #expect(try run.run(on: nil).error == first.error && files.exists(run.output + "/" + part), "\(part)")
        }
        // The tolerance is not part of the training: another one is another verdict, at once and for good.
        run.options["merge-tolerance"] = "10"
        #expect(try run.run(on: nil).error == nil && run.json("summary.json")["transfer"]?["pass"]?.bool == true)
        #expect(try run.run(on: nil).error == nil)
    }

    @Test func `a failed identity says the same sentence again`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        var summary = try run.json("summary.json").object ?? [:]
        summary["merged_matches_adapter"] = ["pass": false, "max_logit_difference": 1.0625]
        // An older version kept the verdict without its sentence.
        for sentence in [LorikeetError(.checkFailed, "they differ by 1.0625", at: run.output + "/merged", fix: "report this"), nil] {
            summary["failed_proof"] = sentence.map(Pipeline.failedProof)
            try files.writeDurably(JSON.object(summary).serialized(), to: run.output + "/summary.json")
            for _ in 0..<2 {
                let error = try run.run(on: nil).error
                #expect(error?.exit == .checkFailed && error?.place == run.output + "/merged" && (sentence == nil || error == sentence))
            }
        }
        // The verdict is the whole pipeline's: training by itself is done.
        #expect(try run.run(on: nil, goal: .adapter).error == nil)
    }

    // MARK: killed, failing

    @Test func `killed while it claimed its directory, the run begins`() throws {
        for name in [".lock", "run.yaml" + RealFiles.partialSuffix, "run.yaml.partial"] {
            let run = try TinyRun()
            try files.writeDurably("model: /hal", to: run.output + "-text")
            try files.createDirectory(run.output)
            try files.writeDurably("", to: run.output + "/.lock")
            try FileManager.default.copyItem(atPath: run.output + "-text", toPath: run.output + "/x" + name)
            try files.rename(run.output + "/x" + name, to: run.output + "/" + name)
            #expect(try run.run(on: nil, goal: .adapter, stopAfter: 0).error?.exit == .stoppedEarly, "\(name)")
        }
        let run = try TinyRun()
        try files.createDirectory(run.output)
        try files.writeDurably("mine", to: run.output + "/run.yaml.bak")
        #expect(try run.run(on: nil, goal: .adapter, stopAfter: 0).error?.exit == .unusableInput)
    }

    @Test func `killed or failing at any change of the disk, the same command comes to the same bits`() throws {
        var run = try TinyRun()
        // One step and one checkpoint, everything once; on one thread, for hundreds of runs.
        (run.options, run.threads) = (["max-steps": "1", "eval-steps": "0", "test-samples": "1", "export": "f16"], 1)
        let count = DyingFiles(last: .max, end: .kill)
        #expect(try run.run(on: nil, files: count).error == nil)
        let made = try everything(run)
        #expect(count.changes > 150 && made.count > 15)
        let names = try files.list(run.output)
        let calm = run.output
        for last in 1...count.changes {
            run.output = calm + "-\(last)"
            let end = DyingFiles.End.allCases[last % DyingFiles.End.allCases.count]
            let dead = try run.run(on: nil, files: DyingFiles(last: last, end: end))
            // What only shows a run ends none: its page, TensorBoard's file, the cards. Then everything else is written.
            let isWhole = dead.error == nil && files.exists(run.output + "/summary.json")
            #expect(dead.error?.exit == .machineFailed || isWhole, "change \(last): \(String(describing: dead.error))")
            let again = try run.run(on: nil)
            #expect(again.error == nil, "change \(last): \(String(describing: again.error))")
            let now = try everything(run)
            for file in Set(made.keys).union(now.keys) { #expect(made[file] == now[file], "change \(last): \(file)") }
            // TensorBoard's folder is not made again for a run that is finished without it.
            let there = try files.list(run.output).filter { !$0.hasSuffix(RealFiles.partialSuffix) }
            #expect(there == names || isWhole && there == names.filter { $0 != "tensorboard" }, "change \(last): \(there)")
            try FileManager.default.removeItem(atPath: run.output)
        }
    }

    @Test func `what a killed process left counts as room that there is`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let output = OutputDirectory(path: run.output, files: files)
        let kept = try output.keptBytes()
        #expect(kept > 100_000)
        try FileManager.default.removeItem(atPath: run.output + "/merged")
        let without = try output.keptBytes()
        // As a process leaves it that is killed while it merges.
        let pending = try PendingFolder(for: run.output + "/merged", files: files)
        try pending.files.writeDurably([UInt8](repeating: 1, count: 123_456), to: pending.path + "/model.safetensors")
        let leftover = try output.keptBytes()
        #expect(leftover >= without + 123_456 && leftover < without + 124_000)
        // A folder of the user's does not.
        try files.createDirectory(run.output + "/merged.partial-2")
        try files.writeDurably([UInt8](repeating: 1, count: 99_999), to: run.output + "/merged.partial-2/model.safetensors")
        #expect(try output.keptBytes() == leftover)
        #expect(try run.run(on: nil).error == nil && !files.exists(run.output + "/merged.partial"))
        #expect(try files.byteCount(of: run.output + "/merged.partial-2/model.safetensors") == 99_999)
    }

    @Test(arguments: ["summary.json", "plan.json", "inputs.json", "run.yaml", "files.json", "checkpoints", "merged"])
    func `a file of the run that cannot be read ends the command, and nothing is made again for it`(name: String) throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        if name == "checkpoints" { try files.remove(run.output + "/summary.json") }
        let before = try bytes(run, "events.jsonl")
        let outcome = try run.run(
            on: nil, files: UnreadableFiles { $0 == run.output + "/" + name || name == "merged" && $0.hasSuffix("merged/model.safetensors") })
        #expect(outcome.error?.exit == .machineFailed, "\(String(describing: outcome.error))")
        #expect(try outcome.count(.step) == 0 && bytes(run, "events.jsonl") == before)
        if name == "checkpoints" { return #expect(try run.run(on: nil).error == nil) }
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
    }

    @Test func `a name in files.json that leads out of its folder is none of the run's`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try files.createDirectory(folder)
        let names = ["../\u{338}x", "../x", "/\u{338}etc", "a/../\u{338}x", "a/\u{338}x", "config.json"]
        let sums = JSONObject(names.map { ($0, JSON.string("sum")) })
        try files.writeDurably(JSON.object(["merged": ["files": .object(sums)]]).serialized(), to: folder + "/files.json")
        #expect(try OutputParts(path: folder, files: files).sums(.merged)?.map(\.name).sorted() == ["a/\u{338}x", "config.json"])
    }

    @Test func `a run that finds a merged model of NaN in its place fails each time, with the same sentence`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let weights = URL(fileURLWithPath: run.output + "/merged/model.safetensors")
        var bytes = try Data(contentsOf: weights)
        // The last element of the last tensor, in float16.
        bytes.replaceSubrange(bytes.count - 2..<bytes.count, with: [0x00, 0x7E])
        try bytes.write(to: weights)
        // Without its record the model is what stands there: it is tested, and not called finished.
        try files.remove(run.output + "/files.json")
        let first = try run.run(on: nil)
        #expect(first.error?.exit == .checkFailed && first.error?.description.contains("NaN") == true, "\(String(describing: first.error))")
        #expect(first.texts.contains { $0.contains("files.json has no check sums") }, "\(first.texts)")
        #expect(try run.run(on: nil).error == first.error)
        try files.remove(run.output + "/summary.json")
        #expect(try run.run(on: nil).error == first.error)
        try FileManager.default.removeItem(atPath: run.output + "/merged")
        #expect(try run.run(on: nil).error == nil)
    }

    @Test func `what a failed proof says to set may be set, and only the merged model is made again`() throws {
        var run = try TinyRun()
        run.options["merge-tolerance"] = "0"
        #expect(try run.run(on: nil).error?.description.contains("set merge_into: trained") == true)
        let (adapter, merged) = (try bytes(run, "adapter/adapter_model.safetensors"), try bytes(run, "merged/model.safetensors"))
        // float16 rounds the weights that were trained on; float32 keeps them.
        run.options["merge-into"] = "trained"
        run.options["merge-dtype"] = "float32"
        run.options["merge-tolerance"] = "1e-4"
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil && outcome.count(.step) == 0, "\(String(describing: outcome.error))")
        #expect(try bytes(run, "adapter/adapter_model.safetensors") == adapter && bytes(run, "merged/model.safetensors") != merged)
        #expect(try run.json("merged/config.json")["torch_dtype"]?.string == "float32" || run.json("merged/config.json")["dtype"]?.string == "float32")
        #expect(try !files.list(run.output).contains { $0.contains(".replaced") || $0.contains(".partial") })
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
        // And back: the same bytes as at first.
        run.options["merge-into"] = "original"
        run.options["merge-dtype"] = "float16"
        run.options["merge-tolerance"] = "10"
        #expect(try run.run(on: nil).error == nil && bytes(run, "merged/model.safetensors") == merged)
    }

    @Test func `links in an output directory are not followed`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let elsewhere = run.folder + "/elsewhere"
        try files.createDirectory(elsewhere)
        for (name, exit) in [("checkpoints", LorikeetError.ExitClass.unusableInput), (".lock", .machineFailed)] {
            try files.remove(run.output + "/summary.json")
            try files.rename(run.output + "/" + name, to: run.folder + "/aside")
            #expect(symlink(name == ".lock" ? elsewhere + "/file" : elsewhere, run.output + "/" + name) == 0)
            let error = try run.run(on: nil).error
            #expect(error?.exit == exit && error?.place == run.output + "/" + name, "\(String(describing: error))")
            #expect(try files.list(elsewhere).isEmpty)
            try files.remove(run.output + "/" + name)
            try files.rename(run.folder + "/aside", to: run.output + "/" + name)
            #expect(try run.run(on: nil).error == nil)
        }
    }

    /// Whatever a run writes in its directory, planted before it begins, or before it goes on.
    @Test func `nothing is written through a link that was planted where the run writes`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil, stopAfter: 3).error?.exit == .stoppedEarly)
        let aside = run.folder + "/aside"
        try files.rename(run.output, to: aside)
        let texts = ["run.yaml", "plan.json", "inputs.json", "files.json", "summary.json", "sessions.json", "test.json"]
        let folders = ["merged", "merged.partial", "adapter"]
        let names = texts.map { $0 + RealFiles.partialSuffix } + ["events.jsonl", "report.html", "summary.json", "files.json"] + folders
        for name in names {
            let isFolder = folders.contains(name)
            try FileManager.default.copyItem(atPath: aside, toPath: run.output)
            let elsewhere = run.folder + "/elsewhere"
            if isFolder { try files.createDirectory(elsewhere) }
            let precious = isFolder ? elsewhere + "/config.json" : elsewhere
            try files.writeDurably("mine", to: precious)
            try files.remove(run.output + "/" + name)
            #expect(symlink(elsewhere, run.output + "/" + name) == 0)
            let error = try run.run(on: nil).error
            // It is replaced, or the run says that it is in its way.
            #expect(error == nil || [.unusableInput, .machineFailed].contains(error?.exit) && error?.place != nil, "\(name): \(String(describing: error))")
            #expect(try files.readText(precious) == "mine" && (!isFolder || files.list(elsewhere) == ["config.json"]), "\(name)")
            for path in [run.output, elsewhere] { try FileManager.default.removeItem(atPath: path) }
        }
    }

    @Test func `a run starts from an adapter of its own scale alone, and plan says so too`() throws {
        let first = try TinyRun()
        #expect(try first.run(on: nil).error == nil)
        var run = first
        run.output += "-2"
        run.options["init-adapter"] = first.output + "/adapter"
        #expect(try run.run(on: nil, goal: .adapter).error == nil)
        for (key, value) in [("lora-alpha", "32"), ("lora-r", "4"), ("use-rslora", "true"), ("target-modules", "q_proj")] {
            var other = run
            other.output += "-" + key
            other.options[key] = value
            let error = try other.run(on: nil).error
            #expect(error?.exit == .unusableInput && error?.place == first.output + "/adapter", "\(key): \(String(describing: error))")
            #expect(!files.exists(other.output), "\(key)")
        }
    }
}
