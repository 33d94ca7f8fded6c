import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// An adapter file's tensors, held to a layout: each is there with its shape, and there is no other.
package struct TrainedValues {
    package let layout: TrainedLayout
    private let views: [String: TensorView]

    /// - Parameters:
    ///   - fix: what to do about a file that does not fit.
    /// - Throws: exit 2 naming the tensor that is missing, has another shape, or has no place.
    package init(_ file: AdapterFile, _ layout: TrainedLayout, fix: String) throws {
        let others = Set(file.tensors.keys).subtracting(layout.tensors.map(\.name))
        if let other = others.min() {
            if let refusal = Self.refused(others) { throw LorikeetError.input(refusal, at: file.path, fix: Self.plainAdapter) }
            throw LorikeetError.input("the adapter's '\(other)' has no place in the model", at: file.path, fix: fix)
        }
        for tensor in layout.tensors {
            guard let view = file.tensors[tensor.name] else {
                throw LorikeetError.input("the adapter lacks '\(tensor.name)'", at: file.path, fix: fix)
            }
            guard view.shape == tensor.shape else {
                throw LorikeetError.input(
                    "the adapter's '\(tensor.name)' has shape \(view.shape), not \(tensor.shape)", at: file.path, fix: fix)
            }
        }
        self.layout = layout
        views = file.tensors
    }

    static let plainAdapter = "use a LoRA adapter that has A and B of the layers' linears alone, as PEFT saves it"

    /// What adapters hold beside the A and B of linears, by a part of the tensors' names, and what it is.
    private static let known: [(part: String, what: String)] = [
        ("lora_magnitude_vector", "the magnitudes of DoRA"), ("lora_embedding_", "an adapter of an embedding"),
        ("modules_to_save", "a whole module (modules_to_save)"), ("original_module", "a whole module (modules_to_save)"),
        ("trainable_tokens", "rows of an embedding (trainable_token_indices)"), ("lora_diag", "the diagonal of KaSA"), ("lora_B.bias", "a bias (lora_bias)"),
        ("_orig_mod.", "part of a compiled module ('_orig_mod.')"), ("_fsdp_wrapped_module.", "part of a wrapped module ('_fsdp_wrapped_module.')"),
        ("module.base_model.", "part of a wrapped module ('module.')"), (".bias", "a bias"), ("embed_tokens.weight", "a whole embedding"),
        ("lm_head.weight", "a whole output matrix"), ("lm_head.lora_", "an adapter of the output matrix (lm_head)"),
        ("embed_tokens.lora_", "an adapter of an embedding"),
    ]

    /// The sentence for the first of an adapter's tensors that is known to be something else than A or B; nil where none is.
    static func refused(_ names: some Sequence<String>) -> String? {
        for name in names.sorted() {
            if let other = known.first(where: { name.contains($0.part) }) { return "the adapter's '\(name)' is \(other.what), which is not supported" }
            if !name.hasPrefix("base_model.model."), name.contains("lora_") {
                return "the adapter's '\(name)' does not begin with 'base_model.model.', as names in PEFT's files do"
            }
        }
        return nil
    }

    /// A copy of a tensor's values as float32; nil where none of that role is trained in the module.
    package func floats(_ role: TrainedRole, of module: String) throws -> Buffer? {
        guard let tensor = layout.tensor(role, of: module) else { return nil }
        let buffer = try Buffer(bytes: max(4, tensor.elementCount * 4))
        try copy(tensor, to: buffer.pointer(as: Float.self))
        return buffer
    }

    /// Writes a tensor's values as float32.
    func copy(_ tensor: TrainedTensor, to values: UnsafeMutablePointer<Float>) throws {
        guard let view = views[tensor.name] else { return }
        let store = try loadStore(view: view.asMatrix, storage: .f32, cpu: nil)
        store.expand(rows: 0..<store.rows, into: values)
    }
}
