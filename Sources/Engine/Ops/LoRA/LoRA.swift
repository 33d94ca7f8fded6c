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

    /// Whether all have one rank and one scale, as the kernels that serve several at once ask for.
    var areAlike: Bool { allSatisfy { $0.slot.rank == self[0].slot.rank && $0.slot.scale == self[0].slot.scale } }

    /// product Bᵀ of every adapter, for `rows` rows.
    func products(rows: Int) -> [Work] { map { .product(m: rows, n: $0.outputs.count, k: $0.slot.rank) } }

    mutating func rename(_ name: Renaming) {
        for i in indices {
            name(&self[i].a)
            name(&self[i].b)
        }
    }
}

/// What the ops with A work on: rows at a linear's input, and the ranks of all its adapters side by side.
struct LoRASideA: Sendable {
    /// [T, C]: the linear's input x, or its gradient dx.
    var wide: ValueID
    /// [T, R]: x Aᵀ, or its gradient.
    var narrow: ValueID
    var parts: [LoRAPart]
    /// [T, C] for one adapter at a time: dropout(x), or a product before its mask; or for partial sums of lora.cu. nil without dropout.
    var masked: ValueID?
    var dropoutKeys: ValueID?

    /// The factors, and what decides which elements are dropped.
    var reads: [ValueID] { parts.map(\.a) + (masked == nil ? [] : dropoutKeys.map { [$0] } ?? []) }
    var room: [ValueID] { masked.map { [$0] } ?? [] }

    /// What a card takes for the numbers of the dropout masks, as bytes moved: `share` of reading x for each adapter. 0 without dropout.
    func maskBytes(_ share: Double, _ context: WorkContext) -> Double {
        masked == nil || !context.target.isDevice ? 0 : share * Double(parts.count) * context.bytes(wide)
    }

    mutating func rename(_ name: Renaming) {
        name(&wide)
        name(&narrow)
        name(&masked)
        name(&dropoutKeys)
        parts.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(wide)
        operands.expect(wide, "the linear's side", nil, .activation)
        operands.expect(narrow, "the ranks' side", [shape[0], parts.ranks], .activation)
        operands.expect(masked, "masked", shape, .activation)
        operands.expect(dropoutKeys, "dropout keys", [shape[0]], .i32)
        for part in parts { operands.expect(part.a, "A", [part.slot.rank, shape[1]], .f32) }
        operands.require(masked == nil || dropoutKeys != nil, "dropout without keys")
    }
}

/// What the ops with B work on: rows at a linear's output, and the ranks of all its adapters side by side.
struct LoRASideB: Sendable {
    /// [T, N]: the linear's output y, or its gradient dy. Each adapter has its own columns.
    var wide: ValueID
    /// [T, R]: x Aᵀ.
    var narrow: ValueID
    var parts: [LoRAPart]

    var reads: [ValueID] { [wide, narrow] + parts.map(\.b) }

    mutating func rename(_ name: Renaming) {
        name(&wide)
        name(&narrow)
        parts.rename(name)
    }

    func check(_ operands: inout OperandCheck, _ type: OperandCheck.Expected) {
        let shape = operands.shape(wide)
        operands.expect(wide, "the linear's side", nil, type)
        operands.expect(narrow, "the ranks' side", [shape[0], parts.ranks], .activation)
        for part in parts {
            operands.expect(part.b, "B", [part.outputs.count, part.slot.rank], .f32)
            operands.require(part.outputs.upperBound <= shape[1], "an adapter's columns end behind y's \(shape[1])")
        }
    }
}

/// product [T, R] = dropout(x) Aᵀ of every adapter side by side. Overwrites product (`side.narrow`) and masked.
struct LoRADown: Op {
    var side: LoRASideA

    var kind: String { "lora.down" }
    var reads: [ValueID] { [side.wide] + side.reads }
    var writes: [ValueID] { [side.narrow] + side.room }
    var detail: String { side.parts.detail }

    mutating func rename(_ name: Renaming) { side.rename(name) }

    func check(_ operands: inout OperandCheck) { side.check(&operands) }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[side.wide].shape
        return context.kernel(moving: context.bytes(side.wide) + side.maskBytes(2.5, context)) + [.product(m: shape[0], n: side.parts.ranks, k: shape[1])]
    }

    /// dA += dProductᵀ dropout(x);  dx += mask * (dProduct A).
    func differentiate(_ backward: inout Differentiation) {
        guard let dProduct = backward.gradient(of: side.narrow) else { return }
        let x = side.wide
        /// This side with dProduct, and room of its own.
        func adjoint(_ wide: ValueID) -> LoRASideA {
            var own = side
            (own.wide, own.narrow) = (wide, dProduct)
            own.masked = side.masked.map { _ in backward.transient("masked", backward.values[x].shape, backward.target.element) }
            return own
        }
        backward.append(LoRADownBackward(side: adjoint(x), dA: side.parts.map { backward.gradientOfParameter($0.a) }))
        guard backward.needsGradient(x), let dx = backward.gradient(of: x) else { return }
        backward.append(LoRAInputGradient(side: adjoint(dx)))
    }
}

