import Glibc
import LorikeetDevices
import LorikeetGround

/// A card with a model's frozen weights on it.
package final class ModelDevice {
    package let device: any Accelerator
    package let element: DeviceElement
    package let weights: DeviceWeights

    package init(device: any Accelerator, element: DeviceElement, weights: DeviceWeights) {
        (self.device, self.element, self.weights) = (device, element, weights)
    }
}

/// Runs programs on a card. A program's first run launches its ops one by one; from the second on it is replayed as a graph.
final class DeviceBackend: SessionBackend {
    private let model: Model
    private let device: any Accelerator
    private let element: DeviceElement
    private let weights: DeviceWeights
    /// nil while a session has reserved nothing, and after a reservation that failed.
    private var arena: DeviceAllocation?
    private var states: [ProgramPurpose: [Int: DeviceAllocation]] = [:]
    private var graphs: [GraphKey: any RecordedWork] = [:]
    private var runs: [GraphKey: Int] = [:]

    /// Adapters on the card: float32 values, gradients and moments, and the values in the activations' type.
    private let adapters: Adapters?
    /// The loss scale; from byte 8 on AdamW's numbers as doubles; from 64 on its report; then partial sums as doubles.
    private let scalarMemory: DeviceAllocation
    private var scalars: DeviceAddress { scalarMemory.address }
    private(set) var lossScaling: LossScaling?
    private var lossScale: Float { lossScaling?.scale ?? 1 }

    private struct GraphKey: Hashable {
        let purpose: ProgramPurpose
        let tokens: Int
        let chunks: Int
        let adapterOn: Bool
    }

    private struct Adapters {
        /// Holds everything below.
        let memory: DeviceAllocation
        let values, gradients, first, second, narrow: DeviceAddress
        let count: Int

        init(_ memory: DeviceAllocation, count: Int) {
            let step = (count * 4 + 255) / 256 * 256
            (self.memory, self.count) = (memory, count)
            values = memory.address
            (gradients, first, second, narrow) = (values + step, values + 2 * step, values + 3 * step, values + 4 * step)
        }
    }

    init(model: Model, on placed: ModelDevice) throws {
        self.model = model
        device = placed.device
        element = placed.element
        weights = placed.weights
        let count = model.adapters.elementCount
        scalarMemory = try DeviceAllocation(on: device, bytes: Self.scalarBytes(count))
        let adapterBytes = Self.adapterBytes(count: count, element) - Self.scalarBytes(count)
        adapters = count > 0 ? Adapters(try DeviceAllocation(on: device, bytes: adapterBytes), count: count) : nil
        // float16 starts where torch's GradScaler does; the others need no scale.
        if element == .f16 { lossScaling = .start }
        try writeLossScale()
        try pushAdapters()
    }

    private static func scalarBytes(_ count: Int) -> Int { 256 + 8 * ((count + 4095) / 4096 + 1) }

    /// What `count` trained parameters take on a card: values, gradients, two moments, values in the activations' type, partial sums.
    static func adapterBytes(count: Int, _ element: DeviceElement) -> Int { count * (16 + element.bytes) + 5 * 256 + scalarBytes(count) }

    var target: ProgramTarget { .device(element) }

    func reserve(_ bytes: Int) throws {
        if let arena, bytes <= arena.bytes { return }
        try device.synchronize()
        // Graphs hold addresses of the old arena. It goes first: a card seldom has room for both.
        graphs = [:]
        arena = nil
        arena = try DeviceAllocation(on: device, bytes: bytes)
    }

