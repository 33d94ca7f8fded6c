import LorikeetDevices
import LorikeetGround

/// Where a running program's values are on a card, and what ops may use: the counterpart of `CPURun`.
package struct DeviceRun: ~Copyable {
    package let device: any Accelerator
    /// The type of activations.
    package let element: DeviceElement
    package let values: ValueTable
    package let weights: DeviceWeights
    /// Whether adapters are applied; without them the same program computes the base model.
    package let adapterOn: Bool
    let offsets: [Int?]
    let arena: DeviceAddress
    /// The adapters in the activations' type, and their float32 gradients, both flat.
    let parameters: DeviceAddress?
    let gradients: DeviceAddress?
    /// Persistent values by value index.
    let persistent: [Int: DeviceAddress]
    /// One float32: what the loss is multiplied by before the backward pass.
    let lossScale: DeviceAddress
    /// The host's memory of parked values; nil where the program has none.
    let parked: DeviceAddress?
    /// Rows with a target in this micro-batch.
    let trainedRows: Int

    package func address(_ id: ValueID) throws -> DeviceAddress {
        switch values[id].kind {
        case .parameter:
            if let parameters { return parameters + values[id].flatOffset * element.bytes }
        case .parameterGradient:
            if let gradients { return gradients + values[id].flatOffset * 4 }
        case .persistent:
            if let place = persistent[id.index] { return place }
        case .parked:
            if let parked { return parked + values[id].flatOffset }
        default:
            if let offset = offsets[id.index] { return arena + offset }
        }
        throw missing("a place for the value \(values[id].name)")
    }

    func missing(_ what: String) -> LorikeetError {
        .machine("the program asks for \(what), which the card does not hold", fix: "report this with lorikeet plan --explain's output")
    }

    func address(_ id: ValueID?) throws -> DeviceAddress? { try id.map { try address($0) } }

    /// The element type of a value.
    func type(_ id: ValueID) -> DeviceElement {
        switch values[id].type {
        case .f16: .f16
        case .bf16: .bf16
        default: .f32
        }
    }

    /// Launches a kernel; `fill` lays out its struct in the order of the source.
    func launch(
        _ source: String, _ kernel: String, blocks: (x: Int, y: Int, z: Int), threads: Int, sharedBytes: Int = 0, defines: [String] = [],
        _ fill: (inout KernelArguments) throws -> Void
    ) throws {
        var arguments = KernelArguments()
        try fill(&arguments)
        try device.launch(
            KernelLaunch(source, kernel, element, grid: blocks, threads: threads, sharedBytes: sharedBytes, arguments: arguments, defines: defines))
    }

    /// Blocks of kernels that go down their rows independently: `columns` blocks side by side, each with 128 rows, or, where that leaves
    /// multiprocessors idle, with fewer (at least 32). The results do not depend on it.
    func sharingRows(_ columns: Int, rows: Int) -> (x: Int, y: Int, z: Int) {
        var each = 128
        while each > 32, columns * ((rows + each - 1) / each) < 2 * device.properties.multiprocessors { each /= 2 }
        return (columns, max(1, (rows + each - 1) / each), 1)
    }

    /// A launch of one thread for each of `count` pieces of work.
    func launch(_ source: String, _ kernel: String, count: Int, threads: Int = 256, _ fill: (inout KernelArguments) throws -> Void) throws {
        try launch(source, kernel, blocks: (max(1, (count + threads - 1) / threads), 1, 1), threads: threads, fill)
    }
}

/// Threads of a block that holds a row of `columns` elements in registers, sixteen a thread.
func rowThreads(_ columns: Int) -> Int { min(512, max(32, (columns / 16 + 31) / 32 * 32)) }

/// Blocks of `threads` over [rows, columns], 16 bytes a thread: kernels step over what 65,535 rows do not cover.
func packBlocks(rows: Int, columns: Int, _ element: DeviceElement, threads: Int = 128) -> (x: Int, y: Int, z: Int) {
    let packs = (columns * element.bytes + 15) / 16
    return (max(1, (packs + threads - 1) / threads), max(1, min(rows, 65535)), 1)
}

extension Collection {
    /// An array of a kernel's struct: `value` of each element, `none` up to `length`.
    func fields<Field>(_ length: Int, none: Field, _ value: (Element) throws -> Field) rethrows -> [Field] {
        try map(value) + Array(repeating: none, count: Swift.max(0, length - count))
    }
}
