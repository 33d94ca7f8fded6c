import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import Synchronization

/// Changes the model's tensors by what an adapter trained, so that the model alone computes the same: scale · B A is added to each matrix
/// that LoRA wraps. What changes is up to the kinds of trained tensors (`TrainedKind.merging`).
package struct AddAdapter: TensorStep {
    private let values: TrainedValues
    private let cpu: CPU

    package init(_ values: TrainedValues, cpu: CPU) { (self.values, self.cpu) = (values, cpu) }

    /// - Parameter base: the model that it is added to.
    /// - Throws: exit 2 where the adapter does not fit the model.
    package init(_ adapter: AdapterFile, base: ModelSource, cpu: CPU) throws {
        let weights = base.configuration.weights
        let values = try TrainedValues(
            adapter, TrainedLayout(LoRASettings(adapter, weights: weights), weights: weights), fix: "merge into the model it was trained on")
        self.init(values, cpu: cpu)
    }

    package func apply(_ tensor: StreamedTensor) throws -> StreamedTensor {
        let changes = values.layout.kinds.compactMap { $0.merging(tensor.description.name, values) }
        guard !changes.isEmpty else { return tensor }
        return StreamedTensor(description: tensor.description) { [cpu] in
            let base = try tensor.open()
            let opened = try changes.map { try $0() }
            return { rows, memory in
                try base(rows, memory)
                for change in opened { change(rows, memory.assumingMemoryBound(to: Float.self), cpu) }
            }
        }
    }
}

/// Rounds float32 tensors to another type: 16-bit floats to nearest even, GGUF's blocks with searched scales (see `encode`). What is not
/// finite, or would not be, is refused by the tensor's name.
package struct ConvertPrecision: TensorStep {
    let type: ElementType
    /// The base, for errors.
    let path: String
    private let cpu: CPU

    /// - Parameters:
    ///   - type: one that `isWritten`.
    ///   - path: the base, for errors.
    package init(to type: ElementType, path: String, cpu: CPU) { (self.type, self.path, self.cpu) = (type, path, cpu) }

    package func apply(_ tensor: StreamedTensor) throws -> StreamedTensor {
        let form = tensor.description
        guard type.isWritten, form.columns % type.blockElements == 0 else {
            throw LorikeetError.input(
                "'\(form.name)' has rows of \(form.columns) values, which cannot be written as \(type.rawValue)", at: path,
                fix: "choose f16, bf16 or f32 for it")
        }
        return StreamedTensor(description: TensorDescription(name: form.name, shape: form.shape, type: type)) { [self] in
            let (read, scratch) = (try tensor.open(), Scratch())
            return { rows, memory in
                let count = rows.count * form.columns
                try scratch.with(bytes: count * 4) { floats in
                    try read(rows, floats)
                    try encodeFinite(floats.assumingMemoryBound(to: Float.self), count, into: memory, form.name)
                }
            }
        }
    }

    /// Encodes on all threads; each looks at its share of the values first.
    ///
    /// - Throws: exit 2 where a value is not finite, rounds to infinity, or a block's scale does.
    private func encodeFinite(_ values: UnsafePointer<Float>, _ count: Int, into memory: UnsafeMutableRawPointer, _ name: String) throws {
        // A float's bits without its sign are in the order of its magnitude; those of infinity and NaN are the largest.
        let largest = Atomic<UInt32>(0)
        let fits = Atomic<Bool>(true)
        cpu.parallelRanges(over: count / type.blockElements) { blocks, _ in
            let (from, count) = (values + blocks.lowerBound * type.blockElements, blocks.count * type.blockElements)
            var bits: UInt32 = 0
            for i in 0..<count { bits = max(bits, from[i].bitPattern & 0x7FFF_FFFF) }
            largest.max(bits, ordering: .relaxed)
            guard bits < Self.infinity else { return }
            if !encode(from, count: count, as: type, into: memory + blocks.lowerBound * type.blockBytes) { fits.store(false, ordering: .relaxed) }
        }
        let bits = largest.load(ordering: .relaxed)
        guard bits < Self.infinity else { throw Self.notFinite(name, path) }
        guard fits.load(ordering: .relaxed), type != .bf16 || bits < 0x7F7F_8000 else { throw tooLarge(name) }
    }

    private static let infinity = Float.infinity.bitPattern

    /// - Parameter path: the base.
    static func notFinite(_ tensor: String, _ path: String) -> LorikeetError {
        .input(
            "a value of '\(tensor)' is not finite (NaN or infinity) after merging", at: path,
            fix: "check the adapter and its lora_alpha, and the base model's files")
    }

    private func tooLarge(_ name: String) -> LorikeetError {
        switch type {
        case .bf16: .input("a merged weight of '\(name)' is outside of bfloat16's range", at: path, fix: "merge to float32")
        case .f16: .input("a merged weight of '\(name)' is outside of float16's range", at: path, fix: "merge to bfloat16 or float32")
        default:
            .input(
                "a merged weight of '\(name)' is too large for \(type.rawValue), whose scales are float16", at: path, fix: "choose bf16 or f32")
        }
    }
}
