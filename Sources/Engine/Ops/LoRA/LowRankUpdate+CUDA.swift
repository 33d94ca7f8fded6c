import LorikeetDevices

extension [LoRAPart] {
    /// `ranks, rank, first[4], end[4]` of the sources; no ranks where the adapter is off.
    func add(to arguments: inout KernelArguments, on: Bool) {
        arguments.add(Int32(on ? ranks : 0))
        arguments.add(Int32(rank))
        for first in fields(LowRankUpdate.mostParts, none: 0, { $0.outputs.lowerBound }) { arguments.add(Int32(first)) }
        for end in fields(LowRankUpdate.mostParts, none: 0, { $0.outputs.upperBound }) { arguments.add(Int32(end)) }
    }
}

extension DeviceRun {
    /// `b[4]` of the sources.
    func factors(_ parts: [LoRAPart]) throws -> [DeviceAddress?] {
        try parts.fields(LowRankUpdate.mostParts, none: nil) { try address($0.b) }
    }

    /// What the sources with updates are compiled with.
    func steps(_ parts: [LoRAPart]) -> [String] { LowRankUpdate.defines(ranks: parts.ranks) }

    /// y [rows, ld] += the update; where `rotation` is given, its heads are rotated too. See lora_up.cu.
    func add(
        _ parts: [LoRAPart], product: ValueID?, to y: ValueID, rotation: (cos: ValueID, sin: ValueID, heads: Int, headDimension: Int)? = nil
    ) throws {
        let shape = values[y].shape
        let kernel = type(y) == element ? "lora_up" : "lora_up_residual"
        try launch("lora_up", kernel, blocks: sharingRows((shape[1] + 255) / 256, rows: shape[0]), threads: 128, defines: steps(parts)) {
            $0.add(try address(y))
            $0.add(try address(product))
            for b in try factors(parts) { $0.add(b) }
            $0.add(try address(rotation?.cos))
            $0.add(try address(rotation?.sin))
            for number in [shape[0], shape[1], rotation?.heads ?? 0, rotation?.headDimension ?? 0] { $0.add(Int32(number)) }
            parts.add(to: &$0, on: adapterOn)
            $0.add(parts.first?.slot.scale ?? 0)
        }
    }
}

extension LowRankUpdate {
    /// What the sources with updates are compiled with for `ranks`, at most `mostRanks`: none counts as one.
    static func defines(ranks: Int) -> [String] { ["STEPS=\(max(1, (ranks + 15) / 16))"] }
}
