import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The form `bnb-4bit`: a Hugging Face directory whose linears are bitsandbytes' NF4 with doubly quantised maxima, as transformers saves a model
/// that was loaded with `load_in_4bit`; transformers and vLLM load it as it is. Embeddings, head, norms and biases stay in 16 bits.
///
/// For a linear `NAME.weight` of [rows, columns]:
///
///     NAME.weight.nested_absmax                        float32 [nested blocks]
///     NAME.weight.nested_quant_map                     float32 [256]
///     NAME.weight.quant_map                            float32 [16]
///     NAME.weight                                      uint8 [bytes of codes, 1]
///     NAME.weight.absmax                               uint8 [blocks]
///     NAME.weight.quant_state.bitsandbytes__nf4        uint8, JSON
///
/// The state ends in spaces that fill the six tensors to a multiple of 64 bytes: readers map each tensor in place and want it aligned.
package struct BitsAndBytesExport {
    /// The form's name.
    package static let form = "bnb-4bit"

    private let linears: Set<String>
    private let convert: ConvertPrecision
    private let type: ElementType
    private let path: String
    private let cpu: CPU

    /// - Parameter type: what the model computes in, and what its other tensors have: `.f16`, `.bf16` or `.f32`.
    package init(base: ModelSource, type: ElementType, cpu: CPU) {
        linears = Set(base.configuration.weights.compactMap { if case .linear = $0.role { $0.tensor } else { nil } })
        convert = ConvertPrecision(to: type, path: base.path, cpu: cpu)
        (self.type, path, self.cpu) = (type, base.path, cpu)
    }

    /// The tensors to write for a model's float32 tensors. A linear's matrix is whole in memory, as float32, while its codes are made.
    package func tensors(_ tensors: [StreamedTensor]) throws -> [StreamedTensor] {
        try tensors.flatMap { linears.contains($0.description.name) ? try parts(of: $0) : [try convert.apply($0)] }
    }

    /// `config.json` with what transformers writes into it.
    package static func configuration(_ configuration: JSON, type: ElementType) -> JSON {
        var object = configuration.object ?? [:]
        object["quantization_config"] = [
            "_load_in_4bit": true, "_load_in_8bit": false, "bnb_4bit_compute_dtype": .string(name(of: type)), "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true, "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false, "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 6.0, "load_in_4bit": true,
            "load_in_8bit": false, "quant_method": "bitsandbytes",
        ]
        return .object(object)
    }

    private static func name(of type: ElementType) -> String {
        switch type {
        case .f16: "float16"
        case .bf16: "bfloat16"
        default: "float32"
        }
    }

    // MARK: A linear's six tensors

    private func parts(of tensor: StreamedTensor) throws -> [StreamedTensor] {
        let (name, shape) = (tensor.description.name, tensor.description.shape)
        // Readers take two codes a byte for granted.
        guard shape.count == 2, shape[0] * shape[1] % 2 == 0 else {
            throw LorikeetError.input("'\(name)' has an odd number of weights, which bnb-4bit cannot store", at: path, fix: "export another form")
        }
        let matrix = LazyMatrix(tensor, path: path, cpu: cpu)
        let layout = NF4Layout(rows: shape[0], columns: shape[1])
        let length = stateLength(shape, after: layout.codeBytes + layout.maxima)
        func part(_ ending: String, _ shape: [Int], _ type: ElementType, _ bytes: @escaping (NF4Store) -> [UInt8]) -> StreamedTensor {
            let form = TensorDescription(name: name + ending, shape: shape, type: type)
            return StreamedTensor(description: form) {
                let whole = bytes(try matrix.store())
                return { rows, memory in
                    whole[rows.lowerBound * form.rowBytes..<rows.upperBound * form.rowBytes].withUnsafeBytes { from in
                        if let base = from.baseAddress { memory.copyMemory(from: base, byteCount: from.count) }
                    }
                }
            }
        }
        return [
            part(".nested_absmax", [layout.nestedMaxima], .f32) { Self.bytes($0.nestedMaxima) },
            part(".nested_quant_map", [256], .f32) { _ in Self.bytes(NF4.nestedValues) },
            part(".quant_map", [16], .f32) { _ in Self.bytes(NF4.values) },
            part("", [layout.codeBytes, 1], .u8, \.codes),
            part(".absmax", [layout.maxima], .u8, \.maxima),
            part(".quant_state.bitsandbytes__nf4", [length], .u8) { store in
                matrix.release()
                let text = Array(state(shape, offset: Double(store.offset)).utf8)
                return text + [UInt8](repeating: UInt8(ascii: " "), count: length - text.count)
            },
        ]
    }

    private func state(_ shape: [Int], offset: Double) -> String {
        let state: JSON = [
            "quant_type": "nf4", "blocksize": JSON(NF4.blockLength), "dtype": .string(Self.name(of: type)), "shape": .array(shape.map { JSON($0) }),
            "nested_blocksize": JSON(NF4.nestedBlockLength), "nested_dtype": "float32", "nested_offset": .number(offset),
        ]
        return state.serialized()
    }

    /// Room for any offset, which is known only when the matrix has been read.
    private func stateLength(_ shape: [Int], after bytes: Int) -> Int {
        let longest = state(shape, offset: 0).utf8.count + 32
        return (bytes + longest + 63) / 64 * 64 - bytes
    }

    private static func bytes(_ values: [Float]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }
}

/// Sizes of an NF4 matrix's parts.
private struct NF4Layout {
    let codeBytes: Int
    let maxima: Int
    let nestedMaxima: Int

    init(rows: Int, columns: Int) {
        codeBytes = (rows * columns + 1) / 2
        maxima = (rows * columns + NF4.blockLength - 1) / NF4.blockLength
        nestedMaxima = (maxima + NF4.nestedBlockLength - 1) / NF4.nestedBlockLength
    }
}

/// A matrix's codes, made when the first of its parts is written and held until the last is.
private final class LazyMatrix {
    private let tensor: StreamedTensor
    private let path: String
    private let cpu: CPU
    private var made: NF4Store?

    init(_ tensor: StreamedTensor, path: String, cpu: CPU) { (self.tensor, self.path, self.cpu) = (tensor, path, cpu) }

    func store() throws -> NF4Store {
        if let made { return made }
        let form = tensor.description
        let (rows, columns) = (form.rows, form.columns)
        let bytes = try StoredBytes(count: rows * columns * 4) { memory in
            let read = try tensor.open()
            for first in stride(from: 0, to: rows, by: form.blockRows) {
                try read(first..<min(first + form.blockRows, rows), memory + first * columns * 4)
            }
        }
        let floats = FloatStore(rows: rows, columns: columns, bytes: bytes)
        let store: NF4Store
        do {
            store = try NF4Store.quantise(floats, name: form.name, cpu: cpu)
        } catch let error as LorikeetError where error.exit == .unusableInput {
            throw ConvertPrecision.notFinite(form.name, path)
        }
        made = store
        return store
    }

    func release() { made = nil }
}
