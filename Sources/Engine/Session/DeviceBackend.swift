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
    var interruption: (@Sendable () -> Bool)?
    /// nil while a session has reserved nothing, and after a reservation that failed.
    private var arena: DeviceAllocation?
    /// The host's memory of parked values.
    private var parked: DeviceAllocation?
    /// KV caches by name, one a layer, shared by all decoding programs of the same slots and positions.
    private var caches: [String: DeviceAllocation] = [:]
    private var cacheKey: ProgramPurpose?
    private var graphs: [GraphKey: any RecordedWork] = [:]
    private var runs: [GraphKey: Int] = [:]

    /// The step program's persistent values in one block, by name.
    private let persistentMemory: DeviceAllocation
    private let persistent: [String: DeviceAddress]

    private struct GraphKey: Hashable {
        let purpose: ProgramPurpose
        let tokens: Int
        let chunks: Int
        let adapterOn: Bool
    }

    init(model: Model, on placed: ModelDevice) throws {
        self.model = model
        device = placed.device
        element = placed.element
        weights = placed.weights
        let program = StepProgram.build(
            count: model.adapters.elementCount, optimiser: model.adapters.optimiser, target: .device(placed.element))
        persistentMemory = try DeviceAllocation(on: device, bytes: max(256, program.persistentBytes))
        var (addresses, used): ([String: DeviceAddress], Int) = ([:], 0)
        for value in program.persistentValues {
            addresses[value.name] = persistentMemory.address + used
            used += value.byteCount.roundedUp(toMultipleOf: program.target.alignment)
        }
        persistent = addresses
    }

    private func address(_ name: String) throws -> DeviceAddress {
        guard let address = persistent[name] else {
            throw LorikeetError.machine("the card does not hold \(name)", fix: "report this with lorikeet plan --explain's output")
        }
        return address
    }

    var target: ProgramTarget { .device(element) }

    func reserve(_ bytes: Int) throws {
        if let arena, bytes <= arena.bytes { return }
        try device.synchronize()
        // Graphs hold addresses of the old arena. It goes first: a card seldom has room for both.
        graphs = [:]
        arena = nil
        arena = try DeviceAllocation(on: device, bytes: bytes)
    }

    func reserveParked(_ bytes: Int) throws {
        guard bytes > parked?.bytes ?? 0 else { return }
        try device.synchronize()
        graphs = [:]
        parked = nil
        parked = try DeviceAllocation(on: device, bytes: bytes, onHost: true)
    }

    private func arenaAddress() throws -> DeviceAddress {
        guard let arena else {
            throw LorikeetError.machine(
                "a program was run without memory for its values on the card", fix: "free memory of the card and run the same command again")
        }
        return arena.address
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws { try device.upload(bytes, to: try arenaAddress() + offset) }

    func read<Result>(at offset: Int, count: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        try device.fetch(try arenaAddress() + offset, count: 4 * count).read { try body($0.bindMemory(to: Float.self)) }
    }

    func fetch(at offset: Int, count: Int) throws -> () throws -> [Float] {
        let fetched = try device.fetch(try arenaAddress() + offset, count: 4 * count)
        return {
            try [Float](unsafeUninitializedCapacity: count) { values, filled in
                try fetched.read(into: UnsafeMutableRawBufferPointer(values))
                filled = count
            }
        }
    }

    private func floats(_ address: DeviceAddress, _ count: Int) throws -> [Float] {
        var values = [Float](repeating: 0, count: count)
        try values.withUnsafeMutableBytes { try device.download(address, into: $0) }
        return values
    }

    func execute(_ program: Program, trainedRows: Int, caches key: ProgramPurpose?, observe: OpObserver?) throws {
        if let key { try makeCaches(program, key) }
        try reserveParked(program.parkedBytes)
        func runAll(on device: any Accelerator, after: (any Op) throws -> Void = { _ in }) throws {
            let context = try context(program, on: device, trainedRows: trainedRows)
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
        // A step program is short: a graph of it would save nothing.
        if program.purpose == .step { return try runAll(on: device) }
        if let interruption, interruption() { throw Interrupted() }
        if let graph = graphs[graphKey] { return try graph.run() }
        let seen = runs[graphKey, default: 0]
        if seen == 0 { try prepare(program, trainedRows: trainedRows) }
        // The first run compiles kernels and chooses the products' algorithms, so that nothing has to be set up while the second is recorded.
        if seen > 0, let graph = try device.record({ try runAll(on: device) }) {
            graphs[graphKey] = graph
            return try graph.run()
        }
        try runAll(on: device)
        runs[graphKey] = seen + 1
    }

    private var adapterOn: Bool { model.adapterEnabled && model.adapters.elementCount > 0 }

    /// - Parameter device: this one, or a `LaunchList` or `TimedAccelerator` in its place.
    private func context(_ program: Program, on device: any Accelerator, trainedRows: Int) throws -> DeviceRun {
        var places: [Int: DeviceAddress] = [:]
        for id in program.values.ids where program.values[id].kind == .persistent {
            let name = program.values[id].name
            places[id.index] = try caches[name]?.address ?? address(name)
        }
        return DeviceRun(
            device: device, element: element, values: program.values, weights: weights, adapterOn: adapterOn, offsets: program.schedule.offsets,
            arena: try arenaAddress(), parameters: try address(PersistentName.narrow), gradients: try address(PersistentName.gradients),
            persistent: places, lossScale: try address(PersistentName.state), parked: parked?.address,
            trainedRows: trainedRows)
    }

    /// Compiles all kernels that the program and the optimiser step launch, on several threads: compiling each at its first launch would
    /// take several times as long.
    private func prepare(_ program: Program, trainedRows: Int, beside more: [KernelModule] = []) throws {
        let list = LaunchList(device.properties)
        let context = try context(program, on: list, trainedRows: trainedRows)
        for op in program.ops { try op.run(context) }
        if program.purpose == .training {
            let step = StepProgram.build(
                count: model.adapters.elementCount, optimiser: model.adapters.optimiser, target: .device(element))
            let context = try self.context(step, on: list, trainedRows: 0)
            for op in step.ops { try op.run(context) }
        }
        device.prepare(list.modules + more)
    }

    /// Makes the caches of `key`, once those of another are freed: a card seldom has room for both.
    private func makeCaches(_ program: Program, _ key: ProgramPurpose) throws {
        if key != cacheKey {
            releaseCaches()
            cacheKey = key
        }
        for value in program.persistentValues where persistent[value.name] == nil && caches[value.name] == nil {
            caches[value.name] = try DeviceAllocation(on: device, bytes: value.byteCount)
        }
    }

    func releaseCaches() {
        // Graphs of decoding hold the caches' addresses.
        graphs = graphs.filter { !$0.key.purpose.isDecoding }
        (caches, cacheKey) = ([:], nil)
    }

    func spreadCache(positions: Int) throws {
        for cache in caches.values {
            guard let (starts, bytes) = cacheKey?.slotStarts(cacheBytes: cache.bytes, positions: positions) else { continue }
            for start in starts { try device.copy(cache.address, to: cache.address + start, bytes: bytes) }
        }
    }

    // MARK: the adapters' state

    func clearGradients() throws { try device.zero(address(PersistentName.gradients), bytes: model.adapters.elementCount * 4) }

    func fetchState() throws -> () throws -> Void {
        let state = UnsafeMutableRawBufferPointer(model.adapters.floats(named: PersistentName.state))
        let fetched = try device.fetch(address(PersistentName.state), count: state.count)
        return { [model] in try withExtendedLifetime(model) { try fetched.read(into: state) } }
    }

    func pushState() throws { try upload(PersistentName.state) }

    private func upload(_ name: String) throws {
        try device.upload(UnsafeRawBufferPointer(model.adapters.floats(named: name)), to: address(name))
    }

    private func download(_ name: String) throws {
        try device.download(address(name), into: UnsafeMutableRawBufferPointer(model.adapters.floats(named: name)))
    }

    private var heldNames: [String] { model.adapters.program.persistentValues.map(\.name).filter { $0 != PersistentName.gradients } }

    func pushAdapters() throws {
        guard model.adapters.elementCount > 0 else { return try pushState() }
        for name in heldNames { try upload(name) }
        // On the card gradients are those of the scaled loss.
        let scale = model.adapters.state.lossScale
        let scaled = model.adapters.floats(.gradients).map { $0 * scale }
        try scaled.withUnsafeBytes { try device.upload($0, to: address(PersistentName.gradients)) }
        // The parameters in the activations' type, which products read.
        let (from, to, count) = (try address(PersistentName.parameters), try address(PersistentName.narrow), model.adapters.elementCount)
        try NarrowParameters.run(from, to, count: count, on: device, element)
    }

    func pullAdapters() throws {
        guard model.adapters.elementCount > 0 else { return }
        for name in heldNames + [PersistentName.gradients] { try download(name) }
        let (gradients, scale) = (model.adapters.floats(.gradients), model.adapters.state.lossScale)
        if scale != 1 { for i in gradients.indices { gradients[i] /= scale } }
    }

    func magnitudes(_ program: Program, trainedRows: Int) throws -> [ValueMagnitude] {
        let probe = RangeProbe(program, trainedRows: trainedRows)
        guard !probe.isEmpty else { return [] }
        try prepare(program, trainedRows: trainedRows, beside: [RangeProbe.module(element)])
        let context = try context(program, on: device, trainedRows: trainedRows)
        var found: [ValueMagnitude] = []
        try device.withMemory(bytes: 4 * RangeProbe.blocks) { partial in
            for op in program.ops {
                if let interruption, interruption() { throw Interrupted() }
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
