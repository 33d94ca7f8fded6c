import Foundation
import LorikeetJSON
import Testing

/// Files that cannot be used, each with the words that its sentence has. Every one ends with exit 2 and one line that says what, where and
/// how to fix it: no crash, no wait, no control characters.
struct MalformedInputTests {
    /// What of a good model, adapter, template, recipe or data file is changed.
    enum Change: Sendable {
        /// A key of the model's config.json.
        case config(String, JSON)
        /// A file of the model's folder.
        case model(String, [UInt8])
        case withoutModelFile(String)
        /// A key of adapter_config.json.
        case setting(String, JSON)
        case adapter(String, [UInt8])
        case template(String)
        case recipe(String)
        case data(String, [UInt8])
    }

    struct Case: Sendable, CustomStringConvertible {
        let change: Change
        let words: [String]

        init(_ change: Change, _ words: String...) { (self.change, self.words) = (change, words) }
        var description: String { String("\(change)".prefix(120)) }
    }

    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func safetensors(_ header: String, _ body: Int = 0) -> [UInt8] {
        TinyFolder.bytes(UInt64(header.utf8.count)) + Array(header.utf8) + [UInt8](repeating: 0, count: body)
    }

    static let configurations: [Case] = [
        Case(.config("hidden_size", "64"), "config.json", "'hidden_size' is \"64\""), Case(.config("hidden_size", .null), "'hidden_size' is null"),
        Case(.config("hidden_size", 0), "'hidden_size' is 0"), Case(.config("hidden_size", 1_000_000_000), "'hidden_size' is 1000000000"),
        Case(.config("hidden_size", 32), "'model.embed_tokens.weight' has shape [160, 64]"),
        Case(.config("num_hidden_layers", 5000), "'num_hidden_layers' is 5000"),
        Case(.config("num_hidden_layers", 2), "layers.2.", "has no place"), Case(.config("num_hidden_layers", 100), "lacks the tensor 'model.layers.3."),
        Case(.config("num_attention_heads", 3), "config.json"), Case(.config("num_key_value_heads", 4), "has shape [32, 64]"),
        Case(.config("vocab_size", 161), "'model.embed_tokens.weight' has shape [160, 64]"), Case(.config("vocab_size", [160]), "'vocab_size' is [160]"),
        Case(.config("intermediate_size", 64), "has shape [128, 64]"), Case(.config("head_dim", 7), "'head_dim' is 7"),
        Case(.config("rms_norm_eps", "1e-5"), "'rms_norm_eps'"), Case(.config("rms_norm_eps", -1), "'rms_norm_eps' is -1"),
        Case(.config("rope_theta", "500000"), "'rope_theta'"), Case(.config("rope_parameters", ["rope_type": "spiral"]), "'spiral'"),
        Case(.config("rope_parameters", ["factor": 2]), "rope_type' is missing beside a factor"),
        Case(.config("rope_parameters", ["rope_type": "linear"]), "factor' is missing"),
        Case(.config("rope_scaling", "linear"), "'rope_scaling' is \"linear\""),
        Case(.config("rope_scaling", ["type": "yarn", "factor": "x"]), "'"), Case(.config("hidden_act", "relu6"), "hidden_act"),
        Case(.config("attention_bias", true), "lacks the tensor 'model.layers.0.self_attn.q_proj.bias'"),
        Case(.config("mlp_bias", .null), "'mlp_bias' is null"),
        Case(.config("model_type", "mamba"), "'mamba' are not supported"), Case(.config("model_type", ["llama"]), "'model_type' is [\"llama\"]"),
        Case(.config("tie_word_embeddings", false), "lacks the tensor 'lm_head.weight'", "tie_word_embeddings"),
        Case(.config("num_local_experts", 8), "'num_local_experts' is 8"), Case(.config("sliding_window", 8), "'sliding_window' is 8"),
        Case(.config("quantization_config", ["quant_method": "gptq"]), "GPTQ"), Case(.config("quantization_config", "x"), "quantization_config"),
        Case(.config("partial_rotary_factor", 2), "'partial_rotary_factor' is 2"), Case(.config("architectures", "x"), "'architectures' is \"x\""),
    ]

