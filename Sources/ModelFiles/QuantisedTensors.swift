import LorikeetGround
import LorikeetJSON

/// The tensors of a safetensors directory whose weights are quantised: a weight and the tensors with its scales become one tensor.
///
/// Read are bitsandbytes' NF4 (`weight`, `weight.absmax`, `weight.quant_map`, `weight.quant_state.bitsandbytes__nf4`, …) and 8-bit floats
/// with `weight_scale_inv` or `weight_scale` (one scale, one a row, or one a block). Other methods are refused by name.
struct QuantisedTensors {
    private(set) var names: [String]
    private(set) var tensors: [String: TensorView]
    /// For the user: what is not used, and what a form means.
    private(set) var notes: [String] = []

    private let directory: String
    private let configuration: JSON?

    /// - Parameter configuration: `config.json`.
    /// - Throws: exit 2 naming the method that is not read, or the tensor that is missing or does not fit.
    init(names: [String], tensors: [String: TensorView], configuration: JSON, directory: String) throws {
        (self.names, self.tensors, self.directory) = (names, tensors, directory)
        self.configuration = configuration["quantization_config"].flatMap { $0.isNull ? Optional.none : $0 }
        try QuantisationMethod.check(self.configuration, configuration, names, directory)
        var used: Set<String> = []
        try joinNF4(&used)
        try joinFloat8(&used)
        guard !used.isEmpty || self.configuration == nil || tensors.values.contains(where: { $0.type == .f8_e4m3 || $0.type == .f8_e5m2 }) else {
            throw LorikeetError.input(
                "config.json says that the weights are quantised (\(self.configuration?["quant_method"]?.string ?? "")), and no tensor is",
                at: directory, fix: "use the quantised model's own files, or remove 'quantization_config'")
        }
        self.names.removeAll(where: used.contains)
        for name in used { self.tensors[name] = nil }
    }

    private func broken(_ what: String) -> LorikeetError { .input(what, at: directory, fix: "fetch the model again") }

    private func companion(_ name: String, _ used: inout Set<String>) throws -> TensorView {
        guard let view = tensors[name] else { throw broken("the model lacks the tensor '\(name)'") }
        used.insert(name)
        return view
    }

    /// Endings of the tensors whose contents are read here; of all others the shape and type are enough.
    static let contentsRead = [nf4State, ".quant_map", ".nested_quant_map", ".weight_scale_inv", ".weight_scale"]

    // MARK: NF4

    private static let nf4State = ".quant_state.bitsandbytes__nf4"

    private mutating func joinNF4(_ used: inout Set<String>) throws {
        var count = 0
        for state in names where state.hasSuffix(Self.nf4State) {
            let name = String(state.dropLast(Self.nf4State.count))
            guard let weight = tensors[name] else { throw broken("the model lacks the tensor '\(name)'") }
            tensors[name] = try nf4(weight, name, companion(state, &used), &used)
            count += 1
        }
        guard count > 0 else { return }
        notes.append(
            "\(directory): \(count) weights are quantised with bitsandbytes (NF4). They are trained on as they are; merging writes their expanded values, "
                + "which are not those of the model they were made from: to get that model with the adapter, merge into its own directory")
    }

    private func nf4(_ weight: TensorView, _ name: String, _ state: TensorView, _ used: inout Set<String>) throws -> TensorView {
        let json = try JSON.parse(state.bytes, source: "\(directory): \(state.name)")
        guard json["quant_type"]?.string == "nf4", let shape = json["shape"]?.array?.compactMap(\.int), shape.count == 2, shape.allSatisfy({ $0 > 0 }),
            shape.count == json["shape"]?.array?.count, let bytes = ElementType.nf4.byteCount(shape: shape), bytes == weight.byteCount,
            let block = json["blocksize"]?.int, block >= 2, block % 2 == 0, block <= 1 << 16,
            let rounding = Self.types[json["dtype"]?.string ?? "float32"]
        else { throw broken("the quant_state of '\(name)' does not fit its \(weight.byteCount) bytes") }
        let count = shape[0] * shape[1]
        let map = try floats(name + ".quant_map", count: 16, &used)
        let absmax = try companion(name + ".absmax", &used)
        let blocks = (count + block - 1) / block
        guard absmax.elementCount == blocks else { throw broken("'\(absmax.name)' has \(absmax.elementCount) values for \(blocks) blocks") }
        var nested: NF4State.Nested?
        if tensors[name + ".nested_absmax"] != nil || json["nested_blocksize"] != nil {
            let length = json["nested_blocksize"]?.int ?? 0
            guard absmax.type == .u8, (1...1 << 20).contains(length), let offset = json["nested_offset"]?.double, offset.isFinite else {
                throw broken("the nested quant_state of '\(name)' is not complete")
            }
            let maxima = try companion(name + ".nested_absmax", &used)
            guard maxima.type == .f32, maxima.elementCount == (blocks + length - 1) / length else {
                throw broken("'\(maxima.name)' has \(maxima.elementCount) values for \(blocks) block maxima")
            }
            let nestedMap = try floats(name + ".nested_quant_map", count: 256, &used)
            nested = NF4State.Nested(blockLength: length, map: nestedMap, absmax: maxima, offset: Float(offset))
        } else if absmax.type != .f32 {
            throw broken("'\(absmax.name)' is \(absmax.type.rawValue) and not f32")
        }
        let isPlain = block == 64 && nested?.blockLength == 256
        let quantised = NF4State(blockLength: block, map: map, absmax: absmax, nested: nested, rounding: rounding)
        return TensorView(
            name: name, shape: shape, type: isPlain ? .nf4 : .nf4_other, file: weight.file, offset: weight.offset, byteCount: weight.byteCount,
            scaling: .nf4(quantised, firstRow: 0))
    }

