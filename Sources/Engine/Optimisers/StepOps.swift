import LorikeetDevices

/// sumOfSquares [1] float64 = sum of gradients² over blocks of 4,096, then over the blocks: the same bits for any number of threads.
/// Overwrites partials [blocks] and sumOfSquares. Infinite or NaN where a gradient is.
struct GradientNorm: Op {
    var gradients: ValueID
    var partials: ValueID
    var sumOfSquares: ValueID

    static let blockLength = 4096

    var kind: String { "gradient_norm" }
    var reads: [ValueID] { [gradients] }
    var writes: [ValueID] { [partials, sumOfSquares] }

    mutating func rename(_ name: Renaming) {
        name(&gradients)
        name(&partials)
        name(&sumOfSquares)
    }

    func check(_ operands: inout OperandCheck) {
        operands.expect(gradients, "gradients", nil, .f32)
        operands.expect(partials, "partial sums", [(operands.shape(gradients)[0] + Self.blockLength - 1) / Self.blockLength], .f64)
        operands.expect(sumOfSquares, "sum of squares", [1], .f64)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(gradients)) }

    func run(_ context: borrowing CPURun) throws {
        try context.doubles(sumOfSquares)[0] = GradientNormKernels.sumOfSquares(
            context.floats(gradients), count: context.values[gradients].elementCount, partials: context.doubles(partials), cpu: context.cpu)
    }

    func run(_ context: borrowing DeviceRun) throws {
        let blocks = context.values[partials].elementCount
        try context.launch("optimiser", "sum_of_squares", blocks: (blocks, 1, 1), threads: 256) {
            $0.add(try context.address(gradients))
            $0.add(try context.address(partials))
            $0.add(context.values[gradients].elementCount)
        }
        try context.launch("optimiser", "sum_partials", blocks: (1, 1, 1), threads: 256) {
            $0.add(try context.address(partials))
            $0.add(try context.address(sumOfSquares))
            $0.add(Int32(blocks))
        }
    }
}

/// Counts the update and, where the loss scale is dynamic (float16), adapts it as torch's GradScaler does: half after a step that
/// overflowed, double after 2,000 good ones. Changes the step state in place.
struct LossScaleUpdate: Op {
    var state: ValueID
    let dynamic: Bool

    var kind: String { "loss_scale" }
    var reads: [ValueID] { [state] }
    var writes: [ValueID] { [state] }

    mutating func rename(_ name: Renaming) { name(&state) }

    func check(_ operands: inout OperandCheck) { operands.expect(state, "step state", [StepState.count], .f32) }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(state)) }

    func run(_ context: borrowing CPURun) throws {
        let numbers = try context.floats(state)
        var state = StepState((0..<StepState.count).map { numbers[$0] })
        let skipped = state.skipped != 0
        if !skipped { state.updates += 1 }
        if dynamic {
            var scaling = LossScaling(scale: state.lossScale, goodSteps: Int(state.goodSteps))
            scaling.adapt(skipped: skipped)
            (state.lossScale, state.goodSteps) = (scaling.scale, Float(scaling.goodSteps))
        }
        for (i, number) in state.numbers.enumerated() { numbers[i] = number }
    }

    func run(_ context: borrowing DeviceRun) throws {
        try context.launch("optimiser", "loss_scale", blocks: (1, 1, 1), threads: 32) {
            $0.add(try context.address(state))
            $0.add(Int32(dynamic ? 1 : 0))
            $0.add(Int32(LossScaling.growthInterval))
            $0.add(LossScaling.smallest)
            $0.add(LossScaling.largest)
        }
    }
}

/// The parameters in the activations' type, which the products of a card read. Overwrites narrow [n].
struct NarrowParameters: Op {
    var parameters: ValueID
    var narrow: ValueID

    var kind: String { "parameters.convert" }
    var reads: [ValueID] { [parameters] }
    var writes: [ValueID] { [narrow] }

    mutating func rename(_ name: Renaming) {
        name(&parameters)
        name(&narrow)
    }

    func check(_ operands: inout OperandCheck) {
        operands.expect(parameters, "parameters", nil, .f32)
        operands.expect(narrow, "converted parameters", operands.shape(parameters), .activation)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(parameters) + context.bytes(narrow)) }

    func run(_ context: borrowing CPURun) throws {}

    func run(_ context: borrowing DeviceRun) throws {
        try Self.run(
            context.address(parameters), context.address(narrow), count: context.values[parameters].elementCount, on: context.device, context.element)
    }

    /// The same for addresses.
    static func run(_ from: DeviceAddress, _ to: DeviceAddress, count: Int, on device: any Accelerator, _ element: DeviceElement) throws {
        if element == .f32 { return try device.copy(from, to: to, bytes: count * 4) }
        var arguments = KernelArguments()
        arguments.add(from)
        arguments.add(to)
        arguments.add(count)
        try device.launch(
            KernelLaunch("embedding", "to_element", element, grid: (max(1, (count + 2047) / 2048), 1, 1), threads: 256, arguments: arguments))
    }
}
