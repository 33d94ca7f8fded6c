/// The one table of keys: parsing, defaults, presets, options, help and documentation all come from it.
package enum KeyTable {
    package static let presets = ["kaggle-free", "full"]
    private static let positive = KeyType.integer(1...1_000_000_000)
    private static let count = KeyType.integer(0...1_000_000_000)
    private static let share = KeyType.number(0...1)

    package static let keys: [Key] = inputs + data + lora + training + loggingAndSaving + delivery + machine

    private static let inputs = [
        Key("model", .path, .none, .input, help: "The base model: a Hugging Face directory (safetensors), a .gguf file, or a hub's ORG/NAME (docs/hub.md)."),
        Key(
            "data", .paths, .none, .input,
            help: "Training records: files (JSONL, JSON, CSV or TSV, also .gz and .zst), patterns (*.jsonl), a folder with train.jsonl and "
                + "validation.jsonl, or hf://datasets/ORG/NAME."
        ),
        Key("validation", .paths, .none, .input, help: "Validation records, named as data is; without it the folder's validation file or a split."),
        Key("output", .path, .text("out"), .changeable, help: "The directory of the run; the same command resumes from it."),
        Key("preset", .choice(presets), .text("kaggle-free"), .changeable, help: "Values for all keys that neither file nor options set."),
        Key(
            "resume_from", .path, .none, .changeable,
            help: "An earlier output of this recipe to go on from; it is copied and never written (docs/resume.md). Its folder, or auto: /kaggle/input is "
                + "searched."),
    ]
    private static let data = [
        Key("max_train_samples", positive, .none, .identity, ["kaggle-free": .integer(100_000)], help: "The most training records that are used."),
        Key("max_validation_samples", positive, .none, .identity, ["kaggle-free": .integer(10_000)], help: "The most validation records that are used."),
        Key("validation_share", .number(0...0.9), .number(0), help: "Share of the training file split off when there is no validation file."),
        Key(
            "sample", .choice(["random", "first"]), .text("random"),
            help: "Which records are used where max_train_samples or max_validation_samples leaves some out: a random choice (by seed), or the first."),
        Key("shuffle", .flag, .flag(true), help: "Visit the records in a new order each epoch."),
        Key(
            "instruction_role", .choice(["user", "system"]), .text("user"),
            help: "Where an instruction goes: before the input in the user's message, or as the system message."),
        Key(
            "format", .choice(formats), .text("auto"),
            help: "The layout of the records (docs/data.md); auto finds it from the keys of the first record."),
        Key("columns", .pairs, .none, help: "Names of the records' keys where they are others than the layout's: instruction=question,output=answer."),
        Key("dataset_text_field", .string, .text("text"), help: "The key that holds the text of raw text records."),
        Key(
            "assistant_only_loss", .flag, .none,
            help: "Conversations: true trains the assistant's messages alone, as without the key; false trains every token."),
        Key(
            "completion_only_loss", .flag, .none,
            help: "Prompts with a completion: true trains the completion alone, as without the key; false trains the prompt too."),
        Key(
            "chat_template", .string, .none,
            help: "A template: a file, the name of one of the model's, or a built-in one (docs/chat-templates.md lists them); without it the model's own."),
        Key("template_date", .string, .none, help: "The date that chat templates write (2026-01-31); without it the day on which the run began."),
        Key("max_length", .integer(8...1_048_576), .integer(512), .identity, ["full": .integer(1024)], help: "Tokens of a sample; longer ones lose their end."),
        Key("max_bad_records", share, .number(0.01), .changeable, help: "Share of unusable records that is tolerated; lines that are no JSON never are."),
        Key("packing", .flag, .flag(true), help: "Several samples in a micro-batch, each seeing only itself."),
    ]
    /// Layouts of records, as the room Datasets names them.
    package static let formats = ["auto", "messages", "conversations", "instruction", "question", "prompt", "text"]

    private static let lora = [
        Key("lora.r", .integer(1...1024), .integer(8), .identity, ["full": .integer(16)], help: "Rank of the adapters."),
        Key("lora.lora_alpha", .number(0.001...100_000), .number(16), .identity, ["full": .number(32)], help: "The adapters' scale is alpha / r."),
        Key("lora.lora_dropout", .number(0...0.9), .number(0.05), help: "Share of the adapters' input that is dropped in training."),
        Key(
            "lora.target_modules", .list, .list(["q_proj", "v_proj"]), .identity, ["full": .list(["q_proj", "k_proj", "v_proj", "o_proj"])],
            help: "Linears that get an adapter, by the end of their names; all-linear takes every one."),
        Key("lora.use_rslora", .flag, .flag(false), help: "Scale alpha / sqrt(r) in place of alpha / r (rank-stabilised LoRA)."),
        Key("init_adapter", .path, .none, .input, help: "A PEFT folder to start from."),
    ]
    private static let training = [
        Key("num_train_epochs", .number(0.001...10_000), .number(3), .identity, ["kaggle-free": .number(2)], help: "Passes over the training records."),
        Key("max_steps", .integer(-1...1_000_000_000), .integer(-1), help: "Optimiser steps, when positive; overrides the epochs."),
        Key(
            "per_device_train_batch_size", positive, .integer(2),
            help: "Samples of a micro-batch, as other tools count: a step is this times gradient_accumulation_steps samples."),
        Key(
            "gradient_accumulation_steps", positive, .integer(4), .identity, ["kaggle-free": .integer(8)],
            help: "A step has this times per_device_train_batch_size samples."),
        Key("learning_rate", .number(0...10), .number(2e-5), .identity, ["kaggle-free": .number(3e-5)], help: "The highest learning rate."),
        Key(
            "lr_scheduler_type", .choice(["linear", "cosine", "constant", "constant_with_warmup"]), .text("linear"),
            help: "The schedule of the learning rate after the warm-up."),
        Key("warmup_steps", count, .integer(100), .identity, ["kaggle-free": .integer(50)], help: "Steps in which the rate rises from 0."),
        Key("warmup_ratio", share, .number(0), help: "Share of the steps that warm up, when warmup_steps is 0."),
        Key(
            "optim", .choice(optimisers + storageForms), .text("adamw_torch"),
            help: "The optimiser: AdamW with float32 moments, whichever AdamW is named (a note says so)."),
        Key("weight_decay", .number(0...10), .number(0), help: "AdamW's decoupled weight decay."),
        Key("adam_beta1", .number(0...0.999999), .number(0.9), help: "AdamW's first-moment decay."),
        Key("adam_beta2", .number(0...0.999999999), .number(0.999), help: "AdamW's second-moment decay."),
        Key("adam_epsilon", .number(1e-30...1), .number(1e-8), help: "AdamW's epsilon."),
        Key("max_grad_norm", .number(0...1_000_000), .number(1), help: "Gradients with a larger norm are scaled down to it; 0 switches that off."),
        Key("seed", .integer(0...Int(Int32.max)), .integer(42), help: "Decides order, choice of records, dropout and the adapters' start."),
    ]
    private static let loggingAndSaving = [
        Key("logging_steps", positive, .integer(50), .changeable, ["kaggle-free": .integer(25)], help: "Steps from one log line to the next."),
        Key(
            "eval_steps", count, .integer(500), .changeable, ["kaggle-free": .integer(200)],
            help: "Steps from one evaluation of the validation loss to the next; 0 evaluates at the end only."),
        Key("eval_samples", positive, .integer(512), .changeable, help: "Validation records used during training (a fixed random choice); all at the end."),
        Key(
            "load_best_model_at_end", .flag, .flag(false),
            help: "Keep the checkpoint with the best validation loss (of eval_samples records, every eval_steps steps and after the last), and deliver it."),
        Key(
            "metric_for_best_model", .choice(["eval_loss", "loss"]), .text("eval_loss"), .changeable,
            help: "What tells which checkpoint is the best: the validation loss, by either name."),
        Key(
            "early_stopping_patience", count, .integer(0),
            help: "Evaluations in a row without a better loss after which training ends, with load_best_model_at_end; 0 trains to the end."),
        Key("early_stopping_threshold", .number(0...1_000_000), .number(0), help: "By how much a loss has to be better to count as better there."),
        Key(
            "save_steps", count, .integer(1000), .changeable, ["kaggle-free": .integer(500)],
            help: "Steps from one checkpoint to the next; 0 writes one at the end only."),
        Key(
            "save_minutes", .number(0...100_000), .number(15), .changeable,
            help: "Minutes after the last checkpoint until one is written at any step; 0 switches that off."),
        Key("save_total_limit", count, .integer(3), .changeable, help: "Checkpoints kept; 0 keeps all."),
        Key(
            "report_to", .list, .list(["tensorboard"]), .changeable,
            help: "What is written beside events.jsonl and report.html: tensorboard (event files in OUTPUT/tensorboard), all, or none."),
    ]
    private static let delivery = [
        Key(
            "merge_dtype", .choice(["float16", "bfloat16", "float32"]), .text("float32"), .delivery, ["kaggle-free": .text("float16")],
            help: "Element type of the merged model."),
        Key(
            "merge_into", .choice(["original", "trained"]), .text("original"), .delivery,
            help: "What the adapter is merged into: the base as its file has it (original), or the weights it was trained on (trained)."),
        Key("merge_tolerance", .number(0...10), .number(0.05), .changeable, help: "By how much the merged model's loss may exceed the trained form's."),
        Key(
            "export", .list, .none, .delivery,
            help: "What else is written beside merged/: GGUF forms (docs/formats.md lists them; gguf stands for q8_0), lora-gguf, bnb-4bit."),
        Key(
            "export_tolerance", .number(0...10), .none, .changeable,
            help: "By how much a quantised export's loss may exceed the merged model's; without it a value for each form."),
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
        Key("threads", .integer(0...1024), .integer(0), .affectsBits, help: "Processor threads; 0 takes as many as this process may use."),
        Key("gpu_memory", .bytes, .none, .affectsBits, help: "Cap on the card's memory (15GiB); without it all of the card but 256 MiB."),
        Key("ram", .bytes, .none, .changeable, help: "Cap on the host's memory that the run may take (30GiB); without it what is available."),
        Key(
            "disk", .bytes, .none, .changeable,
            help: "What the kept folder may hold (20GB), which is /kaggle/working there, else the output directory; without it what the disk has free."),
        Key(
            "tune", .flag, .flag(false), .affectsBits,
            help:
                "Measure a card's algorithms for matrix products and keep the fastest, by card and library version; gains are rare: on an H100 the first was the fastest."
        ),
        Key(
            "fuse", .flag, .flag(true), .affectsBits,
            help: "Join neighbouring operations of the step program; false runs the plain program, slower, to compare the two."),
        Key(
            "session", .duration, .none, .changeable,
            help: "How long this session lasts (9h), or none: the run ends before it, or says beforehand that it cannot."
        ),
        Key(
            "deadline", .timeOfDay, .none, .changeable,
            help: "The time of day (18:30, local) before which the run has to end; the next such time counts. Beside session the earlier end counts."),
        Key(
            "fit", .flag, .flag(false), .changeable,
            help: "Where the run would not fit, use fewer records (half at least), fewer epochs (one at least), shorter samples, then still fewer records; "
                + "what was decided is told, and stands in run.yaml."),
        Key(
            "sessions", .integer(1...1000), .integer(1), .changeable,
            help: "Sessions that the run may take: each but the last ends in time with everything saved (exit 75), and the same command goes on."),
        Key(
            "scratch", .path, .none, .changeable,
            help: "A directory for large temporary files: the samples made from the records; without it the user's cache folder."),
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
        case ("optim", .text(let name)) where storageForms.contains(name):
            "'optim: \(name)': AdamW with float32 moments runs instead; adapters are small, and so are their moments"
        case ("report_to", _):
            unknownReports(value).map { "'report_to: \($0)' is not known here: events.jsonl and report.html are always written, tensorboard where it is named" }
        default: nil
        }
    }

    /// Names of `report_to` that mean nothing here, such as wandb.
    private static func unknownReports(_ value: KeyValue) -> String? {
        guard case .list(let names) = value else { return nil }
        let unknown = names.filter { !["tensorboard", "all", "none"].contains($0) }
        return unknown.isEmpty ? nil : unknown.joined(separator: ", ")
    }

    package static func key(named name: String) -> Key? { keys.first { $0.name == name } }
    package static func key(option: String) -> Key? { keys.first { $0.option == option } }
    /// Whether an option is a name of another tool that is read, noted or refused.
    package static func isOtherTools(option: String) -> Bool { OtherTools.knows(String(option.map { $0 == "-" ? "_" : $0 })) }
}
