import Foundation
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers
import Testing

@testable import Lorikeet

/// An adapter goes with the chat template that it was trained with, wherever its folder lies.
struct AdapterTemplateTests {
    private let files = RealFiles()
    private let alpaca = ChatTemplate.named("alpaca")

    /// A finished run with a built-in template, and a copy of its adapter that lies in no run.
    private func tuned(_ options: [String: String] = ["chat-template": "alpaca"]) throws -> (run: TinyRun, moved: String) {
        var run = try TinyRun()
        run.options = options
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let moved = run.folder + "/moved"
        try FileManager.default.copyItem(atPath: run.output + "/adapter", toPath: moved)
        return (run, moved)
    }

    private func generator(_ run: TinyRun, _ adapter: String?) throws -> AnsweringModel {
        try AnsweringModel(model: run.folder + "/model", adapter: adapter, baseStorage: "auto", compute: Compute(cpu: CPU(threads: 1)))
    }

    /// The text that the model gets for a question.
    private func prompt(_ run: TinyRun, _ adapter: String?) throws -> String {
        let generator = try generator(run, adapter)
        return try generator.tokenizer.decode(generator.promptIDs(.messages([("user", "say 3:")])))
    }

    private func merged(_ run: TinyRun, _ adapter: String?) throws -> MergedTemplate {
        try MergedTemplate(adapter: adapter, base: ModelSource.open(run.folder + "/model"))
    }

    private static let asAlpaca =
        "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        + "### Instruction:\nsay 3:\n\n### Response:\n"

