import LorikeetGround
import LorikeetModelFiles

/// A model family: configuration → forward pass. Its weights' names and shapes are what the forward pass asks for.
///
/// To add one: a file like `Llama.swift` and a line in `Families.table`.
package protocol ModelFamily: Sendable {
    /// The `model_type`s of `config.json` that this family reads.
    static var modelTypes: [String] { get }
    /// - Throws: exit 2, naming the key, when the configuration asks for something this family's code does not do.
    init(_ configuration: ModelConfiguration) throws
    /// The forward pass.
    func forward(_ b: inout ProgramBuilder)
    /// Entries of the logits.
    var vocabularySize: Int { get }
}

package enum Families {
    /// One line a family.
    static let table: [any ModelFamily.Type] = [Llama.self]

    package static func family(for configuration: ModelConfiguration) throws -> any ModelFamily {
        for family in table where family.modelTypes.contains(configuration.modelType) {
            return try family.init(configuration)
        }
        let known = table.flatMap { $0.modelTypes }.joined(separator: ", ")
        throw LorikeetError.input(
            "models of type '\(configuration.modelType)' are not supported", at: "config.json: model_type", mend: "supported are \(known)")
    }
}

extension ModelFamily {
    /// The frozen tensors the forward pass names, once each, in order.
    package func weights() -> [WeightDeclaration] {
        var builder = ProgramBuilder(purpose: .evaluation, tokens: 1, adapters: .none, target: .cpu(threads: 1))
        forward(&builder)
        return builder.weights
    }

    /// How many blocks can run again in the backward pass (see `RecomputePolicy`).
    package var blockCount: Int {
        var builder = ProgramBuilder(purpose: .evaluation, tokens: 1, adapters: .none, target: .cpu(threads: 1))
        forward(&builder)
        return builder.blockCount
    }

    /// The matrices an adapter can wrap, in forward order.
    package func linears() -> [LinearWeight] {
        weights().compactMap { if case .linear(let linear) = $0.role { linear } else { nil } }
    }

    package func program(
        _ purpose: ProgramPurpose, tokens: Int, adapters: AdapterLayout, target: ProgramTarget, headChunk: Int = HeadBlock.chunk,
        recompute: RecomputePolicy = .norms
    ) -> Program {
        var builder = ProgramBuilder(purpose: purpose, tokens: tokens, adapters: adapters, target: target, headChunk: headChunk)
        forward(&builder)
        return builder.build(recompute: recompute)
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
