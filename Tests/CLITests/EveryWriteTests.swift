import Foundation
import Testing

/// The program with calls of the system that fail, or between which something happens (Tests/FailingCalls).
struct EveryWriteTests {
    private static var library: String {
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "libFailingCalls.so").path
    }

    /// A call that changes the disk: its number from 1, and `name path`.
    private struct Call {
        let number: Int
        let what: String
    }

    private func preloaded(_ more: [String: String], cache: String) -> [String: String] {
        ["LD_PRELOAD": Self.library, "XDG_CACHE_HOME": cache].merging(more) { $1 }
    }

    /// The calls of a command that nothing disturbs.
    private func calls(_ arguments: [String], cache: String) throws -> (Binary.Outcome, [Call]) {
        let log = try Binary.scratch() + "/calls"
        let outcome = try Binary.run(arguments, environment: preloaded(["CALL_LOG": log], cache: cache))
        let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
        return (outcome, lines.enumerated().map { Call(number: $0 + 1, what: $1.split(separator: " ", maxSplits: 1).last.map(String.init) ?? "") })
    }

    private func files(_ folder: String) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for case let name as String in FileManager.default.enumerator(atPath: folder) ?? .init() {
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: folder + "/" + name, isDirectory: &isFolder), !isFolder.boolValue else { continue }
            found[name] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name))
        }
        return found
    }

    private func remove(_ path: String) throws { if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) } }

    @Test(arguments: ["merge", "export", "generate", "report"])
    func `each write that fails is a sentence, and the same command comes to the same bytes`(verb: String) throws {
        let tiny = try TinyFolder()
        let (out, asked) = (tiny.path + "/out", tiny.path + "/asked.jsonl")
        try #"{"prompt": "say 1:"}"#.write(toFile: asked, atomically: true, encoding: .utf8)
        let commands = [
            "merge": ["--model", tiny.model, "--adapter", tiny.adapter, "--output", out, "--threads", "1"],
            "export": ["--model", tiny.model, "--output", out, "--form", "f16,q8_0", "--threads", "1"],
            "generate": ["--model", tiny.model, "--input", asked, "--output", out + "/answers.jsonl", "--max-new-tokens", "3"],
            "report": [ReportTests.run, "--output", out + "/page.html"],
        ]
        let command = [verb] + (commands[verb] ?? [])
        let (calm, calls) = try calls(command, cache: tiny.path + "/cache")
        #expect(calm.status == 0 && calls.count >= 4, "\(calm) \(calls)")
        let made = try files(out)
        #expect(!made.isEmpty)
        for call in calls {
            try remove(out)
            let error = [ENOSPC, EIO, EROFS][call.number % 3]
            let failed = try Binary.run(
                command, environment: preloaded(["CALL_FAIL": "\(call.number)", "CALL_ERROR": "\(error)"], cache: tiny.path + "/cache"))
            // What is not needed any more may stay behind: the next command removes it.
            #expect(failed.status == 4 && failed.error.contains("lorikeet: ") || failed.status == 0, "\(call): \(failed)")
            let again = try Binary.run(command, environment: ["XDG_CACHE_HOME": tiny.path + "/cache"])
            // A whole output is not written over.
            if failed.status == 0, again.status == 2 { continue }
            #expect(again.status == 0, "\(call): \(again)")
            #expect(try files(out) == made, "\(call)")
        }
    }

    // MARK: a run whose surroundings change at one of its calls

    /// A small run, its calls, and what it made.
    private struct Run {
        let tiny: TinyFolder
        let command: [String]
        var out: String { tiny.path + "/out" }
        var cache: String { tiny.path + "/cache" }

        init() throws {
            tiny = try TinyFolder()
            try (0..<24).map { #"{"prompt": "say \#($0 % 7):", "completion": "\#(String(repeating: "ab", count: 1 + $0 % 3))"}"# + "\n" }.joined()
                .write(toFile: tiny.path + "/train.jsonl", atomically: true, encoding: .utf8)
            command = [
                "run", "--model", tiny.model, "--data", tiny.path + "/train.jsonl", "--output", tiny.path + "/out", "--max-length", "48", "--max-steps", "4",
                "--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "1", "--save-steps", "2", "--test-samples", "2",
                "--merge-tolerance", "10", "--export", "f16", "--threads", "1", "--device", "cpu", "--validation-share", "0.25",
            ]
        }
    }

    /// The run with a command of the shell before the first call that `isMeant`.
    private func disturbed(_ run: Run, _ calls: [Call], before isMeant: (Call) -> Bool, _ command: String) throws -> Binary.Outcome {
        let found = calls.first(where: isMeant)
        let call = try #require(found, "\(calls.map(\.what))")
        try remove(run.out)
        try remove(run.cache)
        return try Binary.run(run.command, environment: preloaded(["CALL_RUN": "\(call.number)", "CALL_COMMAND": command], cache: run.cache))
    }

    private func requireGoesOn(_ run: Run, _ made: [String: Data], _ what: String) throws {
        let again = try Binary.run(run.command, environment: ["XDG_CACHE_HOME": run.cache])
        #expect(again.status == 0, "\(what): \(again)")
        let now = try files(run.out)
        for name in ["adapter/adapter_model.safetensors", "merged/model.safetensors", "merged/README.md", "gguf/model-F16.gguf", "run.yaml"] {
            #expect(made[name] != nil && now[name] == made[name], "\(what): \(name)")
        }
    }

    @Test func `a run whose model is cut short, whose folder goes, or that is asked to stop, says so and goes on`() throws {
        let run = try Run()
        let (calm, calls) = try calls(run.command, cache: run.cache)
        #expect(calm.status == 0, "\(calm)")
        let made = try files(run.out)
        let weights = run.tiny.model + "/model.safetensors"
        for place in ["run.yaml", "merged.partial", "gguf.partial"] {
            let cut = "cp '\(weights)' '\(weights).kept'; truncate -s 5000 '\(weights)'"
            let outcome = try disturbed(run, calls, before: { $0.what.contains(run.out + "/" + place) }, cut)
            #expect(outcome.status == 4 && outcome.error.contains(weights) && outcome.error.contains("; "), "\(place): \(outcome)")
            _ = try Binary.shell("mv '\(weights).kept' '\(weights)'", in: run.tiny.path, environment: [:])
            try requireGoesOn(run, made, "cut short before \(place)")
        }
        for (place, name) in [("cache/", "formatting"), ("merged.partial", "merging"), ("gguf.partial", "merging"), ("test.json", "testing")] {
            let path = run.tiny.path + (name == "formatting" ? "/" : "/out/") + place
            let outcome = try disturbed(run, calls, before: { $0.what.contains(path) }, "kill -TERM $PPID")
            #expect(outcome.status == 75 && outcome.error.contains("(\(name)) with everything saved"), "\(place): \(outcome)")
            try requireGoesOn(run, made, "stopped at \(place)")
        }
        let write = "write \(run.out)/merged.partial/model.safetensors"
        let outcome = try disturbed(run, calls, before: { $0.what.hasPrefix(write) }, "mv '\(run.out)' '\(run.out)-aside'")
        #expect(outcome.status == 4 && outcome.error.contains(run.out), "\(outcome)")
        #expect(!FileManager.default.fileExists(atPath: run.out))
        _ = try Binary.shell("mv out-aside out", in: run.tiny.path, environment: [:])
        try requireGoesOn(run, made, "moved away")
    }
}
