import Foundation
import LorikeetGround
import Testing

@testable import LorikeetRecipe

/// Recipes as other tools write them.
struct OtherToolsTests {
    private func resolve(_ text: String, _ options: [(key: String, value: String)] = [], home: String? = nil) throws -> (recipe: Recipe, notes: [String]) {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".yaml").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        do { return try Recipe.resolve(file: path, options: options, home: home) } catch let error as LorikeetError {
            throw LorikeetError(
                error.exit, error.what, at: error.place?.replacingOccurrences(of: path, with: "run.yaml"), fix: error.fix)
        }
    }

    private func error(_ text: String, _ options: [(key: String, value: String)] = []) -> String {
        do {
            _ = try resolve(text, options)
            return "no error"
        } catch {
            #expect((error as? LorikeetError)?.exit == .unusableInput)
            return "\(error)"
        }
    }

    @Test(arguments: [
        ("max_seq_length: 77", "max_length"), ("sequence_len: 77", "max_length"), ("cutoff_len: 77", "max_length"), ("lora_r: 77", "lora.r"),
        ("lora_rank: 77", "lora.r"), ("lora:\n  rank: 77", "lora.r"), ("micro_batch_size: 77", "per_device_train_batch_size"),
        ("iters: 77", "max_steps"), ("random_state: 77", "seed"),
    ])
    func `another tool's name of a whole number is read as the key, with a note`(text: String, key: String) throws {
        let (recipe, notes) = try resolve(text)
        #expect(recipe.values[key] == .integer(77))
        let name = text.split(separator: "\n").last?.split(separator: ":").first.map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
        #expect(notes.count == 1 && notes[0].contains("\(name)' is read as '\(key): 77'"), "\(notes)")
    }

    @Test func `an axolotl recipe is read, with its own names of keys`() throws {
        let (recipe, notes) = try resolve(
            """
            base_model: dir/model
            load_in_4bit: true
            datasets:
              - path: a.jsonl
                type: alpaca
              - path: b.jsonl
                type: alpaca
            val_set_size: 0.05
            output_dir: ./outputs/out
            adapter: qlora
            sequence_len: 2048
            sample_packing: true
            pad_to_sequence_len: true
            lora_r: 32
            lora_alpha: 64
            lora_dropout: 0.1
            lora_target_linear: true
            gradient_accumulation_steps: 3
            micro_batch_size: 5
            num_epochs: 4
            optimizer: paged_adamw_32bit
            lr_scheduler: cosine
            learning_rate: 2e-4
            train_on_inputs: false
            bf16: auto
            flash_attention: true
            warmup_ratio: 0.1
            weight_decay: 0.0
            """)
        #expect(recipe.model == "dir/model" && recipe.data == ["a.jsonl", "b.jsonl"] && recipe.format == "instruction")
        #expect(recipe.validationShare == 0.05 && recipe.output == "./outputs/out" && recipe.maxLength == 2048 && recipe.packing)
        #expect(recipe.lora == LoRARecipe(r: 32, loraAlpha: 64, loraDropout: 0.1, targetModules: ["all-linear"], useRslora: false))
        #expect(recipe.gradientAccumulationSteps == 3 && recipe.perDeviceTrainBatchSize == 5 && recipe.numTrainEpochs == 4)
        #expect(recipe.lrSchedulerType == "cosine" && recipe.learningRate == 2e-4 && recipe.warmupRatio == 0.1 && recipe.warmupSteps == 0)
        #expect(recipe.assistantOnlyLoss == nil && recipe.completionOnlyLoss == nil)
        for name in ["base_model", "load_in_4bit", "datasets", "val_set_size", "adapter", "bf16", "train_on_inputs", "flash_attention"] {
            #expect(notes.contains { $0.contains("'\(name)'") }, "\(name)")
        }
    }

    @Test func `a LLaMA-Factory recipe is read, with its own names of keys`() throws {
        let (recipe, notes) = try resolve(
            """
            model_name_or_path: m.gguf
            stage: sft
            do_train: true
            finetuning_type: lora
            lora_rank: 8
            lora_target: all
            dataset: data/train.json
            template: llama3
            cutoff_len: 1024
            overwrite_cache: true
            preprocessing_num_workers: 16
            per_device_train_batch_size: 1
            learning_rate: 1.0e-4
            num_train_epochs: 3.0
            warmup_ratio: 0.1
            bf16: true
            ddp_timeout: 180000000
            val_size: 0.1
            eval_strategy: "no"
            """)
        #expect(recipe.model == "m.gguf" && recipe.lora.targetModules == ["all-linear"] && recipe.data == ["data/train.json"])
        #expect(recipe.chatTemplate == "llama-3" && recipe.maxLength == 1024 && recipe.learningRate == 1e-4 && recipe.evalSteps == 0)
        #expect(recipe.validationShare == 0.1 && notes.count == 15, "\(notes)")
    }

    @Test(arguments: [
        ("stage: dpo", "'stage' can only be sft, not 'dpo'"), ("lora:\n  bias: all", "'lora.bias' can only be none"),
        ("load_best_model_at_end: true\neval_steps: 0", "load_best_model_at_end: with 'eval_steps: 0' nothing is evaluated"),
        ("early_stopping_patience: 3", "early_stopping_patience: training that ends early delivers the best checkpoint"),
        ("metric_for_best_model: accuracy", "metric_for_best_model"), ("greater_is_better: true", "'greater_is_better' can only be false"),
        ("use_dora: true", "run.yaml:1: 'use_dora' is not supported; remove the key"), ("val_set_size: 500", "give validation_share, a share below 1"),
        ("dataset: alpaca_en_demo", "name the file with 'data: FILE'"), ("datasets:\n  - path: a\n    type: custom", "the type 'custom'"),
        ("datasets:\n  - path: a\n    split: train", "'split' of an entry of 'datasets' is not read"),
        ("max_seq_length: 1024\nmax_length: 512", "run.yaml:2: 'max_seq_length' (1024) and 'max_length' (512) are two names of one key and differ"),
        ("lora_r: 4\nlora:\n  r: 8", "are two names of one key and differ"), ("entirely_else: 3", "run.yaml:1: unknown key 'entirely_else'"),
    ])
    func `what cannot be read says so`(text: String, expected: String) {
        let said = error(text)
        #expect(said.contains(expected), "\(said)")
        #expect(!said.contains("did you mean"))
    }

    @Test func `all keys that are not known or not supported are named at once`() {
        let text = """
            base_model: m
            load_in_8bit: true
            datasets:
              - path: a.jsonl
                type: alpaca
                split: train
            sequence_len: 512
            learning_rte: 1e-4
            lora:
              use_dora: true
            totally_else: 3
            """
        #expect(
            error(text)
                == "run.yaml: 5 keys cannot be used: 'load_in_8bit' (line 2, not supported), 'split' of an entry of 'datasets' (line 6, not read), "
                + "'learning_rte' (line 8, unknown: did you mean 'learning_rate'?), 'lora.use_dora' (line 10, not supported), "
                + "'totally_else' (line 11, unknown); remove or rename them; 'lorikeet init' writes a recipe with the keys that there are")
    }

    @Test func `two names with one value are fine, and options have the names too`() throws {
        #expect(try resolve("max_seq_length: 512\nmax_length: 512").recipe.maxLength == 512)
        let (recipe, notes) = try resolve("cutoff_len: 512", [("max-seq-length", "99"), ("lora-target", "all")])
        #expect(recipe.maxLength == 99 && recipe.lora.targetModules == ["all-linear"] && notes.count == 3, "\(notes)")
        #expect(
            error("", [("max-seq-length", "99"), ("max-length", "98")]).contains("--max-length: 'max-seq-length' (99) and 'max-length' (98) are two names"))
    }

    @Test func `false, no, null and empty switch unsupported keys off, and an empty key keeps its default`() throws {
        let text = "load_best_model_at_end: false\nuse_dora: no\nneftune_noise_alpha:\nlora:\ndeepspeed: null\nmodules_to_save: []\nmax_seq_length:\n"
        #expect(try resolve(text).recipe.maxLength == 512)
    }
}

