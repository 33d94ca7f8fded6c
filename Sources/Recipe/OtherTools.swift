/// Keys of other tools' recipes: what each is read as, which have no meaning here, which are refused.
///
/// A name is written as in `run.yaml`; one inside `lora:` begins with `lora.`.
enum OtherTools {
    /// What a name of another tool says, in keys of the table.
    enum Meaning: Equatable {
        /// Keys and their values as text.
        case keys([(key: String, value: String)])
        /// What happens anyway, in words that follow "has no effect here: ".
        case nothing(String)
        /// Refused; the fix.
        case refused(String)

        static func == (a: Meaning, b: Meaning) -> Bool { "\(a)" == "\(b)" }
    }

    /// Names whose values mean the same as the key's.
    static let namesByKey: [(key: String, names: [String])] = [
        ("model", ["base_model", "model_name_or_path", "model_name", "pretrained_model_name_or_path"]),
        ("data", ["train_file", "train_data", "data_path", "dataset_path", "train_dataset"]),
        ("validation", ["validation_file", "valid_data", "eval_dataset"]), ("output", ["output_dir", "save_dir"]),
        ("max_length", ["max_seq_length", "max_seq_len", "sequence_len", "sequence_length", "seq_length", "cutoff_len", "model_max_length"]),
        ("lora.r", ["r", "rank", "lora_r", "lora_rank", "lora.rank", "lora.lora_r"]),
        ("lora.lora_alpha", ["lora_alpha", "lora.alpha"]), ("lora.lora_dropout", ["lora_dropout", "lora.dropout"]),
        ("lora.use_rslora", ["use_rslora", "lora_use_rslora", "peft_use_rslora", "lora.rslora"]),
        ("per_device_train_batch_size", ["micro_batch_size", "per_gpu_train_batch_size"]),
        ("gradient_accumulation_steps", ["grad_accumulation_steps", "gradient_accumulation"]),
        ("num_train_epochs", ["num_epochs", "epochs"]), ("max_steps", ["iters"]), ("learning_rate", ["lr"]),
        ("lr_scheduler_type", ["lr_scheduler"]), ("optim", ["optimizer"]), ("seed", ["random_state", "random_seed"]),
        ("max_train_samples", ["max_samples"]), ("max_validation_samples", ["max_eval_samples"]), ("packing", ["sample_packing"]),
        ("adam_epsilon", ["adam_eps"]), ("max_grad_norm", ["gradient_clipping"]), ("eval_steps", ["eval_step"]),
        ("init_adapter", ["adapter_name_or_path", "lora_model_dir", "resume_adapter_file"]),
    ]

    private static let keys: [String: String] = Dictionary(
        namesByKey.flatMap { row in row.names.map { ($0, row.key) } }, uniquingKeysWith: { first, _ in first })

    /// Names whose values are translated, and how the documentation says it.
    static let translatedNames: [(name: String, meaning: String)] = [
        ("lora_target", "`lora.target_modules`; `all` is `all-linear`"), ("lora_target_modules", "`lora.target_modules`; `all` is `all-linear`"),
        ("target_modules", "`lora.target_modules`; `all` is `all-linear`"), ("lora.target", "`lora.target_modules`; `all` is `all-linear`"),
        ("lora_target_linear", "true is `lora.target_modules: [all-linear]`"),
        ("val_set_size", "`validation_share`, where it is below 1"), ("val_size", "`validation_share`, where it is below 1"),
        ("dataset", "`data`, where it is a path"), ("dataset_name", "`data`, where it is a path"),
        ("datasets", "`data` and `format`, where all entries have a path and the same layout"),
        ("template", "`chat_template`"), ("train_on_inputs", "true is `assistant_only_loss: false` and `completion_only_loss: false`"),
        ("train_on_prompt", "true is `assistant_only_loss: false` and `completion_only_loss: false`"),
        ("mask_prompt", "false is `assistant_only_loss: false` and `completion_only_loss: false`"),
        ("eval_strategy", "`no` is `eval_steps: 0`"), ("evaluation_strategy", "`no` is `eval_steps: 0`"), ("save_strategy", "`no` is `save_steps: 0`"),
    ]

