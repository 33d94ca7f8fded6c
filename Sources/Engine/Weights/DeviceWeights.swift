import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// How a frozen matrix lies in a card's memory.
package enum DeviceForm: Sendable {
    /// [rows, columns] in the activations' type: multiplied as it is.
    case element(DeviceAddress)
    /// NF4 with double quantisation, the three parts of `NF4Store`.
    case nf4(codes: DeviceAddress, maxima: DeviceAddress, nestedMaxima: DeviceAddress, offset: Float)
    /// Blocks of a GGUF file.
    case blocks(DeviceAddress, BlockFormat)
}

package struct DeviceMatrix: Sendable {
    package let rows: Int
    package let columns: Int
    package let form: DeviceForm
}

/// The frozen tensors of a model in one block of a card's memory.
package final class DeviceWeights {
    package private(set) var matrices: [String: DeviceMatrix] = [:]
    package private(set) var vectors: [String: DeviceAddress] = [:]
    /// NF4.nestedValues.
    let nestedValues: DeviceAddress
    private let device: any Accelerator
    private let element: DeviceElement
    private let block: DeviceAddress
    private let capacity: Int
    private var used = 0
    private var frequencies: [(table: RoPETable, address: DeviceAddress)] = []

    package static let alignment = 256
    /// What the block holds beside the tensors: tables of expansion and rotation.
    static let overheadBytes = 4096
    /// The linears again in the activations' type; see `keepExpanded`.
    private var expandedBlock: DeviceAddress?

    /// Bytes that a matrix takes on a card.
    package static func bytes(_ declaration: WeightDeclaration, storage: BaseStorage, stored: ElementType, element: DeviceElement) -> Int {
        func up(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }
        let count = declaration.shape.reduce(1, *)
        guard case .linear = declaration.role else {
            if case .vector = declaration.role { return up(count * 4) }
            return up(count * element.bytes)
        }
        switch storage {
        case .nf4:
            let layout = NF4.Layout(count: count)
            return up(layout.codeBytes) + up(layout.blocks) + up(layout.nestedBlocks * 4)
        case .stored where stored.isQuantised: return up(storage.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: stored))
        default: return up(count * element.bytes)
        }
    }

    /// - Parameter bytes: the sum of `bytes(...)` over what will be placed.
    private init(device: any Accelerator, element: DeviceElement, bytes: Int) throws {
        self.device = device
        self.element = element
        capacity = bytes + Self.overheadBytes
        block = try device.allocate(bytes: capacity)
        nestedValues = block
        used = 1024
        try NF4.nestedValues.withUnsafeBytes { try device.upload($0, to: nestedValues) }
    }

    deinit {
        device.free(block)
        if let expandedBlock { device.free(expandedBlock) }
    }

    /// Expands every stored linear once, side by side in order, and multiplies by that from here on: the same bits, no time in the step.
    package func keepExpanded(_ declarations: [WeightDeclaration]) throws {
        let stored = declarations.compactMap { declaration in
            matrices[declaration.tensor].flatMap { matrix -> (String, DeviceMatrix)? in
                if case .element = matrix.form { nil } else { (declaration.tensor, matrix) }
            }
        }
        guard !stored.isEmpty else { return }
        var address = try device.allocate(bytes: stored.reduce(0) { $0 + $1.1.rows * $1.1.columns } * element.bytes)
        expandedBlock = address
        for (name, matrix) in stored {
            try expand(matrix, into: address, on: device, element)
            matrices[name] = DeviceMatrix(rows: matrix.rows, columns: matrix.columns, form: .element(address))
            address = address + matrix.rows * matrix.columns * element.bytes
        }
        try device.synchronize()
    }

    func take(_ bytes: Int) throws -> DeviceAddress {
        let address = block + used
        used += (bytes + Self.alignment - 1) / Self.alignment * Self.alignment
        guard used <= capacity else {
            throw LorikeetError.machine("the weights are larger on the card than planned", mend: "report this with lorikeet plan's output")
        }
        return address
    }

    /// Copies a model's tensors to the card: the blocks' linears in their storage, tables in the activations' type, vectors as float32.
    package static func load(
        _ declarations: [WeightDeclaration], from table: WeightTable, storage: BaseStorage, element: DeviceElement, device: any Accelerator,
        stored: (String) -> ElementType?
    ) throws -> DeviceWeights {
        let bytes = declarations.reduce(0) { $0 + Self.bytes($1, storage: storage, stored: stored($1.tensor) ?? .f32, element: element) }
        let weights = try DeviceWeights(device: device, element: element, bytes: bytes)
        for declaration in declarations {
            if case .vector = declaration.role {
                guard let vector = table.vector(declaration.tensor) else { continue }
                let count = declaration.shape.reduce(1, *)
                let address = try weights.take(count * 4)
                try device.upload(UnsafeRawBufferPointer(start: vector, count: count * 4), to: address)
                weights.vectors[declaration.tensor] = address
            } else if let store = table.matrix(declaration.tensor) {
                var form: DeviceForm?
                if case .linear = declaration.role { form = try (store as? any DevicePlaced)?.place(on: device, take: weights.take) }
                let placed = try form ?? weights.placeExpanded(store)
                weights.matrices[declaration.tensor] = DeviceMatrix(rows: store.rows, columns: store.columns, form: placed)
            }
        }
        try device.synchronize()
        return weights
    }

    /// Expands a matrix piece by piece on the processor and uploads it in the activations' type.
    private func placeExpanded(_ store: any WeightStore) throws -> DeviceForm {
        let address = try take(store.rows * store.columns * element.bytes)
        let rows = max(1, (1 << 20) / max(1, store.columns))
        var floats = [Float](repeating: 0, count: rows * store.columns)
        var narrow = [UInt8](repeating: 0, count: rows * store.columns * element.bytes)
        let type: ElementType = [.f32, .f16, .bf16][Int(element.rawValue)]
        for first in stride(from: 0, to: store.rows, by: rows) {
            let range = first..<min(store.rows, first + rows)
            store.expand(rows: range, into: &floats)
            let count = range.count * store.columns
            let fits = narrow.withUnsafeMutableBytes { to in to.baseAddress.map { encode(floats, count: count, as: type, into: $0) } ?? false }
            guard fits else {
                throw LorikeetError.input("a weight of the model does not fit float16 (65504)", mend: "say --compute-type bfloat16 or float32")
            }
            try narrow.withUnsafeBytes {
                try device.upload(UnsafeRawBufferPointer(rebasing: $0[..<(count * element.bytes)]), to: address + first * store.columns * element.bytes)
            }
        }
        return .element(address)
    }

    /// Random weights of the declared shapes, made on the card from one pattern: for benchmarks.
    package static func random(
        _ declarations: [WeightDeclaration], storage: BaseStorage, element: DeviceElement, device: any Accelerator
    ) throws -> DeviceWeights {
        let bytes = declarations.reduce(0) { $0 + Self.bytes($1, storage: storage, stored: .f32, element: element) }
        let weights = try DeviceWeights(device: device, element: element, bytes: bytes)
        let pattern = (0..<(1 << 18)).map { mix64(UInt64($0)) }
        for declaration in declarations {
            let count = declaration.shape.reduce(1, *)
            let spread = 1.7 / Float(declaration.shape.last ?? 1).squareRoot()
            switch declaration.role {
            case .vector:
                let address = try weights.take(count * 4)
                try [Float](repeating: 1, count: count).withUnsafeBytes { try device.upload($0, to: address) }
                weights.vectors[declaration.tensor] = address
            case .linear where storage == .nf4:
                let layout = NF4.Layout(count: count)
                let (codes, maxima, nested) = (try weights.take(layout.codeBytes), try weights.take(layout.blocks), try weights.take(layout.nestedBlocks * 4))
                try pattern.withUnsafeBytes { try weights.fill(codes, bytes: layout.codeBytes, with: $0) }
                try pattern.withUnsafeBytes { try weights.fill(maxima, bytes: layout.blocks, with: $0) }
                // Nested maxima of zero leave every block's scale to the offset.
                try device.zero(nested, bytes: layout.nestedBlocks * 4)
                weights.matrices[declaration.tensor] = DeviceMatrix(
                    rows: declaration.shape[0], columns: declaration.shape[1], form: .nf4(codes: codes, maxima: maxima, nestedMaxima: nested, offset: spread))
            default:
                let floats = pattern.map { (Float($0 >> 40) / Float(1 << 23) - 1) * spread }
                var narrow = [UInt8](repeating: 0, count: floats.count * element.bytes)
                let type: ElementType = [.f32, .f16, .bf16][Int(element.rawValue)]
                _ = narrow.withUnsafeMutableBytes { to in to.baseAddress.map { encode(floats, count: floats.count, as: type, into: $0) } }
                let address = try weights.take(count * element.bytes)
                try narrow.withUnsafeBytes { try weights.fill(address, bytes: count * element.bytes, with: $0) }
                weights.matrices[declaration.tensor] = DeviceMatrix(rows: declaration.shape[0], columns: declaration.shape[1], form: .element(address))
            }
        }
        try device.synchronize()
        return weights
    }

    private func fill(_ address: DeviceAddress, bytes: Int, with pattern: UnsafeRawBufferPointer) throws {
        var done = min(bytes, pattern.count)
        try device.upload(UnsafeRawBufferPointer(rebasing: pattern[..<done]), to: address)
        while done < bytes {
            let part = min(done, bytes - done)
            try device.copy(address, to: address + done, bytes: part)
            done += part
        }
    }

    /// A RoPE table's inverse frequencies on the card, put there at first use.
    func inverseFrequencies(_ table: RoPETable) throws -> DeviceAddress {
        if let known = frequencies.first(where: { $0.table == table }) { return known.address }
        let address = try take(table.inverseFrequencies.count * 4)
        try table.inverseFrequencies.withUnsafeBytes { try device.upload($0, to: address) }
        frequencies.append((table, address))
        return address
    }

    package func matrix(_ name: String) throws -> DeviceMatrix {
        if let known = matrices[name] { return known }
        throw LorikeetError.machine("the card does not hold \(name)", mend: "report this with lorikeet plan --explain's output")
    }

    package func vector(_ name: String) throws -> DeviceAddress {
        if let known = vectors[name] { return known }
        throw LorikeetError.machine("the card does not hold \(name)", mend: "report this with lorikeet plan --explain's output")
    }
}

