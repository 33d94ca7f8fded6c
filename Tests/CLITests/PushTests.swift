import Foundation
import HubServer
import LorikeetGround
import LorikeetJSON
import Testing

/// `lorikeet push`, as a person uses it.
struct PushTests {
    private let files = RealFiles()

    private func variables(_ hub: LocalHub) throws -> [String: String] {
        ["HF_ENDPOINT": hub.endpoint, "HF_HOME": try Binary.scratch(), "HF_HUB_CACHE": "", "HF_HUB_OFFLINE": "", "HF_TOKEN": PullTests.secret]
    }

    @Test func `push uploads a part of a run's output, shows what it would do, and goes on`() throws {
        let (hub, tiny) = (try LocalHub([:]), try TinyFolder())
        let output = try Binary.scratch()
        try files.writeDurably("model: x", to: output + "/run.yaml")
        try FileManager.default.copyItem(atPath: tiny.adapter, toPath: output + "/adapter")
        let variables = try variables(hub)
        let dry = try Binary.run(["push", output, "me/adapter", "--part", "adapter", "--dry-run", "--json"], environment: variables)
        let listed = try JSON.parse(dry.out, source: "dry run")
        #expect(dry.status == 0 && listed["dry_run"] == true && hub.requests.isEmpty, "\(dry.error)")
        #expect(listed["files"]?.array?.compactMap { $0["path"]?.string } == ["adapter_config.json", "adapter_model.safetensors"])
        let first = try Binary.run(["push", output, "me/adapter", "--part", "adapter", "--private"], environment: variables)
        #expect(
            first.status == 0 && first.out.contains("me/adapter at ") && first.out.hasSuffix("\n\(hub.endpoint)/me/adapter\n"), "\(first.out)\(first.error)")
        let there = try #require(hub.repository("models/me/adapter"))
        #expect(there.isPrivate && there.files.count == 2)
        #expect(try there.files["adapter_model.safetensors"] == files.read(tiny.adapter + "/adapter_model.safetensors"))
        let again = try Binary.run(["push", output + "/adapter/", "me/adapter", "--json"], environment: variables)
        let result = try JSON.parse(again.out, source: "push")
        #expect(again.status == 0 && result["changed"] == [] && result["commit"] == .null && result["sent_bytes"] == 0)
        for line in again.error.split(separator: "\n") { #expect(try JSON.parse(String(line), source: "event")["event"]?.string != nil, "\(line)") }
        #expect(![dry, first, again].contains { ($0.out + $0.error).contains(PullTests.secret) })
        #expect(hub.storage.requests.allSatisfy { $0.headers["authorization"] == nil })
    }

    @Test func `what cannot be pushed is one sentence and the contract's exit code`() throws {
        let (hub, tiny) = (try LocalHub([:]), try TinyFolder())
        let output = try Binary.scratch()
        try files.writeDurably("model: x", to: output + "/run.yaml")
        let half = try Binary.scratch()
        for name in try files.list(tiny.adapter) { try files.writeDurably(files.read(tiny.adapter + "/" + name), to: half + "/" + name) }
        let weights = try files.read(half + "/adapter_model.safetensors")
        try files.writeDurably(Array(weights.dropLast(7)), to: half + "/adapter_model.safetensors")
        let variables = try variables(hub)
        for (arguments, status, words) in [
            ([output, "me/m"], 2, "--part merged, adapter, gguf or bnb-4bit"),
            ([output, "me/m", "--part", "merged"], 2, "/merged: the run has not merged its adapter yet; finish it: lorikeet run --config \(output)/run.yaml"),
            ([output, "me/m", "--part", "gguf"], 2, "/gguf: no GGUF file was exported; finish the run, with an export: lorikeet run --config "),
            ([output + "/bnb-4bit", "me/m"], 2, "--output \(output) --export bnb-4bit ("),
            ([half, "me/m", "--part", "gguf"], 2, "it has no gguf/, and is no run"),
            ([half + "/x", "me/m", "--part", "gguf"], 2, "/x: no such folder; with --part name the --output directory of a run"),
            ([half + "/x", "me/m"], 2, "no such folder; name a folder: a run's merged/"),
            ([half, "me/m"], 2, "adapter_model.safetensors"), ([tiny.adapter, "m"], 2, "write it like ORG/NAME"),
            ([tiny.adapter, "hf://datasets/me/m"], 2, "write it like ORG/NAME"), ([tiny.adapter, "me/m", "--part", "x"], 2, "--part has to be"),
            ([tiny.adapter, "me/m@v2"], 2, "no branch 'v2'"),
        ] {
            let end = try Binary.run(["push"] + arguments, environment: variables)
            #expect(end.status == status && end.error.contains(words), "\(arguments): \(end.error)")
        }
        hub.change { request, answer in request.path.contains("/preupload/") ? LocalHub.Response(401) : answer }
        let refused = try Binary.run(["push", tiny.adapter, "me/m"], environment: variables)
        #expect(refused.status == 2 && refused.error.contains("does not accept HF_TOKEN") && !refused.error.contains(PullTests.secret), "\(refused.error)")
    }
}
