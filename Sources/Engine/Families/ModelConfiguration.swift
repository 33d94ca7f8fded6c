import LorikeetGround
import LorikeetJSON

/// A model's configuration: `config.json`, as read or as its family makes it from a GGUF's metadata, and the family that reads it.
package struct ModelConfiguration: Sendable {
    /// What merging writes.
    package let json: JSON
    package let family: any ModelFamily
    /// The frozen tensors that the family's forward pass names; see `ModelFamily.weights`, which asks it again each time.
    package let weights: [WeightDeclaration]
    /// See `ModelFamily.blockCount` and `ModelFamily.embeddingOnly`.
    package let (blockCount, embeddingOnly): (Int, WeightDeclaration?)
    /// Every key that the family read with the value it has, its defaults included.
    package let values: JSONObject
    /// What was found and is not used; for the user.
    package let warnings: [String]
    /// What divides the rotary frequencies, where no configuration key expresses it.
    let ropeFactors: [Float]?
    /// The whole model of which this is the language model; nil for a model of text alone.
    let part: TextPart?

    /// - Parameters:
    ///   - source: the file, for errors.
    ///   - ropeFactors: what divides the rotary frequencies, where the file holds it as a tensor that no key expresses.
    ///   - hasHead: whether the model's files have a matrix of the head; nil where it is not known.
    /// - Throws: exit 2 naming the key that is not supported, out of range, or of the wrong type.
    package init(json whole: JSON, source: String, ropeFactors: [Float]? = nil, hasHead: Bool? = nil) throws {
        part = TextPart.table.first { $0.modelType == whole["model_type"]?.string }
        let (json, source, partWarnings) = try part?.text(of: whole, source: source, hasHead: hasHead) ?? (whole, source, [])
        guard let type = json["model_type"]?.string else {
            let said = json["model_type"].map { "is \($0.serialized().prefix(60)); it has to be a text" } ?? "is missing"
            throw LorikeetError.input("'model_type' \(said)", at: source, fix: "use the model's own config.json")
        }
        let kind = try Families.named(modelType: type, in: source)
        var reader = ConfigurationReader(json, source: source, ropeFactors: ropeFactors)
        try Self.readCommon(&reader, kind.huggingFace)
        family = try kind.init(&reader)
        try reader.finish(model: type, inert: kind.huggingFace.inertKeys)
        let forward = family.namedForward()
        (weights, blockCount, embeddingOnly) = (forward.weights, forward.blockCount, forward.weights.first { $0.tensor == forward.embeddingOnly })
        self.json = json
        self.ropeFactors = ropeFactors
        values = reader.values
        warnings = partWarnings + reader.warnings
    }

    /// The keys that mean the same in every family.
    private static func readCommon(_ reader: inout ConfigurationReader, _ format: HuggingFaceFormat) throws {
        _ = try reader.text("model_type", default: format.modelType)
        if let classes = try reader.texts("architectures"), !classes.isEmpty, !classes.contains(format.architecture) {
            reader.warn("\(reader.source): 'architectures' is \(classes.joined(separator: ", ")); the model is computed as a \(format.architecture)")
        }
        if try reader.number("attention_dropout", default: 0, in: 0...1) != 0 {
            reader.warn("\(reader.source): 'attention_dropout' is not applied in training; set lora_dropout instead")
        }
    }

    package var vocabularySize: Int { family.vocabularySize }
    package var hiddenSize: Int { family.hiddenSize }

    /// The same with the merged weights' type: what `config.json` beside them says.
    ///
    /// - Throws: exit 2 where the model holds what no key of `config.json` expresses.
    package func written(type: String?) throws -> JSON {
        if ropeFactors != nil {
            throw LorikeetError.input(
                "the GGUF holds the factors of the rotary frequencies as a tensor, which config.json cannot express", at: "rope_freqs.weight",
                fix: "merge into the model's safetensors directory")
        }
        var object = json.object ?? [:]
        // `dtype` is today's key, `torch_dtype` what older readers look for.
        for key in ["dtype", "torch_dtype"] { object[key] = type.map { .string($0) } }
        object["quantization_config"] = nil
        // Names Python files of the base's repository, which are not beside the merged weights; the families here are classes of transformers itself.
        object["auto_map"] = nil
        return .object(object)
    }
}
