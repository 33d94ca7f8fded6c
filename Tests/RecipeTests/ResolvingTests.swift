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

    @Test func `a session of none is no session, also where the file names one`() throws {
        let path = try file("session: 9h\n")
        #expect(try Recipe.resolve(file: path, options: []).recipe.sessionSeconds == 32_400)
        let none = try Recipe.resolve(file: path, options: [("session", "none")]).recipe
        #expect(none.sessionSeconds == nil && none.yaml().contains("session: null"))
        #expect(try Recipe.resolve(file: file("session: none\n"), options: []).recipe.sessionSeconds == nil)
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
        ("session: soon", "run.yaml:1: 'session' has to be a duration such as 9h, 90m or 1h30m, not 'soon'"), ("gpu_memory: -1GiB", "a size such as 15GiB"),
        ("lora:\n  target_modules: []", "needs at least one name"),
        ("seed: [1, 2]", "'seed' is given a list and takes one value: whole number"), ("seed: {a: 1}", "is given a table of keys"),
        ("learning_rate: nan", "a number"), ("a: b: c", "not readable as YAML"),
        ("lora:\n  use_dora: true", "'lora.use_dora' is not supported"), ("seed: 017", "run.yaml:1: 'seed' is written '017'"),
        ("lora:\n  <<: {r: 4}", "YAML's merge keys (<<) are not read"), ("seed: 1\nlora: {r: 4, r: 8}", "run.yaml:2: the key 'r' stands there twice"),
        ("entirely: 3", "'lorikeet init' writes a recipe"), ("columns: [question=q, question=a]", "'question' stands twice in 'columns'"),
        ("- 1\n- 2", "not a list of keys"),
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

    @Test func `a key that has no effect says so, as an option and in the file`() throws {
        for name in ["adamw_8bit", "paged_adamw_8bit", "adamw_torch_fused"] {
            let path = try file("seed: 1\noptim: \(name)\n")
            let resolved = try Recipe.resolve(file: path, options: [])
            #expect(
                resolved.notes.count == 1 && resolved.notes[0].contains(":2: 'optim: \(name)': AdamW with float32 moments runs instead"), "\(resolved.notes)")
            #expect(try Recipe.resolve(file: nil, options: [("optim", name)]).notes.count == 1)
        }
        #expect(try Recipe.resolve(file: nil, options: [("optim", "adamw_torch")]).notes.isEmpty)
        #expect(try message("optim: adafactor").contains("'optim' cannot be 'adafactor'; give one of adamw_torch,"))
        #expect(try Recipe.resolve(file: file("scratch:\n"), options: []).notes.isEmpty)
    }

    @Test(arguments: [
        ("bnb_4bit_quant_type: fp4", "'bnb_4bit_quant_type' can only be nf4, not 'fp4'"),
        ("lora:\n  init_lora_weights: pissa", "can only be true, not 'pissa'"),
        ("lora:\n  bias: all", "'lora.bias' can only be none"), ("lora:\n  task_type: SEQ_CLS", "can only be causal_lm, not 'SEQ_CLS'"),
        ("lora:\n  task_type: [CAUSAL_LM]", "'lora.task_type' can only be causal_lm"),
    ])
    func `a key without effect is refused where it asks for something else`(text: String, expected: String) throws {
        let said = try message(text)
        #expect(said.contains(expected), "\(said)")
    }

    @Test func `what asks for what happens anyway is noted`() throws {
        let text = "bnb_4bit_quant_type: nf4\nlora:\n  bias: none\n  task_type: CAUSAL_LM\n  init_lora_weights: true\n  fan_in_fan_out: false\n"
        #expect(try Recipe.resolve(file: file(text), options: []).notes.count == 5)
    }

    @Test func `every key of the table is read by some code, or says that it has no effect`() throws {
        let sources = Self.root.appending(path: "Sources")
        // How code asks for each key: by the property that reads it, or by a field of `lora`.
        var readers: [String: String] = [:]
        var property = ""
        for line in try String(contentsOf: sources.appending(path: "Recipe/Recipe.swift"), encoding: .utf8).split(separator: "\n") {
            if let match = line.firstMatch(of: /package var (\w+):/) { property = String(match.1) }
            for match in line.matches(of: /(?:(\w+): )?(?:text|flag|optionalFlag|integer|number|list)\("([a-z0-9_.]+)"\)/) {
                readers[String(match.2)] = property == "lora" ? "lora." + (match.1 ?? "") : property
            }
        }
        // Outside the room: `recipe.name`, and the bare name where a recipe is extended (not that of another's property).
        var code = ""
        let walk = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        for case let url as URL in walk where url.pathExtension == "swift" && !url.path.contains("/Recipe/") {
            var text = try String(contentsOf: url, encoding: .utf8)
            if text.contains("extension Recipe {") {
                text = text.replacingOccurrences(of: #"settings\.\w+"#, with: "", options: .regularExpression)
                text = text.replacingOccurrences(of: #"\b(lora\.)?[a-zA-Z]\w*"#, with: "recipe.$0", options: .regularExpression)
            }
            code += text
        }
        for key in KeyTable.keys {
            #expect(KeyTable.note(key, .text("anything")) == nil, "\(key.name)")
            let reader = try #require(readers[key.name], "no property of Recipe reads \(key.name)")
            let asked = #"\brecipe\."# + reader.replacingOccurrences(of: ".", with: #"\."#) + #"\b"#
            #expect(code.range(of: asked, options: .regularExpression) != nil, "nobody reads \(key.name): recipe.\(reader)")
        }
    }

    @Test func `report_to takes what there is and names what there is not`() throws {
        #expect(try Recipe.resolve(file: nil, options: []).recipe.writesTensorBoard)
        for (value, writes, unknown) in [
            ("none", false, nil), ("all", true, nil), ("tensorboard", true, nil), ("wandb", false, "wandb"), ("wandb,tensorboard", true, "wandb"),
        ] {
            let (recipe, notes) = try Recipe.resolve(file: nil, options: [("report-to", value)])
            #expect(recipe.writesTensorBoard == writes && notes.count == (unknown == nil ? 0 : 1), "\(value): \(notes)")
            #expect(notes.first?.contains("'report_to: \(unknown ?? "")' is not known here") ?? (unknown == nil), "\(notes)")
        }
        #expect(try !Recipe.resolve(file: file("report_to: none\n"), options: []).recipe.writesTensorBoard)
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
        #expect(recipe.model != nil && !recipe.data.isEmpty && recipe.instructionRole == "system")
    }

    @Test func `training keys make another run, logging does not`() throws {
        let recipe = try Recipe.resolve(file: nil, options: []).recipe
        let logged = try Recipe.resolve(file: nil, options: [("logging-steps", "1"), ("output", "elsewhere"), ("session", "9h")]).recipe
        #expect(logged.differences(from: recipe, role: .identity).isEmpty)
        let trained = try Recipe.resolve(file: nil, options: [("seed", "1"), ("threads", "1")]).recipe
        #expect(trained.differences(from: recipe, role: .identity) == ["seed: 42 -> 1"])
        #expect(trained.differences(from: recipe, role: .affectsBits) == ["threads: 0 -> 1"])
    }

    @Test func `what is delivered may change without making another run`() throws {
        let recipe = try Recipe.resolve(file: nil, options: []).recipe
        let other = try Recipe.resolve(file: nil, options: [("merge-dtype", "float32"), ("merge-into", "trained")]).recipe
        #expect(other.differences(from: recipe, role: .identity).isEmpty)
        #expect(other.differences(from: recipe, role: .delivery) == ["merge_dtype: float16 -> float32", "merge_into: original -> trained"])
    }

    @Test func `run yaml holds any path`() throws {
        for path in ["a\u{1B}[2Jb", "line\r\nbreak", "q\"uote\\", "\u{9B}\u{202E}\u{E0041}", "tab\t", "ü 漢 👩‍💻", "- x: y #z", " "] {
            let recipe = try Recipe.resolve(file: nil, options: [("model", path), ("data", path)]).recipe
            let yaml = recipe.yaml()
            #expect(yaml.unicodeScalars.allSatisfy { $0 == "\n" || !$0.isUnprintable }, "\(yaml)")
            #expect(try Recipe.resolve(file: file(yaml), options: []).recipe == recipe, "\(path)")
        }
    }

    @Test(arguments: ["kaggle-free", "full"], [[], [("device", "cpu")], [("format", "prompt")], [("lr-scheduler-type", "constant")]])
    func `a recipe that repeats all defaults, as init writes it, gets no note`(preset: String, options: [(String, String)]) throws {
        let path = try file(Recipe.commentedTemplate(preset: preset))
        #expect(try Recipe.resolve(file: path, options: options.map { (key: $0.0, value: $0.1) }).notes == [])
    }

    /// Options, and the key that a note names; nil where all have an effect.
    static let idle: [(options: [(String, String)], key: String?)] = [
        ([("sessions", "3")], "sessions"), ([("sessions", "3"), ("session", "9h")], nil), ([("sessions", "1")], nil),
        ([("eval-samples", "10"), ("eval-steps", "0")], "eval_samples"), ([("eval-samples", "10")], nil), ([("eval-steps", "0")], nil),
        ([("save-total-limit", "2"), ("save-steps", "0"), ("save-minutes", "0")], "save_total_limit"), ([("save-total-limit", "2"), ("save-steps", "0")], nil),
        ([("lr-scheduler-type", "constant"), ("warmup-steps", "5")], "warmup_steps"), ([("lr-scheduler-type", "constant"), ("warmup-steps", "0")], nil),
        ([("lr-scheduler-type", "constant"), ("warmup-ratio", "0.1")], "warmup_ratio"), ([("lr-scheduler-type", "constant")], nil),
        ([("lr-scheduler-type", "cosine"), ("warmup-ratio", "0.1")], nil),
        ([("preset", "full"), ("sample", "first")], "sample"), ([("sample", "first")], nil),
        ([("format", "messages"), ("dataset-text-field", "body")], "dataset_text_field"), ([("format", "text"), ("dataset-text-field", "body")], nil),
        ([("format", "prompt"), ("instruction-role", "system")], "instruction_role"), ([("format", "instruction"), ("instruction-role", "system")], nil),
        ([("export-tolerance", "1")], "export_tolerance"), ([("export-tolerance", "1"), ("export", "none")], "export_tolerance"),
        ([("export-tolerance", "1"), ("export", "q8_0")], nil),
        ([("device", "cpu"), ("compute-type", "bfloat16")], "compute_type"), ([("device", "cpu"), ("compute-type", "float32")], nil),
        ([("device", "cpu"), ("gpu-arch", "75")], "gpu_arch"), ([("device", "cpu"), ("gpu-memory", "1GiB")], "gpu_memory"),
        ([("device", "cpu"), ("tune", "true")], "tune"), ([("device", "cuda:0"), ("tune", "true")], nil), ([("gpu-memory", "1GiB")], nil),
    ]

    @Test(arguments: idle) func `a key that was set and has no effect is told`(options: [(String, String)], key: String?) throws {
        let notes = try Recipe.resolve(file: nil, options: options.map { (key: $0.0, value: $0.1) }).notes.filter { $0.contains("has no effect") }
        #expect(notes.count == (key == nil ? 0 : 1) && notes.allSatisfy { $0.hasPrefix("'\(key ?? "")' has no effect here: ") }, "\(options): \(notes)")
    }
}
