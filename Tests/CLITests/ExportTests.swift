import Foundation
import LorikeetJSON
import Testing

/// `lorikeet export` on the tiny model.
struct ExportTests {
    @Test func `a base with an adapter becomes GGUF files, a Modelfile for each and an adapter`() throws {
        let tiny = try TinyFolder()
        let output = tiny.path + "/gguf"
        let command = ["export", "--model", tiny.model, "--adapter", tiny.adapter, "--output", output]
        let outcome = try Binary.run(command + ["--form", "f16,f32,lora-gguf", "--name", "tiny", "--json"])
        #expect(outcome.status == 0, "\(outcome.error)")
        // The tokenizer's last token has no row.
        #expect(outcome.error.contains("left out"))
        let files = try #require(JSON.parse(outcome.out, source: "export")["files"]?.array)
        #expect(files.compactMap { $0["form"]?.string } == ["f16", "f32", "lora-gguf"])
        let names = try FileManager.default.contentsOfDirectory(atPath: output).sorted()
        #expect(names == ["Modelfile", "Modelfile-F32", "README.md", "chat_template.jinja", "tiny-F16.gguf", "tiny-F32.gguf", "tiny-LoRA-F32.gguf"])
        for file in files {
            let path = try #require(file["path"]?.string)
            #expect(try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int == file["bytes"]?.int)
        }
        let card = try String(contentsOfFile: output + "/README.md", encoding: .utf8)
        #expect(
            card.contains("| `tiny-F16.gguf` | F16 |") && card.contains("ollama create tiny:f16 -f Modelfile\n") && card.contains("llama-cli -m tiny-F32.gguf"))
        #expect(card.hasPrefix("---\nlibrary_name: gguf\n") && !card.contains(tiny.path), "\(card)")
        #expect(
            card.contains("# tiny, fine-tuned\n\n`tiny` with the adapter `adapter` added to its weights, as GGUF files")
                && card.contains("--lora tiny-LoRA-F32.gguf --jinja --chat-template-file chat_template.jinja"), "\(card)")
        let wrong = try Binary.run("generate", "--model", output + "/tiny-LoRA-F32.gguf", "--prompt", "x")
        #expect(wrong.status == 2 && wrong.error.contains("this GGUF holds a LoRA adapter and no model; name its base as the model"), "\(wrong.error)")
        // The same answer from the file as from base and adapter, and the same bytes a second time.
        let prompt = ["--prompt", "say 1:", "--max-new-tokens", "8"]
        let own = try Binary.run(["generate", "--model", tiny.model, "--adapter", tiny.adapter] + prompt)
        let exported = try Binary.run(["generate", "--model", output + "/tiny-F32.gguf"] + prompt)
        #expect(own.status == 0 && exported.status == 0 && own.out == exported.out, "\(own.error) \(exported.error)")
        _ = try Binary.run(["export", "--model", tiny.model, "--adapter", tiny.adapter, "--output", tiny.path + "/again", "--form", "f16", "--name", "tiny"])
        #expect(FileManager.default.contentsEqual(atPath: output + "/tiny-F16.gguf", andPath: tiny.path + "/again/tiny-F16.gguf"))
        let third = try Binary.run(
            ["export", "--model", tiny.model, "--output", tiny.path + "/third", "--form", "f16", "--name", "tiny", "--threads", "3", "--json"])
        #expect(try JSON.parse(third.out, source: "export")["threads"]?.int == 3, "\(third.error)")
        let twice = try Binary.run(command + ["--form", "f16"])
        #expect(twice.status == 2 && twice.error.contains("a folder of this name exists"), "\(twice.error)")
    }

    @Test func `a run's merged model is exported under its base's name`() throws {
        let tiny = try TinyFolder()
        let output = tiny.path + "/out"
        try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: tiny.model, toPath: output + "/merged")
        try "model: /elsewhere/Tiny-1M.Q4_1.gguf\ndata: train.jsonl\n".write(toFile: output + "/run.yaml", atomically: true, encoding: .utf8)
        try "{}".write(toFile: output + "/plan.json", atomically: true, encoding: .utf8)
        for (index, model) in [output + "/merged", output].enumerated() {
            let place = tiny.path + "/gguf-\(index)"
            let outcome = try Binary.run("export", "--model", model, "--output", place, "--form", "f16")
            #expect(outcome.status == 0 && outcome.out.hasPrefix("\(place)/Tiny-1M-F16.gguf  "), "\(outcome.error)\(outcome.out)")
        }
        let card = try String(contentsOfFile: tiny.path + "/gguf-0/README.md", encoding: .utf8)
        #expect(card.contains("# Tiny-1M, fine-tuned\n\n`Tiny-1M`, fine-tuned; the adapter is merged into the weights, as GGUF files"), "\(card)")
        let inside = try Binary.shell("'\(Binary.path)' export --model . --output ../gguf --form f16", in: output + "/merged", environment: [:])
        #expect(inside.status == 0 && FileManager.default.fileExists(atPath: output + "/gguf/Tiny-1M-F16.gguf"), "\(inside.error)")
        try FileManager.default.removeItem(atPath: output + "/merged")
        let missing = try Binary.run("export", "--model", output + "/merged", "--output", tiny.path + "/x", "--form", "f16")
        #expect(
            missing.status == 2
                && missing.error == "lorikeet: \(output)/merged: the run has not merged its adapter yet; finish it: lorikeet run --config "
                    + "\(output)/run.yaml --output \(output)\n",
            "\(missing.error)")
    }

    @Test func `merge and export write the template that the adapter was trained with, and say where it is not known`() throws {
        let tiny = try TinyFolder()
        let start = ["--model", tiny.model, "--adapter", tiny.adapter]
        let unknown = try Binary.run(["merge", "--output", tiny.path + "/unknown"] + start)
        #expect(unknown.status == 0 && unknown.error.contains("warning: \(tiny.adapter): the adapter does not say which chat template"), "\(unknown.error)")
        let template = "{% for message in messages %}Q: {{ message['content'] }}</s>{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
        try template.write(toFile: tiny.adapter + "/chat_template.jinja", atomically: true, encoding: .utf8)
        for (verb, more) in [("merge", []), ("export", ["--form", "f16"]), ("export", ["--form", "bnb-4bit"])] as [(String, [String])] {
            let outcome = try Binary.run([verb, "--output", tiny.path + "/" + verb + more.joined()] + start + more)
            #expect(outcome.status == 0 && !outcome.error.contains("chat template"), "\(outcome.error)")
        }
        for folder in ["merge", "export--formbnb-4bit"] {
            #expect(try String(contentsOfFile: "\(tiny.path)/\(folder)/chat_template.jinja", encoding: .utf8) == template)
            let settings = try JSON.parse(Array(Data(contentsOf: URL(fileURLWithPath: "\(tiny.path)/\(folder)/tokenizer_config.json"))), source: folder)
            #expect(settings["chat_template"]?.string == template)
        }
        let modelfile = try String(contentsOfFile: tiny.path + "/export--formf16/Modelfile", encoding: .utf8)
        #expect(modelfile.contains("Q: {{ .Content }}") || modelfile.contains("Q: "), "\(modelfile)")
        // The file answers as base and adapter do, whose template generate takes too.
        let prompt = ["--prompt", "say 1:", "--max-new-tokens", "8"]
        let own = try Binary.run(["generate"] + start + prompt)
        let merged = try Binary.run(["generate", "--model", tiny.path + "/merge"] + prompt)
        #expect(own.status == 0 && own.error == "" && own.out == merged.out, "\(own.error)")
    }

    /// The ten forms take many seconds, and the signal comes when the first of them is begun.
    @Test func `an interrupted export is exit 75 and leaves nothing, and the same command makes it`() throws {
        guard let model = Binary.smollm2 else { return }
        let folder = try Binary.scratch()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Binary.path)
        process.arguments = ["export", "--model", model, "--output", folder + "/gguf", "--form", "f32,q4_k_m,q5_k_m,q6_k,q5_1,q5_0,q4_0"]
        process.standardOutput = FileHandle.nullDevice
        let error = Pipe()
        process.standardError = error
        try process.run()
        while process.isRunning, ((try? FileManager.default.contentsOfDirectory(atPath: folder + "/gguf.partial")) ?? []).count < 2 { usleep(5000) }
        kill(process.processIdentifier, SIGINT)
        // A second signal changes nothing.
        kill(process.processIdentifier, SIGTERM)
        let said = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit && process.terminationStatus == 75, "\(process.terminationStatus) \(said)")
        #expect(said.contains("stopped before its end; what was written is removed; run the same command again"), "\(said)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == [])
        let again = try Binary.run("export", "--model", model, "--output", folder + "/gguf", "--form", "q8_0")
        #expect(again.status == 0, "\(again.error)")
    }

    @Test func `what cannot be exported is exit 2 with a sentence`() throws {
        let tiny = try TinyFolder()
        let start = ["export", "--model", tiny.model, "--output", tiny.path + "/out"]
        for (more, word) in [
            (["--form", "f16,q9"], "--form: there is no form 'q9'"), (["--form", "lora-gguf"], "--adapter"), (["--form", "f16", "--into", "x"], "--into"),
        ] {
            let outcome = try Binary.run(start + more)
            #expect(outcome.status == 2 && outcome.error.contains(word), "\(outcome.error)")
        }
        try FileManager.default.removeItem(atPath: tiny.model + "/tokenizer.json")
        let outcome = try Binary.run(start + ["--form", "f16"])
        #expect(outcome.status == 2 && outcome.error.contains("tokenizer"), "\(outcome.error)")
        #expect(!FileManager.default.fileExists(atPath: tiny.path + "/out"))
    }
}