    /// What `name: value` says; nil for a name that is not on the lists.
    static func meaning(of name: String, _ value: String) -> Meaning? {
        if let key = keys[name] { return .keys([(key, value)]) }
        let plain = value.lowercased()
        let on = Recipe.switchValue(plain)
        switch name {
        case "lora_target", "lora_target_modules", "target_modules", "lora.target":
            return .keys([("lora.target_modules", plain == "all" ? "all-linear" : value)])
        case "lora_target_linear":
            return on == true ? .keys([("lora.target_modules", "all-linear")]) : .nothing("lora.target_modules says which linears are trained")
        case "val_set_size", "val_size":
            guard let share = Double(value), share < 1 else { return .refused("give validation_share, a share below 1 such as 0.05") }
            return .keys([("validation_share", value)])
        case "dataset", "dataset_name":
            guard value.holdsSlash || value.contains(".") else {
                return .refused("name the file with 'data: FILE'; names of another tool's list of data sets are not known here")
            }
            return .keys([("data", value)])
        case "template": return .keys([("chat_template", templates[plain] ?? value)])
        case "train_on_inputs", "train_on_prompt": return promptIsTrained(on == true)
        case "mask_prompt": return promptIsTrained(on == false)
        case "eval_strategy", "evaluation_strategy":
            return ["no", "false"].contains(plain) ? .keys([("eval_steps", "0")]) : .nothing("eval_steps says when")
        case "save_strategy": return ["no", "false"].contains(plain) ? .keys([("save_steps", "0")]) : .nothing("save_steps says when")
        default: return nil
        }
    }

    private static func promptIsTrained(_ trained: Bool) -> Meaning {
        guard trained else { return .nothing("prompts are not trained unless assistant_only_loss or completion_only_loss is false") }
        return .keys([("assistant_only_loss", "false"), ("completion_only_loss", "false")])
    }

    /// LLaMA-Factory's names of templates that are built in here under another name.
    private static let templates = ["llama3": "llama-3"]

    /// Layouts by the names that axolotl gives to them under `datasets: type`.
    static let formats = [
        "alpaca": "instruction", "sharegpt": "conversations", "chat_template": "messages", "completion": "text", "messages": "messages",
    ]

    /// Whether the name's value may be a list.
    static func takesList(_ name: String) -> Bool {
        if let key = keys[name].flatMap(KeyTable.key(named:)) { return [.list, .paths].contains(key.type) }
        return ["dataset", "dataset_name", "lora_target", "lora_target_modules", "target_modules", "lora.target"].contains(name)
    }

    /// Whether the name is on one of the lists.
    static func knows(_ name: String) -> Bool {
        keys[name] != nil || translatedNames.contains { $0.name == name } || ignored[name] != nil || refused.contains(name)
    }

    /// Keys of other tools that have no meaning here: accepted with a note.
    static let ignored: [String: String] = [
        "fp16": computeType, "bf16": computeType, "tf32": computeType, "pure_bf16": computeType, "half_precision_backend": computeType,
        "gradient_checkpointing": schedule, "gradient_checkpointing_kwargs": schedule, "use_gradient_checkpointing": schedule,
        "flash_attention": attention, "flash_attn": attention, "xformers_attention": attention, "sdp_attention": attention,
        "attn_implementation": attention, "use_cache": attention, "dataloader_pin_memory": loader, "dataloader_num_workers": loader,
        "dataloader_prefetch_factor": loader, "preprocessing_num_workers": loader, "dataset_num_proc": loader, "dataset_processes": loader,
        "dataset_prepared_path": store, "overwrite_cache": store, "dataset_kwargs": "records are read by their layout",
        "remove_unused_columns": "unused keys of records are named by check", "run_name": events, "logging_dir": events,
        "plot_loss": events, "disable_tqdm": events, "log_level": events, "logging_first_step": events, "wandb_project": events,
        "wandb_entity": events, "wandb_run_id": events, "wandb_name": events, "wandb_watch": events, "wandb_log_model": events,
        "logging_strategy": "logging_steps says when", "per_device_eval_batch_size": "evaluation packs its micro-batches",
        "eval_batch_size": "evaluation packs its micro-batches", "eval_sample_packing": "evaluation packs its micro-batches",
        "pad_to_sequence_len": "samples are packed without padding", "pad_to_multiple_of": "samples are packed without padding",
        "padding_side": "samples are packed without padding", "padding_free": "samples are packed without padding",
        "packing_strategy": "samples are packed whole", "group_by_length": "packing needs no sorting",
        "load_in_4bit": storage, "quantization_bit": storage, "quantization_method": storage, "bnb_4bit_quant_type": "base_storage nf4 is that",
        "bnb_4bit_use_double_quant": "nf4 is always doubly quantised", "bnb_4bit_compute_dtype": "compute_type says it",
        "torch_dtype": computeType, "dtype": computeType, "strict": "names and shapes are always checked",
        "overwrite_output_dir": "a directory belongs to its recipe", "resume_from_checkpoint": "the same command resumes from its output",
        "do_train": "run and train train", "do_eval": "eval_steps says when", "stage": "it is always sft", "finetuning_type": "it is always lora",
        "adapter": "it is always LoRA on the stored base", "task_type": "it is always CAUSAL_LM", "bias": "no bias is trained",
        "model_type": "the model's configuration says it", "tokenizer_type": "the model's files say it",
        "is_llama_derived_model": "the model's configuration says it", "trust_remote_code": "no code of a model is run",
        "use_fast": "the model's files say it", "save_safetensors": "files are always safetensors", "save_only_model": "checkpoints are always whole",
        "ddp_timeout": "one process computes", "local_rank": "one process computes", "ddp_find_unused_parameters": "one process computes",
        "torch_compile": kernels, "use_liger_kernel": kernels, "liger_kernel": kernels, "use_unsloth": kernels, "streaming": loader,
        "auto_find_batch_size": schedule, "save_on_each_node": "one process computes",
        "evals_per_epoch": "eval_steps says when", "saves_per_epoch": "save_steps and save_minutes say when",
        "double_quantization": "nf4 is always doubly quantised", "full_finetuning": "adapters are trained", "use_peft": "adapters are trained",
        "dataset_train_split": "data names the files", "dataset_test_split": "validation or validation_share says it",
        "enable_liger_kernel": kernels, "lora_qkv_kernel": kernels, "lora_mlp_kernel": kernels, "lora_o_kernel": kernels,
        "neat_packing": "packed samples never see each other", "upcast_layernorm": computeType, "include_num_input_tokens_seen": events,
        "lora_task_type": "it is always CAUSAL_LM",
        "greater_is_better": "metric_for_best_model is a loss, which is better where it is lower",
        "lora.bias": "no bias is trained", "lora_bias": "no bias is trained", "lora.task_type": "it is always CAUSAL_LM",
        "lora.fan_in_fan_out": "no supported family needs it", "lora.peft_type": "it is always LORA",
        "lora.inference_mode": "adapters are trained here", "lora.init_lora_weights": "A random, B zero",
    ]