/// y [T, N] += scale * product [T, R] Bᵀ, each adapter in its own columns of y. Adds to y (`side.wide`).
struct LoRAUp: Op {
    var side: LoRASideB

    var kind: String { "lora.up" }
    var reads: [ValueID] { side.reads }
    var writes: [ValueID] { [side.wide] }
    var completes: [ValueID] { [side.wide] }
    var detail: String { side.parts.detail }

    mutating func rename(_ name: Renaming) { side.rename(name) }

    func check(_ operands: inout OperandCheck) { side.check(&operands, .activationOrResidual) }

    func work(_ context: WorkContext) -> [Work] {
        context.kernel(moving: 2 * context.bytes(side.wide)) + side.parts.products(rows: context.values[side.wide].shape[0])
    }

    /// dProduct = scale * dy B;  dB += scale * dyᵀ product. dy itself passes through.
    func differentiate(_ backward: inout Differentiation) {
        guard let dy = backward.gradient(of: side.wide) else { return }
        let shape = backward.values[side.narrow].shape
        let dProduct = backward.transient("d.xA", shape, backward.target.element)
        let partials = LoRABack.partialElements(side.parts, rows: shape[0], backward.target).map { backward.transient("partial sums", [$0]) }
        var own = side
        own.wide = dy
        backward.append(
            LoRAUpBackward(side: own, dProduct: dProduct, dB: side.parts.map { backward.gradientOfParameter($0.b) }, partials: partials))
        backward.contribute(dProduct, to: side.narrow)
    }
}

/// See `LoRAUp.differentiate`; `side.wide` is dy. Overwrites dProduct; adds to dB.
struct LoRAUpBackward: Op {
    var side: LoRASideB
    var dProduct: ValueID
    var dB: [ValueID]
    /// Room for the partial sums of lora_back.cu, where it applies.
    var partials: ValueID?

    var kind: String { "lora.up.backward" }
    var reads: [ValueID] { side.reads + dB }
    var writes: [ValueID] { [dProduct] + (partials.map { [$0] } ?? []) + dB }
    var detail: String { side.parts.detail }

    mutating func rename(_ name: Renaming) {
        side.rename(name)
        name(&dProduct)
        name(&partials)
        for i in dB.indices { name(&dB[i]) }
    }

    func check(_ operands: inout OperandCheck) {
        side.check(&operands, .activation)
        operands.expect(dProduct, "d.xA", operands.shape(side.narrow), .activation)
        operands.expect(partials, "partial sums", nil, .f32)
        for (part, gradient) in zip(side.parts, dB) { operands.expect(gradient, "dB", [part.outputs.count, part.slot.rank], .f32) }
    }

    func work(_ context: WorkContext) -> [Work] {
        let rows = context.values[side.wide].shape[0]
        return context.kernel(moving: context.bytes(side.wide))
            + side.parts.flatMap { part -> [Work] in
                let (rank, columns) = (part.slot.rank, part.outputs.count)
                return [.product(m: rows, n: rank, k: columns), .product(m: columns, n: rank, k: rows)]
            }
    }
}

/// dA += dProductᵀ dropout(x) of every adapter; `side.narrow` is dProduct. Adds to dA; overwrites masked.
struct LoRADownBackward: Op {
    var side: LoRASideA
    var dA: [ValueID]

    var kind: String { "lora.down.backward" }
    var reads: [ValueID] { [side.wide, side.narrow] + side.reads + dA }
    var writes: [ValueID] { side.room + dA }
    var detail: String { side.parts.detail }

    mutating func rename(_ name: Renaming) {
        side.rename(name)
        for i in dA.indices { name(&dA[i]) }
    }

    func check(_ operands: inout OperandCheck) {
        side.check(&operands)
        for (part, gradient) in zip(side.parts, dA) { operands.expect(gradient, "dA", operands.shape(part.a), .f32) }
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[side.wide].shape
        return context.kernel(moving: context.bytes(side.wide) + side.maskBytes(1, context)) + [.product(m: side.parts.ranks, n: shape[1], k: shape[0])]
    }
}

/// dx [T, C] += mask * (dProduct A) of every adapter: what reaches the linear's input through its adapters. `side` is dx and dProduct.
/// Adds to dx; overwrites masked.
struct LoRAInputGradient: Op {
    var side: LoRASideA

    var kind: String { "lora.input_gradient" }
    var reads: [ValueID] { [side.wide, side.narrow] + side.reads }
    var writes: [ValueID] { [side.wide] + side.room }
    var completes: [ValueID] { [side.wide] }
    var detail: String { side.parts.detail }

    mutating func rename(_ name: Renaming) { side.rename(name) }

    func check(_ operands: inout OperandCheck) { side.check(&operands) }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[side.wide].shape
        return context.kernel(moving: 2 * context.bytes(side.wide) + side.maskBytes(1, context)) + [.product(m: shape[0], n: shape[1], k: side.parts.ranks)]
    }
}
