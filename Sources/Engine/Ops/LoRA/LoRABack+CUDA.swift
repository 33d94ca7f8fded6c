import LorikeetDevices

/// dProduct and dB of a linear's adapters from one read of dy: lora_back.cu. For 16 bits, ranks of 8 or 16, four adapters at most.
struct LoRABack {
    private let parts: [LoRAPart]
    private let dB: [ValueID]

    init(_ parts: [LoRAPart], dB: [ValueID]) { (self.parts, self.dB) = (parts, dB) }

    private static func tiles(_ part: LoRAPart) -> Int { (part.outputs.count + 255) / 256 }
    private static func tiles(_ parts: [LoRAPart]) -> Int { parts.reduce(0) { $0 + tiles($1) } }
    private static func rowsOfBlock(_ parts: [LoRAPart], rows: Int) -> Int {
        LoRASplit.rows(rows, blocksBeside: tiles(parts), sizes: [128, 64, 32])
    }

    /// float32 numbers of `partials`; nil where the kernels do not apply.
    static func partialElements(_ parts: [LoRAPart], rows: Int, _ target: ProgramTarget) -> Int? {
        guard case .device(let element) = target, element != .f32, let rank = parts.first?.slot.rank, rank == 8 || rank == 16,
            parts.count <= LowRankUpdate.mostParts, parts.areAlike,
            parts.allSatisfy({ $0.outputs.lowerBound % 8 == 0 && $0.outputs.count % 8 == 0 })
        else { return nil }
        let splits = LoRASplit.count(rows, each: rowsOfBlock(parts, rows: rows))
        return parts.reduce(0) { $0 + splits * $1.outputs.count * rank + tiles($1) * rows * rank }
    }

    func run(dy: ValueID, product: ValueID, dProduct: ValueID, partials: ValueID, _ context: borrowing DeviceRun) throws {
        let shape = context.values[dy].shape
        var arguments = KernelArguments()
        arguments.add(try context.address(dy))
        arguments.add(try context.address(product))
        for b in try context.factors(parts) { arguments.add(b) }
        for dB in dB.fields(LowRankUpdate.mostParts, none: nil, { Optional($0) }) { arguments.add(try context.address(dB)) }
        arguments.add(try context.address(dProduct))
        arguments.add(try context.address(partials))
        arguments.add(Int32(shape[0]))
        arguments.add(Int32(shape[1]))
        let share = Self.rowsOfBlock(parts, rows: shape[0])
        arguments.add(Int32(share))
        parts.add(to: &arguments, on: true)
        arguments.add(parts.first?.slot.scale ?? 0)
        let grid = (Self.tiles(parts), LoRASplit.count(shape[0], each: share), 1)
        try context.device.launch(KernelLaunch("lora_back", "lora_back", context.element, grid: grid, threads: 128, arguments: arguments))
        let sums = shape[0] * parts.ranks + parts.reduce(0) { $0 + $1.outputs.count } * parts.rank
        try context.device.launch(
            KernelLaunch("lora_back", "lora_back_sum", context.element, grid: ((sums + 255) / 256, 1, 1), threads: 256, arguments: arguments))
    }
}
