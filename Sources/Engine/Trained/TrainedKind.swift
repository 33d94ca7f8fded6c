import LorikeetDevices

/// A kind of trained tensors: which tensors it trains in a model, how they start, what they add to the forward pass, and what they
/// change in the model's own tensors when they are merged.
///
/// To add one: a file like `LoRAKind.swift` and a line in `TrainedKinds.table`. Files, checkpoints, counts, gradients and the optimiser walk
/// the list of tensors and know no kind.
package protocol TrainedKind: Sendable {
    /// nil where the settings do not ask for this kind.
    init?(_ settings: LoRASettings)
    /// What it trains, in the order in which adapter files hold it.
    ///
    /// - Parameter weights: the model's frozen tensors, in forward order.
    /// - Throws: exit 2 where the settings ask for something that the model does not have.
    func tensors(of weights: [WeightDeclaration]) throws -> [TrainedDeclaration]
    /// Writes the values that training starts from; a function of the arguments alone. The memory holds zeros.
    func initialise(_ tensor: TrainedTensor, seed: UInt64, _ values: UnsafeMutableBufferPointer<Float>)
    /// Extends what frozen tensors compute by what is trained: may append ops before and after those of `frozen`, which it calls once.
    ///
    /// - Returns: the value that stands for the site's y from here on: y itself, or a new value of the same shape and type.
    func extend(_ site: TrainedSite, _ b: inout ProgramBuilder, frozen: (inout ProgramBuilder) -> ValueID) -> ValueID
    /// How merging changes the rows of a frozen tensor, so that the model alone computes what the trained model did; nil where this kind
    /// leaves the tensor alone. What is trained is read when the closure is called.
    ///
    /// - Parameter tensor: e.g. `model.layers.0.self_attn.q_proj.weight`.
    func merging(_ tensor: String, _ values: TrainedValues) -> (() throws -> RowChange)?
}

/// Changes some rows of a tensor, float32 and dense: `values` begins with the first of `rows`.
package typealias RowChange = (_ rows: Range<Int>, _ values: UnsafeMutablePointer<Float>, _ cpu: CPU) -> Void

/// A place in the forward pass where frozen tensors are used.
package struct TrainedSite: Sendable {
    /// What the frozen tensors are.
    package enum Use: Sendable {
        /// y = x Wᵀ (+ bias) of matrices side by side.
        case linear([LinearPart])
        /// y is x, normalised by rows and multiplied by the tensor of this name.
        case norm(weight: String)
        /// y is the rows of the tensor of this name that x (int32) asks for.
        case embedding(weight: String)
    }

    package let use: Use
    package let x: ValueID
    package let y: ValueID
}

package enum TrainedKinds {
    /// One line a kind, in the order in which they extend the forward pass.
    static let table: [any TrainedKind.Type] = [LoRAKind.self]

    /// The kinds that the settings ask for.
    static func asked(for settings: LoRASettings) -> [any TrainedKind] { table.compactMap { $0.init(settings) } }
}
