import Foundation
import LorikeetGround
import Testing

@testable import LorikeetRecipe

struct ResolvingTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private func file(_ text: String) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".yaml").path
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private func message(_ text: String) throws -> String {
        let path = try file(text)
        let error = #expect(throws: LorikeetError.self) { try Recipe.resolve(file: path, options: []) }
        #expect(error?.exit == .unusableInput)
        return (error?.description ?? "").replacingOccurrences(of: path, with: "run.yaml")
    }

    @Test func `docs keys md is what the table says`() throws {
        let path = Self.root.appending(path: "docs/keys.md").path
        if ProcessInfo.processInfo.environment["LORIKEET_REGENERATE"] != nil {
            try KeyTable.markdown().write(toFile: path, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == KeyTable.markdown())
    }

    @Test func `presets are those that are promised`() throws {
        let free = try Recipe.resolve(file: nil, options: []).recipe
        #expect(free.preset == "kaggle-free" && free.maxTrainSamples == 100_000 && free.maxValidationSamples == 10_000)
        #expect(free.lora == LoRARecipe(r: 8, loraAlpha: 16, loraDropout: 0.05, targetModules: ["q_proj", "v_proj"], useRslora: false))
        #expect(free.numTrainEpochs == 2 && free.gradientAccumulationSteps == 8 && free.perDeviceTrainBatchSize == 2)
        #expect(free.evalSteps == 200 && free.saveSteps == 500 && free.loggingSteps == 25)
        #expect(free.learningRate == 3e-5 && free.warmupSteps == 50 && free.maxLength == 512 && free.mergeDtype == "float16")
        #expect(free.lrSchedulerType == "linear" && free.maxGradNorm == 1 && free.seed == 42 && free.evalSamples == 512 && free.testSamples == 120)
        let full = try Recipe.resolve(file: nil, options: [("preset", "full")]).recipe
        #expect(full.maxTrainSamples == nil && full.maxValidationSamples == nil && full.numTrainEpochs == 3)
        #expect(full.lora.r == 16 && full.lora.loraAlpha == 32 && full.lora.targetModules == ["q_proj", "k_proj", "v_proj", "o_proj"])
        #expect(full.gradientAccumulationSteps == 4 && full.evalSteps == 500 && full.saveSteps == 1000 && full.loggingSteps == 50)
        #expect(full.learningRate == 2e-5 && full.warmupSteps == 100 && full.maxLength == 1024 && full.mergeDtype == "float32")
    }

    @Test func `an option beats the file, the file the preset`() throws {
        let path = try file("preset: full\nlearning_rate: 1e-4\nlora:\n  r: 4\n")
        let recipe = try Recipe.resolve(file: path, options: [("learning-rate", "0.5"), ("target-modules", "up_proj,down_proj")]).recipe
        #expect(recipe.learningRate == 0.5 && recipe.lora.r == 4 && recipe.maxLength == 1024)
        #expect(recipe.lora.targetModules == ["up_proj", "down_proj"])
    }

    @Test func `an unknown key names its line and the nearest known one`() throws {
        #expect(try message("seed: 1\nlearning_rte: 2\n") == "run.yaml:2: unknown key 'learning_rte'; did you mean 'learning_rate'?")
        #expect(try message("lora:\n  lora_dropuot: 0\n").contains("run.yaml:2: unknown key 'lora.lora_dropuot'; did you mean 'lora.lora_dropout'?"))
    }

    @Test(arguments: [
        ("seed: many", "run.yaml:1: 'seed' has to be a whole number, not 'many'"),
        ("max_length: 2", "between 8 and"), ("shuffle: perhaps", "true or false"), ("sample: last", "one of random, first"),
        ("session: soon", "'soon' is not a duration"), ("lora:\n  target_modules: []", "needs at least one name"),
        ("seed: [1, 2]", "has to be whole number"), ("learning_rate: nan", "a number"), ("a: b: c", "not readable as YAML"),
        ("lora:\n  use_dora: true", "'lora.use_dora' is not supported"), ("- 1\n- 2", "not a list of keys"),
    ])
    func `a value that cannot be says what is expected`(text: String, expected: String) throws {
        let said = try message(text)
        #expect(said.contains(expected), "\(said)")
    }

    @Test func `keys without meaning are noted, refused ones may say no`() throws {
        let path = try file("fp16: true\ngradient_checkpointing: true\nload_in_8bit: false\n")
        let notes = try Recipe.resolve(file: path, options: []).notes
        #expect(notes.count == 2 && notes[0].contains(":1: 'fp16' has no effect"))
    }

    @Test func `an unknown option names the nearest`() {
        let error = #expect(throws: LorikeetError.self) { try Recipe.resolve(file: nil, options: [("lora-rr", "8")]) }
        #expect(error?.description.contains("did you mean --lora-r?") == true)
    }

    @Test func `the written recipe resolves to itself`() throws {
        let recipe = try Recipe.resolve(
            file: nil, options: [("model", "a b/#1: x.gguf"), ("data", "true"), ("learning-rate", "2e-3"), ("preset", "full"), ("session", "9h")]
        ).recipe
        #expect(try Recipe.resolve(file: file(recipe.yaml()), options: []).recipe == recipe)
        let template = try Recipe.resolve(file: file(Recipe.commentedTemplate(preset: "full")), options: []).recipe
        #expect(template.lora.r == 16 && template.model == "path/to/model-directory-or.gguf")
    }

    @Test(arguments: ["kinds", "shell", "curve"])
    func `the examples resolve`(name: String) throws {
        let recipe = try Recipe.resolve(file: Self.root.appending(path: "Examples/\(name)/run.yaml").path, options: []).recipe
        #expect(recipe.model != nil && recipe.data != nil && recipe.instructionRole == "system")
    }

    @Test func `training keys make another run, logging does not`() throws {
        let recipe = try Recipe.resolve(file: nil, options: []).recipe
        let logged = try Recipe.resolve(file: nil, options: [("logging-steps", "1"), ("output", "elsewhere"), ("session", "9h")]).recipe
        #expect(logged.differences(from: recipe, role: .identity).isEmpty)
        let trained = try Recipe.resolve(file: nil, options: [("seed", "1"), ("threads", "1")]).recipe
        #expect(trained.differences(from: recipe, role: .identity) == ["seed: 42 -> 1"])
        #expect(trained.differences(from: recipe, role: .machine) == ["threads: 0 -> 1"])
    }
}
