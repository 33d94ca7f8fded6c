import LorikeetDevices

/// sum = hidden + scale * delta, [T, C]: the residual addition where no norm behind it takes it in. Overwrites sum, which may be hidden.
///
/// hidden and sum have the residual stream's type, delta that or the activations'.
struct ResidualAdd: Op {
    let hidden: ValueID
    let delta: ValueID
    let sum: ValueID
    var scale: Float = 1

    var kind: String { "residual_add" }
    var reads: [ValueID] { [hidden, delta] }
    var writes: [ValueID] { [sum] }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(2 * values[sum].byteCount + values[delta].byteCount)) }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        ResidualAdd(hidden: name(hidden), delta: name(delta), sum: name(sum), scale: scale)
    }

    /// d.hidden = d.sum, shared; d.delta = scale * d.sum in the activations' type.
    func differentiate(_ backward: inout Differentiation) {
        guard let gradient = backward.gradient(of: sum) else { return }
        if backward.needsGradient(delta) {
            var dDelta = gradient
            if scale != 1 || backward.target.element != backward.target.residual {
                dDelta = backward.transient("d.\(backward.values[delta].name)", backward.values[delta].shape, backward.target.element)
                backward.append(ResidualScale(x: gradient, y: dDelta, scale: scale))
            }
            backward.setGradient(of: delta, to: dDelta)
        }
        backward.setGradient(of: hidden, to: gradient)
    }

    func run(_ context: borrowing CPURun) {
        let (hidden, delta, to) = (context.floats(hidden), context.floats(delta), context.floats(sum))
        context.cpu.parallelRanges(over: context.values[sum].elementCount, grain: 4096) { range, _ in
            ResidualKernels.add(hidden + range.lowerBound, delta + range.lowerBound, scale, into: to + range.lowerBound, range.count)
        }
    }

    func run(_ context: borrowing DeviceRun) throws {
        let kernel = context.type(delta) == context.type(hidden) ? "residual_add" : "residual_add_narrow"
        try context.residual(kernel, count: context.values[sum].elementCount, scale) {
            for id in [hidden, delta, sum] { $0.add(try context.address(id)) }
        }
    }
}

/// y = scale * x, [T, C]: x of the residual stream's type, y of the activations'. Overwrites y.
struct ResidualScale: Op {
    let x: ValueID
    let y: ValueID
    let scale: Float

    var kind: String { "residual_scale" }
    var reads: [ValueID] { [x] }
    var writes: [ValueID] { [y] }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(values[x].byteCount + values[y].byteCount)) }

    func run(_ context: borrowing CPURun) {
        let (from, to) = (context.floats(x), context.floats(y))
        context.cpu.parallelRanges(over: context.values[x].elementCount, grain: 4096) { range, _ in
            ResidualKernels.scale(from + range.lowerBound, scale, into: to + range.lowerBound, range.count)
        }
    }

    func run(_ context: borrowing DeviceRun) throws {
        try context.residual("residual_scale", count: context.values[x].elementCount, scale) {
            for id in [x, y] { $0.add(try context.address(id)) }
        }
    }
}

extension DeviceRun {
    /// Eight numbers a thread.
    fileprivate func residual(_ kernel: String, count: Int, _ scale: Float, _ addresses: (inout KernelArguments) throws -> Void) throws {
        try launch("residual", kernel, count: (count + 7) / 8) {
            try addresses(&$0)
            $0.add(count)
            $0.add(scale)
        }
    }
}

enum ResidualKernels {
    /// c = a + scale * b; c may be a.
    @inline(__always)
    static func add(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ scale: Float, into c: UnsafeMutablePointer<Float>, _ count: Int) {
        eachEight(count) {
            store8(load8(a + $0) + load8(b + $0) * scale, c + $0)
        } rest: { i, n in
            storePartly(loadPartly(a + i, n) + loadPartly(b + i, n) * scale, c + i, n)
        }
    }

    /// y = scale * x; y may be x.
    @inline(__always)
    static func scale(_ x: UnsafePointer<Float>, _ scale: Float, into y: UnsafeMutablePointer<Float>, _ count: Int) {
        eachEight(count) {
            store8(load8(x + $0) * scale, y + $0)
        } rest: { i, n in
            storePartly(loadPartly(x + i, n) * scale, y + i, n)
        }
    }
}
