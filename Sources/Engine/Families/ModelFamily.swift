import LorikeetGround
import LorikeetModelFiles

/// A model family: configuration → forward pass, and how both are called in each file format. Its weights' names and shapes are what the
/// forward pass asks for.
///
/// To add one: a file like `Llama.swift` and a line in `Families.table`.
package protocol ModelFamily: Sendable {
    /// Names in a Hugging Face directory; the forward pass uses its tensor names.
    static var huggingFace: HuggingFaceFormat { get }
    /// Names in a GGUF; nil where the format has no such model.
    static var gguf: GGUFFormat? { get }
    /// The format in which a GGUF is written: `gguf`, unless llama.cpp has the family under another one's name.
    static var writtenGGUF: GGUFFormat? { get }
    /// Reads the keys that decide the computation; those it does not read are judged by `ConfigurationReader.finish`.
    ///
    /// - Throws: exit 2, naming the key, when the configuration asks for something this family's code does not do.
    init(_ reader: inout ConfigurationReader) throws
    /// The forward pass.
    func forward(_ b: inout ProgramBuilder)
    /// Entries of the logits.
    var vocabularySize: Int { get }
    /// Columns of the residual stream.
    var hiddenSize: Int { get }
}

package enum Families {
    /// One line a family.
    static let table: [any ModelFamily.Type] = [
        Llama.self, Mistral.self, Ministral3.self, Qwen2.self, Qwen3.self, SmolLM3.self, Gemma.self, Gemma2.self, Gemma3.self, Phi3.self, Granite.self,
        OLMo2.self, OLMo3.self, GLM4.self,
    ]

    /// The family of a `config.json`'s `model_type`.
    ///
    /// - Parameter source: the file, for errors.
    static func named(modelType: String, in source: String) throws -> any ModelFamily.Type {
        if let family = table.first(where: { $0.huggingFace.modelType == modelType }) { return family }
        throw unsupported("\(source): model_type", modelType, table.map { $0.huggingFace.modelType } + TextPart.table.map(\.modelType))
    }

    /// The family of a GGUF's metadata, and its table.
    static func reading(_ file: GGUFFile) throws -> (family: any ModelFamily.Type, format: GGUFFormat) {
        guard let architecture = file.metadata["general.architecture"]?.string else {
            throw LorikeetError.input("no 'general.architecture' in the metadata", at: file.path, fix: "use a GGUF of a language model")
        }
        for family in table {
            guard let format = family.gguf, format.architecture == architecture else { continue }
            if let key = format.distinction, (file.metadata["\(architecture).\(key.metadata)"] != nil) != key.present { continue }
            return (family, format)
        }
        var known: [String] = []
        for name in table.compactMap({ $0.gguf?.architecture }) where !known.contains(name) { known.append(name) }
        throw unsupported("\(file.path): general.architecture", architecture, known)
    }

    /// Why a model is of no family here; nil where one reads it.
    package static func refusal(of files: ModelFiles) -> LorikeetError? {
        do {
            switch files.metadata {
            case .configuration(let json):
                let type = json["model_type"]?.string ?? ""
                guard let part = TextPart.table.first(where: { $0.modelType == type }) else {
                    _ = try named(modelType: type, in: files.configurationPath)
                    return nil
                }
                _ = try part.text(of: json, source: files.configurationPath, hasHead: nil)
            case .gguf(let file): _ = try reading(file)
            }
            return nil
        } catch let error as LorikeetError { return error } catch { return nil }
    }

    private static func unsupported(_ place: String, _ name: String, _ known: [String]) -> LorikeetError {
        .input("models of type '\(name)' are not supported", at: place, fix: "supported are \(known.joined(separator: ", "))")
    }
}

extension ModelFamily {
    package static var writtenGGUF: GGUFFormat? { gguf }

    /// The forward pass of one token, for the names and numbers of what it consists of.
    func namedForward() -> ProgramBuilder {
        var builder = ProgramBuilder(purpose: .evaluation, tokens: 1, adapters: .none, target: .cpu(threads: 1))
        forward(&builder)
        return builder
    }

    /// The frozen tensors the forward pass names, once each, in order.
    package func weights() -> [WeightDeclaration] { namedForward().weights }

    /// The embedding's table where no head multiplies by it; nil where they share one.
    package var embeddingOnly: WeightDeclaration? {
        let builder = namedForward()
        return builder.weights.first { $0.tensor == builder.embeddingOnly }
    }

    /// How many blocks can run again in the backward pass (see `PassPolicy`).
    package var blockCount: Int { namedForward().blockCount }

    /// The matrices an adapter can wrap, in forward order.
    package func linears() -> [LinearWeight] {
        weights().compactMap { if case .linear(let linear) = $0.role { linear } else { nil } }
    }

    /// The step program of this model: the forward pass and, for training, its backward pass, after all passes.
    ///
    /// - Parameters:
    ///   - tokens: T, the rows of a micro-batch.
    ///   - adapters: the trained tensors; `.none` without an adapter.
    ///   - headChunk: rows of logits that the head computes at a time.
    ///   - passes: what is recomputed, and whether ops are fused.
    package func program(
        _ purpose: ProgramPurpose, tokens: Int, adapters: TrainedLayout, target: ProgramTarget, headChunk: Int = HeadBlock.chunk,
        passes: PassPolicy = .norms
    ) -> Program {
        differentiated(purpose, tokens: tokens, adapters: adapters, target: target, headChunk: headChunk).program(passes)
    }

    /// The same before the passes.
    func differentiated(
        _ purpose: ProgramPurpose, tokens: Int, adapters: TrainedLayout, target: ProgramTarget, headChunk: Int
    ) -> DifferentiatedProgram {
        var builder = ProgramBuilder(purpose: purpose, tokens: tokens, adapters: adapters, target: target, headChunk: headChunk)
        forward(&builder)
        return builder.differentiated()
    }
}

/// A frozen tensor that a forward pass names.
package struct WeightDeclaration: Sendable {
    package enum Role: Sendable {
        /// A linear of the blocks: stored as `base_storage` says, may carry an adapter.
        case linear(LinearWeight)
        /// Embedding or head [V, C]: stored as the file has it.
        case table
        /// A norm's weight or a bias [C]: float32.
        case vector
    }

    package let tensor: String
    package let shape: [Int]
    package let role: Role
}
