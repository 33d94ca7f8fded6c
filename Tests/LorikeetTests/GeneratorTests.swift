import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers
import Testing

@testable import Lorikeet

/// What a generator asks the model: which template, with which date.
struct GeneratorTests {
    private let files = RealFiles()

    /// The text that the model gets for a question.
    private func prompt(_ model: String, adapter: String? = nil) throws -> String {
        let generator = try AnsweringModel(model: model, adapter: adapter, baseStorage: "auto", compute: Compute(cpu: CPU(threads: 1)))
        let ids = try generator.promptIDs(.messages([("user", "say 3:")]))
        return try Tokenizer.load(from: ModelFiles.open(model)).decode(ids)
    }

    @Test func `an adapter in a run's directory gets the run's template and date, other models their own and today's`() throws {
        let run = try TinyRun()
        let model = run.folder + "/model"
        try files.writeDurably("{{ strftime_now('%Y-%m-%d') }} {{ messages[0]['content'] }}", to: model + "/chat_template.jinja")
        // A run's directory, as far as the generator looks at it.
        let output = run.folder + "/run"
        try files.createDirectory(output)
        let adapter = output + "/adapter"
        try FileManager.default.copyItem(atPath: TinyRun.testsFolder.path + "/Reference/llama/adapter_init", toPath: adapter)
        let today = Recipe.date(ofSeconds: SystemClock().now)
        #expect(try prompt(model) == "\(today) say 3:" && prompt(model, adapter: adapter) == "\(today) say 3:")
        func recipe(_ options: [(key: String, value: String)]) throws {
            try files.writeDurably(Recipe.resolve(file: nil, options: options + [("model", model)]).recipe.yaml(), to: output + "/run.yaml")
        }
        try recipe([("template-date", "2024-02-29")])
        // A recipe alone does not make the folder a run's.
        #expect(try prompt(model, adapter: adapter) == "\(today) say 3:")
        try files.writeDurably("{}", to: output + "/plan.json")
        #expect(try prompt(model, adapter: adapter) == "2024-02-29 say 3:")
        #expect(try prompt(model, adapter: adapter + "/") == "2024-02-29 say 3:")
        #expect(try prompt(model) == "\(today) say 3:")
        // The template that the run was told to use.
        try files.writeDurably("Q {{ messages[0]['content'] }} {{ strftime_now('%d') }}", to: run.folder + "/own.jinja")
        try recipe([("template-date", "2024-02-29"), ("chat-template", run.folder + "/own.jinja")])
        #expect(try prompt(model, adapter: adapter) == "Q say 3: 29" && prompt(model) == "\(today) say 3:")
        try files.remove(run.folder + "/own.jinja")
        #expect(throws: LorikeetError.self) { try prompt(model, adapter: adapter) }
        // A file of this name that is no recipe says nothing.
        try files.writeDurably("- no\n- recipe\n", to: output + "/run.yaml")
        #expect(try prompt(model, adapter: adapter) == "\(today) say 3:")
    }

    @Test func `a GGUF that may have lost a window is warned of where a sample may be longer`() {
        let mistral: [String: GGUFValue] = [
            "general.architecture": .string("llama"), "llama.context_length": .unsigned(32768), "llama.feed_forward_length": .unsigned(14336),
            "llama.rope.freq_base": .float(10_000),
        ]
        func warning(_ change: [String: GGUFValue?], _ length: Int = 8192) -> String? {
            var metadata = mistral
            for (key, value) in change { metadata[key] = value }
            return Preparation.lostWindow(metadata, at: "m.gguf", maxLength: length)
        }
        #expect(warning([:])?.contains("4096 positions") == true && warning(["llama.rope.freq_base": nil]) != nil)
        #expect(warning([:], 4096) == nil)
        // Mistral 7B 0.2 and later, Llama 3, and another shape.
        #expect(warning(["llama.rope.freq_base": .float(1e6)]) == nil && warning(["llama.context_length": .unsigned(8192)]) == nil)
        #expect(warning(["llama.feed_forward_length": .unsigned(11008)]) == nil && warning(["general.architecture": .string("mistral3")]) == nil)
    }
}
