import LorikeetDevices

/// The adapters' products that read activations once, dropout decided on the way: lora.cu. For 16 bits, ranks in eights and adapters
/// side by side; everything else goes through products and masked copies.
struct LoRAStream {
    private let a: DeviceAddress
    private let ranks, rank: Int
    private let parts: Int
    private let scale: Float
    private let keys: DeviceAddress?
    private let module: Int
    private let threshold: UInt32
    /// 1 / (1 - probability), as dropout.cu's.
    private let kept: Float

    /// nil where the kernels do not apply.
    init?(_ adapters: [LinearAdapter], ranks: Int, columns: Int, keys: ValueID?, _ context: borrowing DeviceRun) {
        guard let first = adapters.first, context.element != .f32, columns % 32 == 0, adapters.standTogether(context.values),
            adapters.allSatisfy({ $0.slot.rank == first.slot.rank && $0.slot.rank % 8 == 0 }),
            zip(adapters, adapters.dropFirst()).allSatisfy({ $0.slot.module + 1 == $1.slot.module }),
            let a = try? context.address(first.a), a.raw % 16 == 0
        else { return nil }
        self.a = a
        self.ranks = ranks
        rank = first.slot.rank
        parts = adapters.count
        scale = first.slot.scale
        module = first.slot.module
        self.keys = keys.flatMap { try? context.address($0) }
        threshold = self.keys == nil ? 0 : DropoutKernels.threshold(first.dropout)
        kept = 65536 / Float(65536 - threshold)
    }

    /// Whether all parts' ranks fit the registers of one pass over dx.
    var addsInOneGo: Bool { (keys == nil ? (ranks + 15) / 16 : parts * ((rank + 15) / 16)) <= 4 }

    /// product [rows, ranks] = dropout(x) Aᵀ.
    func down(x: DeviceAddress, product: DeviceAddress, rows: Int, columns: Int, _ context: borrowing DeviceRun) throws {
        try context.launch("lora", "lora_down", blocks: ((rows + 15) / 16, (ranks + 31) / 32, 1), threads: 256) {
            for address in [x, a, keys, product] { $0.add(address) }
            for number in [rows, columns, ranks, rank, module] { $0.add(Int32(number)) }
            $0.add(threshold)
            $0.add(kept)
        }
    }

    /// out [rows, columns] += scale * product Bᵀ of one adapter; no mask stands there.
    func up(product: DeviceAddress, b: DeviceAddress, out: DeviceAddress, rows: Int, columns: Int, ld: Int, _ context: borrowing DeviceRun) throws {
        try add(product, m: b, keys: nil, out: out, rows, columns, ld: ld, parts: 1, rank: rank, byColumn: true, scale: scale, context)
    }

    /// dx [rows, columns] += mask * (dProduct A) of all adapters.
    func down(dProduct: DeviceAddress, dx: DeviceAddress, rows: Int, columns: Int, _ context: borrowing DeviceRun) throws {
        // Without masks the parts are one matrix of all ranks.
        let (parts, rank) = keys == nil ? (1, ranks) : (parts, rank)
        try add(dProduct, m: a, keys: keys, out: dx, rows, columns, ld: columns, parts: parts, rank: rank, byColumn: false, scale: kept, context)
    }

    private func add(
        _ product: DeviceAddress, m: DeviceAddress, keys: DeviceAddress?, out: DeviceAddress, _ rows: Int, _ columns: Int, ld: Int, parts: Int,
        rank: Int, byColumn: Bool, scale: Float, _ context: borrowing DeviceRun
    ) throws {
        try context.launch("lora", "lora_add", blocks: ((columns + 127) / 128, (rows + 127) / 128, 1), threads: 128) {
            for address in [product, m, keys, out] { $0.add(address) }
            for number in [rows, columns, ld, ranks, parts, rank, module, byColumn ? 1 : 0] { $0.add(Int32(number)) }
            $0.add(threshold)
            $0.add(scale)
        }
    }
}