    private static let types: [String: ElementType] = ["float32": .f32, "float16": .f16, "bfloat16": .bf16]

    private func floats(_ name: String, count: Int, _ used: inout Set<String>) throws -> [Float] {
        let view = try companion(name, &used)
        guard view.type == .f32, view.elementCount == count, let values = view.floatValues(), values.allSatisfy(\.isFinite) else {
            throw broken("'\(name)' does not hold \(count) finite float32 values")
        }
        return values
    }

    // MARK: 8-bit floats

    /// Scales of activations and of the cache, which only inference in 8 bits uses.
    private static let activationScales = [".input_scale", ".activation_scale", ".k_scale", ".v_scale", ".output_scale", ".input_scale_ub"]

    private mutating func joinFloat8(_ used: inout Set<String>) throws {
        var count = 0
        for name in names where name.hasSuffix(".weight") {
            guard let weight = tensors[name], weight.type == .f8_e4m3 || weight.type == .f8_e5m2 else { continue }
            count += 1
            let found = ["_scale_inv", "_scale"].filter { tensors[name + $0] != nil }
            guard found.count < 2 else { throw broken("'\(name)' has two scales") }
            guard let ending = found.first else { continue }
            let blocks = try scaleBlocks(companion(name + ending, &used), weight)
            tensors[name] = TensorView(
                name: name, shape: weight.shape, type: weight.type, file: weight.file, offset: weight.offset, byteCount: weight.byteCount,
                scaling: .blocks(blocks, firstRow: 0))
        }
        guard count > 0 else { return }
        notes.append(
            "\(directory): \(count) weights are 8-bit floats. They are expanded exactly (value times scale) where they are used; "
                + "merging writes their expanded values")
        let ignored = names.filter { name in Self.activationScales.contains(where: name.hasSuffix) }
        used.formUnion(ignored)
        if let first = ignored.first {
            notes.append("\(directory): \(ignored.count) scales of activations are not used ('\(first)' and others): activations are not quantised here")
        }
    }

    private func scaleBlocks(_ scales: TensorView, _ weight: TensorView) throws -> ScaleBlocks {
        guard weight.shape.count == 2, let values = scales.floatValues(), values.allSatisfy(\.isFinite) else {
            throw broken("'\(scales.name)' of type \(scales.type.rawValue) does not hold the finite scales of a matrix")
        }
        let (rows, columns) = (weight.shape[0], weight.shape[1])
        func blocks(_ r: Int, _ c: Int) -> ScaleBlocks? {
            guard r > 0, c > 0, scales.elementCount == ((rows + r - 1) / r) * ((columns + c - 1) / c) else { return nil }
            return ScaleBlocks(rows: r, columns: c, across: (columns + c - 1) / c, scales: scales)
        }
        // One scale; one for each row; the configuration's blocks, or those that the scales' shape divides the matrix into.
        let configured = blockSize
        let found: ScaleBlocks? =
            if scales.elementCount == 1 {
                blocks(rows, columns)
            } else if scales.shape == [rows] || scales.shape == [rows, 1] {
                blocks(1, columns)
            } else if let configured, scales.shape == [(rows + configured.0 - 1) / configured.0, (columns + configured.1 - 1) / configured.1] {
                blocks(configured.0, configured.1)
            } else if configured == nil, scales.shape.count == 2, scales.shape.allSatisfy({ $0 > 0 }), rows % scales.shape[0] == 0,
                columns % scales.shape[1] == 0
            {
                blocks(rows / scales.shape[0], columns / scales.shape[1])
            } else {
                nil
            }
        guard let found else {
            throw broken("the scales '\(scales.name)' of shape \(scales.shape) do not fit the weight's shape \(weight.shape)")
        }
        return found
    }

    /// Rows and columns of a block, as the configuration says them.
    private var blockSize: (Int, Int)? {
        let group = configuration?["config_groups"]?.object?.entries.first?.value["weights"]
        let sizes = configuration?["weight_block_size"] ?? group?["block_structure"]
        if let values = sizes?.array?.compactMap(\.int), values.count == 2, values.allSatisfy({ $0 > 0 }) { return (values[0], values[1]) }
        // compressed-tensors also writes "128x128".
        let parts = sizes?.string?.split(separator: "x").compactMap { Int($0) } ?? []
        return parts.count == 2 && parts.allSatisfy { $0 > 0 } ? (parts[0], parts[1]) : nil
    }
}
