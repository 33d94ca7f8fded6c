import LorikeetDevices

/// A kind of trained tensors: which tensors it trains in a model, how they start, what they add to the forward pass, and what they
/// change in the model's own tensors when they are merged.
///
/// To add one: a file like `LoRAKind.swift` and a line in `TrainedKinds.table`. Adapter files, checkpoints, counts, gradients and the optimiser
/// iterate over the list of trained tensors (`TrainedLayout`) and refer to no kind.
package protocol TrainedKind: Sendable {
    /// nil where the settings do not ask for this kind of tensors.
    init?(_ settings: LoRASettings)
    /// The tensors that it trains, in the order in which adapter files hold them.
    ///
    /// - Parameter weights: the model's frozen tensors, in forward order.
    /// - Throws: exit 2 where the settings ask for something that the model does not have.
    func tensors(of weights: [WeightDeclaration]) throws -> [TrainedDeclaration]
    /// Writes a tensor's initial values, which depend on the arguments only.
    ///
    /// - Parameter values: float32, all zero, one element for each element of `tensor`.
    func initialise(_ tensor: TrainedTensor, seed: UInt64, _ values: UnsafeMutableBufferPointer<Float>)
    /// Adds the trained tensors' part of the computation at a place where the forward pass uses frozen tensors.
    ///
    /// - Parameter frozen: appends the frozen ops and returns their output; to be called once. Ops may be appended before and after it.
    /// - Returns: the value that replaces the site's y in the rest of the forward pass: y itself, or a new value of the same shape and type.
    func extend(_ site: TrainedSite, _ b: inout ProgramBuilder, frozen: (inout ProgramBuilder) -> ValueID) -> ValueID
    /// How merging changes the rows of a frozen tensor, so that the merged model computes what the trained model did; nil where this kind
    /// does not change the tensor. The trained tensors are read when the closure is called.
    ///
    /// - Parameters:
    ///   - tensor: e.g. `model.layers.0.self_attn.q_proj.weight`.
    ///   - values: the trained tensors.
    func merging(_ tensor: String, _ values: TrainedValues) -> (() throws -> RowChange)?
}

/// Changes some rows of a tensor in place. `values` is float32 [rows.count, columns], contiguous, and begins with the first of `rows`.
package typealias RowChange = (_ rows: Range<Int>, _ values: UnsafeMutablePointer<Float>, _ cpu: CPU) -> Void

/// A place in the forward pass where frozen tensors are used.
package struct TrainedSite: Sendable {
    /// What is computed from x and the frozen tensors.
    package enum Use: Sendable {
        /// y [T, N] = x [T, C] Wᵀ (+ bias), for several matrices W side by side: N is the sum of their outputs.
        case linear([LinearPart])
        /// y [T, C] is x [T, C] with each row normalised and multiplied by the tensor of this name [C].
        case norm(weight: String)
        /// y [T, C] is the rows of the tensor of this name [V, C] whose numbers are x (int32 [T]).
        case embedding(weight: String)
    }

    package let use: Use
    package let x: ValueID
    package let y: ValueID
}

package enum TrainedKinds {
    /// One line for each kind, in the order in which they extend the forward pass.
    static let table: [any TrainedKind.Type] = [LoRAKind.self]

    /// The kinds that the settings ask for.
    static func asked(for settings: LoRASettings) -> [any TrainedKind] { table.compactMap { $0.init(settings) } }
}
