import LorikeetDevices

/// Adapters' second product that a linear has left to the next op of its output, which reads and writes it anyway:
///
///     y[:, firstRow ..< firstRow + rows] += scale * product[:, column ..< column + r] Bᵀ     for each part with an adapter
///
/// product [T, R] in the activations' type, all ranks r the same and a multiple of 8, R at most 64, at most four adapters.
struct LowRankUpdate: Sendable {
    /// dropout(x) Aᵀ of every adapter side by side.
    let product: ValueID
    let parts: [LinearPart]

    /// What an op that carries the update out reads beside its own values.
    var reads: [ValueID] { [product] + parts.compactMap { $0.adapter?.b } }

    static let mostRanks = 64
    static let mostParts = 4

    /// The update that `linear` can leave to an op of a card's program; nil where its adapters do not fit the kernels.
    init?(of linear: Linear, _ values: ValueTable, _ target: ProgramTarget) {
        guard case .device(let element) = target, let product = linear.product,
            Self.fits(linear.parts.compactMap(\.adapter), element, ranks: values[product].shape[1]),
            // Sixteen bytes at a time.
            linear.parts.allSatisfy({ $0.firstRow % 8 == 0 && $0.weight.rows % 8 == 0 })
        else { return nil }
        self.product = product
        parts = linear.parts
    }

    private init(product: ValueID, parts: [LinearPart]) { (self.product, self.parts) = (product, parts) }

    /// Whether the kernels (lora_up.cu, activation.cu) take these adapters.
    static func fits(_ adapters: [LinearAdapter], _ element: DeviceElement, ranks: Int) -> Bool {
        guard element != .f32, let first = adapters.first else { return false }
        return adapters.count <= mostParts && ranks <= mostRanks && adapters.allSatisfy { $0.slot.rank == first.slot.rank && $0.slot.rank % 8 == 0 }
    }

    func renamed(_ name: (ValueID) -> ValueID) -> LowRankUpdate { LowRankUpdate(product: name(product), parts: parts) }
}

extension ProgramBuilder {
    /// Takes over what the linear that wrote `output` would add itself; nil where there is nothing, or it does not fit.
    mutating func takeUpdate(of output: ValueID) -> LowRankUpdate? {
        guard let index = ops.lastIndex(where: { ($0 as? Linear)?.y == output }), var linear = ops[index] as? Linear,
            let update = LowRankUpdate(of: linear, values, target)
        else { return nil }
        linear.leavesUpdate = true
        replace(index, with: linear)
        return update
    }
}
