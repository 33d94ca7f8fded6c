import Foundation
import LorikeetGround
import Testing

@testable import LorikeetRecipe

/// Whole recipes as axolotl, LLaMA-Factory, TRL and Unsloth publish them.
struct PublishedRecipeTests {
    private func resolve(_ text: String) throws -> Recipe {
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".yaml").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Recipe.resolve(file: path, options: []).recipe
    }

    /// The keys of the example recipes that these tools publish, in their order.
    @Test(arguments: [
        """
        base_model: m
        model_type: LlamaForCausalLM
        load_in_4bit: true
        datasets:
          - path: d.jsonl
            type: chat_template
        dataset_prepared_path:
        val_set_size: 0.05
        output_dir: out
        adapter: qlora
        sequence_len: 128
        sample_packing: true
        pad_to_sequence_len: true
        lora_r: 16
        lora_alpha: 32
        lora_target_linear: true
        wandb_project:
        gradient_accumulation_steps: 4
        micro_batch_size: 2
        num_epochs: 1
        optimizer: adamw_bnb_8bit
        lr_scheduler: cosine
        learning_rate: 0.0002
        train_on_inputs: false
        bf16: auto
        tf32: false
        gradient_checkpointing: true
        early_stopping_patience:
        resume_from_checkpoint:
        logging_steps: 1
        flash_attention: true
        warmup_ratio: 0.1
        evals_per_epoch: 4
        saves_per_epoch: 1
        deepspeed:
        """,
        """
        model_name_or_path: m
        trust_remote_code: true
        stage: sft
        do_train: true
        finetuning_type: lora
        lora_rank: 16
        lora_alpha: 32
        lora_target: all
        dataset: d.jsonl
        template: llama3
        cutoff_len: 128
        max_samples: 1000
        overwrite_cache: true
        preprocessing_num_workers: 16
        output_dir: out
        plot_loss: true
        per_device_train_batch_size: 2
        gradient_accumulation_steps: 4
        learning_rate: 2.0e-4
        num_train_epochs: 1.0
        lr_scheduler_type: cosine
        warmup_ratio: 0.1
        bf16: true
        ddp_timeout: 180000000
        resume_from_checkpoint: null
        val_size: 0.05
        quantization_bit: 4
        quantization_method: bnb
        double_quantization: true
        """,
        """
        model_name_or_path: m
        dataset_name: ./d.jsonl
        dataset_train_split: train
        torch_dtype: bfloat16
        use_peft: true
        lora_r: 16
        lora_alpha: 32
        lora_target_modules: all-linear
        lora_task_type: CAUSAL_LM
        load_in_4bit: true
        max_length: 128
        learning_rate: 2.0e-4
        lr_scheduler_type: cosine
        num_train_epochs: 1
        per_device_train_batch_size: 2
        gradient_accumulation_steps: 4
        eval_strategy: "no"
        push_to_hub: false
        warmup_ratio: 0.1
        output_dir: out
        """,
        """
        model_name: m
        data: d.jsonl
        max_seq_length: 128
        load_in_4bit: true
        full_finetuning: false
        r: 16
        lora_alpha: 32
        target_modules: all-linear
        bias: none
        use_gradient_checkpointing: unsloth
        loftq_config: null
        per_device_train_batch_size: 2
        gradient_accumulation_steps: 4
        learning_rate: 2e-4
        lr_scheduler_type: cosine
        num_train_epochs: 1
        warmup_ratio: 0.1
        optim: adamw_8bit
        output_dir: out
        """,
    ])
    func `the recipes that other tools publish are read and mean the same`(text: String) throws {
        let recipe = try resolve(text)
        #expect(
            recipe.model == "m" && recipe.data.map { $0.hasSuffix("d.jsonl") } == [true] && recipe.output == "out"
                && recipe.lora.targetModules == ["all-linear"])
        let numbers: [String: KeyValue] = [
            "lora.r": .integer(16), "lora.lora_alpha": .number(32), "max_length": .integer(128), "learning_rate": .number(2e-4), "num_train_epochs": .number(1),
            "per_device_train_batch_size": .integer(2), "gradient_accumulation_steps": .integer(4), "warmup_ratio": .number(0.1), "warmup_steps": .integer(0),
            "lr_scheduler_type": .text("cosine"),
        ]
        for (key, value) in numbers { #expect(recipe.values[key] == value, "\(key)") }
    }

    @Test(arguments: [
        ("full_finetuning: true", "can only be false"), ("use_peft: false", "can only be true"), ("double_quantization: false", "can only be true"),
        ("dataset_train_split: test", "can only be train"), ("special_tokens: {pad_token: x}", "'special_tokens' is not supported"),
        ("loftq_config: {loftq_bits: 4}", "'loftq_config' is not supported"), ("plugins: [a.b]", "'plugins' is not supported"),
    ])
    func `what another tool's recipe asks for and is not done is refused by name`(text: String, sentence: String) {
        let error = #expect(throws: LorikeetError.self) { try resolve(text) }
        #expect(error?.exit == .unusableInput && error?.description.contains(sentence) == true, "\(error?.description ?? "")")
    }
}
