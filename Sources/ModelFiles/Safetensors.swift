import LorikeetGround
import LorikeetJSON

/// A safetensors file: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes.
package struct SafetensorsFile: Sendable {
    package let path: String
    /// In the header's order.
    package let names: [String]
    package let tensors: [String: TensorView]
    package let metadata: [String: String]

    private static let types: [String: ElementType] = [
        "F64": .f64, "F32": .f32, "F16": .f16, "BF16": .bf16, "I64": .i64, "I32": .i32, "I16": .i16, "I8": .i8, "U64": .u64, "U32": .u32, "U16": .u16,
        "U8": .u8, "BOOL": .bool, "F8_E4M3": .f8_e4m3, "F8_E5M2": .f8_e5m2,
    ]

    /// Bytes; the limit of the format's own library.
    private static let longestHeader: UInt64 = 100_000_000

    /// The format's name of a type, for writing.
    static func name(of type: ElementType) -> String? { types.first { $0.value == type }?.key }

    /// - Throws: exit 2 for anything that does not add up, with the tensor's name or the byte.
    package init(path: String, files: any Files = RealFiles()) throws { try self.init(files.map(path)) }

    /// The same for a file that is open.
    init(_ file: MappedFile) throws {
        let path = file.path
        func broken(_ what: String) -> LorikeetError {
            LorikeetError.input(what, at: path, fix: "the file is damaged; fetch it again").of(.damagedFile)
        }
        guard file.count >= 8 else { throw broken("too short for safetensors (\(file.count) bytes)") }
        let pages = ["version https://git-lfs", "<!", "<html", "<HTML", "<?xml"]
        if pages.contains(where: { file.bytes.starts(with: $0.utf8) }) { throw ForeignFormat.refusal(of: file) }
        let length = file.bytes.loadUnaligned(as: UInt64.self).littleEndian
        guard length <= UInt64(file.count - 8) else { throw broken("the header says it has \(length) bytes, the file has \(file.count)") }
        guard length <= Self.longestHeader else { throw broken("the header says it has \(length) bytes, more than the format's \(Self.longestHeader)") }
        let start = 8 + Int(length)
        let header = try JSON.parse(UnsafeRawBufferPointer(rebasing: file.bytes[8..<start]), source: path)
        guard let object = header.object else { throw broken("the header is not a JSON object") }
        var (names, tensors, metadata): ([String], [String: TensorView], [String: String]) = ([], [:], [:])
        var ranges: [(Range<Int>, String)] = []
        for (name, value) in object.entries {
            if name == "__metadata__" {
                for entry in value.object?.entries ?? [] { metadata[entry.key] = entry.value.string }
                continue
            }
            guard let code = value["dtype"]?.string else { throw broken("the tensor '\(name)' has no dtype") }
            guard let type = Self.types[code] else {
                throw LorikeetError.input(
                    "the tensor '\(name)' has the type \(code), which is not supported", at: path,
                    fix: "use a model in float32, float16, bfloat16 or 8-bit floats, or a GGUF of it")
            }
            let shape = (value["shape"]?.array ?? []).compactMap(\.int)
            let offsets = (value["data_offsets"]?.array ?? []).compactMap(\.int)
            guard shape.count == value["shape"]?.array?.count, shape.allSatisfy({ $0 >= 0 }), offsets.count == 2,
                offsets[0] >= 0, offsets[1] >= offsets[0]
            else { throw broken("the tensor '\(name)' has no usable shape or data_offsets") }
            guard offsets[1] <= file.count - start else {
                throw broken("the tensor '\(name)' ends at byte \(offsets[1]) of \(file.count - start) data bytes")
            }
            guard let bytes = type.byteCount(shape: shape), bytes == offsets[1] - offsets[0] else {
                throw broken("the tensor '\(name)' of shape \(shape) does not take the \(offsets[1] - offsets[0]) bytes it is given")
            }
            names.append(name)
            tensors[name] = TensorView(name: name, shape: shape, type: type, file: file, offset: start + offsets[0], byteCount: bytes)
            if bytes > 0 { ranges.append((offsets[0]..<offsets[1], name)) }
        }
        ranges.sort { $0.0.lowerBound < $1.0.lowerBound }
        for (a, b) in zip(ranges, ranges.dropFirst()) where a.0.upperBound > b.0.lowerBound {
            throw broken("the tensors '\(a.1)' and '\(b.1)' overlap")
        }
        let named = ranges.reduce(0) { $0 + $1.0.count }
        guard named == file.count - start else {
            throw broken("the tensors take \(named) bytes, and the file has \(file.count - start) for them")
        }
        self.path = path
        self.names = names
        self.tensors = tensors
        self.metadata = metadata
    }

    /// All tensors of a directory, in the files' order: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// A shard's tensor that the index does not name counts too; where two shards hold a name, the index says which is meant.
    package static func openDirectory(
        _ directory: String, files: any Files = RealFiles()
    ) throws -> (names: [String], tensors: [String: TensorView]) {
        let (index, whole) = (directory + "/model.safetensors.index.json", "model.safetensors")
        if !files.exists(index) {
            guard files.exists(directory + "/" + whole) else { throw ForeignFormat.refusal(ofDirectory: directory, files) }
            let file = try SafetensorsFile(path: directory + "/" + whole, files: files)
            return (file.names, file.tensors)
        }
        guard let map = try JSON.parse(files.read(index), source: index)["weight_map"]?.object else {
            throw LorikeetError.input("no 'weight_map' in it", at: index, fix: "fetch the file again")
        }
        var (order, shardOf, known): ([String], [String: String], Set<String>) = ([], [:], [])
        for (name, value) in map.entries {
            guard let shard = value.string, shard.isNameInFolder else {
                throw LorikeetError.input("the shard of '\(name)' is not a file name", at: index, fix: "fetch the file again")
            }
            if known.insert(shard).inserted { order.append(shard) }
            shardOf[name] = shard
        }
        for shard in order where !files.exists(directory + "/" + shard) {
            throw LorikeetError.input(
                "a shard that the index names is missing (\(order.count) shards in all)", at: directory + "/" + shard,
                fix: "fetch this file too, into the same folder")
        }
        if files.exists(directory + "/" + whole), !order.contains(whole) {
            throw LorikeetError.input(
                "the directory holds both model.safetensors and shards", at: directory,
                fix: "remove model.safetensors, or the shards with model.safetensors.index.json, whichever is left over")
        }
        var (names, tensors): ([String], [String: TensorView]) = ([], [:])
        for shard in order {
            let file = try SafetensorsFile(path: directory + "/" + shard, files: files)
            for name in file.names where shardOf[name] ?? shard == shard {
                guard tensors[name] == nil else {
                    throw LorikeetError.input("the tensor '\(name)' stands in two shards and not in the index", at: directory, fix: "fetch the model again")
                }
                names.append(name)
                tensors[name] = file.tensors[name]
            }
        }
        for name in map.keys where tensors[name] == nil {
            throw LorikeetError.input(
                "the tensor '\(name)' is not in it", at: directory + "/" + (shardOf[name] ?? ""), fix: "fetch the shard again")
        }
        return (names, tensors)
    }
}

