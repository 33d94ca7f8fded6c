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
        if let other = Set(file.tensors.keys).subtracting(layout.tensors.map(\.name)).min() {
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
