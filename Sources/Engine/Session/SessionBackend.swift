import LorikeetDevices
import LorikeetGround

/// Called with an op, the kernel or product that it launched ("" on the processor), and the seconds that took.
typealias OpObserver = (any Op, String, Double) -> Void

/// Where a session's programs run: an arena, the adapters' state, and what executes a program's ops.
protocol SessionBackend: AnyObject {
    /// What programs are made for.
    var target: ProgramTarget { get }

    /// Makes the arena at least this large; its contents may be lost.
    func reserve(_ bytes: Int) throws
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws
    /// float32 values from the arena.
    func read(at offset: Int, count: Int) throws -> [Float]
    /// - Parameters:
    ///   - trainedRows: rows with a target.
    ///   - states: identifies persistent states; nil where the program has none.
    ///   - observe: called with the time of every op; nil measures nothing and may replay a recorded graph.
    func execute(_ program: Program, trainedRows: Int, states: ProgramPurpose?, observe: OpObserver?) throws
    func releaseStates()
    /// Runs a program op by op and returns what its 16-bit values reach; nothing where all are float32.
    func magnitudes(_ program: Program, trainedRows: Int) throws -> [ValueMagnitude]

    func clearGradients() throws
    /// Copies the step state from the backend to the host's `model.adapters`.
    func pullState() throws
    /// Copies the host's step state to the backend.
    func pushState() throws
    /// Copies parameters, gradients, moments and step state from the backend to the host's `model.adapters`.
    func pullAdapters() throws
    /// Copies parameters, gradients, moments and step state from the host to the backend.
    func pushAdapters() throws
}

package struct OptimiserResult: Sendable {
    /// L2 norm of the gradients before clipping.
    package let gradientNorm: Double
    /// The gradients were not finite and nothing was changed (in float16: the loss scale was too large).
    package var skipped = false
}

/// float16's dynamic loss scale, by torch's GradScaler: half after a step that overflowed, double after 2,000 good ones.
package struct LossScaling: Sendable, Equatable {
    package var scale: Float
    /// Good steps since the last change.
    package var goodSteps: Int

    package static let start = LossScaling(scale: 65536, goodSteps: 0)
    package static let smallest: Float = 1
    package static let largest: Float = 16_777_216
    static let growthInterval = 2000

    package init(scale: Float, goodSteps: Int) {
        self.scale = min(Self.largest, max(Self.smallest, scale))
        self.goodSteps = goodSteps
    }

    mutating func adapt(skipped: Bool) {
        goodSteps = skipped ? 0 : goodSteps + 1
        if skipped {
            scale = max(Self.smallest, scale / 2)
        } else if goodSteps == Self.growthInterval {
            scale = min(Self.largest, scale * 2)
            goodSteps = 0
        }
    }
}

/// Runs programs on this machine's processor.
final class CPUBackend: SessionBackend {
    private let model: Model
    private let clock: any Clock
    private var arena: Buffer
    private var states: [ProgramPurpose: [Int: Buffer]] = [:]

    init(model: Model, clock: any Clock) throws {
        self.model = model
        self.clock = clock
        arena = try Buffer(bytes: Schedule.alignment)
    }

    var target: ProgramTarget { .cpu(threads: model.cpu.threads) }

    func reserve(_ bytes: Int) throws {
        if bytes > arena.byteCount { arena = try Buffer(bytes: bytes) }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        UnsafeMutableRawBufferPointer(start: arena.base + offset, count: bytes.count).copyMemory(from: bytes)
    }

    func read(at offset: Int, count: Int) -> [Float] {
        Array(UnsafeBufferPointer(start: arena.pointer(as: Float.self, at: offset), count: count))
    }

    func execute(_ program: Program, trainedRows: Int, states key: ProgramPurpose?, observe: OpObserver?) throws {
        let states = try key.map { try caches(program, key: $0) } ?? [:]
        let trained = model.adapters.elementCount > 0
        var places = states.mapValues { UnsafeMutableRawPointer($0.base) }
        for id in program.values.ids where program.values[id].kind == .persistent {
            if let buffer = model.adapters.buffer(program.values[id].name) { places[id.index] = UnsafeMutableRawPointer(buffer.base) }
        }
        let context = CPURun(
            cpu: model.cpu, values: program.values, weights: model.weights, adapterOn: model.adapterEnabled && trained,
            offsets: program.schedule.offsets, arena: arena.base,
            parameters: trained ? model.adapters.floats(.values).baseAddress : nil,
            gradients: trained ? model.adapters.floats(.gradients).baseAddress : nil,
            states: places)
        guard let observe else {
            for op in program.ops { try op.run(context) }
            return
        }
        for op in program.ops {
            let start = clock.uptime
            try op.run(context)
            observe(op, "", clock.uptime - start)
        }
    }

    /// One buffer a layer, shared by all decoding programs of the same slots and positions.
    private func caches(_ program: Program, key: ProgramPurpose) throws -> [Int: Buffer] {
        let wanted = program.values.ids.filter { program.values[$0].kind == .state }
        var held = states[key] ?? [:]
        if held.isEmpty {
            states = [:]
            for (layer, id) in wanted.enumerated() { held[layer] = try Buffer(bytes: program.values[id].byteCount) }
            states[key] = held
        }
        var byValue: [Int: Buffer] = [:]
        for (layer, id) in wanted.enumerated() { byValue[id.index] = held[layer] }
        return byValue
    }

    func releaseStates() { states = [:] }

    func magnitudes(_ program: Program, trainedRows: Int) -> [ValueMagnitude] { [] }

    func clearGradients() { model.adapters.floats(.gradients).update(repeating: 0) }

    func pullState() {}
    func pushState() {}
    func pullAdapters() {}
    func pushAdapters() {}
}
