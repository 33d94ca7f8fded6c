import LorikeetGround

/// Writes a GGUF of version 3 in pieces: the header at once, then the tensors' bytes one tensor after the other, each padded to 32 bytes. The
/// file grows under a temporary name in the same folder; `finish` syncs and renames it. Equal arguments and bytes give equal files.
package final class GGUFWriter {
    /// A tensor that will be written.
    package struct Tensor: Sendable {
        package let name: String
        package let type: ElementType
        /// Row-major, last index fastest.
        package let shape: [Int]

        package init(name: String, type: ElementType, shape: [Int]) { (self.name, self.type, self.shape) = (name, type, shape) }
    }

    /// What `general.alignment` is where a file does not say it.
    package static let alignment = 32

    private let path: String
    private let files: any Files
    private let writer: any FileWriter
    /// Bytes still to be written of each unfinished tensor, in order.
    private var missing: ArraySlice<Int>
    /// Bytes of padding behind the tensor that is being written.
    private var padding: Int

    /// - Parameter tensors: in the order in which their bytes will come.
    /// - Throws: exit 2 where a name stands twice or a tensor cannot be stored in its type; exit 4 when the disk fails.
    package init(path: String, files: any Files = RealFiles(), metadata: [(key: String, value: GGUFValue)], tensors: [Tensor]) throws {
        let header = try Self.header(path: path, metadata: metadata, tensors: tensors)
        self.path = path
        self.files = files
        missing = try tensors.map { try Self.bytes($0, path) }[...]
        padding = missing.first.map(Self.padding) ?? 0
        writer = try files.create(path + RealFiles.partialSuffix)
        try header.withUnsafeBytes { try writer.write($0) }
    }

    /// Writes the next bytes, tensor after tensor.
    ///
    /// - Throws: exit 4 when there are more bytes than the tensors have, or the disk fails.
    package func append(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let left = missing.first else { throw LorikeetError.machine("more bytes than the tensors have", at: path, fix: "report this") }
            let part = rest.prefix(left)
            try writer.write(UnsafeRawBufferPointer(rebasing: part))
            rest = rest.dropFirst(part.count)
            missing[missing.startIndex] = left - part.count
            if part.count == left { try endTensor() }
        }
    }

    private func endTensor() throws {
        try [UInt8](repeating: 0, count: padding).withUnsafeBytes { try writer.write($0) }
        missing = missing.dropFirst()
        padding = missing.first.map(Self.padding) ?? 0
    }

    /// Ends the file after its last byte: syncs it and gives it its name.
    ///
    /// - Throws: exit 4 when bytes are missing or the disk fails.
    package func finish() throws {
        guard missing.isEmpty else { throw LorikeetError.machine("\(missing.reduce(0, +)) bytes of tensors were not written", at: path, fix: "report this") }
        try writer.sync()
        try writer.close()
        try files.rename(path + RealFiles.partialSuffix, to: path)
    }

    // MARK: header

    /// Bytes of the whole file.
    package static func fileBytes(path: String, metadata: [(key: String, value: GGUFValue)], tensors: [Tensor]) throws -> Int {
        try tensors.reduce(header(path: path, metadata: metadata, tensors: tensors).count) { try $0 + padded(bytes($1, path)) }
    }

    /// Everything before the tensors' bytes, padding included.
    ///
    /// - Parameter path: for errors.
    package static func header(path: String, metadata: [(key: String, value: GGUFValue)], tensors: [Tensor]) throws -> [UInt8] {
        var bytes = HeaderBytes()
        bytes.append(raw: "GGUF")
        bytes.append(UInt32(3))
        bytes.append(UInt64(tensors.count))
        bytes.append(UInt64(metadata.count))
        var keys: Set<String> = []
        for (key, value) in metadata {
            guard keys.insert(key).inserted else { throw LorikeetError.machine("the metadata key '\(key)' stands twice", at: path, fix: "report this") }
            bytes.append(key)
            guard bytes.append(value) else {
                throw LorikeetError.input(
                    "the metadata '\(key)' is a list of lists, which is not written", at: path, fix: "use the model's safetensors directory")
            }
        }
        var (names, offset): (Set<String>, Int) = ([], 0)
        for tensor in tensors {
            guard names.insert(tensor.name).inserted else {
                throw LorikeetError.machine("the tensor '\(tensor.name)' stands twice", at: path, fix: "report this")
            }
            guard let code = GGUFFile.code(of: tensor.type) else { throw unstorable(tensor, path) }
            bytes.append(tensor.name)
            bytes.append(UInt32(tensor.shape.count))
            for size in tensor.shape.reversed() { bytes.append(UInt64(size)) }
            bytes.append(code)
            bytes.append(UInt64(offset))
            offset += padded(try Self.bytes(tensor, path))
        }
        bytes.pad(to: alignment)
        return bytes.bytes
    }

    private static func bytes(_ tensor: Tensor, _ path: String) throws -> Int {
        guard let bytes = tensor.type.byteCount(shape: tensor.shape) else { throw unstorable(tensor, path) }
        return bytes
    }

    private static func padded(_ bytes: Int) -> Int { bytes.roundedUp(toMultipleOf: alignment) }
    private static func padding(_ bytes: Int) -> Int { padded(bytes) - bytes }

    private static func unstorable(_ tensor: Tensor, _ path: String) -> LorikeetError {
        .input("'\(tensor.name)' of shape \(tensor.shape) cannot be stored as \(tensor.type) in a GGUF", at: path, fix: "report this")
    }
}

