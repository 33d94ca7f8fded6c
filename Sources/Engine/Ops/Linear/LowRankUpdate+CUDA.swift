import LorikeetDevices

/// One adapter as the kernels take it: its columns of the output, its factor.
struct LowRankPart {
    let adapter: LinearAdapter
    let columns: Range<Int>

    static func of(_ parts: [LinearPart]) -> [LowRankPart] {
        parts.compactMap { part in part.adapter.map { LowRankPart(adapter: $0, columns: part.firstRow..<part.firstRow + part.weight.rows) } }
    }
}

extension [LowRankPart] {
    /// R of the kernels, and r.
    var ranks: Int { reduce(0) { $0 + $1.adapter.slot.rank } }
    var rank: Int { first?.adapter.slot.rank ?? 8 }

    /// `ranks, rank, first[4], end[4]` of the sources; no ranks where the adapter is off.
    func add(to arguments: inout KernelArguments, on: Bool) {
        arguments.add(Int32(on ? ranks : 0))
        arguments.add(Int32(rank))
        for first in fields(LowRankUpdate.mostParts, none: 0, { $0.columns.lowerBound }) { arguments.add(Int32(first)) }
        for end in fields(LowRankUpdate.mostParts, none: 0, { $0.columns.upperBound }) { arguments.add(Int32(end)) }
    }
}

extension DeviceRun {
    /// `b[4]` of the sources.
    func factors(_ parts: [LowRankPart]) throws -> [DeviceAddress?] {
        try parts.fields(LowRankUpdate.mostParts, none: nil) { try address($0.adapter.b) }
    }

    /// What the sources with updates are compiled with.
    func steps(_ parts: [LowRankPart]) -> [String] { ["STEPS=\(max(1, (parts.ranks + 15) / 16))"] }

    /// y [rows, ld] += the update; where `turn` is given, its heads are rotated too. See lora_up.cu.
    func add(
        _ parts: [LowRankPart], product: ValueID?, to y: ValueID, turn: (cos: ValueID, sin: ValueID, heads: Int, headDimension: Int)? = nil
    ) throws {
        let shape = values[y].shape
        let kernel = type(y) == element ? "lora_up" : "lora_up_residual"
        try launch("lora_up", kernel, blocks: ((shape[1] + 255) / 256, (shape[0] + 127) / 128, 1), threads: 128, defines: steps(parts)) {
            $0.add(try address(y))
            $0.add(try address(product))
            for b in try factors(parts) { $0.add(b) }
            $0.add(try address(turn?.cos))
            $0.add(try address(turn?.sin))
            for number in [shape[0], shape[1], turn?.heads ?? 0, turn?.headDimension ?? 0] { $0.add(Int32(number)) }
            parts.add(to: &$0, on: adapterOn)
            $0.add(parts.first?.adapter.slot.scale ?? 0)
        }
    }
}