/// A store whose bytes go to a card as they are.
protocol DevicePlaced {
    func place(on device: any Accelerator, take: (Int) throws -> DeviceAddress) throws -> DeviceForm
}

extension NF4Store: DevicePlaced {
    func place(on device: any Accelerator, take: (Int) throws -> DeviceAddress) throws -> DeviceForm {
        let (codes, maxima, nested) = (try take(layout.codeBytes), try take(layout.blocks), try take(layout.nestedBlocks * 4))
        let base = UnsafeRawPointer(bytes.pointer(as: UInt8.self))
        try device.upload(UnsafeRawBufferPointer(start: base, count: layout.codeBytes), to: codes)
        try device.upload(UnsafeRawBufferPointer(start: base + layout.codeBytes, count: layout.blocks), to: maxima)
        try device.upload(UnsafeRawBufferPointer(start: base + layout.codeBytes + layout.blocks, count: layout.nestedBlocks * 4), to: nested)
        return .nf4(codes: codes, maxima: maxima, nestedMaxima: nested, offset: offset)
    }
}

extension BlockStore: DevicePlaced {
    func place(on device: any Accelerator, take: (Int) throws -> DeviceAddress) throws -> DeviceForm {
        let address = try take(storedBytes)
        try device.upload(UnsafeRawBufferPointer(start: bytes.pointer(as: UInt8.self), count: storedBytes), to: address)
        return .blocks(address, format)
    }
}