    @Test func `a run's adapter carries its template, and every use of the folder takes it`() async throws {
        let (run, moved) = try tuned(["chat-template": "alpaca", "export": "f16,lora-gguf"])
        let text = try #require(alpaca?.source)
        for folder in [run.output + "/adapter", moved, run.output + "/merged", run.output + "/gguf"] {
            #expect(try files.readText(folder + "/chat_template.jinja") == text, "\(folder)")
        }
        for adapter in [moved, run.output + "/adapter", run.output + "/checkpoints/" + (try #require(files.list(run.output + "/checkpoints").last))] {
            #expect(try prompt(run, adapter) == Self.asAlpaca, "\(adapter)")
            #expect(try merged(run, adapter).replacement == text && merged(run, adapter).warnings.isEmpty && generator(run, adapter).warnings.isEmpty)
        }
        #expect(try prompt(run, nil) == "say 3:" && merged(run, nil).replacement == nil)
        // Merging the moved folder gives the run's own model, file by file.
        let again = run.folder + "/again"
        #expect(try await FineTuning.merge(model: run.folder + "/model", adapter: moved, output: again, threads: 1).isEmpty)
        for name in try files.list(again) { #expect(try files.read(again + "/" + name) == files.read(run.output + "/merged/" + name), "\(name)") }
        // And so does the export: the same Modelfile, and the same metadata of the tokenizer.
        var settings = GGUFExport.Settings(name: "model")
        settings.template = try merged(run, moved).replacement
        let export = try GGUFExport(
            base: ModelSource.open(run.folder + "/model"), adapter: AdapterFile.read(directory: moved), settings: settings, files: files, cpu: CPU(threads: 1))
        #expect(try export.modelfiles([.f16]).first?.text == files.readText(run.output + "/gguf/Modelfile"))
        try export.write(.f16, to: run.folder + "/again.gguf", files: files)
        let (own, other) = (try GGUFFile(path: run.output + "/gguf/model-F16.gguf"), try GGUFFile(path: run.folder + "/again.gguf"))
        #expect(own.metadata["tokenizer.chat_template"]?.string == text)
        #expect("\(own.metadata.sorted { $0.key < $1.key })" == "\(other.metadata.sorted { $0.key < $1.key })")
        // The finished run is whole, and stays so.
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
    }

    @Test func `the base's own template is written too, and stays the adapter's where the base has another one later`() throws {
        let (run, moved) = try tuned([:])
        #expect(try prompt(run, moved) == "say 3:" && merged(run, moved).replacement == nil && merged(run, moved).text != nil)
        try files.writeDurably("new {{ messages[0]['content'] }}", to: run.folder + "/model/chat_template.jinja")
        #expect(try prompt(run, moved) == "say 3:" && prompt(run, nil) == "new say 3:")
        #expect(try merged(run, moved).replacement == files.readText(moved + "/chat_template.jinja"))
    }

    @Test func `without the file the run's recipe decides, and where there is no run a warning names the base's`() throws {
        let (run, moved) = try tuned()
        for folder in [moved, run.output + "/adapter"] { try files.remove(folder + "/chat_template.jinja") }
        #expect(try prompt(run, run.output + "/adapter") == Self.asAlpaca && generator(run, run.output + "/adapter").warnings.isEmpty)
        #expect(try merged(run, run.output + "/adapter").replacement == alpaca?.source)
        let warning = "\(moved): the adapter does not say which chat template it was trained with"
        #expect(try prompt(run, moved) == "say 3:" && generator(run, moved).warnings.contains { $0.hasPrefix(warning) })
        #expect(try merged(run, moved).replacement == nil && merged(run, moved).warnings.first?.hasPrefix(warning) == true)
        #expect(try Preparation(recipe: run.recipe(), files: files, adapter: moved).warnings.contains { $0.hasPrefix(warning) } == false)
        // The run itself makes the folder whole again.
        #expect(try run.run(on: nil).error == nil && files.readText(run.output + "/adapter/chat_template.jinja") == alpaca?.source)
    }

    @Test func `an adapter of another tool says its template in each of the ways that transformers writes`() throws {
        let run = try TinyRun()
        let adapter = run.folder + "/other"
        try FileManager.default.copyItem(atPath: TinyRun.testsFolder.path + "/Reference/llama/adapter_init", toPath: adapter)
        func settings(_ template: JSON) throws {
            try files.writeDurably((["chat_template": template] as JSON).serialized(), to: adapter + "/tokenizer_config.json")
        }
        try settings(.null)
        #expect(try generator(run, adapter).warnings.count == 1)
        try settings("one {{ messages[0]['content'] }}")
        #expect(try prompt(run, adapter) == "one say 3:" && generator(run, adapter).warnings.isEmpty)
        try settings([["name": "rag", "template": "rag"], ["name": "default", "template": "two {{ bos_token }}{{ messages[0]['content'] }}"]])
        #expect(try prompt(run, adapter) == "two <s>say 3:" && merged(run, adapter).replacement == "two {{ bos_token }}{{ messages[0]['content'] }}")
        try files.writeDurably("three", to: adapter + "/chat_template.jinja")
        #expect(try prompt(run, adapter) == "three")
        // One that cannot be read, or is no template, is an error and not the base's.
        for bytes in [[0xFF, 0xFE], Array("{% if %}".utf8)] as [[UInt8]] {
            try files.writeDurably(bytes, to: adapter + "/chat_template.jinja")
            #expect(throws: LorikeetError.self) { try generator(run, adapter) }
            #expect(throws: LorikeetError.self) { try merged(run, adapter) }
        }
    }

    @Test func `test formats the records with the adapter's template unless its recipe names one`() throws {
        let (run, moved) = try tuned()
        var plain = run
        plain.options = [:]
        plain.output = run.folder + "/elsewhere"
        let choice = try Preparation(recipe: plain.recipe(), files: files, adapter: moved).choice
        #expect(choice.source == alpaca?.source && choice.builtIn == alpaca)
        plain.options["chat-template"] = "zephyr"
        #expect(try Preparation(recipe: plain.recipe(), files: files, adapter: moved).choice.builtIn?.name == "zephyr")
        // From there on training with another template is warned of.
        plain.options = ["init-adapter": moved]
        #expect(
            try Preparation(recipe: plain.recipe(), files: files).warnings.contains {
                $0.hasPrefix("\(moved): the adapter was trained with another chat template")
            })
        plain.options["chat-template"] = "alpaca"
        #expect(try Preparation(recipe: plain.recipe(), files: files).warnings.isEmpty)
    }

    @Test func `the card's Python takes the folder's template and the ends of its answers`() throws {
        let (run, _) = try tuned()
        let card = try files.readText(run.output + "/adapter/README.md")
        for line in [
            "from pathlib import Path", "tokenizer.chat_template = Path(folder, \"chat_template.jinja\").read_text(encoding=\"utf-8\")",
            "model = PeftModel.from_pretrained(model, folder)", "output = model.generate(**inputs, max_new_tokens=256, eos_token_id=[2])",
        ] { #expect(card.split(separator: "\n").contains(Substring(line)), "\(line)\n\(card)") }
        let merged = try files.readText(run.output + "/merged/README.md")
        #expect(!merged.contains("chat_template.jinja") && merged.contains("model.generate(**inputs, max_new_tokens=256)"))
    }
}
