import LorikeetDevices

/// Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467).
///
///     h = hidden + deltaScale * delta     [T, C]   (delta optional: an addition to the residual stream joined by the fusion table)
///     r = 1 / sqrt(mean_c h² + epsilon)   [T]
///     y = h * r * (weight + weightOffset) [T, C]   (weightOffset is 1 in Gemma, else 0)
///
/// Overwrites sum (h, where there is a delta), r and y. hidden, delta and sum have the residual stream's type, y the activations'.
struct RMSNorm: Op {
    var hidden: ValueID
    var delta: ValueID?
    var sum: ValueID?
    var output: ValueID
    var inverseRMS: ValueID
    let weight: String
    let epsilon: Float
    let weightOffset: Float
    var deltaScale: Float = 1

    var kind: String { "rmsnorm" }
    var reads: [ValueID] { [hidden] + (delta.map { [$0] } ?? []) }
    var writes: [ValueID] { (sum.map { [$0] } ?? []) + [output, inverseRMS] }
    var detail: String { weight }
    /// What was normalised: kept for the backward pass.
    var normalised: ValueID { sum ?? hidden }

    mutating func rename(_ name: Renaming) {
        name(&hidden)
        name(&delta)
        name(&sum)
        name(&output)
        name(&inverseRMS)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(output)
        operands.expect(hidden, "hidden", shape, .residual)
        operands.expect(delta, "delta", shape, .residual)
        operands.expect(sum, "sum", shape, .residual)
        operands.expect(output, "y", shape, .activation)
        operands.expect(inverseRMS, "1/rms", [shape[0]], .f32)
        operands.require((delta == nil) == (sum == nil), "a delta is added without a place for the sum, or the other way round")
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(output) * (delta == nil ? 2 : 4)) }

    func recomputation(of value: ValueID, into copy: ValueID) -> (any Op)? {
        guard value == output else { return nil }
        return RMSNormRecomputation(hidden: normalised, inverseRMS: inverseRMS, output: copy, weight: weight, weightOffset: weightOffset)
    }

    /// With g = dy * (weight + offset):  dh = r * (g - h * r² * mean_c(g * h)).
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(hidden), let dy = backward.gradient(of: output) else { return }
        let dx = backward.newGradient(of: hidden)
        backward.append(RMSNormBackward(dy: dy, hidden: hidden, inverseRMS: inverseRMS, dx: dx, weight: weight, weightOffset: weightOffset))
        backward.contribute(dx, to: hidden)
    }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[output].shape
        RMSNormKernels.forward(
            x: try context.floats(hidden), delta: try delta.map { UnsafePointer(try context.floats($0)) }, deltaScale: deltaScale,
            weight: try context.vector(weight), epsilon: epsilon, weightOffset: weightOffset, hOut: try sum.map { try context.floats($0) },
            y: try context.floats(output),
            inverseRMS: try context.floats(inverseRMS), rows: shape[0], columns: shape[1], cpu: context.cpu)
    }
}

/// y = h * r * (weight + offset) from the kept h and r, with the bits of the forward pass.
struct RMSNormRecomputation: Op {
    var hidden: ValueID
    var inverseRMS: ValueID
    var output: ValueID
    let weight: String
    let weightOffset: Float

    var kind: String { "rmsnorm.again" }
    var reads: [ValueID] { [hidden, inverseRMS] }
    var writes: [ValueID] { [output] }

    mutating func rename(_ name: Renaming) {
        name(&hidden)
        name(&inverseRMS)
        name(&output)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(output)
        operands.expect(hidden, "hidden", shape, .residual)
        operands.expect(inverseRMS, "1/rms", [shape[0]], .f32)
        operands.expect(output, "y", shape, .activation)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: 2 * context.bytes(output)) }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[output].shape
        RMSNormKernels.recompute(
            h: try context.floats(hidden), inverseRMS: try context.floats(inverseRMS), weight: try context.vector(weight),
            weightOffset: weightOffset, y: try context.floats(output), rows: shape[0], columns: shape[1], cpu: context.cpu)
    }
}

/// dx [T, C] = norm's backward of dy, plus `residualGradient` where the fusion table has joined that sum: see `RMSNorm.differentiate`.
/// Overwrites dx (the residual stream's type) and narrow.
struct RMSNormBackward: Op {
    var dy: ValueID
    var hidden: ValueID
    var inverseRMS: ValueID
    /// The gradient that reached the same value past the norm.
    var residualGradient: ValueID?
    var dx: ValueID
    /// deltaScale * dx in the activations' type; nil where no op reads it.
    var narrow: ValueID?
    let weight: String
    let weightOffset: Float
    var deltaScale: Float = 1

    var kind: String { "rmsnorm.backward" }
    var reads: [ValueID] { [dy, hidden, inverseRMS] + (residualGradient.map { [$0] } ?? []) }
    var writes: [ValueID] { [dx] + (narrow.map { [$0] } ?? []) }
    var detail: String { weight }

    mutating func rename(_ name: Renaming) {
        name(&dy)
        name(&hidden)
        name(&inverseRMS)
        name(&residualGradient)
        name(&dx)
        name(&narrow)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(dx)
        operands.expect(dy, "dy", shape, .activation)
        operands.expect(hidden, "hidden", shape, .residual)
        operands.expect(inverseRMS, "1/rms", [shape[0]], .f32)
        operands.expect(residualGradient, "residual gradient", shape, .residual)
        operands.expect(dx, "dx", shape, .residual)
        operands.expect(narrow, "narrow dx", shape, .activation)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(dx) * (residualGradient == nil ? 3 : 4)) }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[dx].shape
        RMSNormKernels.backward(
            dy: try context.floats(dy), h: try context.floats(hidden), inverseRMS: try context.floats(inverseRMS), weight: try context.vector(weight),
            weightOffset: weightOffset, dResidual: try residualGradient.map { UnsafePointer(try context.floats($0)) }, dx: try context.floats(dx),
            dDelta: try narrow.map { try context.floats($0) }, deltaScale: deltaScale, rows: shape[0], columns: shape[1], cpu: context.cpu)
    }
}
