import LorikeetDevices

/// The adapters' products under dropout by the kernels of lora.cu, which read activations once and apply the mask while they read. For 16-bit
/// types, ranks that are multiples of 8 and adjacent adapters; in other cases masked copies are multiplied.
struct LoRAStream {
    private let a: DeviceAddress
    private let ranks, rank: Int
    private let parts: Int
    private let keys: DeviceAddress
    private let module: Int
    private let threshold: UInt32
    /// 1 / (1 - probability), as dropout.cu's.
    private let kept: Float

    /// See lora.cu.
    private var isWide: Bool { parts * ((rank + 15) / 16) > 2 }

    /// nil where the kernels do not apply.
    init?(_ adapters: [LoRAPart], rows: Int, columns: Int, keys: ValueID?, _ context: borrowing DeviceRun) {
        let ranks = adapters.ranks
        guard let first = adapters.first, context.element != .f32, columns % 32 == 0,
            // Partial gradients are written to the memory of a masked copy.
            LoRASplit.count(rows, each: Self.rowsOfSplit(rows, columns: columns, ranks: ranks)) * ranks * 4 <= rows * context.element.bytes,
            adapters.isContiguous(context.values),
            adapters.allSatisfy({ $0.slot.rank == first.slot.rank && $0.slot.rank % 8 == 0 }),
            zip(adapters, adapters.dropFirst()).allSatisfy({ $0.slot.module + 1 == $1.slot.module }),
            adapters.count * ((first.slot.rank + 15) / 16) <= 4,
            let a = try? context.address(first.a), a.raw % 16 == 0, let keys = keys.flatMap({ try? context.address($0) })
        else { return nil }
        self.a = a
        self.ranks = ranks
        rank = first.slot.rank
        parts = adapters.count
        module = first.slot.module
        self.keys = keys
        threshold = DropoutKernels.threshold(first.dropout)
        kept = 65536 / Float(65536 - threshold)
    }

    /// product [rows, ranks] = dropout(x) Aᵀ.
    func down(x: DeviceAddress, product: DeviceAddress, rows: Int, columns: Int, _ context: borrowing DeviceRun) throws {
        try context.launch("lora", "lora_down", blocks: ((rows + 15) / 16, (ranks + 31) / 32, 1), threads: 256) {
            for address in [x, a, keys, product] { $0.add(address) }
            for number in [rows, columns, ranks, rank, module] { $0.add(Int32(number)) }
            $0.add(threshold)
            $0.add(kept)
        }
    }

    /// dx [rows, columns] += mask * (dProduct A) of all adapters.
    func add(dProduct: DeviceAddress, dx: DeviceAddress, rows: Int, columns: Int, _ context: borrowing DeviceRun) throws {
        try context.launch("lora", isWide ? "lora_add_wide" : "lora_add", blocks: context.sharingRows((columns + 127) / 128, rows: rows), threads: 128) {
            for address in [dProduct, a, keys, dx] { $0.add(address) }
            for number in [rows, columns, ranks, parts, rank, module] { $0.add(Int32(number)) }
            $0.add(threshold)
            $0.add(kept)
        }
    }

    /// Rows of a partial gradient. The partial gradients of all have to fit into a masked copy's memory, two bytes an element: 4 * ranks <= 2 * rows.
    private static func rowsOfSplit(_ rows: Int, columns: Int, ranks: Int) -> Int {
        LoRASplit.rows(rows, blocksBeside: (columns + 63) / 64, sizes: ranks <= 32 ? [256, 128, 64] : [256, 128])
    }

    /// dA [ranks, columns] += dProductᵀ dropout(x).
    ///
    /// - Parameter partial: room for [splits, ranks, columns] float32.
    func gradient(
        dProduct: DeviceAddress, x: DeviceAddress, dA: DeviceAddress, partial: DeviceAddress, rows: Int, columns: Int,
        _ context: borrowing DeviceRun
    ) throws {
        let share = Self.rowsOfSplit(rows, columns: columns, ranks: ranks)
        let splits = LoRASplit.count(rows, each: share)
        try context.launch("lora", isWide ? "lora_grad_wide" : "lora_grad", blocks: ((columns + 63) / 64, splits, 1), threads: 128) {
            for address in [dProduct, x, keys, partial] { $0.add(address) }
            for number in [rows, columns, ranks, rank, module, share] { $0.add(Int32(number)) }
            $0.add(threshold)
        }
        try context.launch("lora", "lora_grad_sum", count: ranks * columns) {
            $0.add(partial)
            $0.add(dA)
            $0.add(ranks * columns)
            $0.add(Int32(splits))
            $0.add(kept)
        }
    }
}

/// How the rows of a sum over rows are shared among blocks whose partial sums are added in order.
enum LoRASplit {
    /// The largest of `sizes` (descending) with which a launch has at least 256 blocks, or the last one: fewer blocks leave multiprocessors of a
    /// large card idle. The order of the sum follows from it, so it depends on shapes alone and never on the card.
    static func rows(_ rows: Int, blocksBeside: Int, sizes: [Int]) -> Int {
        sizes.first { blocksBeside * count(rows, each: $0) >= 256 } ?? sizes.last ?? 128
    }

    static func count(_ rows: Int, each: Int) -> Int { (rows + each - 1) / each }
}
