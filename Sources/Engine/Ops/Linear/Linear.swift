import LorikeetDevices

/// A frozen matrix [rows, columns] of the model that multiplies from the right: y = x Wᵀ.
package struct LinearWeight: Sendable, Equatable {
    /// Module name, e.g. `model.layers.0.self_attn.q_proj`; its tensors are `<name>.weight` and `<name>.bias`.
    package let name: String
    package let rows: Int
    package let columns: Int
    package let hasBias: Bool

    package init(_ name: String, rows: Int, columns: Int, hasBias: Bool = false) {
        self.name = name
        self.rows = rows
        self.columns = columns
        self.hasBias = hasBias
    }

    /// The last part of the name: what `target_modules` calls it.
    package var shortName: String { String(name.split(separator: ".").last ?? "") }
}

/// What LoRA wraps around a linear from outside: y += scale * (dropout(x) Aᵀ) Bᵀ.
struct LinearAdapter: Sendable {
    let slot: AdapterSlot
    /// A [r, C], B [N, r].
    let a: ValueID
    let b: ValueID
    /// Its first column in the linear's `product`.
    let column: Int
    let dropout: Float
}

/// A rows of several adapters that stand one after the other in the flat buffer, as those of a joint linear's parts do: one product
/// for all of them.
extension [LinearAdapter] {
    func standTogether(_ values: ValueTable) -> Bool {
        zip(self, dropFirst()).allSatisfy { values[$0.a].flatOffset + values[$0.a].elementCount == values[$1.a].flatOffset }
    }
}

/// One matrix of a joint linear, at columns `firstRow ..< firstRow + rows` of y.
struct LinearPart: Sendable {
    let weight: LinearWeight
    let firstRow: Int
    let adapter: LinearAdapter?
}

/// y [T, N] = x [T, C] · Wᵀ (+ bias) (+ LoRA), for matrices side by side (q|k|v, gate|up) in one product.
///
/// W is expanded from its storage into `scratch`, each worker its own rows right before it multiplies them; up to eight rows of x
/// (sixteen on a card) are multiplied straight from the stored codes. Overwrites y, the adapters' products and the scratch.
struct Linear: Op {
    let x: ValueID
    let y: ValueID
    let parts: [LinearPart]
    let columns: Int
    /// [N, C] for the expanded matrices.
    let scratch: ValueID
    /// dropout(x) Aᵀ of every adapter side by side [T, R], R the sum of ranks; kept for the backward pass. nil without adapters.
    let product: ValueID?
    /// [T, C] for dropout(x) of one adapter at a time; nil without dropout.
    let dropped: ValueID?
    let dropoutKeys: ValueID?
    /// The adapters' second product is the next op's (see `LowRankUpdate`): y lacks it.
    var leavesUpdate = false

    var kind: String { "linear" }
    var reads: [ValueID] {
        [x] + parts.flatMap { $0.adapter.map { [$0.a, $0.b] } ?? [] } + (dropped == nil ? [] : dropoutKeys.map { [$0] } ?? [])
    }
    var writes: [ValueID] { [y, scratch] + [product, dropped].compactMap { $0 } }
    var detail: String { parts.map { $0.weight.name + ($0.adapter == nil ? "" : " + lora") }.joined(separator: ", ") }

    /// Expansion reads about a quarter of what it writes.
    func cost(_ values: ValueTable) -> Cost {
        let tokens = Double(values[x].shape[0])
        let matrix = 2 * tokens * Double(values[y].shape[1] * columns)
        let low = parts.reduce(0.0) { $0 + ($1.adapter.map { 2 * tokens * Double($0.slot.rank) } ?? 0) * Double(columns + $1.weight.rows) }
        return Cost(matrixFlops: matrix + low, bytes: 1.25 * Double(values[scratch].byteCount))
    }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        Linear(
            x: name(x), y: name(y), parts: parts, columns: columns, scratch: name(scratch), product: product.map(name),
            dropped: dropped.map(name), dropoutKeys: dropoutKeys, leavesUpdate: leavesUpdate)
    }

    /// dx = dy W + mask * (scale * dy B) A;  dB += scale * dyᵀ (xA);  dA += (scale * dy B)ᵀ dropout(x).
    func differentiate(_ backward: inout Differentiation) {
        guard let dy = backward.gradient(of: y) else { return }
        let wantsX = backward.needsGradient(x)
        guard wantsX || parts.contains(where: { $0.adapter != nil }) else { return }
        var gradients: [AdapterGradients] = []
        for part in parts {
            guard let adapter = part.adapter else { continue }
            gradients.append(
                AdapterGradients(
                    part: part, adapter: adapter, dA: backward.gradientOfParameter(adapter.a), dB: backward.gradientOfParameter(adapter.b)))
        }
        let passing = backward.gradient(of: x)
        let dx = wantsX ? backward.newGradient(of: x) : nil
        backward.append(
            LinearBackward(
                dy: dy, x: gradients.isEmpty ? nil : backward.primal(x), dx: dx, passing: passing, parts: parts, gradients: gradients,
                product: product, dProduct: product.map { backward.transient("d.xA", backward.values[$0].shape, backward.target.element) },
                partials: LoRABack.partialElements(gradients, rows: backward.values[x].shape[0], backward.target).map {
                    backward.transient("partial sums", [$0])
                },
                columns: columns, scratch: dx.map { _ in backward.transient("expanded", backward.values[scratch].shape, backward.target.element) },
                masked: dropped.map { _ in backward.transient("masked", backward.values[x].shape, backward.target.element) }, dropoutKeys: dropoutKeys))
        if let dx { backward.setGradient(of: x, to: dx) }
    }
}

/// Where the gradients of one part's adapter go.
struct AdapterGradients: Sendable {
    let part: LinearPart
    let adapter: LinearAdapter
    let dA: ValueID
    let dB: ValueID
}

/// See `Linear.differentiate`. Overwrites dx (adding what `passing` holds); adds to the adapters' gradients.
struct LinearBackward: Op {
    let dy: ValueID
    let x: ValueID?
    let dx: ValueID?
    let passing: ValueID?
    let parts: [LinearPart]
    let gradients: [AdapterGradients]
    /// dropout(x) Aᵀ [T, R] of the forward pass, and scale * dy B like it.
    let product: ValueID?
    let dProduct: ValueID?
    /// Room for the sums of lora_back.cu, where it applies.
    let partials: ValueID?
    let columns: Int
    let scratch: ValueID?
    let masked: ValueID?
    let dropoutKeys: ValueID?
    /// dProduct A is the next op's to add to dx (see `InputUpdate`).
    var leavesUpdate = false

    var kind: String { "linear.backward" }
    var reads: [ValueID] {
        [dy] + [x, passing, product, masked == nil ? nil : dropoutKeys].compactMap { $0 }
            + gradients.flatMap { [$0.adapter.a, $0.adapter.b, $0.dA, $0.dB] }
    }
    var writes: [ValueID] { [dx, scratch, masked, dProduct, partials].compactMap { $0 } + gradients.flatMap { [$0.dA, $0.dB] } }
    var detail: String { parts.map(\.weight.name).joined(separator: ", ") }

    func cost(_ values: ValueTable) -> Cost {
        let tokens = Double(values[dy].shape[0])
        let matrix = dx == nil ? 0 : 2 * tokens * Double(values[dy].shape[1] * columns)
        let low = gradients.reduce(0.0) { $0 + 4 * tokens * Double($1.adapter.slot.rank * (columns + $1.part.weight.rows)) }
        return Cost(matrixFlops: matrix + low, bytes: scratch.map { 1.25 * Double(values[$0].byteCount) } ?? 0)
    }
}
