import LorikeetDevices

/// Root-mean-square normalisation with the residual addition in front (Zhang & Sennrich 2019, arXiv:1910.07467).
///
///     h = hidden + deltaScale * delta     [T, C]   (delta optional; written to `sum` when there is one)
///     r = 1 / sqrt(mean_c h² + epsilon)   [T]
///     y = h * r * (weight + weightOffset) [T, C]   (weightOffset is 1 in Gemma, else 0)
///
/// Overwrites sum, r and y.
struct RMSNorm: Op {
    let hidden: ValueID
    let delta: ValueID?
    let sum: ValueID?
    let output: ValueID
    let inverseRMS: ValueID
    let weight: String
    let epsilon: Float
    let weightOffset: Float
    /// What a sublayer's output is multiplied by (Granite's residual multiplier).
    var deltaScale: Float = 1

    var kind: String { "rmsnorm" }
    var reads: [ValueID] { [hidden] + (delta.map { [$0] } ?? []) }
    var writes: [ValueID] { (sum.map { [$0] } ?? []) + [output, inverseRMS] }
    /// What was normalised: kept for the backward pass.
    var normalised: ValueID { sum ?? hidden }

    func cost(_ values: ValueTable) -> Cost {
        Cost(bytes: Double(values[output].byteCount) * (delta == nil ? 2 : 4))
    }

    func recomputation(of value: ValueID, into copy: ValueID) -> (any Op)? {
        guard value == output else { return nil }
        return RMSNormAgain(hidden: normalised, inverseRMS: inverseRMS, output: copy, weight: weight, weightOffset: weightOffset)
    }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        RMSNorm(
            hidden: name(hidden), delta: delta.map(name), sum: sum.map(name), output: name(output), inverseRMS: name(inverseRMS), weight: weight,
            epsilon: epsilon, weightOffset: weightOffset, deltaScale: deltaScale)
    }

    /// With g = dy * (weight + offset):  dh = r * (g - h * r² * mean_c(g * h)) + (gradient that came to h past this norm).
    /// The sum's gradient is that of both its terms.
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(normalised) else { return }
        let passing = backward.gradient(of: normalised)
        guard let dy = backward.gradient(of: output) else {
            // Nothing came through the norm itself: the residual's gradient goes on unchanged.
            if let passing, let delta {
                let narrow = dDelta(&backward)
                if let narrow { backward.append(ResidualScale(x: passing, y: narrow, scale: deltaScale)) }
                share(passing, delta, narrow, &backward)
            }
            return
        }
        let dx = backward.newGradient(of: normalised)
        let narrow = dDelta(&backward)
        backward.append(
            RMSNormBackward(
                dy: dy, hidden: normalised, inverseRMS: inverseRMS, passing: passing, dx: dx, narrow: narrow, weight: weight, weightOffset: weightOffset,
                deltaScale: deltaScale))
        backward.setGradient(of: normalised, to: dx)
        if let delta { share(dx, delta, narrow, &backward) }
    }

    /// Room for the gradient of delta where it is not the stream's: it is multiplied, or products take it in 16 bits beside a float32 stream.
    private func dDelta(_ backward: inout Differentiation) -> ValueID? {
        guard delta != nil, deltaScale != 1 || backward.target.element != backward.target.residual else { return nil }
        return backward.transient("d.\(backward.values[normalised].name).narrow", backward.values[normalised].shape, backward.target.element)
    }

    private func share(_ gradient: ValueID, _ delta: ValueID, _ narrow: ValueID?, _ backward: inout Differentiation) {
        backward.setGradient(of: hidden, to: gradient)
        backward.setGradient(of: delta, to: narrow ?? gradient)
    }

    func run(_ context: borrowing CPURun) {
        let shape = context.values[output].shape
        guard let weight = context.weights.vector(weight) else { return }
        RMSNormKernels.forward(
            x: context.floats(hidden), delta: delta.map { UnsafePointer(context.floats($0)) }, deltaScale: deltaScale, weight: weight, epsilon: epsilon,
            weightOffset: weightOffset, hOut: sum.map { context.floats($0) }, y: context.floats(output),
            inverseRMS: context.floats(inverseRMS), rows: shape[0], columns: shape[1], cpu: context.cpu)
    }
}

/// y = h * r * (weight + offset) from the kept h and r, with the bits of the forward pass.
struct RMSNormAgain: Op {
    let hidden: ValueID
    let inverseRMS: ValueID
    let output: ValueID
    let weight: String
    let weightOffset: Float

    var kind: String { "rmsnorm.again" }
    var reads: [ValueID] { [hidden, inverseRMS] }
    var writes: [ValueID] { [output] }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: 2 * Double(values[output].byteCount)) }

    func run(_ context: borrowing CPURun) {
        let shape = context.values[output].shape
        guard let weight = context.weights.vector(weight) else { return }
        RMSNormKernels.recompute(
            h: context.floats(hidden), inverseRMS: context.floats(inverseRMS), weight: weight, weightOffset: weightOffset,
            y: context.floats(output), rows: shape[0], columns: shape[1], cpu: context.cpu)
    }
}

/// dx [T, C] = norm's backward of dy (+ passing): see `RMSNorm.differentiate`. Overwrites dx.
struct RMSNormBackward: Op {
    let dy: ValueID
    let hidden: ValueID
    let inverseRMS: ValueID
    let passing: ValueID?
    let dx: ValueID
    /// deltaScale * dx in the activations' type: the gradient of delta, where it is not dx itself.
    let narrow: ValueID?
    let weight: String
    let weightOffset: Float
    var deltaScale: Float = 1

    var kind: String { "rmsnorm.backward" }
    var reads: [ValueID] { [dy, hidden, inverseRMS] + (passing.map { [$0] } ?? []) }
    var writes: [ValueID] { [dx] + (narrow.map { [$0] } ?? []) }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(values[dx].byteCount) * (passing == nil ? 3 : 4)) }

    func run(_ context: borrowing CPURun) {
        let shape = context.values[dx].shape
        guard let weight = context.weights.vector(weight) else { return }
        RMSNormKernels.backward(
            dy: context.floats(dy), h: context.floats(hidden), inverseRMS: context.floats(inverseRMS), weight: weight,
            weightOffset: weightOffset, dResidual: passing.map { UnsafePointer(context.floats($0)) }, dx: context.floats(dx),
            dDelta: narrow.map { context.floats($0) }, deltaScale: deltaScale, rows: shape[0], columns: shape[1], cpu: context.cpu)
    }
}
