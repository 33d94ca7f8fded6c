import LorikeetGround

/// A metadata value of a GGUF file.
package enum GGUFValue: Sendable {
    case unsigned(UInt64)
    case signed(Int64)
    case float(Double)
    case bool(Bool)
    case string(String)
    case array([GGUFValue])
    case stringArray([String])
    case intArray([Int64])
    case byteArray([UInt8])
    case floatArray([Float])
    case boolArray([Bool])

    package var int: Int? {
        switch self {
        case .unsigned(let value): Int(exactly: value)
        case .signed(let value): Int(exactly: value)
        default: nil
        }
    }
    package var double: Double? {
        switch self {
        case .float(let value): value
        default: int.map(Double.init)
        }
    }
    package var string: String? { if case .string(let value) = self { value } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var strings: [String]? { if case .stringArray(let value) = self { value } else { nil } }
    package var floats: [Float]? { if case .floatArray(let value) = self { value } else { nil } }
    package var ints: [Int]? {
        switch self {
        case .intArray(let value): value.map { Int($0) }
        case .byteArray(let value): value.map { Int($0) }
        default: nil
        }
    }
}

/// A GGUF file, version 2 or 3:
///
/// 1. `GGUF`, version (u32), tensor count (u64), metadata count (u64)
/// 2. metadata: key (string), value type (u32), value; a string is a length (u64) and bytes; an array a type (u32), a count (u64), elements
/// 3. tensor infos: name, dimension count (u32), dimensions (u64, fastest first), type (u32), offset (u64) into the data
/// 4. padding to `general.alignment` (32 if absent), the data
///
/// All numbers little-endian. Counts are checked against the bytes that are left before anything is allocated for them.
package struct GGUFFile: Sendable {
    package let path: String
    package let version: Int
    package let metadata: [String: GGUFValue]
    /// The tensors' own names, in the file's order.
    package let names: [String]
    package let tensors: [String: TensorView]

    private static let types: [UInt32: ElementType] = [
        0: .f32, 1: .f16, 2: .q4_0, 3: .q4_1, 6: .q5_0, 7: .q5_1, 8: .q8_0, 10: .q2_K, 11: .q3_K, 12: .q4_K, 13: .q5_K, 14: .q6_K,
        24: .i8, 25: .i16, 26: .i32, 27: .i64, 28: .f64, 30: .bf16,
    ]

    /// Types of ggml that are not read, for errors.
    static let unsupported: [UInt32: String] = [
        4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
        23: "IQ4_XS", 29: "IQ1_M", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 34: "TQ1_0", 35: "TQ2_0", 36: "IQ4_NL_4_4", 39: "MXFP4", 40: "NVFP4",
    ]

    /// The files that hold the tensors: one, or all parts of a split model in their order.
    package let paths: [String]

    /// Opens a file; of a split model, named by any of its parts, all parts.
    ///
    /// - Throws: exit 2 with the byte at which the file is malformed; for a part that is missing or of another model.
    package init(path: String, files: any Files = RealFiles()) throws {
        let named = try GGUFFile(part: path, files: files)
        guard let count = named.metadata["split.count"]?.int, count > 1 else {
            self = named
            return
        }
        self = try GGUFFile(joining: GGUFParts.open(named, count: count, files: files))
    }

    /// A model of several parts: the metadata of the first, the tensors of all.
    private init(joining parts: [GGUFFile]) throws {
        let first = parts[0]
        var (names, tensors): ([String], [String: TensorView]) = ([], [:])
        for part in parts {
            for name in part.names {
                guard let view = part.tensors[name], tensors.updateValue(view, forKey: name) == nil else {
                    throw LorikeetError.input("the tensor '\(name)' stands in two parts of the model", at: part.path, fix: "fetch the model again")
                }
                names.append(name)
            }
        }
        (path, version, metadata) = (first.path, first.version, first.metadata)
        (self.names, self.tensors, paths) = (names, tensors, parts.map(\.path))
    }

    /// One file as it stands, whether or not it is a part.
    ///
    /// - Throws: exit 2 with the byte at which the file stops making sense.
    init(part path: String, files: any Files) throws { try self.init(part: files.map(path)) }

    /// The same for a file that is open.
    init(part file: MappedFile) throws {
        let path = file.path
        var reader = GGUFReader(file: file)
        let header = try reader.header()
        (version, metadata) = (header.version, header.metadata)
        let infos = header.infos
        let alignment = metadata["general.alignment"]?.int ?? 32
        guard alignment > 0, alignment <= 1 << 20, alignment & (alignment - 1) == 0 else { throw reader.broken("the alignment is \(alignment)") }
        let start = reader.position.roundedUp(toMultipleOf: alignment)
        var tensors: [String: TensorView] = [:]
        for info in infos {
            guard let bytes = info.type.byteCount(shape: info.shape) else {
                throw LorikeetError.input(
                    "the tensor '\(info.name)' of shape \(info.shape) is no whole number of \(info.type) blocks", at: path,
                    fix: "the file is damaged; fetch it again"
                ).of(.damagedFile)
            }
            guard let offset = Int(exactly: info.offset), start <= file.count, offset <= file.count - start, bytes <= file.count - start - offset else {
                throw LorikeetError.input(
                    "the tensor '\(info.name)' ends past the end of the file (\(file.count) bytes)", at: path,
                    fix: "the file is cut short; fetch it again"
                ).of(.damagedFile)
            }
            tensors[info.name] = TensorView(
                name: info.name, shape: info.shape, type: info.type, file: file, offset: start + offset, byteCount: bytes)
        }
        let ranges = tensors.values.filter { $0.byteCount > 0 }.sorted { ($0.offset, $0.name) < ($1.offset, $1.name) }
        for (a, b) in zip(ranges, ranges.dropFirst()) where a.offset + a.byteCount > b.offset {
            throw LorikeetError.input("the tensors '\(a.name)' and '\(b.name)' overlap", at: path, fix: "the file is damaged; fetch it again").of(.damagedFile)
        }
        self.path = path
        names = infos.map(\.name)
        self.tensors = tensors
        paths = [path]
    }

    /// The bytes of the header at the beginning of a file of which `beginning` is at hand; nil where the header goes on behind it.
    ///
    /// - Throws: exit 2 with the byte at which the header stops making sense.
    static func headerBytes(_ beginning: MappedFile) throws -> Int? {
        var reader = GGUFReader(file: beginning)
        do {
            _ = try reader.header()
            return reader.position
        } catch {
            guard reader.wantedMore else { throw error }
            return nil
        }
    }

    fileprivate static func refusal(ofVersion number: UInt32, _ path: String) -> LorikeetError {
        if number == 1 {
            return .input("a GGUF of version 1, which is no longer in use", at: path, fix: "convert the model again with a present llama.cpp")
        }
        if number & 0xFFFF == 0 {
            return .input("a GGUF of a big-endian machine (version bytes reversed)", at: path, fix: "convert the model for little-endian machines")
        }
        return .input("GGUF version \(number) is not supported", at: path, fix: "use a file of version 2 or 3")
    }

    /// The element type of a GGUF type's number, and the other way.
    static func type(code: UInt32) -> ElementType? { types[code] }
    static func code(of type: ElementType) -> UInt32? { types.first { $0.value == type }?.key }
}

/// A position in the file's bytes; every read checks what is left.
private struct GGUFReader {
    let file: MappedFile
    var position = 0
    /// Elements that arrays of the metadata may still have: a number of one byte takes eight in memory. Real files have some 2 million.
    private var elementsLeft = 1 << 25
    /// Something was to be read that goes on behind the end of the file.
    private(set) var wantedMore = false

    init(file: MappedFile) { self.file = file }

    var left: Int { file.count - position }

    func broken(_ what: String) -> LorikeetError {
        LorikeetError.input("\(what) at byte \(position)", at: file.path, fix: "the file is damaged or cut short; fetch it again").of(.damagedFile)
    }

    /// Everything that stands before the tensors' bytes.
    mutating func header() throws -> (
        version: Int, metadata: [String: GGUFValue], infos: [(name: String, shape: [Int], type: ElementType, offset: UInt64)]
    ) {
        guard try bytes(min(4, file.count)).elementsEqual("GGUF".utf8) else { throw ForeignFormat.refusal(of: file) }
        let version = try number(UInt32.self)
        guard version == 2 || version == 3 else { throw GGUFFile.refusal(ofVersion: version, file.path) }
        let tensorCount = try count(minimumBytes: 24)
        let values = try metadata(count: count(minimumBytes: 12))
        return (Int(version), values, try tensors(count: tensorCount))
    }

    mutating func bytes(_ count: Int) throws -> UnsafeRawBufferPointer {
        guard count >= 0, count <= left else {
            wantedMore = true
            throw broken("the file ends")
        }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: file.bytes[position..<position + count])
    }

    mutating func number<N: FixedWidthInteger>(_ type: N.Type) throws -> N {
        N(littleEndian: try bytes(MemoryLayout<N>.size).loadUnaligned(as: N.self))
    }

    /// A count of things that take at least `minimumBytes` each.
    mutating func count(minimumBytes: Int) throws -> Int {
        let count = try number(UInt64.self)
        guard count <= UInt64(left / minimumBytes) else {
            wantedMore = true
            throw broken("a count of \(count) does not fit the file")
        }
        return Int(count)
    }

    mutating func string() throws -> String { String(decoding: try bytes(count(minimumBytes: 1)), as: UTF8.self) }

    /// The metadata's keys and values, each key once.
    mutating func metadata(count: Int) throws -> [String: GGUFValue] {
        var metadata: [String: GGUFValue] = [:]
        for _ in 0..<count {
            let key = try string()
            let value = try value(type: number(UInt32.self), depth: 0)
            guard metadata.updateValue(value, forKey: key) == nil else { throw broken("the metadata key '\(key)' stands twice") }
        }
        return metadata
    }

    /// The tensors' infos, each name once.
    mutating func tensors(count: Int) throws -> [(name: String, shape: [Int], type: ElementType, offset: UInt64)] {
        var infos: [(name: String, shape: [Int], type: ElementType, offset: UInt64)] = []
        var known: Set<String> = []
        for _ in 0..<count {
            let name = try string()
            guard known.insert(name).inserted else { throw broken("the tensor '\(name)' stands twice") }
            let dimensions = Int(try number(UInt32.self))
            guard (0...8).contains(dimensions) else { throw broken("the tensor '\(name)' has \(dimensions) dimensions") }
            var shape: [Int] = []
            for _ in 0..<dimensions {
                guard let size = Int(exactly: try number(UInt64.self)) else { throw broken("the tensor '\(name)' is too large") }
                shape.insert(size, at: 0)
            }
            let code = try number(UInt32.self)
            guard let type = GGUFFile.type(code: code) else {
                let called = GGUFFile.unsupported[code].map { "\($0)" } ?? "GGUF type \(code)"
                throw LorikeetError.input(
                    "the tensor '\(name)' is stored as \(called), which is not supported", at: file.path,
                    fix: "use F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K")
            }
            infos.append((name, shape, type, try number(UInt64.self)))
        }
        return infos
    }

    mutating func value(type: UInt32, depth: Int) throws -> GGUFValue {
        switch type {
        case 0: return .unsigned(UInt64(try number(UInt8.self)))
        case 1: return .signed(Int64(try number(Int8.self)))
        case 2: return .unsigned(UInt64(try number(UInt16.self)))
        case 3: return .signed(Int64(try number(Int16.self)))
        case 4: return .unsigned(UInt64(try number(UInt32.self)))
        case 5: return .signed(Int64(try number(Int32.self)))
        case 6: return .float(Double(Float(bitPattern: try number(UInt32.self))))
        case 7: return .bool(try number(UInt8.self) != 0)
        case 8: return .string(try string())
        case 9: return try array(depth: depth)
        case 10: return .unsigned(try number(UInt64.self))
        case 11: return .signed(try number(Int64.self))
        case 12: return .float(Double(bitPattern: try number(UInt64.self)))
        default: throw broken("a metadata value has the unknown type \(type)")
        }
    }

    private mutating func array(depth: Int) throws -> GGUFValue {
        guard depth < 4 else { throw broken("metadata is nested too deeply") }
        let type = try number(UInt32.self)
        let sizes: [UInt32: Int] = [0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 9: 12, 10: 8, 11: 8, 12: 8]
        guard let size = sizes[type] else { throw broken("an array has elements of the unknown type \(type)") }
        let count = try count(minimumBytes: size)
        elementsLeft -= count
        guard elementsLeft >= 0 else { throw broken("the metadata's arrays have more than \(1 << 25) elements in all") }
        switch type {
        case 8:
            var strings: [String] = []
            strings.reserveCapacity(count)
            for _ in 0..<count { strings.append(try string()) }
            return .stringArray(strings)
        case 6, 12:
            var floats: [Float] = []
            floats.reserveCapacity(count)
            for _ in 0..<count { floats.append(Float(try value(type: type, depth: depth).double ?? 0)) }
            return .floatArray(floats)
        case 0: return .byteArray(Array(try bytes(count)))
        case 7: return .boolArray(try bytes(count).map { $0 != 0 })
        case 9:
            var values: [GGUFValue] = []
            for _ in 0..<count { values.append(try value(type: type, depth: depth + 1)) }
            return .array(values)
        default:
            var ints: [Int64] = []
            ints.reserveCapacity(count)
            for _ in 0..<count { ints.append(Int64(clamping: try value(type: type, depth: depth).int ?? .max)) }
            return .intArray(ints)
        }
    }
}