/// What the user sets beats what a preset sets, also under another key of the same meaning.
struct OverlapTests {
    private func resolve(_ text: String, _ options: [(key: String, value: String)] = []) throws -> (recipe: Recipe, notes: [String]) {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".yaml").path
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Recipe.resolve(file: path, options: options)
    }

    @Test func `a warm-up share of the user's beats the steps of a preset`() throws {
        let recipe = try resolve("warmup_ratio: 0.1\nmax_steps: 20\npreset: kaggle-free").recipe
        #expect(recipe.warmupSteps == 0 && recipe.warmupRatio == 0.1)
        // The written recipe says the same again.
        #expect(try resolve(recipe.yaml()).recipe == recipe)
    }

    @Test func `an option beats the file under the other key too`() throws {
        let ratio = try resolve("warmup_steps: 30", [("warmup-ratio", "0.2")]).recipe
        #expect(ratio.warmupSteps == 0 && ratio.warmupRatio == 0.2)
        let steps = try resolve("warmup_ratio: 0.2", [("warmup-steps", "0")]).recipe
        #expect(steps.warmupSteps == 0 && steps.warmupRatio == 0)
        let epochs = try resolve("max_steps: 30", [("num-train-epochs", "5")]).recipe
        #expect(epochs.maxSteps == -1 && epochs.numTrainEpochs == 5)
        #expect(try resolve("num_train_epochs: 5", [("max-steps", "30")]).recipe.maxSteps == 30)
    }

    @Test func `in one place transformers' rule holds, with a note`() throws {
        let both = try resolve("warmup_ratio: 0.2\nwarmup_steps: 7\nmax_steps: 9\nnum_train_epochs: 7")
        #expect(both.recipe.warmupSteps == 7 && both.recipe.maxSteps == 9 && both.notes.count == 2, "\(both.notes)")
        #expect(try resolve("warmup_steps: 3\nmax_steps: 7").recipe.warmupSteps == 3)
        #expect(try resolve("").notes.isEmpty)
    }
}

