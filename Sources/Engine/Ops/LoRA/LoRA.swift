import LorikeetDevices

/// The numbers of one matrix's adapter.
struct LoRASlot: Sendable {
    /// Number of the module in forward order: names its dropout mask.
    let module: Int
    let rank: Int
    let scale: Float
}

/// What LoRA (Hu et al. 2021, arXiv:2106.09685) wraps around one matrix of a linear: y += scale * (dropout(x) Aᵀ) Bᵀ.
struct LoRAPart: Sendable {
    let slot: LoRASlot
    /// A [r, C], B [N, r].
    var a: ValueID
    var b: ValueID
    /// Its first column among the ranks side by side.
    let column: Int
    /// Its columns of y.
    let outputs: Range<Int>
    let dropout: Float
}

extension [LoRAPart] {
    /// Whether the A of all parts are contiguous in the flat buffer, as those of a joint linear are: one product serves all of them.
    func isContiguous(_ values: ValueTable) -> Bool {
        zip(self, dropFirst()).allSatisfy { values[$0.a].flatOffset + values[$0.a].elementCount == values[$1.a].flatOffset }
    }

    /// R: the sum of the ranks.
    var ranks: Int { reduce(0) { $0 + $1.slot.rank } }
    var rank: Int { first?.slot.rank ?? 8 }
    var detail: String { "rank \(rank) on \(count)" }

    /// product Bᵀ of every adapter, for `rows` rows.
    func products(rows: Int) -> [Work] { map { .product(m: rows, n: $0.outputs.count, k: $0.slot.rank) } }

    mutating func rename(_ name: Renaming) {
        for i in indices {
            name(&self[i].a)
            name(&self[i].b)
        }
    }
}

/// product [T, R] = dropout(x) Aᵀ of every adapter side by side. Overwrites product and dropped.
struct LoRADown: Op {
    var x: ValueID
    var product: ValueID
    var parts: [LoRAPart]
    /// [T, C] for dropout(x) of one adapter at a time; nil without dropout.
    var dropped: ValueID?
    var dropoutKeys: ValueID?

    var kind: String { "lora.down" }
    var reads: [ValueID] { [x] + parts.map(\.a) + (dropped == nil ? [] : dropoutKeys.map { [$0] } ?? []) }
    var writes: [ValueID] { [product] + (dropped.map { [$0] } ?? []) }
    var detail: String { parts.detail }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&product)
        name(&dropped)
        name(&dropoutKeys)
        parts.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(x)
        operands.expect(x, "x", nil, .activation)
        operands.expect(product, "xA", [shape[0], parts.ranks], .activation)
        operands.expect(dropped, "dropout(x)", shape, .activation)
        operands.expect(dropoutKeys, "dropout keys", [shape[0]], .i32)
        for part in parts { operands.expect(part.a, "A", [part.slot.rank, shape[1]], .f32) }
        operands.require(dropped == nil || dropoutKeys != nil, "dropout without keys")
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[x].shape
        return context.pass(context.bytes(x)) + [.product(m: shape[0], n: parts.ranks, k: shape[1])]
    }

    /// dA += dProductᵀ dropout(x);  dx += mask * (dProduct A).
    func differentiate(_ backward: inout Differentiation) {
        guard let dProduct = backward.gradient(of: product) else { return }
        let shape = backward.values[x].shape
        func room(_ name: String) -> ValueID? { dropped.map { _ in backward.transient(name, shape, backward.target.element) } }
        backward.append(
            LoRADownBackward(
                x: x, dProduct: dProduct, parts: parts, dA: parts.map { backward.gradientOfParameter($0.a) }, masked: room("masked"),
                dropoutKeys: dropoutKeys))
        guard backward.needsGradient(x), let dx = backward.gradient(of: x) else { return }
        backward.append(LoRAInputGradient(dx: dx, dProduct: dProduct, parts: parts, masked: room("masked"), dropoutKeys: dropoutKeys))
    }
}

/// y [T, N] += scale * product [T, R] Bᵀ, each adapter in its own columns of y. Adds to y.
struct LoRAUp: Op {
    var y: ValueID
    var product: ValueID
    var parts: [LoRAPart]

    var kind: String { "lora.up" }
    var reads: [ValueID] { [y, product] + parts.map(\.b) }
    var writes: [ValueID] { [y] }
    var completes: [ValueID] { [y] }
    var detail: String { parts.detail }

    mutating func rename(_ name: Renaming) {
        name(&y)
        name(&product)
        parts.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(y)
        operands.expect(y, "y", nil, .activationOrResidual)
        operands.expect(product, "xA", [shape[0], parts.ranks], .activation)
        for part in parts {
            operands.expect(part.b, "B", [part.outputs.count, part.slot.rank], .f32)
            operands.require(part.outputs.upperBound <= shape[1], "an adapter's columns end behind y's \(shape[1])")
        }
    }

    func work(_ context: WorkContext) -> [Work] { context.pass(2 * context.bytes(y)) + parts.products(rows: context.values[y].shape[0]) }

