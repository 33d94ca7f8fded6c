import LorikeetDevices

/// The residual stream, or a gradient of it, in the activations' type, which matrix products take: out = scale * x, [T, C].
///
/// Overwrites out. Only where the two types differ (float16 beside a float32 stream) or there is a scale. The gradient of out is, times
/// the scale, one of x; the stream itself is converted without a scale.
struct Convert: Op {
    var x: ValueID
    var out: ValueID
    var scale: Float = 1

    var kind: String { "convert" }
    var reads: [ValueID] { [x] }
    var writes: [ValueID] { [out] }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&out)
    }

    func check(_ operands: inout OperandCheck) {
        operands.expect(x, "x", operands.shape(out), .residual)
        operands.expect(out, "out", nil, .activation)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(x) + context.bytes(out)) }

    func differentiate(_ backward: inout Differentiation) {
        guard scale == 1, backward.needsGradient(x), let gradient = backward.gradient(of: out) else { return }
        backward.contribute(gradient, to: x)
    }

    func run(_ context: borrowing CPURun) throws {
        let (from, to) = (try context.floats(x), try context.floats(out))
        context.cpu.parallelRanges(over: context.values[x].elementCount, grain: 4096) { range, _ in
            ResidualKernels.scale(from + range.lowerBound, scale, into: to + range.lowerBound, range.count)
        }
    }

    func run(_ context: borrowing DeviceRun) throws {
        try context.residual("residual_scale", count: context.values[x].elementCount, scale) {
            for id in [x, out] { $0.add(try context.address(id)) }
        }
    }
}
