/// What a trained tensor is to its kind, e.g. LoRA's A. The name also names the program's values.
package struct TrainedRole: Hashable, Sendable {
    package let name: String

    package init(_ name: String) { self.name = name }
}

/// One trained tensor: float32, row-major, a range of the flat buffers of parameters, gradients and moments.
package struct TrainedTensor: Sendable, Equatable {
    package let role: TrainedRole
    /// The module or tensor of the model that it belongs to, e.g. `model.layers.0.self_attn.q_proj`.
    package let module: String
    /// Its name in adapter files and checkpoints, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    package let name: String
    package let shape: [Int]
    /// Its place among the tensors of its role, in forward order.
    package let number: Int
    /// Its first element in the flat buffers.
    package let offset: Int
    /// The place of its kind in `TrainedLayout.kinds`.
    let kind: Int

    package var elementCount: Int { shape.reduce(1, *) }
    package var range: Range<Int> { offset..<offset + elementCount }
}

/// A trained tensor as its kind asks for it; `TrainedLayout` gives it a place in the flat buffers.
package struct TrainedDeclaration: Sendable {
    let role: TrainedRole
    let module: String
    let name: String
    let shape: [Int]

    package init(role: TrainedRole, module: String, name: String, shape: [Int]) {
        (self.role, self.module, self.name, self.shape) = (role, module, name, shape)
    }
}
