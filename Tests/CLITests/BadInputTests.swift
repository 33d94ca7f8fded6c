import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

/// Unusable input: one sentence that says what, where and the fix, exit 2, and nothing written.
struct BadInputTests {
    /// Runs `run` on the input and expects exit 2, a sentence with `words`, and no output directory.
    private func expect(_ words: [String], model: String? = nil, data: String, options: [String] = [], sourceLocation: SourceLocation = #_sourceLocation) throws
    {
        guard let model = model ?? Binary.smollm2 else { return }
        let output = try Binary.scratch() + "/out"
        let outcome = try Binary.run(["run", "--model", model, "--data", data, "--output", output] + options)
        #expect(outcome.status == 2, "\(outcome.error)", sourceLocation: sourceLocation)
        for word in words { #expect(outcome.error.contains(word), "\(outcome.error)", sourceLocation: sourceLocation) }
        #expect(outcome.error.split(separator: "\n").count == 1, "\(outcome.error)", sourceLocation: sourceLocation)
        #expect(!FileManager.default.fileExists(atPath: output), sourceLocation: sourceLocation)
    }

    @Test func `a missing data file is refused`() throws { try expect(["/no/such/file.jsonl", "no such file"], data: "/no/such/file.jsonl") }

    @Test func `an empty data file is refused`() throws { try expect(["train.jsonl", "no records"], data: Binary.file("")) }

    @Test func `broken JSON is refused with its line`() throws {
        var lines = Binary.records(5).split(separator: "\n").map(String.init)
        lines[2] = #"{"instruction": "x", "output": }"#
        try expect(["train.jsonl:3"], data: Binary.file(lines.joined(separator: "\n")))
    }

    @Test func `records with unknown keys are refused`() throws {
        try expect(["question", "train.jsonl"], data: Binary.file(#"{"question": "x", "reply": "y"}"# + "\n"))
    }

    @Test func `a record without an answer is refused with its line`() throws {
        try expect(["train.jsonl:2"], data: Binary.file(Binary.records(1) + #"{"instruction": "x", "input": "y", "output": ""}"# + "\n"))
    }

    @Test func `records whose prompt alone exceeds max_length are refused`() throws {
        try expect(["max_length"], data: Binary.file(Binary.records(4)), options: ["--max-length", "16"])
    }

    @Test func `a truncated GGUF is refused`() throws {
        guard let model = Binary.smollm2 else { return }
        let bytes = try Data(contentsOf: URL(fileURLWithPath: model), options: .alwaysMapped)
        for length in [3, 20, 5000, 1_000_000, 90_000_000] {
            let path = try Binary.scratch() + "/cut.gguf"
            try bytes.prefix(length).write(to: URL(fileURLWithPath: path))
            try expect(["cut.gguf"], model: path, data: Binary.file(Binary.records(4)))
        }
    }

    @Test func `safetensors with an offset past the end are refused`() throws {
        let folder = try Binary.scratch()
        try #"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 160}"#
            .write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
        let header = #"{"model.norm.weight": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}"#
        var bytes = Data()
        withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: Array(header.utf8) + [UInt8](repeating: 0, count: 100))
        try bytes.write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
        try expect(["model.norm.weight", "ends at byte 256 of 100"], model: folder, data: Binary.file(Binary.records(4)))
    }

    @Test func `a target module that does not exist names the nearest`() throws {
        try expect(["q_porj", "did you mean 'q_proj'"], data: Binary.file(Binary.records(4)), options: ["--target-modules", "q_porj"])
    }

    @Test func `a tokenizer without a chat template is refused`() throws {
        guard let model = Binary.smollm2 else { return }
        // The template's key with another name of the same length: the file stays whole, the template is gone.
        var bytes = try Data(contentsOf: URL(fileURLWithPath: model))
        let key = Data("tokenizer.chat_template".utf8)
        let place = try #require(bytes.range(of: key))
        bytes.replaceSubrange(place, with: Data("tokenizer.chat_templatf".utf8))
        let path = try Binary.scratch() + "/mute.gguf"
        try bytes.write(to: URL(fileURLWithPath: path))
        try expect(["template"], model: path, data: Binary.file(Binary.records(4)))
        try FileManager.default.removeItem(atPath: path)
    }

    @Test func `an output directory that belongs to another recipe is left as it is`() throws {
        guard let model = Binary.smollm2 else { return }
        let output = try Binary.scratch()
        try "seed: 7\n".write(toFile: output + "/run.yaml", atomically: true, encoding: .utf8)
        let outcome = try Binary.run("run", "--model", model, "--data", Binary.file(Binary.records(4)), "--output", output)
        #expect(outcome.status == 2 && outcome.error.contains("belongs to another recipe") && outcome.error.contains("seed: 7 -> 42"), "\(outcome.error)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: output) == ["run.yaml"])
        #expect(try String(contentsOfFile: output + "/run.yaml", encoding: .utf8) == "seed: 7\n")
    }

    @Test func `a directory with something else in it is refused`() throws {
        guard let model = Binary.smollm2 else { return }
        let output = try Binary.scratch()
        try "precious".write(toFile: output + "/thesis.txt", atomically: true, encoding: .utf8)
        let outcome = try Binary.run("run", "--model", model, "--data", Binary.file(Binary.records(4)), "--output", output)
        #expect(outcome.status == 2 && outcome.error.contains("holds no run"), "\(outcome.error)")
    }

    @Test func `too little memory is exit 3 before anything is written`() throws {
        guard let model = Binary.smollm2 else { return }
        // A quadrillion tokens of batch would not fit; a session of a second is too short: the cheaper way to ask for exit 3.
        let output = try Binary.scratch() + "/out"
        let outcome = try Binary.run(
            "run", "--model", model, "--data", Binary.file(Binary.records(40)), "--output", output, "--session", "1s", "--validation-share", "0.1")
        #expect(outcome.status == 3 && outcome.error.contains("session"), "\(outcome.error)")
        #expect(!FileManager.default.fileExists(atPath: output))
    }
}