/// The numbers and texts of a GGUF's header, little-endian.
private struct HeaderBytes {
    private(set) var bytes: [UInt8] = []

    mutating func append(raw text: String) { bytes += text.utf8 }

    mutating func append<N: FixedWidthInteger>(_ number: N) { withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) } }

    mutating func append(_ text: String) {
        append(UInt64(text.utf8.count))
        bytes += text.utf8
    }

    mutating func pad(to alignment: Int) { while bytes.count % alignment != 0 { bytes.append(0) } }

    /// A value with its type before it. Whole numbers take four bytes where they fit, as in llama.cpp's own files; numbers are float32.
    ///
    /// - Returns: false for what is not written: lists of lists.
    mutating func append(_ value: GGUFValue) -> Bool {
        switch value {
        case .unsigned(let number):
            if let short = UInt32(exactly: number) { append(type: 4, short) } else { append(type: 10, number) }
        case .signed(let number):
            if let short = Int32(exactly: number) { append(type: 5, short) } else { append(type: 11, number) }
        case .float(let number): append(type: 6, Float(number).bitPattern)
        case .bool(let flag): append(type: 7, UInt8(flag ? 1 : 0))
        case .string(let text):
            append(UInt32(8))
            append(text)
        case .stringArray(let texts): appendArray(8, texts) { $0.append($1) }
        case .intArray(let numbers):
            if numbers.allSatisfy({ Int32(exactly: $0) != nil }) {
                appendArray(5, numbers) { $0.append(Int32(truncatingIfNeeded: $1)) }
            } else {
                appendArray(11, numbers) { $0.append($1) }
            }
        case .byteArray(let numbers): appendArray(0, numbers) { $0.append($1) }
        case .floatArray(let numbers): appendArray(6, numbers) { $0.append($1.bitPattern) }
        case .boolArray(let flags): appendArray(7, flags) { $0.append(UInt8($1 ? 1 : 0)) }
        case .array: return false
        }
        return true
    }

    private mutating func append<N: FixedWidthInteger>(type: UInt32, _ number: N) {
        append(type)
        append(number)
    }

    private mutating func appendArray<Element>(_ type: UInt32, _ elements: [Element], _ append: (inout HeaderBytes, Element) -> Void) {
        self.append(UInt32(9))
        self.append(type)
        self.append(UInt64(elements.count))
        for element in elements { append(&self, element) }
    }
}
