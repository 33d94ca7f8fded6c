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
            Self.fits(linear.parts, element, ranks: values[product].shape[1])
        else { return nil }
        self.product = product
        parts = linear.parts
    }

    private init(product: ValueID, parts: [LinearPart]) { (self.product, self.parts) = (product, parts) }

    /// Whether the kernels (lora_up.cu, activation.cu) take the adapters of these parts, sixteen bytes of a row at a time.
    static func fits(_ parts: [LinearPart], _ element: DeviceElement, ranks: Int) -> Bool {
        let adapters = parts.compactMap(\.adapter)
        guard element != .f32, let first = adapters.first else { return false }
        return adapters.count <= mostParts && ranks <= mostRanks && adapters.allSatisfy { $0.slot.rank == first.slot.rank && $0.slot.rank % 8 == 0 }
            && parts.allSatisfy { $0.firstRow % 8 == 0 && $0.weight.rows % 8 == 0 }
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

/// What one adapter's backward pass has left to the next op to add to the gradient of its input: dx += dProduct A.
///
/// dProduct [T, r] in the activations' type, r 8 or 16; without dropout, whose mask would have to be formed again.
struct InputUpdate: Sendable {
    let dProduct: ValueID
    let adapter: LinearAdapter

    var reads: [ValueID] { [dProduct, adapter.a] }

    /// Takes over what the op emitted last would add to `dx` itself; nil where there is nothing, or it does not fit.
    static func take(of dx: ValueID, _ backward: inout Differentiation) -> InputUpdate? {
        guard case .device(let element) = backward.target, element != .f32, var last = backward.lastOp as? LinearBackward, last.dx == dx,
            last.gradients.count == 1, last.masked == nil, let dProduct = last.dProduct, let adapter = last.gradients.first?.adapter,
            adapter.slot.rank == 8 || adapter.slot.rank == 16
        else { return nil }
        last.leavesUpdate = true
        backward.replaceLast(with: last)
        return InputUpdate(dProduct: dProduct, adapter: adapter)
    }
}