    static let modelFiles: [Case] = [
        Case(.model("config.json", []), "config.json: the file is empty"), Case(.model("config.json", text("[]")), "config.json"),
        Case(.model("config.json", text("{")), "config.json:1: broken JSON"), Case(.model("config.json", [0xEF, 0xBB, 0xBF] + text("{}")), "byte order mark"),
        Case(.model("config.json", [0xFF, 0xFE, 0x7B, 0]), "UTF-16"),
        Case(.model("config.json", text(String(repeating: "[", count: 100_000))), "nested too deeply"),
        Case(.model("config.json", [UInt8](repeating: 0, count: 512)), "zero bytes"), Case(.withoutModelFile("config.json"), "no config.json"),
        Case(.withoutModelFile("model.safetensors"), "no model.safetensors"), Case(.withoutModelFile("tokenizer.json"), "no tokenizer.json"),
        Case(.model("model.safetensors", []), "the file is empty"), Case(.model("model.safetensors", [1, 2]), "too short"),
        Case(.model("model.safetensors", TinyFolder.bytes(UInt64.max) + text("{}")), "the header says"),
        Case(.model("model.safetensors", safetensors("hello")), "broken JSON"), Case(.model("model.safetensors", safetensors("[]")), "not a JSON object"),
        Case(.model("model.safetensors", safetensors("{}")), "lacks the tensor"),
        Case(.model("model.safetensors", safetensors(#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#, 4)), "'a' has no usable shape"),
        Case(
            .model("model.safetensors", safetensors(#"{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 4]}}"#, 4)), "'a' of shape"),
        Case(
            .model(
                "model.safetensors",
                safetensors(#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4)),
            "'a' and 'b' overlap"),
        Case(
            .model(
                "model.safetensors",
                safetensors(#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#, 8)),
            "'a' stands twice"),
        Case(
            .model("model.safetensors", safetensors("{\"a\\u001b[31m\\u202e\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4)),
            "model"),
        Case(.model("generation_config.json", text(#"{"eos_token_id": "</s>"}"#)), "generation_config.json: 'eos_token_id' is \"</s>\""),
        Case(.model("generation_config.json", text("{")), "generation_config.json:1: broken JSON"),
        Case(.model("model.safetensors", text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")), "a pointer of Git LFS"),
        Case(.model("model.safetensors", text("<!DOCTYPE html><html></html>")), "a web page"),
        Case(.model("generation_config.json", text("[]")), "generation_config.json: it holds no JSON object"),
        Case(.model("special_tokens_map.json", text("[]")), "special_tokens_map.json: it holds no JSON object"),
        Case(.model("chat_template.jinja", [0xFF, 0xFE, 0x7B]), "chat_template.jinja: the chat template is not UTF-8"),
        Case(.model("tokenizer_config.json", text(#"{"eos_token": 5}"#)), "'eos_token' is 5"),
        Case(.model("tokenizer_config.json", text(#"{"eos_token": "<|nope|>"}"#)), "'eos_token' is '<|nope|>', which the tokenizer does not have"),
        Case(.model("tokenizer_config.json", text(#"{"eos_token": {"x": 1}}"#)), "'eos_token' is {"),
        Case(.model("tokenizer_config.json", text("{")), "tokenizer_config.json:1: broken JSON"),
        Case(.model("tokenizer_config.json", text(#"{"chat_template": 5}"#)), "“chat_template” is neither a text nor a list"),
        Case(.model("tokenizer_config.json", text(#"{"chat_template": [1]}"#)), "a chat template in the list has no name"),
        Case(.model("tokenizer_config.json", text(#"{"chat_template": "{% if %}"}"#)), "expected a value"),
        Case(.model("tokenizer.json", []), "tokenizer.json: the file is empty"), Case(.model("tokenizer.json", text("{}")), "“model” has no “vocab”"),
        Case(.model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}"#)), "the token “a” has no usable id"),
        Case(.model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": 1099511627776}, "merges": []}}"#)), "the token “a” has no usable id"),
        Case(.model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": 0}}}"#)), "“model” has no “merges”"),
        Case(.model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["z", "q"]]}}"#)), "merge 0 (“z”, “q”)"),
        Case(.model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Sieve"}}"#)), "“Sieve”"),
        Case(.model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Sieve"}}"#)), "“Sieve”"),
        Case(
            .model(
                "tokenizer.json",
                text(
                    #"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}}"#
                )), "regular expression"),
        Case(
            .model("tokenizer.json", text(#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": -5, "content": "x"}]}"#)),
            "added token “x” has the id -5"),
    ]

    static let adapters: [Case] = [
        Case(.setting("peft_type", "IA3"), "'peft_type' \"IA3\""), Case(.setting("peft_type", .null), "no 'peft_type'"),
        Case(.setting("r", 0), "'r' is 0"), Case(.setting("r", "4"), "'r' is \"4\""), Case(.setting("r", 8), "lora_A.weight' has shape [4, "),
        Case(.setting("r", .number(1e30)), "'r' is"), Case(.setting("lora_alpha", true), "'lora_alpha' is true"),
        Case(.setting("use_dora", true), "'use_dora' true"),
        Case(.setting("use_rslora", "true"), "'use_rslora'"), Case(.setting("bias", "all"), "'bias' \"all\""),
        Case(.setting("modules_to_save", ["lm_head"]), "'modules_to_save'"), Case(.setting("init_lora_weights", "pissa"), "'init_lora_weights' \"pissa\""),
        Case(.setting("target_modules", ["q_proj"]), "which its target_modules"), Case(.setting("target_modules", "("), "'target_modules' '('"),
        Case(.setting("target_modules", 5), "'target_modules' is 5"), Case(.setting("layers_to_transform", [-1]), "'layers_to_transform'"),
        Case(.setting("rank_pattern", ["q_proj": "4"]), "'rank_pattern'"), Case(.setting("rank_pattern", ["(": 4]), "'rank_pattern' '('"),
        Case(.setting("task_type", "SEQ_CLS"), "'task_type' \"SEQ_CLS\""), Case(.setting("layer_replication", [[0, 1]]), "'layer_replication'"),
        Case(.setting("a_setting_of_tomorrow", 1), "'a_setting_of_tomorrow' is not known"), Case(.setting("\u{1B}[31m\u{202E}", 1), #"'\u{1B}[31m\u{202E}'"#),
        Case(.adapter("adapter_config.json", []), "adapter_config.json: the file is empty"),
        Case(.adapter("adapter_config.json", text("[]")), "not a JSON object"),
        Case(.adapter("adapter_model.safetensors", []), "the file is empty"),
        Case(.adapter("adapter_model.safetensors", safetensors("{}")), "holds no tensors"),
        Case(
            .adapter("adapter_model.safetensors", safetensors(#"{"x.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4)),
            "does not begin with 'base_model.model.'"),
        Case(
            .adapter(
                "adapter_model.safetensors", safetensors(#"{"base_model.model.lm_head.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4)),
            "is a whole output matrix", "use a LoRA adapter that has A and B"),
    ]

    static let templates: [Case] = [
        Case(.template("{% if 1 %}"), "is missing"), Case(.template("{{ 1"), "has no end"), Case(.template("{# x"), "has no end"),
        Case(.template("{% sieve %}"), "“sieve”"), Case(.template("{{ 1 | sieve }}"), "“sieve”"), Case(.template("{{ 1 is sieve }}"), "“sieve”"),
        Case(.template("{% include '/etc/passwd' %}"), "“include”"), Case(.template("{% raw %}"), "“raw”"), Case(.template("{{ 'x"), "no end"),
        Case(.template("{{ sieve() }}"), "“sieve” is undefined"), Case(.template("{{ 1 / 0 }}"), "division by zero"),
        Case(.template("{{ 'a' * 9223372036854775807 }}"), "64 MiB"), Case(.template("{{ range(9223372036854775807) | list }}"), "elements"),
        Case(.template("{{ '%1000000000d' % 1 }}"), "wider than"), Case(.template("{{ 9223372036854775807 + 1 }}"), "out of range"),
        Case(.template("{{ 'a'.ljust(9223372036854775807) }}"), "64 MiB"), Case(.template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "deeper than"),
        Case(.template("{{ " + String(repeating: "(", count: 500) + "1" + String(repeating: ")", count: 500) + " }}"), "deeper than"),
        Case(.template("{{ messages.append(1) }}"), "“append”"),
        Case(.template("{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}"), "too much work"),
        Case(.template("{{ raise_exception('\u{1B}[31m\u{202E}') }}"), #"\u{1B}[31m\u{202E}"#), Case(.template(""), "template"),
    ]

    static let recipes: [Case] = [
        Case(.recipe("a: " + String(repeating: "[", count: 10_000)), "r.yaml:1: the YAML is nested too deeply"),
        Case(.recipe(String(repeating: "seed: 1\n", count: 100)), "stands there twice (lines 1 and 2 and 3 and 4 and others)"),
        Case(.recipe("- a\n"), "r.yaml: not a list of keys"), Case(.recipe("lora: [1]\n"), "r.yaml:1: 'lora' has to be a list of keys"),
        Case(.recipe("lora:\n\tr: 4\n"), "r.yaml:2: a tab"), Case(.recipe("seed: 1\nseed: 2\n"), "r.yaml:2: the key 'seed' stands there twice (lines 1 and 2)"),
        Case(.recipe("a: &a 1\nseed: *a\n"), "r.yaml:1: YAML's anchors"), Case(.recipe("lora:\n  <<: {r: 4}\n"), "r.yaml:2: YAML's merge keys"),
        Case(.recipe("seed: 1\n---\nseed: 2\n"), "another document"), Case(.recipe("seed: 017\n"), "r.yaml:1: 'seed' is written '017'"),
        Case(.recipe("seed: 1:30\n"), "'seed' has to be a whole number"), Case(.recipe("seed: [1]\n"), "'seed' is given a list"),
        Case(.recipe("seed: 99999999999999999999\n"), "'seed'"), Case(.recipe("max_length: 0\n"), "'max_length' has to be between"),
        Case(.recipe("max_steps: 1000000000\n"), "max_steps: 1000000000 steps train"), Case(.recipe("num_train_epochs: 10000000\n"), "'num_train_epochs'"),
        Case(.recipe("learning_rate: .nan\n"), "'learning_rate' has to be a number"), Case(.recipe("lora_r: 0\n"), "'lora.r' has to be between"),
        Case(.recipe("lora_alpha: 1e39\n"), "'lora.lora_alpha'"), Case(.recipe("session: 9 hours\n"), "r.yaml:1: 'session' has to be a duration"),
        Case(.recipe("gpu_memory: -1GiB\n"), "r.yaml:1: 'gpu_memory' has to be a size"), Case(.recipe("optim: sgd\n"), "'optim' cannot be 'sgd'"),
        Case(.recipe("template_date: 2026-02-30\n"), "'template_date'"), Case(.recipe("device: gpu\n"), "'device'"),
        Case(.recipe("max_length: 64\ncutoff_len: 128\n"), "r.yaml:2: 'max_length' (64) and 'cutoff_len' (128)"),
        Case(.recipe("use_dora: true\n"), "'use_dora' is not supported"), Case(.recipe("larning_rate: 1\n"), "'learning_rate'"),
        Case(.recipe("lora: {use_dora: true}\n"), "'lora.use_dora' is not supported"), Case(.recipe("target_modules: [lm_head]\n"), "'lm_head'"),
        Case(.recipe("chat_template: no-such\n"), "“no-such”"), Case(.recipe("\u{1B}[31m: 1\n"), "r.yaml"),
    ]

    static let data: [Case] = [
        Case(.data("d.jsonl", text("hello\n")), "d.jsonl:1"), Case(.data("d.csv", text("question,answer,answer\nq,a,b\n")), "d.csv:1: the column 'answer'"),
        Case(.data("d.jsonl", [0x1F, 0x8B, 8, 0]), "ends too early"), Case(.data("d.json", text("[{\"text\": \"a\"},]")), "d.json:1: a comma of the array"),
        Case(.data("d.jsonl", text("{\"text\": \"\\ud800\"}\n")), "surrogate"), Case(.data("d.jsonl", [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1]), "Office"),
        Case(.data("d.jsonl", text("{\"\\u001b[31m\\u202e\": 1}\n")), #"\u{1B}[31m\u{202E}"#),
    ]

    @Test func `the catalogue has more than 140 entries`() {
        #expect([Self.configurations, Self.modelFiles, Self.adapters, Self.templates, Self.recipes, Self.data].joined().count > 140)
    }

    @Test(arguments: configurations + modelFiles) func `a model that cannot be used says why`(item: Case) throws { try expect(item) }
    @Test(arguments: adapters) func `an adapter that cannot be used says why`(item: Case) throws { try expect(item) }
    @Test(arguments: templates + data) func `a template or data file that cannot be used says why`(item: Case) throws { try expect(item) }
    @Test(arguments: recipes) func `a recipe that cannot be used says why`(item: Case) throws { try expect(item) }

    private func expect(_ item: Case) throws {
        let folder = try TinyFolder()
        let output = folder.path + "/out"
        let good = folder.path + "/good.jsonl"
        try String(repeating: #"{"instruction": "Name a river.", "output": "The Danube."}"# + "\n", count: 4).write(
            toFile: good, atomically: true, encoding: .utf8)
        var arguments = ["plan", "--model", folder.model, "--data", good, "--validation-share", "0.25", "--output", output, "--device", "cpu"]
        func write(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }
        func set(_ key: String, _ value: JSON, _ path: String) throws {
            var json = try JSON.parse(Array(Data(contentsOf: URL(fileURLWithPath: path))), source: path).object ?? [:]
            json[key] = value
            try write(Array(JSON.object(json).serialized().utf8), path)
        }
        switch item.change {
        case .config(let key, let value): try set(key, value, folder.model + "/config.json")
        case .model(let name, let bytes): try write(bytes, folder.model + "/" + name)
        case .withoutModelFile(let name): try FileManager.default.removeItem(atPath: folder.model + "/" + name)
        case .setting(let key, let value):
            try set(key, value, folder.adapter + "/adapter_config.json")
            arguments = ["merge", "--model", folder.model, "--adapter", folder.adapter, "--output", output]
        case .adapter(let name, let bytes):
            try write(bytes, folder.adapter + "/" + name)
            arguments = ["merge", "--model", folder.model, "--adapter", folder.adapter, "--output", output]
        case .template(let text):
            try write(Array(text.utf8), folder.path + "/t.jinja")
            arguments += ["--chat-template", folder.path + "/t.jinja"]
        case .recipe(let text):
            try write(Array(text.utf8), folder.path + "/r.yaml")
            arguments += ["--config", folder.path + "/r.yaml"]
        case .data(let name, let bytes):
            try write(bytes, folder.path + "/" + name)
            arguments[4] = folder.path + "/" + name
        }
        let clock = ContinuousClock()
        var outcome: Binary.Outcome?
        let time = try clock.measure { outcome = try Binary.run(arguments, environment: ["XDG_CACHE_HOME": folder.path + "/cache"]) }
        let (status, error) = (outcome?.status ?? -1, outcome?.error ?? "")
        #expect(status == 2, "\(error)")
        // Notes may stand before the sentence.
        let lines = error.split(separator: "\n")
        #expect(lines.count { !$0.hasPrefix("lorikeet: note:") } == 1 && lines.last?.hasPrefix("lorikeet: ") == true, "\(error)")
        for word in item.words { #expect(error.contains(word), "\(error)") }
        #expect(!error.unicodeScalars.contains { $0 != "\n" && ($0.value < 0x20 || $0.value == 0x7F || $0.value == 0x202E) }, "\(error.debugDescription)")
        // Many run at once here; alone each takes a second or two at most.
        #expect(time < .seconds(120), "\(time)")
        #expect(!FileManager.default.fileExists(atPath: output) && !FileManager.default.fileExists(atPath: output + ".partial"))
        try FileManager.default.removeItem(atPath: folder.path)
    }
}
