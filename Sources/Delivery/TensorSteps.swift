import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Adds scale · B A to every matrix that an adapter wraps (Hu et al. 2021, arXiv:2106.09685).
package struct AddAdapter: TensorStep {
    private let adapter: AdapterFile
    private let cpu: CPU
    /// By the matrix's name: A [r, in] and B [out, r].
    private var matrices: [String: (a: TensorView, b: TensorView)] = [:]

    /// - Parameter base: the model that it is added to.
    /// - Throws: exit 2 where the adapter does not fit the model.
    package init(_ adapter: AdapterFile, base: ModelSource, cpu: CPU) throws {
        self.adapter = adapter
        self.cpu = cpu
        let rank = adapter.configuration.r
        let fitting = "merge into the model it was trained on"
        var left = Set(adapter.tensors.keys)
        for linear in base.configuration.family.linears() {
            let name = "base_model.model.\(linear.name).lora_"
            let (a, b) = (adapter.tensors[name + "A.weight"], adapter.tensors[name + "B.weight"])
            if a == nil && b == nil { continue }
            guard let a, let b else {
                throw LorikeetError.input("the adapter has one of A and B alone for '\(linear.name)'", at: adapter.path, mend: "save the adapter again")
            }
            guard a.shape == [rank, linear.columns], b.shape == [linear.rows, rank] else {
                throw LorikeetError.input(
                    "the adapter of '\(linear.name)' has shapes \(a.shape) and \(b.shape), the model needs [\(rank), \(linear.columns)] and [\(linear.rows), \(rank)]",
                    at: adapter.path, mend: fitting)
            }
            matrices[linear.name + ".weight"] = (a, b)
            left.subtract([a.name, b.name])
        }
        if let name = left.min() {
            throw LorikeetError.input("the adapter's '\(name)' has no place in the model", at: base.path, mend: fitting)
        }
        guard !matrices.isEmpty else {
            throw LorikeetError.input("the adapter wraps no matrix of the model", at: adapter.path, mend: fitting)
        }
    }

    package func apply(_ tensor: StreamedTensor) throws -> StreamedTensor {
        guard let (a, b) = matrices[tensor.description.name] else { return tensor }
        let (columns, rank) = (tensor.description.columns, adapter.configuration.r)
        let scale = LoRASettings(adapter).scale
        return StreamedTensor(description: tensor.description) { [cpu] in
            let base = try tensor.open()
            let (a, b) = (try Self.floats(a), try Self.floats(b))
            return { rows, memory in
                try base(rows, memory)
                cpu.gemm(
                    m: rows.count, n: columns, k: rank, alpha: scale, a: b.pointer(as: Float.self) + rows.lowerBound * rank, lda: rank,
                    b: a.pointer(as: Float.self), ldb: columns, beta: 1, c: memory.assumingMemoryBound(to: Float.self), ldc: columns)
            }
        }
    }

    private static func floats(_ view: TensorView) throws -> Buffer {
        let store = try loadStore(view: view, storage: .f32, cpu: nil)
        let buffer = try Buffer(bytes: max(4, store.rows * store.columns * 4))
        store.expand(rows: 0..<store.rows, into: buffer.pointer(as: Float.self))
        return buffer
    }
}

/// Rounds float32 tensors to another type, to nearest even. What is not finite, or would not be, is refused by the tensor's name.
package struct ConvertPrecision: TensorStep {
    /// `.f16`, `.bf16` or `.f32`.
    let type: ElementType
    /// The base, for errors.
    let path: String

    package init(to type: ElementType, path: String) {
        self.type = type
        self.path = path
    }

    package func apply(_ tensor: StreamedTensor) throws -> StreamedTensor {
        let form = tensor.description
        return StreamedTensor(description: TensorDescription(name: form.name, shape: form.shape, type: type)) {
            let read = try tensor.open()
            let floats = try Buffer(bytes: max(4, form.blockRows * form.columns * 4))
            return { rows, memory in
                try read(rows, floats.base)
                let (values, count) = (floats.pointer(as: Float.self), rows.count * form.columns)
                try check(values, count, form.name)
                guard encode(values, count: count, as: type, into: memory) else { throw tooLarge(form.name, "float16") }
            }
        }
    }

    /// - Throws: exit 2 where a value is not finite, or rounds to infinity as bfloat16.
    private func check(_ values: UnsafePointer<Float>, _ count: Int, _ name: String) throws {
        // A float's bits without its sign are in the order of its magnitude; those of infinity and NaN are the largest.
        var largest: UInt32 = 0
        for i in 0..<count { largest = max(largest, values[i].bitPattern & 0x7FFF_FFFF) }
        guard largest < 0x7F80_0000 else {
            throw LorikeetError.input(
                "a value of '\(name)' is not finite (NaN or infinity) after merging", at: path,
                mend: "check the adapter and its lora_alpha, and the base model's files")
        }
        if type == .bf16 && largest >= 0x7F7F_8000 { throw tooLarge(name, "bfloat16") }
    }

    private func tooLarge(_ name: String, _ type: String) -> LorikeetError {
        .input(
            "a merged weight of '\(name)' does not fit \(type)", at: path, mend: type == "float16" ? "merge to bfloat16 or float32" : "merge to float32")
    }
}
