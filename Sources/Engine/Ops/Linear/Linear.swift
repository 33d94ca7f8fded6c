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
    package var shortName: String { name.lastPart }
}

/// One matrix of a joint linear, at columns `firstRow ..< firstRow + rows` of y.
package struct LinearPart: Sendable {
    package let weight: LinearWeight
    package let firstRow: Int
}

extension [LinearPart] {
    /// Reading the matrices where they lie in a storage form: their codes, and what they are expanded to unless they are multiplied
    /// `fromCodes`.
    ///
    /// - Parameter few: so few rows that the product takes the time of reading the matrices, which many rows hide: those in the activations' type are
    ///   read, the others are read again once they are expanded, and the kernels that expand them count.
    func expansion(_ context: WorkContext, fromCodes: Bool, few: Bool = false) -> [Work] {
        var (bytes, expansions) = (0.0, 0)
        for part in self {
            let expanded = Double(part.weight.rows * part.weight.columns * context.target.element.byteCount)
            guard let stored = context.load.storedBytes[part.weight.name + ".weight"] else {
                bytes += fromCodes || few ? expanded : 0
                continue
            }
            bytes += Double(stored) + (fromCodes ? 0 : few ? 2 * expanded : expanded)
            expansions += few && !fromCodes ? 1 : 0
        }
        return (bytes > 0 ? [.bytes(bytes)] : []) + (expansions > 0 ? [.launches(expansions)] : [])
    }
}

/// y [T, N] = x [T, C] · Wᵀ (+ bias), for matrices side by side (q|k|v, gate|up) in one product.
///
/// W is expanded from its storage into `scratch`, each worker its own rows right before it multiplies them; up to eight rows of x
/// (sixteen on a card) are multiplied straight from the stored codes. Overwrites y and the scratch. What adapters add is `LoRAUp`'s.
struct Linear: Op {
    var x: ValueID
    var y: ValueID
    let parts: [LinearPart]
    let columns: Int
    /// [N, C] for the expanded matrices.
    var scratch: ValueID

    var kind: String { "linear" }
    var reads: [ValueID] { [x] }
    var writes: [ValueID] { [y, scratch] }
    var detail: String { parts.map(\.weight.name).joined(separator: ", ") }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&y)
        name(&scratch)
    }

    func check(_ operands: inout OperandCheck) {
        let tokens = operands.shape(x)[0]
        operands.expect(x, "x", [tokens, columns], .activation)
        operands.expect(y, "y", [tokens, parts.reduce(0) { $0 + $1.weight.rows }], .activationOrResidual)
        operands.expect(scratch, "scratch", nil, .activation)
        operands.require(parts.allSatisfy { $0.weight.columns == columns }, "a matrix does not have \(columns) columns")
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[y].shape
        let fromCodes = shape[0] <= (context.target.isDevice ? CodesProduct.maximumRows : Self.rowsFromCodes)
        let few = context.target.isDevice && shape[0] < DeviceModel.tileRows
        let coded = fromCodes && parts.contains { context.load.storedBytes[$0.weight.name + ".weight"] != nil }
        let product: Work = coded ? .codesProduct(m: shape[0], n: shape[1], k: columns) : .product(m: shape[0], n: shape[1], k: columns)
        return parts.expansion(context, fromCodes: fromCodes, few: few) + [product, .launches(1)]
    }

    /// dx = dy W.
    func differentiate(_ backward: inout Differentiation) {
        guard let dy = backward.gradient(of: y), backward.needsGradient(x) else { return }
        let dx = backward.newGradient(of: x)
        backward.append(
            LinearBackward(
                dy: dy, dx: dx, parts: parts, columns: columns,
                scratch: backward.transient("expanded", backward.values[scratch].shape, backward.target.element)))
        backward.contribute(dx, to: x)
    }
}

/// dx [T, C] = dy [T, N] · W. Overwrites dx and the scratch.
struct LinearBackward: Op {
    var dy: ValueID
    var dx: ValueID
    let parts: [LinearPart]
    let columns: Int
    var scratch: ValueID

    var kind: String { "linear.backward" }
    var reads: [ValueID] { [dy] }
    var writes: [ValueID] { [dx, scratch] }
    var detail: String { parts.map(\.weight.name).joined(separator: ", ") }

    mutating func rename(_ name: Renaming) {
        name(&dy)
        name(&dx)
        name(&scratch)
    }

    func check(_ operands: inout OperandCheck) {
        let tokens = operands.shape(dx)[0]
        operands.expect(dy, "dy", [tokens, parts.reduce(0) { $0 + $1.weight.rows }], .activation)
        operands.expect(dx, "dx", [tokens, columns], .activation)
        operands.expect(scratch, "scratch", nil, .activation)
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[dy].shape
        return parts.expansion(context, fromCodes: false) + [.product(m: shape[0], n: columns, k: shape[1]), .launches(1)]
    }
}
