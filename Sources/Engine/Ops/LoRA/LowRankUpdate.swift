import LorikeetDevices

/// LoRA's second product, formed by an op that reads the linear's output anyway (see the fusion table):
///
///     y[:, outputs] += scale * product[:, column ..< column + r] Bᵀ     for each part
///
/// product [T, R] in the activations' type, all ranks r and scales the same, r a multiple of 8, R at most 64, at most four adapters.
struct LowRankUpdate: Sendable {
    /// dropout(x) Aᵀ of every adapter side by side.
    var product: ValueID
    var parts: [LoRAPart]

    /// What an op that forms the product reads beside its own values.
    var reads: [ValueID] { [product] + parts.map(\.b) }

    static let mostRanks = 64
    static let mostParts = 4

    /// Whether the kernels (lora_up.cu, activation.cu) take these adapters: 16 bits, sixteen bytes of a row at a time.
    ///
    /// - Parameter columns: of y.
    static func fits(_ parts: [LoRAPart], columns: Int, _ element: DeviceElement) -> Bool {
        guard element != .f32, let first = parts.first else { return false }
        return parts.count <= mostParts && parts.ranks <= mostRanks && parts.areAlike && first.slot.rank % 8 == 0
            && columns % 8 == 0 && parts.allSatisfy { $0.outputs.lowerBound % 8 == 0 && $0.outputs.upperBound % 8 == 0 }
    }

    mutating func rename(_ name: Renaming) {
        name(&product)
        parts.rename(name)
    }
}

/// What reaches a linear's input through its one adapter, formed by the op that reads that gradient: dx += dProduct A.
///
/// dProduct [T, r] in the activations' type, r 8 or 16; without dropout, whose mask would have to be formed again.
struct InputUpdate: Sendable {
    var dProduct: ValueID
    var part: LoRAPart

    var reads: [ValueID] { [dProduct, part.a] }

    mutating func rename(_ name: Renaming) {
        name(&dProduct)
        name(&part.a)
        name(&part.b)
    }
}