    private func arenaAddress() throws -> DeviceAddress {
        guard let arena else {
            throw LorikeetError.machine(
                "a program was run without memory for its values on the card", mend: "free memory of the card and run the same command again")
        }
        return arena.address
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws { try device.upload(bytes, to: try arenaAddress() + offset) }

    func read(at offset: Int, count: Int) throws -> [Float] { try floats(try arenaAddress() + offset, count) }

    private func floats(_ address: DeviceAddress, _ count: Int) throws -> [Float] {
        var values = [Float](repeating: 0, count: count)
        try values.withUnsafeMutableBytes { try device.download(address, into: $0) }
        return values
    }

    func execute(_ program: Program, trainedRows: Int, states key: ProgramPurpose?, observe: OpObserver?) throws {
        let states = try key.map { try caches(program, key: $0) } ?? [:]
        func runAll(on device: any Accelerator, after: (any Op) throws -> Void = { _ in }) throws {
            let context = try context(program, on: device, trainedRows: trainedRows, states: states)
            for op in program.ops {
                try op.run(context)
                try after(op)
            }
        }
        if let observe {
            let timed = TimedAccelerator(device)
            var owners: [any Op] = []
            try runAll(on: timed) { op in owners += Array(repeating: op, count: timed.count - owners.count) }
            for (op, (label, seconds)) in zip(owners, try timed.times()) { observe(op, label, seconds) }
            return
        }
        let chunk = model.headChunk(program)
        let graphKey = GraphKey(purpose: program.purpose, tokens: program.tokens, chunks: (trainedRows + chunk - 1) / chunk, adapterOn: adapterOn)
        if let graph = graphs[graphKey] { return try graph.run() }
        let seen = runs[graphKey, default: 0]
        if seen == 0 { try prepare(program, trainedRows: trainedRows, states: states) }
        // Products are planned while the first run asks for them; recording finds everything in place.
        if seen > 0, states.isEmpty, let graph = try device.record({ try runAll(on: device) }) {
            graphs[graphKey] = graph
            return try graph.run()
        }
        try runAll(on: device)
        runs[graphKey] = seen + 1
    }

    private var adapterOn: Bool { model.adapterEnabled && adapters != nil }

    /// - Parameter device: this one, or one that stands for it.
    private func context(_ program: Program, on device: any Accelerator, trainedRows: Int, states: [Int: DeviceAddress] = [:]) throws -> DeviceRun {
        DeviceRun(
            device: device, element: element, values: program.values, weights: weights, adapterOn: adapterOn, offsets: program.schedule.offsets,
            arena: try arenaAddress(), parameters: adapters?.narrow, gradients: adapters?.gradients, states: states, lossScale: scalars,
            trainedRows: trainedRows)
    }

    /// Has everything compiled that the program launches, and the step after it, at once: one by one it would take several times as long.
    private func prepare(_ program: Program, trainedRows: Int, states: [Int: DeviceAddress] = [:], beside more: [KernelModule] = []) throws {
        let list = LaunchList(device.properties)
        let context = try context(program, on: list, trainedRows: trainedRows, states: states)
        for op in program.ops { try op.run(context) }
        device.prepare(list.modules + more + (program.purpose == .training ? [KernelModule("optimiser", element)] : []))
    }

    private func caches(_ program: Program, key: ProgramPurpose) throws -> [Int: DeviceAddress] {
        let wanted = program.values.ids.filter { program.values[$0].kind == .state }
        var held = states[key] ?? [:]
        if held.isEmpty {
            releaseStates()
            for (layer, id) in wanted.enumerated() { held[layer] = try DeviceAllocation(on: device, bytes: program.values[id].byteCount) }
            states[key] = held
        }
        var byValue: [Int: DeviceAddress] = [:]
        for (layer, id) in wanted.enumerated() { byValue[id.index] = held[layer]?.address }
        return byValue
    }

    func releaseStates() { states = [:] }

    // MARK: the adapters' state

    private func writeLossScale() throws { try [lossScale].withUnsafeBytes { try device.upload($0, to: scalars) } }

    func clearGradients() throws {
        if let adapters { try device.zero(adapters.gradients, bytes: adapters.count * 4) }
    }

    func pushAdapters() throws {
        guard let adapters else { return }
        for (buffer, to) in [
            (model.adapters.values, adapters.values), (model.adapters.gradients, adapters.gradients), (model.adapters.firstMoment, adapters.first),
            (model.adapters.secondMoment, adapters.second),
        ] {
            try device.upload(UnsafeRawBufferPointer(start: buffer.base, count: adapters.count * 4), to: to)
        }
        // On the card gradients are those of the scaled loss.
        if lossScale != 1 {
            let gradients = model.adapters.floats(\.gradients)
            let scaled = (0..<adapters.count).map { gradients[$0] * lossScale }
            try scaled.withUnsafeBytes { try device.upload($0, to: adapters.gradients) }
        }
        try narrowValues()
    }

    func pullAdapters() throws {
        guard let adapters else { return }
        for (buffer, from) in [
            (model.adapters.values, adapters.values), (model.adapters.gradients, adapters.gradients), (model.adapters.firstMoment, adapters.first),
            (model.adapters.secondMoment, adapters.second),
        ] {
            try device.download(from, into: UnsafeMutableRawBufferPointer(start: buffer.base, count: adapters.count * 4))
        }
        let gradients = model.adapters.floats(\.gradients)
        if lossScale != 1 { for i in 0..<adapters.count { gradients[i] /= lossScale } }
    }

    /// The adapters in the activations' type, which products read.
    private func narrowValues() throws {
        guard let adapters else { return }
        if element == .f32 { return try device.copy(adapters.values, to: adapters.narrow, bytes: adapters.count * 4) }
        try launch("embedding", "to_element", blocks: (adapters.count + 2047) / 2048, threads: 256) {
            $0.add(adapters.values)
            $0.add(adapters.narrow)
            $0.add(adapters.count)
        }
    }

    private func launch(_ source: String, _ kernel: String, blocks: Int, threads: Int, _ fill: (inout KernelArguments) -> Void) throws {
        var arguments = KernelArguments()
        fill(&arguments)
        try device.launch(KernelLaunch(source, kernel, element, grid: (max(1, blocks), 1, 1), threads: threads, arguments: arguments))
    }

    func optimiserStep(learningRate: Double, settings: AdamWSettings, step: Int) throws -> OptimiserResult {
        guard let adapters else { return OptimiserResult(gradientNorm: 0) }
        let numbers = [
            learningRate / (1 - pow(settings.beta1, Double(step))), 1 / (1 - pow(settings.beta2, Double(step))).squareRoot(),
            1 - learningRate * settings.weightDecay, settings.maxGradNorm ?? 0, 1 / Double(lossScale),
        ]
        try numbers.withUnsafeBytes { try device.upload($0, to: scalars + 8) }
        let (report, sum, partial) = (scalars + 64, scalars + 128, scalars + 256)
        let blocks = (adapters.count + 4095) / 4096
        try launch("optimiser", "sum_of_squares", blocks: blocks, threads: 256) {
            $0.add(adapters.gradients)
            $0.add(partial)
            $0.add(adapters.count)
        }
        try launch("optimiser", "sum_partials", blocks: 1, threads: 256) {
            $0.add(partial)
            $0.add(sum)
            $0.add(Int32(blocks))
        }
        try launch("optimiser", "adamw", blocks: min((adapters.count + 1023) / 1024, 8 * device.properties.multiprocessors), threads: 256) {
            $0.add(adapters.values)
            $0.add(adapters.gradients)
            $0.add(adapters.first)
            $0.add(adapters.second)
            $0.add(sum)
            $0.add(report)
            $0.add(scalars + 8)
            $0.add(adapters.count)
            $0.add(Float(settings.beta1))
            $0.add(Float(settings.beta2))
            $0.add(Float(1 - settings.beta1))
            $0.add(Float(1 - settings.beta2))
            $0.add(Float(settings.epsilon))
        }
        try narrowValues()
        let reported = try floats(report, 2)
        let skipped = reported[1] != 0
        let before = lossScale
        lossScaling?.adapt(skipped: skipped)
        if lossScale != before { try writeLossScale() }
        return OptimiserResult(gradientNorm: Double(reported[0]), skipped: skipped)
    }

    func setLossScaling(_ scaling: LossScaling) throws {
        guard lossScaling != nil else { return }
        lossScaling = scaling
        try writeLossScale()
    }

    func magnitudes(_ program: Program, trainedRows: Int) throws -> [ValueMagnitude] {
        let probe = RangeProbe(program, trainedRows: trainedRows)
        guard !probe.isEmpty else { return [] }
        try prepare(program, trainedRows: trainedRows, beside: [RangeProbe.module(element)])
        let context = try context(program, on: device, trainedRows: trainedRows)
        var found: [ValueMagnitude] = []
        try device.withMemory(bytes: 4 * RangeProbe.blocks) { partial in
            for op in program.ops {
                try op.run(context)
                for (value, count) in probe.watched(op) {
                    try probe.launch(context.address(value), count: count, into: partial, on: device, element)
                    let largest = try floats(partial, RangeProbe.blocks).reduce(0) { $1 > $0 || $1.isNaN ? ($1.isNaN ? .infinity : $1) : $0 }
                    found.append(ValueMagnitude(op: op.kind, detail: probe.name(op, value), largest: largest))
                }
            }
        }
        return found
    }
}