/// Writes a safetensors file in pieces, tensor after tensor, under a temporary name in the same folder; `finish` syncs and renames it.
package final class SafetensorsWriter {
    private let path: String
    private let files: any Files
    private let writer: any FileWriter
    private var missing: Int

    /// - Parameter tensors: in the order in which their bytes will come. Types must be plain.
    package init(
        path: String, files: any Files = RealFiles(), tensors: [(name: String, type: ElementType, shape: [Int])], metadata: [String: String] = [:]
    ) throws {
        var header = JSONObject()
        var entries: [(key: String, value: JSON)] = []
        if !metadata.isEmpty {
            entries.append(("__metadata__", .object(JSONObject(metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))))
        }
        var offset = 0
        for tensor in tensors {
            guard let code = SafetensorsFile.name(of: tensor.type), let bytes = tensor.type.byteCount(shape: tensor.shape) else {
                throw LorikeetError.input("'\(tensor.name)' of type \(tensor.type) cannot be written as safetensors", at: path, fix: "report this")
            }
            entries.append(
                (
                    tensor.name,
                    [
                        "dtype": .string(code), "shape": .array(tensor.shape.map { JSON($0) }), "data_offsets": [JSON(offset), JSON(offset + bytes)],
                    ]
                ))
            offset += bytes
        }
        header = JSONObject(entries)
        var text = Array(JSON.object(header).serialized().utf8)
        // Padding with spaces keeps the tensors' bytes aligned.
        while (text.count + 8) % 64 != 0 { text.append(UInt8(ascii: " ")) }
        self.path = path
        self.files = files
        missing = offset
        writer = try files.create(path + ".partial")
        try withUnsafeBytes(of: UInt64(text.count).littleEndian) { try writer.write($0) }
        try text.withUnsafeBytes { try writer.write($0) }
    }

    package func append(_ bytes: UnsafeRawBufferPointer) throws {
        try writer.write(bytes)
        missing -= bytes.count
    }

    package func finish() throws {
        guard missing == 0 else { throw LorikeetError.machine("\(missing) bytes of tensors were not written", at: path, fix: "report this") }
        try writer.sync()
        try writer.close()
        try files.rename(path + ".partial", to: path)
    }
}
