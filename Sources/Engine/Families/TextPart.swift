import LorikeetGround
import LorikeetJSON

/// A model of several parts whose `config.json` has the language model's configuration in `text_config`. The language model alone is
/// used; the tensors of the others are named in a warning.
struct TextPart: Sendable {
    /// `model_type` of the whole.
    let modelType: String
    /// The class in `architectures`.
    let architecture: String
    /// `model_type` of the text where `text_config` does not say it: that of the class in transformers.
    let textModelType: String
    /// Whether `text_config` may be absent, and stands for the defaults of the text's class then.
    let textMayBeAbsent: Bool
    /// Keys beside `text_config` that say nothing of the text.
    let inertKeys: [Ignored]
    let otherParts: [OtherPart]

    static let table = [
        TextPart(
            modelType: "gemma3", architecture: "Gemma3ForConditionalGeneration", textModelType: "gemma3_text", textMayBeAbsent: true,
            inertKeys: images, otherParts: [.vision(siglip + gemma3Projector)]),
        TextPart(
            modelType: "mistral3", architecture: "Mistral3ForConditionalGeneration", textModelType: "mistral", textMayBeAbsent: false,
            inertKeys: images, otherParts: [.vision(pixtral + mistral3Projector)]),
    ]

    private static let images: [Ignored] = [
        "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index", "image_token_id", "boi_token_id",
        "eoi_token_id", "projector_hidden_act", "vision_feature_layer", "multimodal_projector_bias", "spatial_merge_size",
    ].map { Ignored($0, "of images, which are not used") }

    /// The text's configuration as a `config.json` of its own.
    ///
    /// - Parameter hasHead: whether the files have a matrix of the head; nil where it is not known.
    /// - Returns: the configuration and, for errors, what it was read from; warnings of keys that nothing knows.
    /// - Throws: exit 2 where `text_config` is missing or no object.
    func text(of json: JSON, source: String, hasHead: Bool?) throws -> (json: JSON, source: String, warnings: [String]) {
        let found = json["text_config"] ?? .null
        guard let inside = found.isNull && textMayBeAbsent ? [:] : found.object else {
            throw LorikeetError.input(
                "'text_config' \(found.isNull ? "is missing" : "is \(found.serialized().prefix(60))"); it has to be an object", at: source,
                fix: "use the model's own config.json")
        }
        var text = inside
        if text["model_type"] == nil { text["model_type"] = .string(textModelType) }
        let family = try Families.named(modelType: text["model_type"]?.string ?? "", in: "\(source): text_config")
        text["architectures"] = [.string(family.huggingFace.architecture)]
        // The whole model ties its head. Where its key is absent, both classes do so unless the files have a head of their own.
        if let tied = json["tie_word_embeddings"], !tied.isNull {
            text["tie_word_embeddings"] = tied
        } else {
            text["tie_word_embeddings"] = .bool(hasHead != true)
        }
        var unknown: [String] = []
        for (key, value) in json.object?.entries ?? [] where !Self.read.contains(key) && !value.isNull {
            if Self.shared.contains(key) {
                if text[key] == nil { text[key] = value }
            } else if !ConfigurationKeys.isInert(key, inertKeys) {
                unknown.append("'\(key)'")
            }
        }
        let warnings = unknown.isEmpty ? [] : ["\(source): not known for models of type '\(modelType)' and not used: \(unknown.joined(separator: ", "))"]
        return (.object(text), "\(source): text_config", warnings)
    }

    private static let read: Set<String> = ["model_type", "architectures", "text_config", "tie_word_embeddings"]
    /// Keys of the whole that hold for the text where that does not have them.
    private static let shared: Set<String> = [
        "quantization_config", "dtype", "torch_dtype", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id",
    ]

    /// The text's tensors in the files: names of today's and of the older form, as modules (`model.`, `lm_head.`) and their names there.
    static func names(in files: [String]) -> TensorNames {
        if files.contains(where: { $0.hasPrefix("model.language_model.") }) {
            return TensorNames(modules: [("model.", "model.language_model."), ("lm_head.", "lm_head.")])
        }
        return TensorNames(modules: [("model.", "language_model.model."), ("lm_head.", "language_model.lm_head.")])
    }
}

/// A part of a model that is not used, and its tensors by name.
struct OtherPart: Sendable {
    /// For a warning: `the vision part`.
    let name: String
    /// Why that changes nothing.
    let reason: String
    let tensors: [TensorPattern]

    func has(_ tensor: String) -> Bool { tensors.contains { $0.layer(of: tensor) != nil } }

    /// - Parameter names: tensors as the newest files call them; older ones have them inside other modules.
    static func vision(_ names: [String]) -> OtherPart {
        OtherPart(
            name: "the vision part", reason: "text alone is trained, and a merged model is one of text",
            tensors: names.flatMap { [$0, "model." + $0] }.map { TensorPattern($0) })
    }

    /// A head that predicts further tokens, beside the model that predicts the next.
    static let multiTokenPrediction = OtherPart(
        name: "the head of multi-token prediction", reason: "the model predicts the next token without it",
        tensors: (["mtp.fc.weight", "mtp.norm.weight", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight"]
            + [
                "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                "self_attn.q_norm", "self_attn.k_norm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
            ].flatMap { ["mtp.layers.{layer}.\($0).weight", "mtp.layers.{layer}.\($0).bias"] }).map { TensorPattern($0) })
}

// MARK: tensors of vision parts

extension TextPart {
    private static func both(_ modules: [String]) -> [String] { modules.flatMap { [$0 + ".weight", $0 + ".bias"] } }

    /// SigLIP (transformers' `SiglipVisionModel`), of Gemma 3.
    private static let siglip: [String] = ["vision_tower.", "vision_tower.vision_model."].flatMap { tower in
        let layer = tower + "encoder.layers.{layer}."
        return both(
            ["embeddings.patch_embedding", "post_layernorm", "head.attention.out_proj", "head.layernorm", "head.mlp.fc1", "head.mlp.fc2"].map { tower + $0 }
                + ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]
                .map { layer + $0 })
            + ["embeddings.position_embedding.weight", "head.probe", "head.attention.in_proj_weight", "head.attention.in_proj_bias"].map { tower + $0 }
    }

    private static let gemma3Projector = ["multi_modal_projector.mm_input_projection_weight", "multi_modal_projector.mm_soft_emb_norm.weight"]

    /// Pixtral (transformers' `PixtralVisionModel`), of Mistral 3.
    private static let pixtral: [String] =
        ["vision_tower.ln_pre.weight", "vision_tower.patch_conv.weight"]
        + [
            "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj", "attention_norm", "feed_forward.gate_proj",
            "feed_forward.up_proj", "feed_forward.down_proj", "ffn_norm",
        ].map { "vision_tower.transformer.layers.{layer}.\($0).weight" }

    private static let mistral3Projector =
        both(["multi_modal_projector.linear_1", "multi_modal_projector.linear_2"])
        + ["multi_modal_projector.norm.weight", "multi_modal_projector.patch_merger.merging_layer.weight"]
}