    private static let computeType = "the device chooses the type (bfloat16 where a card has it, else float16); compute_type says another"
    private static let schedule = "the plan decides what is computed again"
    private static let attention = "there is one attention, and it is exact"
    private static let kernels = "the program has kernels of its own"
    private static let loader = "records are read once, in parallel"
    private static let store = "samples are kept in the cache folder, by content"
    private static let events = "events.jsonl is always written"
    private static let storage = "base_storage says how weights are held"

    /// Of those keys, the values that ask for what the program does anyway; any other value is refused.
    static let valuesWithoutEffect: [String: Set<String>] = [
        "bnb_4bit_quant_type": ["nf4"], "lora.task_type": ["causal_lm"], "task_type": ["causal_lm"], "lora.fan_in_fan_out": ["false"],
        "lora.init_lora_weights": ["true"], "lora.bias": ["none"], "lora_bias": ["none"], "bias": ["none"], "lora.peft_type": ["lora"],
        "stage": ["sft"], "finetuning_type": ["lora"], "adapter": ["lora", "qlora"], "quantization_bit": ["4"], "packing_strategy": ["bfd", "ffd"],
        "bnb_4bit_use_double_quant": ["true"], "double_quantization": ["true"], "full_finetuning": ["false"], "use_peft": ["true"],
        "dataset_train_split": ["train"], "lora_task_type": ["causal_lm"], "greater_is_better": ["false"],
    ]

    /// Keys that ask for what is not there: refused by name unless they say no.
    static let refused: Set<String> = [
        "load_in_8bit", "lora.use_dora", "use_dora", "peft_use_dora", "lora.modules_to_save", "modules_to_save", "lora_modules_to_save",
        "additional_target", "deepspeed", "fsdp", "fsdp_config", "neftune_noise_alpha", "noisy_embedding_alpha", "label_smoothing_factor",
        "lora.rank_pattern", "rank_pattern", "lora.alpha_pattern", "alpha_pattern", "lora.layers_to_transform", "lora_layers_to_transform",
        "peft_layers_to_transform", "lora.trainable_token_indices", "lora.layer_replication", "lora.megatron_config", "lora.loftq_config",
        "mask_history", "train_on_eos", "roles_to_train", "chat_template_jinja",
        "loraplus_lr_ratio", "loraplus_lr_embedding", "galore", "use_galore", "use_badam", "pissa_init", "relora_steps", "rl",
        "reward_model", "num_virtual_tokens", "push_to_hub", "hub_model_id", "dataset_dir", "eval_on_start",
        "curriculum_sampling", "loftq_config", "special_tokens", "eot_tokens", "plugins",
    ]
}
