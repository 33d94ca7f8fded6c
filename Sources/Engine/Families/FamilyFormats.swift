import LorikeetJSON

/// The format of a family's models in a Hugging Face directory. The family's own names are those of its `config.json` and tensors there.
package struct HuggingFaceFormat: Sendable {
    /// `model_type`
    let modelType: String
    /// The class in `architectures`.
    let architecture: String
    /// Keys of `config.json` that change nothing in this family, beside those that change nothing in any.
    var inertKeys: [Ignored] = []
    /// Tensors that the files may contain and that are not used.
    var ignoredTensors: [Ignored] = []
}

/// The format of a family's models in a GGUF file: one table for reading and writing.
///
/// Reading goes from the file to `config.json`'s keys and the family's tensor names, writing back. Each line of a table has an inverse:
/// see `ModelConfiguration.init(gguf:)`, `GGUFFormat.metadata(of:)` and `TensorNames`.
package struct GGUFFormat: Sendable {
    /// `general.architecture`. The metadata keys of the tables below follow it after a dot: `llama.block_count`.
    let architecture: String
    /// Set where several families share an architecture: a metadata key (behind the architecture's name) that is in every file of this
    /// family and in none of the other's (`present`), or the reverse.
    var distinction: (metadata: String, present: Bool)?
    /// In the order of the `config.json` that is made of them.
    let metadata: [MetadataRule]
    let tensors: [TensorRule]
    /// The tensor with the divisors of the rotary frequencies, one for each rotated pair; nil where the format has none.
    var ropeFactors: String?
    /// The tensors and the metadata key of LongRoPE, where the format keeps its factors so.
    var longRoPE: LongRoPETensors?
    /// llama.cpp reads the window of this architecture and does not apply it.
    var windowIsNotApplied = false
    /// Metadata keys of the architecture that change nothing.
    var inertMetadata: [Ignored] = []
    var ignoredTensors: [Ignored] = []
}

/// LongRoPE in a GGUF: the names of two tensors with one factor for each rotated pair, and of the metadata key of the attention's scale.
package struct LongRoPETensors: Sendable {
    let short: String
    let long: String
    let attentionFactor: String
}

/// A key of `config.json` ↔ what a GGUF says of it. Keys inside an object are written with a dot: `rope_scaling.factor`.
package enum MetadataRule: Sendable {
    /// A metadata key's value.
    case value(_ key: String, _ metadata: String, MetadataType, ifAbsent: MetadataDefault)
    /// A key without metadata in this format: every model of the architecture has this value.
    case constant(_ key: String, JSON)
    /// The number of rows of a tensor. It is also written as a metadata key, which is read where a file lacks the tensor.
    case rows(_ key: String, ofTensor: String, _ metadata: String)
    /// true where the file has the tensor, or, with `present` false, where it lacks it.
    case tensor(_ key: String, _ tensor: String, present: Bool)
    /// A metadata key that repeats `key`: it has to agree.
    case repeats(_ key: String, _ metadata: String, MetadataType)
    /// The number of a head's dimensions that rotate ↔ `partial_rotary_factor`, their share of `head_dim`.
    case rotatedDimensions(_ metadata: String)
    /// `sliding_window` and `layer_types` ↔ the window and which layers have it: a bool for each layer, or a number n where each n-th layer
    /// has none; `every` is that number where the file does not say. A file without a window has none in any layer.
    case windows(_ metadata: String, pattern: String, every: Int)
    /// `sliding_window` of all layers; null ↔ 0.
    case window(_ metadata: String)
    /// A key without metadata in this format: a list of 1 for each layer, but 0 for every n-th.
    case zeroEvery(_ key: String, Int)
    /// A key without metadata in this format, which follows from other keys.
    case derived(_ key: String, MetadataDefault)
    /// A metadata key that has no key in `config.json` and may have this value alone.
    case only(_ metadata: String, JSON)
}

extension GGUFFormat {
    /// What llama.cpp writes alike for decoders with RMS norms.
    static func decoderMetadata(activation: String, activationKey: String = "hidden_act") -> [MetadataRule] {
        [
            .constant(activationKey, .string(activation)),
            .value("hidden_size", "embedding_length", .whole, ifAbsent: .refused),
            .value("intermediate_size", "feed_forward_length", .whole, ifAbsent: .refused),
            .value("num_hidden_layers", "block_count", .whole, ifAbsent: .refused),
            .value("num_attention_heads", "attention.head_count", .whole, ifAbsent: .refused),
            .value("num_key_value_heads", "attention.head_count_kv", .whole, ifAbsent: .same("num_attention_heads")),
            .value("head_dim", "attention.key_length", .whole, ifAbsent: .quotient("hidden_size", "num_attention_heads")),
            .repeats("head_dim", "attention.value_length", .whole),
            .value("max_position_embeddings", "context_length", .whole, ifAbsent: .refused),
            .value("rms_norm_eps", "attention.layer_norm_rms_epsilon", .real, ifAbsent: .refused),
            .rows("vocab_size", ofTensor: "token_embd.weight", "vocab_size"),
        ]
    }