/// The text of recipes.
struct RecipeTextTests {
    private func resolve(_ bytes: [UInt8], home: String? = nil) throws -> Recipe {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".yaml").path
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        do { return try Recipe.resolve(file: path, options: [], home: home).recipe } catch let error as LorikeetError {
            throw LorikeetError(error.exit, error.what, at: error.place?.replacingOccurrences(of: path, with: "run.yaml"), fix: error.fix)
        }
    }

    @Test func `a byte order mark, CRLF and an empty lora are fine`() throws {
        #expect(try resolve([0xEF, 0xBB, 0xBF] + Array("seed: 7\r\nlora:\r\nmax_length: 99\r\n".utf8)).seed == 7)
        #expect(try resolve([]).seed == 42)
        #expect(try resolve(Array("lora: {}\n# nothing\n".utf8)).lora.r == 8)
    }

    @Test(arguments: [
        ("seed: 1\n\tmax_length: 9\n", "run.yaml:2: a tab stands in the line's indentation"),
        ("lora:\n\tr: 9\n", "run.yaml:2: a tab stands in the line's indentation"),
        ("seed: 1\nmax_length: 99\nseed: 2\n", "run.yaml:3: the key 'seed' stands there twice (lines 1 and 3)"),
        ("lora:\n  r: 1\n  r: 2\n", "run.yaml:3: the key 'r' stands there twice (lines 2 and 3)"), ("lora: 8", "run.yaml:1: 'lora' has to be a list of keys"),
        ("a: &x [1]\nb: [*x, *x]\n", "run.yaml:1: YAML's anchors and aliases"), ("data: *.jsonl", "stands in quotes"),
        ("? *f\n: 1", "anchors and aliases"), ("seed: \"1\u{0}\"", "zero byte"), ("seed: \"1", "not readable as YAML"),
        ("template_date: 2026-02-30", "a date such as 2026-01-31"), ("columns: instruction", "is not written name=name"),
        ("output: ~/out", "the home folder that '~' stands for is not known"), ("a: 1\n--- \nb: 2\n", "not readable as YAML"),
        (String(repeating: "[", count: 5000), "the YAML is nested too deeply"),
    ])
    func `a text that cannot be read says why`(text: String, expected: String) {
        let error = #expect(throws: LorikeetError.self) { try resolve(Array(text.utf8)) }
        #expect(error?.description.contains(expected) == true, "\(error?.description ?? "")")
    }

    @Test func `lists that grow with every alias are refused, also where a text in quotes goes on over lines`() throws {
        // To YAML the text in quotes ends where each line begins; as a key, the last list would be compared part by part.
        var text = "{z: \"\n"
        for (name, before) in zip("abcdefghi", "zabcdefgh") {
            let items = Array(repeating: name == "a" ? "x" : "*\(before)", count: 10).joined(separator: ",")
            text += "\", \(name): &\(name) [\(items)], k\(name): \"\n"
        }
        let error = #expect(throws: LorikeetError.self) { try resolve(Array((text + "\", ? *i : 1, ? [*i] : 2}\n").utf8)) }
        #expect(error?.description.contains("82 texts begin with an asterisk and 9 with an ampersand") == true, "\(error?.description ?? "")")
        // Words that are stressed, in quotes, are none.
        let stressed = "Q&A & more: " + Array(repeating: "*briefly* **now**", count: 20).joined(separator: " ")
        #expect(try resolve(Array("seed: 7\nmodel: \"\(stressed)\"\n".utf8)).seed == 7)
    }

    @Test func `other encodings and other files are named`() {
        for (bytes, words) in [([0xFF, 0xFE, 0x61, 0x00], "UTF-16"), ([0x73, 0xFF, 0xFF], "not UTF-8")] as [([UInt8], String)] {
            let error = #expect(throws: LorikeetError.self) { try resolve(bytes) }
            #expect(error?.description.contains(words) == true)
        }
        let large = #expect(throws: LorikeetError.self) { try resolve(Array(repeating: 0x23, count: 2 << 20)) }
        #expect(large?.description.contains("too large for a recipe") == true)
        let pipe = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        mkfifo(pipe, 0o600)
        defer { unlink(pipe) }
        let fifo = #expect(throws: LorikeetError.self) { try Recipe.resolve(file: pipe, options: []) }
        #expect(fifo?.exit == .unusableInput && fifo?.what == "not a regular file")
    }

    @Test func `a tilde is the home folder, in every path`() throws {
        let text = "output: ~/out\nmodel: ~/m.gguf\ndata: [~/a.jsonl, b/~.jsonl]\ninit_adapter: ~\n"
        let recipe = try resolve(Array(text.utf8), home: "/home/u")
        #expect(recipe.output == "/home/u/out" && recipe.model == "/home/u/m.gguf" && recipe.data == ["/home/u/a.jsonl", "b/~.jsonl"])
        // YAML's own `~` is nothing.
        #expect(recipe.initAdapter == nil)
    }

    @Test func `of an option that is given twice the last value counts, with a note`() throws {
        let differing = try Recipe.resolve(file: nil, options: [("seed", "4"), ("seed", "16")])
        #expect(differing.recipe.seed == 16 && differing.notes == ["--seed is given twice: 16 counts, and 4 does not"], "\(differing.notes)")
        #expect(try Recipe.resolve(file: nil, options: [("seed", "4"), ("seed", "4")]).notes.isEmpty)
    }

    @Test func `files and columns may be given in three ways`() throws {
        for text in ["data: a,b", "data: [a, b]", "data:\n- a\n- b"] { #expect(try resolve(Array(text.utf8)).data == ["a", "b"]) }
        let options = try Recipe.resolve(file: nil, options: [("data", "a"), ("data", "b"), ("columns", "instruction=q, output=a")]).recipe
        #expect(options.data == ["a", "b"] && options.columns == ["instruction=q", "output=a"])
        let several = try Recipe.resolve(file: nil, options: [("columns", "instruction=q"), ("columns", "output=a")])
        #expect(several.recipe.columns == ["instruction=q", "output=a"] && several.notes.isEmpty)
        for twice in [[("columns", "instruction=q,instruction=r")], [("columns", "instruction=q"), ("columns", "instruction=r")]] {
            let error = #expect(throws: LorikeetError.self) { try Recipe.resolve(file: nil, options: twice) }
            #expect(error?.what == "'instruction' stands twice in 'columns'", "\(String(describing: error))")
        }
        for text in ["columns: {instruction: q, output: a}", "columns: instruction=q,output=a", "columns: [instruction=q, output=a]"] {
            let recipe = try resolve(Array(text.utf8))
            #expect(recipe.columns == ["instruction=q", "output=a"])
            #expect(try resolve(Array(recipe.yaml().utf8)) == recipe)
        }
    }

    @Test func `dates and seconds belong together`() {
        for (text, seconds) in [("1970-01-01", 0.0), ("2000-02-29", 951_782_400), ("2026-11-26", 1_795_651_200), ("2100-03-01", 4_107_542_400)] {
            #expect(Recipe.seconds(ofDate: text) == seconds)
            #expect(Recipe.date(ofSeconds: seconds + 86_399) == text)
        }
        for text in ["2026-2-1", "2026-13-01", "2023-02-29", "today", "2026-01-01x", "", "+026-01-01"] { #expect(Recipe.seconds(ofDate: text) == nil) }
        for day in stride(from: 0.0, to: 60_000, by: 37) {
            #expect(Recipe.seconds(ofDate: Recipe.date(ofSeconds: day * 86_400)) == day * 86_400)
        }
    }
}