    /// dProduct = scale * dy B;  dB += scale * dyᵀ product. dy itself passes through.
    func differentiate(_ backward: inout Differentiation) {
        guard let dy = backward.gradient(of: y) else { return }
        let shape = backward.values[product].shape
        let dProduct = backward.transient("d.xA", shape, backward.target.element)
        let partials = LoRABack.partialElements(parts, rows: shape[0], backward.target).map { backward.transient("partial sums", [$0]) }
        backward.append(
            LoRAUpBackward(
                dy: dy, product: product, dProduct: dProduct, parts: parts, dB: parts.map { backward.gradientOfParameter($0.b) }, partials: partials))
        backward.contribute(dProduct, to: product)
    }
}

/// See `LoRAUp.differentiate`. Overwrites dProduct; adds to dB.
struct LoRAUpBackward: Op {
    var dy: ValueID
    var product: ValueID
    var dProduct: ValueID
    var parts: [LoRAPart]
    var dB: [ValueID]
    /// Room for the partial sums of lora_back.cu, where it applies.
    var partials: ValueID?

    var kind: String { "lora.up.backward" }
    var reads: [ValueID] { [dy, product] + parts.map(\.b) + dB }
    var writes: [ValueID] { [dProduct] + (partials.map { [$0] } ?? []) + dB }
    var detail: String { parts.detail }

    mutating func rename(_ name: Renaming) {
        name(&dy)
        name(&product)
        name(&dProduct)
        name(&partials)
        parts.rename(name)
        for i in dB.indices { name(&dB[i]) }
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(product)
        operands.expect(dy, "dy", nil, .activation)
        operands.expect(product, "xA", [operands.shape(dy)[0], parts.ranks], .activation)
        operands.expect(dProduct, "d.xA", shape, .activation)
        operands.expect(partials, "partial sums", nil, .f32)
        for (part, gradient) in zip(parts, dB) { operands.expect(gradient, "dB", [part.outputs.count, part.slot.rank], .f32) }
    }

    func work(_ context: WorkContext) -> [Work] {
        let rows = context.values[dy].shape[0]
        return context.pass(context.bytes(dy))
            + parts.flatMap { part -> [Work] in
                let (rank, columns) = (part.slot.rank, part.outputs.count)
                return [.product(m: rows, n: rank, k: columns), .product(m: columns, n: rank, k: rows)]
            }
    }
}

/// dA += dProductᵀ dropout(x) of every adapter. Adds to dA; overwrites masked.
struct LoRADownBackward: Op {
    var x: ValueID
    var dProduct: ValueID
    var parts: [LoRAPart]
    var dA: [ValueID]
    /// [T, C] for dropout(x) of one adapter at a time, or for partial sums of lora.cu; nil without dropout.
    var masked: ValueID?
    var dropoutKeys: ValueID?

    var kind: String { "lora.down.backward" }
    var reads: [ValueID] { [x, dProduct] + parts.map(\.a) + dA + (masked == nil ? [] : dropoutKeys.map { [$0] } ?? []) }
    var writes: [ValueID] { (masked.map { [$0] } ?? []) + dA }
    var detail: String { parts.detail }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&dProduct)
        name(&masked)
        name(&dropoutKeys)
        parts.rename(name)
        for i in dA.indices { name(&dA[i]) }
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(x)
        operands.expect(x, "x", nil, .activation)
        operands.expect(dProduct, "d.xA", [shape[0], parts.ranks], .activation)
        operands.expect(masked, "masked", shape, .activation)
        for (part, gradient) in zip(parts, dA) { operands.expect(gradient, "dA", [part.slot.rank, shape[1]], .f32) }
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[x].shape
        return context.pass(context.bytes(x)) + [.product(m: parts.ranks, n: shape[1], k: shape[0])]
    }
}

/// dx [T, C] += mask * (dProduct A) of every adapter: what reaches the linear's input through its adapters. Adds to dx.
struct LoRAInputGradient: Op {
    var dx: ValueID
    var dProduct: ValueID
    var parts: [LoRAPart]
    /// [T, C] for the product of one adapter before its mask; nil without dropout.
    var masked: ValueID?
    var dropoutKeys: ValueID?

    var kind: String { "lora.input_gradient" }
    var reads: [ValueID] { [dx, dProduct] + parts.map(\.a) + (masked == nil ? [] : dropoutKeys.map { [$0] } ?? []) }
    var writes: [ValueID] { [dx] + (masked.map { [$0] } ?? []) }
    var completes: [ValueID] { [dx] }
    var detail: String { parts.detail }

    mutating func rename(_ name: Renaming) {
        name(&dx)
        name(&dProduct)
        name(&masked)
        name(&dropoutKeys)
        parts.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(dx)
        operands.expect(dx, "dx", nil, .activation)
        operands.expect(dProduct, "d.xA", [shape[0], parts.ranks], .activation)
        operands.expect(masked, "masked", shape, .activation)
        for part in parts { operands.expect(part.a, "A", [part.slot.rank, shape[1]], .f32) }
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[dx].shape
        return context.pass(2 * context.bytes(dx)) + [.product(m: shape[0], n: shape[1], k: parts.ranks)]
    }
}
