/// The one table of keys: parsing, defaults, presets, options, help and documentation all come from it.
package enum KeyTable {
    package static let presets = ["kaggle-free", "full"]
    private static let positive = KeyType.integer(1...1_000_000_000)
    private static let count = KeyType.integer(0...1_000_000_000)
    private static let share = KeyType.number(0...1)

    package static let keys: [Key] = inputs + data + lora + training + loggingAndSaving + delivery + machine

    private static let inputs = [
        Key("model", .path, .none, .input, help: "The base model: a Hugging Face directory (safetensors) or a .gguf file."),
        Key("data", .path, .none, .input, help: "Training records: a JSONL file, or a folder with train.jsonl and validation.jsonl."),
        Key("validation", .path, .none, .input, help: "Validation records; without it the folder's validation.jsonl or a split."),
        Key("output", .path, .text("out"), .changeable, help: "The directory of the run; the same command resumes from it."),
        Key("preset", .choice(presets), .text("kaggle-free"), .changeable, help: "Values for all keys that neither file nor options set."),
    ]
    private static let data = [
        Key("max_train_samples", positive, .none, .identity, ["kaggle-free": .integer(100_000)], help: "At most so many training records."),
        Key("max_validation_samples", positive, .none, .identity, ["kaggle-free": .integer(10_000)], help: "At most so many validation records."),
        Key("validation_share", .number(0...0.9), .number(0), help: "Share of the training file split off when there is no validation file."),
        Key("sample", .choice(["random", "first"]), .text("random"), help: "How records are chosen when there are more: at random (seeded) or the first."),
        Key("shuffle", .flag, .flag(true), help: "Visit the records in a new order each epoch."),
        Key(
            "instruction_role", .choice(["user", "system"]), .text("user"),
            help: "Where an instruction goes: before the input in the user's message, or as the system message."),
        Key("max_length", .integer(8...1_048_576), .integer(512), .identity, ["full": .integer(1024)], help: "Tokens of a sample; longer ones lose their end."),
        Key("max_bad_records", share, .number(0.01), .changeable, help: "Share of unusable records that is tolerated; lines that are no JSON never are."),
        Key("packing", .flag, .flag(true), help: "Several samples in a micro-batch, each seeing only itself."),
    ]
    private static let lora = [
        Key("lora.r", .integer(1...1024), .integer(8), .identity, ["full": .integer(16)], help: "Rank of the adapters."),
        Key("lora.lora_alpha", .number(0.001...100_000), .number(16), .identity, ["full": .number(32)], help: "The adapters' scale is alpha / r."),
        Key("lora.lora_dropout", .number(0...0.9), .number(0.05), help: "Share of the adapters' input that is dropped in training."),
        Key(
            "lora.target_modules", .list, .list(["q_proj", "v_proj"]), .identity, ["full": .list(["q_proj", "k_proj", "v_proj", "o_proj"])],
            help: "Linears that get an adapter, by the end of their names; all-linear takes every one."),
        Key("lora.use_rslora", .flag, .flag(false), help: "Scale alpha / sqrt(r)."),
        Key("init_adapter", .path, .none, .input, help: "A PEFT folder to start from."),
    ]
    private static let training = [
        Key("num_train_epochs", .number(0.001...10_000), .number(3), .identity, ["kaggle-free": .number(2)], help: "Passes over the training records."),
        Key("max_steps", .integer(-1...1_000_000_000), .integer(-1), help: "Optimiser steps, when positive; overrides the epochs."),
        Key(
            "per_device_train_batch_size", positive, .integer(2),
            help: "Samples of a micro-batch, as other tools count: a step is this times gradient_accumulation_steps samples."),
        Key("gradient_accumulation_steps", positive, .integer(4), .identity, ["kaggle-free": .integer(8)], help: "See per_device_train_batch_size."),
        Key("learning_rate", .number(0...10), .number(2e-5), .identity, ["kaggle-free": .number(3e-5)], help: "The highest learning rate."),
        Key(
            "lr_scheduler_type", .choice(["linear", "cosine", "constant", "constant_with_warmup"]), .text("linear"),
            help: "How the learning rate goes over the steps."),
        Key("warmup_steps", count, .integer(100), .identity, ["kaggle-free": .integer(50)], help: "Steps in which the rate rises from 0."),
        Key("warmup_ratio", share, .number(0), help: "Share of the steps that warm up, when warmup_steps is 0."),
        Key(
            "optim", .choice(optimisers + storageForms), .text("adamw_torch"),
            help: "The optimiser: AdamW with float32 moments, whichever AdamW is named (a note says so)."),
        Key("weight_decay", .number(0...10), .number(0), help: "AdamW's decoupled weight decay."),
        Key("adam_beta1", .number(0...0.999999), .number(0.9), help: "AdamW's first-moment decay."),
        Key("adam_beta2", .number(0...0.999999999), .number(0.999), help: "AdamW's second-moment decay."),
        Key("adam_epsilon", .number(1e-30...1), .number(1e-8), help: "AdamW's epsilon."),
        Key("max_grad_norm", .number(0...1_000_000), .number(1), help: "Gradients are scaled down to this norm; 0 never."),
        Key("seed", .integer(0...Int(Int32.max)), .integer(42), help: "Decides order, choice of records, dropout and the adapters' start."),
    ]
    private static let loggingAndSaving = [
        Key("logging_steps", positive, .integer(50), .changeable, ["kaggle-free": .integer(25)], help: "A log line every so many steps."),
        Key("eval_steps", count, .integer(500), .changeable, ["kaggle-free": .integer(200)], help: "Validation loss every so many steps; 0 only at the end."),
        Key("eval_samples", positive, .integer(512), .changeable, help: "Validation records used during training (a fixed random choice); all at the end."),
        Key("save_steps", count, .integer(1000), .changeable, ["kaggle-free": .integer(500)], help: "A checkpoint every so many steps; 0 only at the end."),
        Key("save_minutes", .number(0...100_000), .number(15), .changeable, help: "A checkpoint also after so many minutes; 0 never."),
        Key("save_total_limit", count, .integer(3), .changeable, help: "Checkpoints kept; 0 keeps all."),
    ]
    private static let delivery = [
        Key(
            "merge_dtype", .choice(["float16", "bfloat16", "float32"]), .text("float32"), .delivery, ["kaggle-free": .text("float16")],
            help: "Element type of the merged model."),
        Key(
            "merge_into", .choice(["original", "trained"]), .text("original"), .delivery,
            help: "Merge into the base as its file has it, or into the weights it was trained on."),
        Key("merge_tolerance", .number(0...10), .number(0.05), .changeable, help: "By how much the merged model's loss may exceed the trained form's."),
        Key("test_samples", count, .integer(120), .changeable, help: "Held-out records that are answered in the test."),
    ]
    private static let machine = [
        Key(
            "base_storage", .choice(["auto", "nf4", "f16", "bf16", "f32"]), .text("auto"),
            help: "How frozen weights are held: auto keeps the own codes of a GGUF or of bitsandbytes' NF4 and makes others nf4."),
        Key(
            "compute_type", .choice(["auto", "float32", "float16", "bfloat16"]), .text("auto"), .affectsBits,
            help: "Type of activations on a card: auto takes bfloat16 where the card has it, else float16; the processor computes in float32."),
        Key("device", .device, .text("auto"), .affectsBits, help: "Where to compute: auto takes the first card where there is one."),
        Key(
            "gpu_arch", .integer(75...120), .none, .affectsBits,
            help: "Compute capability to build the card's kernels for (75 is a T4's); without it the card's own."),
        Key("threads", .integer(0...1024), .integer(0), .affectsBits, help: "Processor threads; 0 takes what the machine lends."),
        Key("gpu_memory", .bytes, .none, .affectsBits, help: "Cap on the card's memory (15GiB); without it all of the card but 256 MiB."),
        Key(
            "tune", .flag, .flag(false), .affectsBits,
            help:
                "Measure a card's algorithms for matrix products and keep the fastest, by card and library version; gains are rare: on an H100 the first was the fastest."
        ),
        Key(
            "fuse", .flag, .flag(true), .affectsBits,
            help: "Join neighbouring operations of the step program; false runs the plain program, slower, to compare the two."),
        Key("session", .duration, .none, .changeable, help: "How long this session lasts (9h): the run ends before it, or says beforehand that it cannot."),
        Key("scratch", .path, .none, .changeable, help: "A directory for large temporary files: nothing needs one yet (a note says so)."),
    ]

    /// Keys of Hugging Face's arguments that have no meaning here: accepted with a note.
    static let ignored: [String: String] = [
        "fp16": "the compute type is chosen by the device", "bf16": "the compute type is chosen by the device",
        "gradient_checkpointing": "the schedule decides what is computed again", "dataloader_pin_memory": "there is no data loader",
        "dataloader_num_workers": "records are read once, in parallel", "remove_unused_columns": "unused keys of records are named by check",
        "report_to": "events.jsonl is always written", "save_strategy": "save_steps says when",
        "eval_strategy": "eval_steps says when", "evaluation_strategy": "eval_steps says when", "logging_strategy": "logging_steps says when",
        "per_device_eval_batch_size": "evaluation packs its micro-batches", "group_by_length": "packing needs no sorting",
        "load_in_4bit": "base_storage says how weights are held", "bnb_4bit_quant_type": "base_storage nf4 is that",
        "bnb_4bit_use_double_quant": "nf4 is always doubly quantised", "bnb_4bit_compute_dtype": "compute_type says it",
        "overwrite_output_dir": "a directory belongs to its recipe", "lora.task_type": "it is always CAUSAL_LM",
        "lora.fan_in_fan_out": "no supported family needs it",
        "lora.inference_mode": "adapters are trained here", "lora.init_lora_weights": "A random, B zero",
        "lora.bias": "biases are not trained",
    ]

    /// Of those keys, the values that ask for what the program does anyway; any other value is refused.
    static let valuesWithoutEffect: [String: Set<String>] = [
        "bnb_4bit_quant_type": ["nf4"], "lora.task_type": ["causal_lm"], "lora.fan_in_fan_out": ["false"], "lora.init_lora_weights": ["true"],
        "lora.bias": ["none"],
    ]

    /// Optimisers that run as they are named.
    private static let optimisers = ["adamw_torch"]
    /// Hugging Face's names of AdamW in other storage forms.
    private static let storageForms = [
        "adamw_torch_fused", "adamw_hf", "adamw_apex_fused", "adamw_anyprecision", "adamw_8bit", "adamw_bnb_8bit", "adamw_torch_8bit",
        "adamw_torch_4bit", "paged_adamw", "paged_adamw_8bit", "paged_adamw_32bit",
    ]

    /// A note for a value that is accepted although the program does something else.
    static func note(_ key: Key, _ value: KeyValue) -> String? {
        switch (key.name, value) {
        case ("scratch", .text): "'scratch' has no effect here: merging streams straight into the output, and nothing else needs large temporary files"
        case ("optim", .text(let name)) where storageForms.contains(name):
            "'optim: \(name)': AdamW with float32 moments runs instead; adapters are small, and so are their moments"
        default: nil
        }
    }

    /// Keys that ask for what is not there: refused by name unless they say no.
    static let refused: Set<String> = [
        "load_in_8bit", "lora.use_dora", "lora.modules_to_save", "deepspeed", "fsdp", "neftune_noise_alpha", "label_smoothing_factor",
        "lora.rank_pattern", "lora.alpha_pattern", "lora.layers_to_transform", "lora.trainable_token_indices", "export",
    ]

    package static func key(named name: String) -> Key? { keys.first { $0.name == name } }
    package static func key(option: String) -> Key? { keys.first { $0.option == option } }

    /// docs/keys.md.
    package static func markdown() -> String {
        var lines = [
            "# Keys", "",
            "Every key of `run.yaml` is an option too. An option beats the file, the file the preset, the preset the default.",
            "Written from the table in `Sources/Recipe/KeyTable.swift` by its test.", "",
            "| key | option | values | default | kaggle-free | full | what it does |", "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for key in keys {
            let cells = ["kaggle-free", "full"].map { name in key.presets[name].map { "`\($0.yaml)`" } ?? "" }
            let standard = key.standard == .none ? "" : "`\(key.standard.yaml)`"
            lines.append("| `\(key.name)` | `--\(key.option)` | \(key.type.name) | \(standard) | \(cells[0]) | \(cells[1]) | \(key.help) |")
        }
        lines += ["", "Accepted without effect: " + ignored.keys.sorted().map { "`\($0)`" }.joined(separator: ", ") + "."]
        lines.append("Refused, because they ask for what is not there: " + refused.sorted().map { "`\($0)`" }.joined(separator: ", ") + ".")
        return lines.joined(separator: "\n") + "\n"
    }
}
