import Foundation
import LorikeetJSON
import Testing

/// A small run of the real model, from records to a merged and tested model.
struct EndToEndTests {
    private static let options = [
        "--instruction-role", "system", "--max-length", "64", "--per-device-train-batch-size", "4", "--gradient-accumulation-steps", "1",
        "--num-train-epochs", "1", "--learning-rate", "2e-3", "--warmup-steps", "1", "--save-steps", "1", "--eval-steps", "2", "--logging-steps", "1",
        "--save-total-limit", "2", "--test-samples", "2", "--validation-share", "0.2",
    ]

    @Test func `a run leaves what it promises, and the same command finds it finished`() throws {
        guard let model = Binary.smollm2 else { return }
        let output = try Binary.scratch() + "/out"
        let command = try ["run", "--model", model, "--data", Binary.file(Binary.records(15)), "--output", output] + Self.options
        let outcome = try Binary.run(command)
        #expect(outcome.status == 0, "\(outcome.error)")
        for file in [
            "run.yaml", "plan.json", "summary.json", "events.jsonl", "adapter/adapter_model.safetensors", "adapter/adapter_config.json",
            "merged/model.safetensors", "merged/config.json", "merged/tokenizer.json", "checkpoints/step-000003/trainer_state.json",
        ] {
            #expect(FileManager.default.fileExists(atPath: output + "/" + file), "\(file)")
        }
        #expect(!FileManager.default.fileExists(atPath: output + "/checkpoints/step-000001"))
        let summary = try JSON.parse(String(contentsOfFile: output + "/summary.json", encoding: .utf8), source: "summary")
        for key in [
            "steps", "trained_tokens", "tokens_per_second", "train_loss", "validation_loss_before", "validation_loss_after", "answers_right_before",
            "answers_right_after", "phases", "peak_gpu_bytes", "peak_rss_bytes", "predicted_gpu_bytes", "predicted_rss_bytes", "predicted_seconds",
            "merged_matches_adapter", "transfer", "sidecar", "stopped_early",
        ] {
            #expect(summary[key] != nil && summary[key] != .null, "\(key)")
        }
        #expect(summary["steps"]?.int == 3 && summary["merged_matches_adapter"]?["pass"]?.bool == true)
        for line in try String(contentsOfFile: output + "/events.jsonl", encoding: .utf8).split(separator: "\n") {
            #expect(try JSON.parse(String(line), source: "events")["event"]?.string != nil)
        }
        let again = try Binary.run(command)
        #expect(again.status == 0 && again.out.contains("this run is finished"))
        // run.yaml alone repeats the run.
        let other = try Binary.run("run", "--config", output + "/run.yaml", "--output", output + "-2")
        #expect(other.status == 0, "\(other.error)")
        let adapters = try [output, output + "-2"].map { try Data(contentsOf: URL(fileURLWithPath: $0 + "/adapter/adapter_model.safetensors")) }
        #expect(adapters[0] == adapters[1])
        // The merged model answers without the base.
        let answer = try Binary.run("generate", "--model", output + "/merged", "--prompt", "thing", "--max-new-tokens", "4")
        #expect(answer.status == 0 && !answer.out.isEmpty, "\(answer.error)")
    }

    @Test func `a run that is killed goes on to the same bits`() throws {
        guard let model = Binary.smollm2 else { return }
        let data = try Binary.file(Binary.records(15))
        let (calm, killed) = (try Binary.scratch() + "/out", try Binary.scratch() + "/out")
        let base = ["train", "--model", model, "--data", data] + Self.options + ["--lora-dropout", "0.1"]
        #expect(try Binary.run(base + ["--output", calm]).status == 0)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Binary.path)
        process.arguments = base + ["--output", killed]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        // As soon as the first checkpoint is whole.
        while process.isRunning, !FileManager.default.fileExists(atPath: killed + "/checkpoints/step-000001") { usleep(2000) }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        let outcome = try Binary.run(base + ["--output", killed])
        #expect(outcome.status == 0, "\(outcome.error)")
        let adapters = try [calm, killed].map { try Data(contentsOf: URL(fileURLWithPath: $0 + "/adapter/adapter_model.safetensors")) }
        #expect(adapters[0] == adapters[1])
    }
}
