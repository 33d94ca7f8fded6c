import Foundation
import HubServer
import LorikeetGround
import LorikeetJSON
import Testing

/// `lorikeet pull` and names on a hub, as a person uses them.
struct PullTests {
    static let secret = "hf_SecretOfTheCommandLine"
    static let commit = String(repeating: "e", count: 40)

    private func hub(commit: String = commit, _ change: @escaping @Sendable (LocalHub.Request, LocalHub.Response) -> LocalHub.Response = { $1 }) throws
        -> LocalHub
    {
        let tiny = try TinyFolder()
        var files: [String: [UInt8]] = ["README.md": Array("# tiny".utf8)]
        for name in try RealFiles().list(tiny.model) { files[name] = Array(try Data(contentsOf: URL(fileURLWithPath: tiny.model + "/" + name))) }
        let records = (0..<12).map { #"{"prompt": "say \#($0):", "completion": "ab"}"# }.joined(separator: "\n") + "\n"
        let adapter = try ["adapter_config.json", "adapter_model.safetensors"].map {
            ($0, Array(try Data(contentsOf: URL(fileURLWithPath: tiny.adapter + "/" + $0))))
        }
        return try LocalHub(
            [
                "models/org/tiny": .init(commit: commit, files: files, large: ["model.safetensors"]),
                "models/org/adapter": .init(commit: Self.commit, files: Dictionary(uniqueKeysWithValues: adapter)),
                "datasets/org/records": .init(commit: Self.commit, files: ["train.jsonl": Array(records.utf8), "dev.jsonl": Array(records.utf8)]),
            ], change: change)
    }

    private func variables(_ hub: LocalHub) throws -> [String: String] {
        ["HF_ENDPOINT": hub.endpoint, "HF_HOME": try Binary.scratch(), "HF_HUB_CACHE": "", "HF_HUB_OFFLINE": "", "HF_TOKEN": Self.secret]
    }

    @Test func `pull prints where the model is, and as JSON what it did`() throws {
        let hub = try hub()
        let variables = try variables(hub)
        let first = try Binary.run(["pull", "org/tiny"], environment: variables)
        let folder = (variables["HF_HOME"] ?? "") + "/hub/models--org--tiny/snapshots/" + Self.commit
        #expect(first.status == 0 && first.out.contains("org/tiny at eeeeeeeeeeee: ") && first.out.hasSuffix("\n\(folder)\n"), "\(first.out)\(first.error)")
        // Nothing is drawn in a file or pipe, and a short transfer has no line about its share.
        #expect(first.error.contains("fetching 1 file of org/tiny") && !first.error.contains("\u{1B}") && !first.error.contains("%"), "\(first.error)")
        let again = try Binary.run(["pull", "org/tiny", "--json"], environment: variables)
        let json = try JSON.parse(again.out, source: "pull")
        #expect(again.out.split(separator: "\n").count == 1 && json["path"]?.string == folder && json["fetched_bytes"]?.int == 0)
        #expect(json["files"]?.array?.contains("README.md") == true && json["commit"]?.string == Self.commit)
        let data = try Binary.run(["pull", "--dataset", "org/records", "--json"], environment: variables)
        #expect(try JSON.parse(data.out, source: "pull")["validation"]?.array?.first?.string?.hasSuffix("/dev.jsonl") == true, "\(data.error)")
        for line in data.error.split(separator: "\n") { #expect(try JSON.parse(String(line), source: "event")["event"]?.string != nil, "\(line)") }
        let all = [first, again, data].map { $0.out + $0.error }.joined()
        #expect(!all.contains(Self.secret))
        #expect(hub.storage.requests.allSatisfy { $0.headers["authorization"] == nil } && hub.hub.requests.allSatisfy { $0.headers["authorization"] != nil })
    }

    @Test func `a hub's refusals are the contract's exit codes, with one sentence`() throws {
        let gated = try hub { request, response in
            request.path.hasPrefix("/api/models/org/tiny") ? response : LocalHub.Response(403, headers: ["X-Error-Code": "GatedRepo"])
        }
        let refused = try Binary.run(["pull", "org/tiny"], environment: variables(gated))
        #expect(refused.status == 2 && refused.error.contains("accept its licence at \(gated.endpoint)/org/tiny"), "\(refused.error)")
        let hub = try hub()
        for (arguments, status, words) in [
            (["pull", "org/tinny"], 2, "did you mean org/tiny?"), (["pull", "org/tiny", "--revision", "v3"], 2, "no revision 'v3'"),
            (["pull", "a/b/c"], 2, "is no name"),
            (["pull", "org/tiny@a", "--revision", "b"], 2, "give one of them"),
            (["run", "--model", "org/tinny", "--data", "x.jsonl", "--device", "cpu"], 2, "no file or folder of this name here"),
            (["check", "--model", "org/tiny", "--data", "org/recrods"], 2, "no file or folder of this name here"), (["pull"], 2, "Missing expected argument"),
        ] as [([String], Int32, String)] {
            let outcome = try Binary.run(arguments, environment: variables(hub))
            #expect(outcome.status == status && outcome.error.contains(words), "\(arguments): \(outcome.error)")
            #expect(!(outcome.error + outcome.out).contains(Self.secret))
        }
        var nowhere = try variables(hub)
        nowhere["HF_ENDPOINT"] = "http://127.0.0.1:1"
        #expect(try Binary.run(["pull", "org/tiny"], environment: nowhere).status == 4)
    }

    @Test func `a killed download goes on where it was, and an interrupted one is exit 75`() throws {
        let hub = try hub { request, response in
            var response = response
            if request.path.hasSuffix("model.safetensors"), response.body.count > 1000, request.earlier < 2 {
                (response.delay, response.delaysHalf) = (20, true)
            }
            return response
        }
        let variables = try variables(hub)
        let blobs = (variables["HF_HOME"] ?? "") + "/hub/models--org--tiny/blobs"
        for (signal, status) in [(SIGKILL, SIGKILL), (SIGINT, Int32(75))] {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: Binary.path)
            process.arguments = ["pull", "org/tiny"]
            process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            // The first attempt has no part to go on from; the second one asks for the rest of it.
            let ranges = signal == SIGKILL ? 0 : 1
            try process.run()
            // A part of the weights (477 KiB), not of a small file that comes before them.
            let hasPart = {
                ((try? FileManager.default.contentsOfDirectory(atPath: blobs)) ?? []).contains {
                    $0.hasSuffix(".incomplete") && ((try? RealFiles().byteCount(of: blobs + "/" + $0)) ?? 0) > 100_000
                }
            }
            let isAsked = { hub.storage.requests.count { $0.headers["range"] != nil } == ranges }
            while process.isRunning && !(hasPart() && isAsked()) { usleep(5000) }
            kill(process.processIdentifier, signal)
            process.waitUntilExit()
            #expect(process.terminationStatus == status)
        }
        let last = try Binary.run(["pull", "org/tiny"], environment: variables)
        #expect(last.status == 0 && last.error.contains("going on at"), "\(last.error)")
        #expect(hub.storage.requests.count { $0.headers["range"] != nil } == 2)
    }

    @Test func `check and plan fetch no weights, and say what a run will fetch`() throws {
        let hub = try hub()
        let variables = try variables(hub)
        let size = hub.size(of: "model.safetensors", in: "models/org/tiny") ?? 0
        let arguments = ["--model", "org/tiny", "--data", "org/records", "--device", "cpu", "--preset", "full"]
        for verb in ["check", "plan"] {
            let outcome = try Binary.run([verb] + arguments, environment: variables)
            #expect(outcome.status == 0 && outcome.error.contains("its weights are not fetched, only their headers are read"), "\(outcome.error)\(outcome.out)")
            #expect(outcome.error.contains("a run fetches 477 KiB in 1 file into \(variables["HF_HOME"] ?? "")/hub"), "\(outcome.error)")
        }
        #expect(hub.storage.requests.allSatisfy { $0.headers["range"] == "bytes=0-65535" } && !hub.storage.requests.isEmpty)
        let cached = FileManager.default.enumerator(atPath: variables["HF_HOME"] ?? "")?.compactMap { $0 as? String } ?? []
        #expect(cached.contains { $0.hasSuffix("tokenizer.json") } && !cached.contains { $0.contains("safetensors") || $0.hasSuffix(".incomplete") })
        let json = try JSON.parse(Binary.run(["plan", "--json"] + arguments, environment: variables).out, source: "plan")
        #expect(json["download_bytes"]?.int == size)
        // With the weights here nothing is said of them.
        #expect(try Binary.run(["pull", "org/tiny"], environment: variables).status == 0)
        let whole = try Binary.run(["plan", "--json"] + arguments, environment: variables)
        #expect(whole.status == 0 && !whole.error.contains("not fetched"))
        let later = try JSON.parse(whole.out, source: "plan")
        #expect(later["download_bytes"] == nil && later["disk"] == json["disk"], "\(whole.out)")
    }

    @Test func `a run from names alone goes from the hub to the adapter, and its parts are used by name`() throws {
        let hub = try hub()
        let variables = try variables(hub)
        let output = try Binary.scratch() + "/out"
        let options = [
            "--device", "cpu", "--max-steps", "2", "--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "1", "--warmup-steps", "1",
        ]
        let outcome = try Binary.run(
            ["run", "--model", "org/tiny", "--data", "org/records", "--output", output, "--test-samples", "2", "--export", "f16"] + options,
            environment: variables)
        #expect(outcome.status == 0, "\(outcome.error)\(outcome.out)")
        #expect(outcome.out.contains("the model org/tiny of \(hub.endpoint) is used") && outcome.out.contains("with its validation records"))
        for name in ["run.yaml", "summary.json", "events.jsonl", "inputs.json", "adapter/adapter_config.json"] {
            #expect(try !String(contentsOfFile: output + "/" + name, encoding: .utf8).contains(Self.secret), "\(name)")
        }
        // Named after the hub's name, not after the folder in the cache.
        #expect(FileManager.default.fileExists(atPath: output + "/gguf/tiny-F16.gguf"))
        // Without a connection, from the cache.
        var offline = variables
        offline["HF_HUB_OFFLINE"] = "1"
        let answer = try Binary.run(
            ["generate", "--model", "org/tiny", "--prompt", "say", "--raw", "--max-new-tokens", "2", "--device", "cpu"], environment: offline)
        #expect(answer.status == 0, "\(answer.error)")
        let plan = try Binary.run(
            ["plan", "--model", "org/tiny", "--data", "hf://datasets/org/records", "--output", output + "-2"] + options, environment: offline)
        #expect(plan.status == 0, "\(plan.error)")
        let merged = try Binary.run(["merge", "--model", "org/tiny", "--adapter", "org/adapter", "--output", output + "-merged"], environment: variables)
        #expect(merged.status == 0, "\(merged.error)")
    }

    @Test func `answers that were begun with a hub's commit go on with it, and another command leaves them`() throws {
        let hub = try hub()
        let variables = try variables(hub)
        // So many that the command cannot end before its first answers are seen on a busy machine.
        let count = 6000
        let lines = (0..<count).map { #"{"prompt": "say \#($0):"}"# }.joined(separator: "\n")
        let (input, output) = (try Binary.file(lines, "in.jsonl"), try Binary.scratch() + "/answers.jsonl")
        let partial = output + RealFiles.partialSuffix
        let arguments = [
            "generate", "--model", "org/tiny", "--input", input, "--output", output, "--max-new-tokens", "8", "--device", "cpu", "--batch-size", "4",
        ]
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Binary.path)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        while process.isRunning && ((try? RealFiles().byteCount(of: partial)) ?? 0) == 0 { usleep(5000) }
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        #expect(process.terminationStatus == 75)
        let begun = try RealFiles().readText(partial)
        #expect(!begun.isEmpty)
        // The hub has a newer commit now.
        let newer = try self.hub(commit: String(repeating: "f", count: 40))
        let later = variables.merging(["HF_ENDPOINT": newer.endpoint]) { $1 }
        for (more, words) in [
            (["--temperature", "1"], "other temperature"), (["--model", "org/tiny@main"], "other model"), (["--max-new-tokens", "9"], "other max_new_tokens"),
        ] {
            let other = arguments.enumerated().filter { index, word in
                more[0] != word && !(index > 0 && arguments[index - 1] == more[0])
            }.map(\.element)
            let outcome = try Binary.run(other + more, environment: later)
            #expect(outcome.status == 2 && outcome.error.contains(words) && outcome.error.contains(partial), "\(more): \(outcome.error)")
            #expect(try RealFiles().readText(partial) == begun)
        }
        let last = try Binary.run(arguments.map { $0 == "4" ? "64" : $0 }, environment: later)
        #expect(last.status == 0 && last.error.contains("of \(count) records were answered before"), "\(last.error.suffix(500))")
        #expect(try RealFiles().readText(output).hasPrefix(begun))
    }
}
