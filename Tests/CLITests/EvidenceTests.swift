import Foundation
import LorikeetJSON
import Testing

/// A check passes on evidence alone: what was not tested is said and is exit 1, and NaN passes nothing.
struct EvidenceTests {
    /// A copy of the reference folder.
    private func folder(_ change: (String) throws -> Void) throws -> String {
        let folder = try Binary.scratch() + "/llama"
        try FileManager.default.copyItem(atPath: TinyFolder.reference, toPath: folder)
        try change(folder)
        return folder
    }

    private func remove(_ name: String) -> (String) throws -> Void { { try FileManager.default.removeItem(atPath: $0 + "/" + name) } }

    @Test func `a reference folder of a family that is not supported is not tested, exit 1`() throws {
        let path = try folder {
            let config = try String(contentsOfFile: $0 + "/config.json", encoding: .utf8)
            try config.replacingOccurrences(of: #""model_type": "llama""#, with: #""model_type": "heron""#)
                .replacingOccurrences(of: "LlamaForCausalLM", with: "HeronForCausalLM").write(toFile: $0 + "/config.json", atomically: true, encoding: .utf8)
        }
        let outcome = try Binary.run("doctor", "--reference", path)
        #expect(outcome.status == 1 && outcome.error.contains("not tested") && outcome.error.contains("heron"), "\(outcome.error)")
        #expect(outcome.out.contains("0 failed, 2 not tested") && outcome.out.contains("not tested  logits, losses and gradients"), "\(outcome.out)")
        let json = try JSON.parse(try Binary.run("doctor", "--reference", path, "--json").out, source: "doctor")
        let untested = (json.array ?? []).filter { $0["pass"] == .null }
        #expect(untested.count == 2 && untested.allSatisfy { $0["reason"]?.string?.contains("heron") == true })
        #expect((json.array?.count ?? 0) > 2)
    }

    @Test(arguments: ["nf4.safetensors", "expected.safetensors", "expected.json", "adapter_init/adapter_model.safetensors"])
    func `a reference folder without a file says what was not tested, exit 1`(name: String) throws {
        let outcome = try Binary.run("doctor", "--reference", try folder(remove(name)))
        #expect(outcome.status == 1 && outcome.error.contains("no \(name)") && outcome.error.contains("not tested"), "\(outcome.error)")
        #expect(outcome.out.contains("not tested  ") && outcome.out.contains(" 0 failed"), "\(outcome.out)")
    }

    @Test(arguments: ["logits", "nf4_logits", "step0_grad.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"])
    func `reference numbers that are NaN fail`(name: String) throws {
        let path = try folder { try TinyFolder.overwrite(name, in: $0 + "/expected.safetensors", with: TinyFolder.bytes(Float.nan)) }
        let outcome = try Binary.run("doctor", "--reference", path)
        #expect(outcome.status == 1 && outcome.error.contains("outside their tolerance"), "\(outcome.error)")
    }

    @Test func `a folder of texts without texts or chats is not tested`() throws {
        let (tiny, folder) = (try TinyFolder(), try Binary.scratch())
        try #"{"texts": []}"#.write(toFile: folder + "/expected.json", atomically: true, encoding: .utf8)
        let outcome = try Binary.run("doctor", "--reference", folder, "--model", tiny.model)
        #expect(outcome.status == 1 && outcome.out.contains("0 passed, 0 failed, 2 not tested"), "\(outcome.error) \(outcome.out)")
    }

    @Test func `a model of NaN gives no answer: exit 1 with a sentence`() throws {
        let tiny = try TinyFolder()
        try TinyFolder.overwrite("model.norm.weight", in: tiny.model + "/model.safetensors", with: TinyFolder.bytes(Float.nan))
        let outcome = try Binary.run("generate", "--model", tiny.model, "--prompt", "say", "--max-new-tokens", "4")
        #expect(outcome.status == 1 && outcome.error.contains("not finite") && outcome.error.contains(tiny.model), "\(outcome.error)")
        #expect(outcome.error.split(separator: "\n").count == 1)
        let chat = try Binary.run(["chat", "--model", tiny.model, "--max-new-tokens", "4"], input: "say\n")
        #expect(chat.status == 1 && chat.error.contains("not finite"), "\(chat.error)")
    }

    @Test func `test without held-out records is not tested: exit 1, pass null; a merged model of NaN fails`() throws {
        let tiny = try TinyFolder()
        let data = try Binary.file((0..<12).map { #"{"prompt": "say \#($0 % 7):", "completion": "ab"}"# }.joined(separator: "\n") + "\n")
        let merged = tiny.path + "/merged"
        let merging = try Binary.run(
            "merge", "--model", tiny.model, "--adapter", tiny.adapter, "--output", merged, "--dtype", "float32", "--threads", "3", "--json")
        #expect(try merging.status == 0 && JSON.parse(merging.out, source: "merge")["threads"]?.int == 3, "\(merging.error)")
        let arguments = [
            "test", "--model", tiny.model, "--adapter", tiny.adapter, "--merged", merged, "--data", data, "--max-length", "48", "--base-storage", "f32",
            "--merge-dtype", "float32", "--json",
        ]
        func test(_ share: String) throws -> (outcome: Binary.Outcome, json: JSON) {
            let outcome = try Binary.run(arguments + ["--validation-share", share])
            return (outcome, try JSON.parse(outcome.out, source: "test"))
        }
        let whole = try test("0.25")
        #expect(whole.outcome.status == 0, "\(whole.outcome.error)")
        #expect(whole.json["transfer"]?["pass"] == true && whole.json["merged_matches_adapter"]?["pass"] == true)
        let without = try test("0")
        #expect(without.outcome.status == 1 && without.outcome.error.contains("transfer was not tested"), "\(without.outcome.error)")
        #expect(without.json["transfer"]?["pass"] == .null && without.json["merged_matches_adapter"]?["pass"] == true, "\(without.outcome.out)")
        try TinyFolder.overwrite("model.norm.weight", in: merged + "/model.safetensors", with: TinyFolder.bytes(Float.nan))
        for share in ["0", "0.25"] {
            let broken = try test(share)
            #expect(broken.outcome.status == 1 && broken.outcome.error.contains("NaN"), "\(broken.outcome.error)")
            #expect(broken.json["merged_matches_adapter"]?["pass"] == false && broken.json["transfer"]?["pass"] == (share == "0" ? .null : false))
        }
    }
}
