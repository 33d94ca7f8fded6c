import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// The form of a frozen matrix in a card's memory.
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
    private let block: DeviceAllocation
    private var used = 0
    /// The host's memory of the embedding, where that lies there.
    private var hostBlock: DeviceAllocation?
    private var frequencies: [(table: RoPETable, address: DeviceAddress)] = []

    /// Bytes to which tensors, and other values on a card, are aligned.
    package static let alignment = 256
    /// What the block holds beside the tensors: tables of expansion and rotation.
    static let overheadBytes = 4096
    /// The linears again in the activations' type; see `keepExpanded`.
    private var expandedBlock: DeviceAllocation?

    /// Bytes that a matrix takes on a card.
    package static func bytes(_ declaration: WeightDeclaration, storage: BaseStorage, stored: ElementType, element: DeviceElement) -> Int {
        func up(_ bytes: Int) -> Int { bytes.roundedUp(toMultipleOf: alignment) }
        let count = declaration.shape.reduce(1, *)
        guard case .linear = declaration.role else {
            if case .vector = declaration.role { return up(count * 4) }
            return up(count * element.bytes)
        }
        switch storage {
        // Rounded to a type of 16 bits as the file asks: see `DeviceLoader.linear`.
        case .nf4 where stored == .nf4 && element == .f32, .stored where stored == .nf4 && element == .f32: return up(count * 4)
        case .nf4,
            .stored where stored == .nf4:
            let layout = NF4.Layout(count: count)
            return up(layout.codeBytes) + up(layout.blocks) + up(layout.nestedBlocks * 4)
        case .stored where BlockFormat(rawValue: stored.rawValue) != nil:
            return up(storage.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: stored))
        default: return up(count * element.bytes)
        }
    }

    /// - Parameters:
    ///   - bytes: the sum of `bytes(...)` over what will be placed.
    ///   - onHost: bytes of the embedding where it will lie in the host's memory (`takeTable`); 0 where not.
    init(device: any Accelerator, bytes: Int, onHost: Int = 0) throws {
        self.device = device
        if onHost > 0 { hostBlock = try DeviceAllocation(on: device, bytes: onHost, onHost: true) }
        block = try DeviceAllocation(on: device, bytes: bytes + Self.overheadBytes)
        nestedValues = block.address
        used = 1024
        try NF4.nestedValues.withUnsafeBytes { try device.upload($0, to: nestedValues) }
    }

    /// Expands every stored linear once, side by side in order, and multiplies by that from here on: the same bits, no time in the step.
    package func keepExpanded(_ declarations: [WeightDeclaration], _ element: DeviceElement) throws {
        let stored = declarations.compactMap { declaration in
            matrices[declaration.tensor].flatMap { matrix -> (String, DeviceMatrix)? in
                if case .element = matrix.form { nil } else { (declaration.tensor, matrix) }
            }
        }
        guard !stored.isEmpty else { return }
        let memory = try DeviceAllocation(on: device, bytes: stored.reduce(0) { $0 + $1.1.rows * $1.1.columns } * element.bytes)
        var (address, expanded) = (memory.address, matrices)
        for (name, matrix) in stored {
            try expand(matrix, into: address, on: device, element)
            expanded[name] = DeviceMatrix(rows: matrix.rows, columns: matrix.columns, form: .element(address))
            address = address + matrix.rows * matrix.columns * element.bytes
        }
        try device.synchronize()
        // All or none: a failure above leaves the stored forms in use.
        (expandedBlock, matrices) = (memory, expanded)
    }

    func set(_ name: String, matrix: DeviceMatrix) { matrices[name] = matrix }
    func set(_ name: String, vector: DeviceAddress) { vectors[name] = vector }

    /// Where a table is written: the host's memory for the embedding where that lies there.
    func takeTable(_ bytes: Int, onHost: Bool) throws -> DeviceAddress {
        guard onHost, let hostBlock, bytes <= hostBlock.bytes else { return try take(bytes) }
        return hostBlock.address
    }

    /// The next `bytes` of the block.
    func take(_ bytes: Int) throws -> DeviceAddress {
        let address = block.address + used
        used += bytes.roundedUp(toMultipleOf: Self.alignment)
        guard used <= block.bytes else {
            throw LorikeetError.machine("the weights are larger on the card than planned", fix: "report this with lorikeet plan's output")
        }
        return address
    }

    /// A RoPE table's inverse frequencies on the card, LongRoPE's second list behind the first, put there at first use.
    func inverseFrequencies(_ table: RoPETable) throws -> DeviceAddress {
        if let known = frequencies.first(where: { $0.table == table }) { return known.address }
        let numbers = table.inverseFrequencies + (table.long?.inverseFrequencies ?? [])
        let address = try take(numbers.count * 4)
        try numbers.withUnsafeBytes { try device.upload($0, to: address) }
        frequencies.append((table, address))
        return address
    }

    /// - Throws: exit 4 for a name that was not loaded.
    package func matrix(_ name: String) throws -> DeviceMatrix {
        if let known = matrices[name] { return known }
        throw LorikeetError.machine("the card does not hold \(name)", fix: "report this with lorikeet plan --explain's output")
    }

    /// The first element of a float32 vector.
    ///
    /// - Throws: exit 4 for a name that was not loaded.
    package func vector(_ name: String) throws -> DeviceAddress {
        if let known = vectors[name] { return known }
        throw LorikeetError.machine("the card does not hold \(name)", fix: "report this with lorikeet plan --explain's output")
    }
}