    /// What llama.cpp writes alike of rotary positions.
    ///
    /// - Parameter scaling: whether llama.cpp scales the frequencies of this architecture (`rope_type` linear and yarn).
    static func ropeMetadata(scaling: Bool) -> [MetadataRule] {
        let plain: [MetadataRule] = [
            .value("rope_theta", "rope.freq_base", .real, ifAbsent: .value(10000.0)),
            .rotatedDimensions("rope.dimension_count"),
        ]
        guard scaling else { return plain }
        return plain + [
            .value("rope_scaling.rope_type", "rope.scaling.type", .text, ifAbsent: .omitted),
            .value("rope_scaling.factor", "rope.scaling.factor", .real, ifAbsent: .omitted),
            .value("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length", .whole, ifAbsent: .omitted),
            .value("rope_scaling.attention_factor", "rope.scaling.yarn_attn_factor", .real, ifAbsent: .omitted),
            .value("rope_scaling.beta_fast", "rope.scaling.yarn_beta_fast", .real, ifAbsent: .omitted),
            .value("rope_scaling.beta_slow", "rope.scaling.yarn_beta_slow", .real, ifAbsent: .omitted),
            .only("rope.scaling.yarn_ext_factor", 1), .only("rope.scaling.attn_factor", 1),
        ]
    }

    /// Tensors that llama.cpp calls alike in decoders.
    ///
    /// - Parameters:
    ///   - norms: what the format does to the weights of norms.
    ///   - interleaved: q and k have the halves of each head interleaved; others keep Hugging Face's order.
    static func decoderTensors(norms: TensorTransform = .none, interleaved: Bool = false) -> [TensorRule] {
        [
            TensorRule("model.embed_tokens", "token_embd"),
            TensorRule("model.norm", "output_norm", norms),
            TensorRule("lm_head", "output"),
            TensorRule("model.layers.{layer}.input_layernorm", "blk.{layer}.attn_norm", norms),
            TensorRule(
                "model.layers.{layer}.self_attn.q_proj", "blk.{layer}.attn_q", interleaved ? .interleavedHeads("num_attention_heads") : .none),
            TensorRule(
                "model.layers.{layer}.self_attn.k_proj", "blk.{layer}.attn_k", interleaved ? .interleavedHeads("num_key_value_heads") : .none),
            TensorRule("model.layers.{layer}.self_attn.v_proj", "blk.{layer}.attn_v"),
            TensorRule("model.layers.{layer}.self_attn.o_proj", "blk.{layer}.attn_output"),
            TensorRule("model.layers.{layer}.mlp.gate_proj", "blk.{layer}.ffn_gate"),
            TensorRule("model.layers.{layer}.mlp.up_proj", "blk.{layer}.ffn_up"),
            TensorRule("model.layers.{layer}.mlp.down_proj", "blk.{layer}.ffn_down"),
        ]
    }
}

package enum MetadataType: Sendable {
    /// u32
    case whole
    /// float32; read as the shortest decimal that gives the same float32 (1e-5, not 9.99999974e-06).
    case real
    /// bool
    case flag
    /// string
    case text
}

/// What a metadata key stands for where a file lacks it.
package indirect enum MetadataDefault: Sendable {
    /// The file is refused.
    case refused
    /// `config.json` lacks the key too: the family's default.
    case omitted
    case value(JSON)
    /// The value of another key of `config.json`, named by a rule before.
    case same(_ key: String)
    /// One key's value divided by another's.
    case quotient(_ key: String, _ by: String)
    /// 1 / sqrt(one key's value).
    case inverseSquareRoot(_ key: String)
    /// The first where a key has this value, else the other.
    case when(_ key: String, equals: Int, MetadataDefault, otherwise: MetadataDefault)
}

/// A tensor under the family's name ↔ under a file's. `{layer}` stands for a layer's number in both.
///
/// Rules that name the same tensor of the file cut it into rows, one behind the other in the table's order: a fused matrix.
package struct TensorRule: Sendable {
    let name: TensorPattern
    let file: TensorPattern
    let transform: TensorTransform
    /// Endings that both names have: a module's weight and bias.
    let endings: [String]

    init(_ name: TensorPattern, _ file: TensorPattern, _ transform: TensorTransform = .none, endings: [String] = [".weight", ".bias"]) {
        self.name = name
        self.file = file
        self.transform = transform
        self.endings = endings
    }
}

/// What a file does to a tensor's values. Each has an inverse.
package enum TensorTransform: Sendable {
    case none
    /// Rows of q or k: the two halves of each rotated head interleaved (see `RowPermutation`). `heads` is the key of `config.json` that
    /// says their number.
    case interleavedHeads(_ heads: String)
    /// The file holds the tensor plus this number: a norm's w stored as 1 + w.
    case plus(Float)
}

/// A tensor's name in which `{layer}` may stand for a layer's number.
package struct TensorPattern: Sendable, ExpressibleByStringLiteral {
    private let prefix: String
    /// What follows the number; nil where there is none.
    private let suffix: String?

    package init(stringLiteral text: String) { self.init(text) }

    init(_ text: String) {
        if let range = text.firstRange(of: "{layer}") {
            (prefix, suffix) = (String(text[..<range.lowerBound]), String(text[range.upperBound...]))
        } else {
            (prefix, suffix) = (text, nil)
        }
    }

    /// The layer's digits in a name of this pattern, empty where the pattern has none; nil for other names.
    func layer(of name: some StringProtocol) -> String? {
        guard let suffix else { return name == prefix ? "" : nil }
        guard name.hasPrefix(prefix), name.hasSuffix(suffix), name.utf8.count > prefix.utf8.count + suffix.utf8.count else { return nil }
        let digits = name.dropFirst(prefix.count).dropLast(suffix.count)
        let isNumber = digits.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } && (digits.first != "0" || digits.count == 1)
        return isNumber ? String(digits) : nil
    }

    /// The name for a layer's digits.
    func name(layer: String) -> String { suffix.map { prefix + layer + $0 } ?? prefix }
}
