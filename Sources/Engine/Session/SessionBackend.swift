import LorikeetDevices
import LorikeetGround

/// Called with an op, the kernel or product that it launched ("" on the processor), and the seconds that took.
typealias OpObserver = (any Op, String, Double) -> Void

/// Where a session's programs run: an arena, the adapters' state, and what executes a program's ops.
protocol SessionBackend: AnyObject {
    /// What programs are made for.
    var target: ProgramTarget { get }
    /// See `Session.interruption`.
    var interruption: (@Sendable () -> Bool)? { get set }

    /// Makes the arena at least this large; its contents may be lost.
    func reserve(_ bytes: Int) throws
    /// Makes the memory of parked values at least this large; its contents may be lost.
    func reserveParked(_ bytes: Int) throws
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws
    /// float32 values from the arena, as they are when the work before this call has ended; the returned function waits for them.
    func fetch(at offset: Int, count: Int) throws -> () throws -> [Float]
    /// The same at once, where they lie: `body` gets the values, which are there only while it runs.
    func read<Result>(at offset: Int, count: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result
    /// - Parameters:
    ///   - trainedRows: rows with a target.
    ///   - caches: which KV caches the program works on: those of another key are freed. nil where it has none.
    ///   - observe: called with the time of every op; nil measures nothing and may replay a recorded graph.
    func execute(_ program: Program, trainedRows: Int, caches: ProgramPurpose?, observe: OpObserver?) throws
    func releaseCaches()
    /// Copies the first positions of the KV caches' first slot to the other slots.
    func spreadCache(positions: Int) throws
    /// Runs a program op by op and returns what its 16-bit values reach; nothing where all are float32.
    func magnitudes(_ program: Program, trainedRows: Int) throws -> [ValueMagnitude]

    func clearGradients() throws
    /// Fetches the step state; the returned function waits for it and writes it to the host's `model.adapters`.
    func fetchState() throws -> () throws -> Void
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
    package var skipped: Bool

    package init(gradientNorm: Double, skipped: Bool = false) { (self.gradientNorm, self.skipped) = (gradientNorm, skipped) }
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
    var interruption: (@Sendable () -> Bool)?
    var arena: Buffer
    /// By name, one a layer, shared by all decoding programs of the same slots and positions.
    private var caches: [String: Buffer] = [:]
    private var cacheKey: ProgramPurpose?

    init(model: Model, clock: any Clock) throws {
        self.model = model
        self.clock = clock
        arena = try Buffer(bytes: Schedule.alignment)
    }

    var target: ProgramTarget { .cpu(threads: model.cpu.threads) }

    func reserve(_ bytes: Int) throws {
        if bytes > arena.byteCount { arena = try Buffer(bytes: bytes) }
    }

    /// The processor's programs park nothing.
    func reserveParked(_ bytes: Int) {}

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        UnsafeMutableRawBufferPointer(start: arena.base + offset, count: bytes.count).copyMemory(from: bytes)
    }

    func read<Result>(at offset: Int, count: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        try body(UnsafeBufferPointer(start: arena.pointer(as: Float.self, at: offset), count: count))
    }

    func fetch(at offset: Int, count: Int) -> () throws -> [Float] {
        let values = Array(UnsafeBufferPointer(start: arena.pointer(as: Float.self, at: offset), count: count))
        return { values }
    }

    func execute(_ program: Program, trainedRows: Int, caches key: ProgramPurpose?, observe: OpObserver?) throws {
        let trained = model.adapters.elementCount > 0
        let context = CPURun(
            cpu: model.cpu, values: program.values, weights: model.weights, adapterOn: model.adapterEnabled && trained,
            offsets: program.schedule.offsets, arena: arena.base,
            parameters: trained ? model.adapters.floats(.values).baseAddress : nil,
            gradients: trained ? model.adapters.floats(.gradients).baseAddress : nil,
            persistent: try places(program, caches: key))
        guard let observe else {
            // The update's few ops belong together.
            let interruption = program.purpose == .step ? nil : interruption
            for op in program.ops {
                if let interruption, interruption() { throw Interrupted() }
                try op.run(context)
            }
            return
        }
        for op in program.ops {
            let start = clock.uptime
            try op.run(context)
            observe(op, "", clock.uptime - start)
        }
    }

    /// Where the program's persistent values are: what is trained, and the caches of `key`, which are made here.
    private func places(_ program: Program, caches key: ProgramPurpose?) throws -> [Int: UnsafeMutableRawPointer] {
        if let key, key != cacheKey {
            releaseCaches()
            cacheKey = key
        }
        var places: [Int: UnsafeMutableRawPointer] = [:]
        for id in program.values.ids where program.values[id].kind == .persistent {
            let value = program.values[id]
            if key != nil, model.adapters.buffer(value.name) == nil, caches[value.name] == nil { caches[value.name] = try Buffer(bytes: value.byteCount) }
            if let buffer = model.adapters.buffer(value.name) ?? caches[value.name] { places[id.index] = UnsafeMutableRawPointer(buffer.base) }
        }
        return places
    }

    func releaseCaches() { (caches, cacheKey) = ([:], nil) }

    func spreadCache(positions: Int) {
        for cache in caches.values {
            guard let (starts, bytes) = cacheKey?.slotStarts(cacheBytes: cache.byteCount, positions: positions) else { continue }
            for start in starts { (cache.base + start).copyMemory(from: cache.base, byteCount: bytes) }
        }
    }

    func magnitudes(_ program: Program, trainedRows: Int) -> [ValueMagnitude] { [] }

    func clearGradients() { model.adapters.floats(.gradients).update(repeating: 0) }

    func fetchState() -> () throws -> Void { {} }
    func pushState() {}
    func pullAdapters() {}
    func pushAdapters() {}
}

extension ProgramPurpose {
    /// Where the slots but the first start in a KV cache [slots, positions, …] of this many bytes, and the bytes of a slot's first `count` positions.
    func slotStarts(cacheBytes: Int, positions count: Int) -> (starts: [Int], bytes: Int)? {
        guard case .decoding(let slots, let positions, _) = self, slots > 0, positions > 0 else { return nil }
        let slot = cacheBytes / slots
        return ((1..<max(1, slots)).map { $0 * slot }, slot / positions * min(count, positions))
    }
}
