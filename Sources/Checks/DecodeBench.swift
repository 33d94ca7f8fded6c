import Glibc
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The benchmark of decoding: new tokens a second, beside what reading the weights and the keys and values of a step would allow at the memory's
/// speed, measured in the same run.
package struct DecodeBench {
    package var configuration: ModelConfiguration
    /// Weights to load; nil makes random ones.
    package var source: ModelSource?
    package var storage: BaseStorage
    package var compute: Compute
    /// Sequences that are decoded together.
    package var sequences = 1
    /// Tokens of each prompt, and new tokens of each sequence.
    package var prompt = 128
    package var new = 128
    /// How many times it is measured; the fastest counts on a processor, the median on a card.
    package var rounds = 5
    package var clock: any Clock = SystemClock()

    package init(configuration: ModelConfiguration, source: ModelSource?, storage: BaseStorage, compute: Compute) {
        self.configuration = configuration
        self.source = source
        self.storage = storage
        self.compute = compute
    }

    /// Bytes that one step of decoding has to read.
    package struct StepBytes: Sendable, Equatable {
        /// The linears in their storage, the head, and the norms; not the rows of an embedding table that is no head.
        package let weights: Int
        /// Keys and values of one position of one sequence, over all layers.
        package let cachedPosition: Int

        /// - Parameter positions: of each sequence, the mean over the steps.
        package func total(sequences: Int, positions: Double) -> Double { Double(weights) + Double(sequences) * positions * Double(cachedPosition) }
    }

    /// What was measured, and the time of each kind of op of one more step, where that was asked for.
    package struct Result: Sendable {
        package let json: JSON
        package let profile: [Session.OpTime]
    }

    /// - Throws: exit 4 when the machine fails.
    package func run(profiled: Bool) throws -> Result {
        let before = try compute.device?.usedBytes() ?? 0
        let start = clock.uptime
        let model =
            try source.map { try compute.model($0, storage: storage, lora: nil) }
            ?? compute.randomModel(configuration, storage: storage, lora: nil)
        let loadSeconds = clock.uptime - start
        let session = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: min(512, sequences * prompt), headChunk: 32))
        // The first run compiles kernels.
        _ = try measure(session, stopAfter: 4)
        var runs: [Timing] = []
        for _ in 0..<rounds { runs.append(try measure(session)) }
        let ordered = runs.sorted { $0.stepSeconds < $1.stepSeconds }
        let chosen = compute.device == nil ? ordered[0] : ordered[ordered.count / 2]
        let used = try compute.device?.usedBytes() ?? 0
        let (bandwidth, method) = try bandwidth()
        let bytes = try Self.stepBytes(configuration, storage, compute.target) { source?.tensor($0)?.type ?? randomType }
        // The step that chooses the k-th new token reads prompt + k - 1 positions; the third to the last are timed.
        let perStep = bytes.total(sequences: sequences, positions: Double(prompt) + Double(new + 1) / 2)
        let speed = Double(sequences) / chosen.stepSeconds
        let limit = Double(sequences) * bandwidth / perStep
        let json: JSON = [
            "tokens_per_second": .number(speed), "limit_tokens_per_second": .number(limit), "share_of_limit": .number(speed / limit),
            "step_seconds": .number(chosen.stepSeconds), "predicted_step_seconds": try predictedStepSeconds().map { .number($0) } ?? .null,
            "step_processor_seconds": .number(runs.map(\.stepProcessorSeconds).min() ?? 0),
            "prompt_tokens_per_second": .number(Double(sequences * prompt) / chosen.promptSeconds),
            "sequences": JSON(sequences), "prompt": JSON(prompt), "new": JSON(new), "weight_bytes": JSON(bytes.weights),
            "cached_position_bytes": JSON(bytes.cachedPosition), "bytes_per_step": .number(perStep), "bandwidth_bytes_per_second": .number(bandwidth),
            "bandwidth_method": .string(method), "device": .string(compute.device?.properties.name ?? "cpu"),
            "compute_type": .string(compute.element.suffix), "gpu_arch": JSON(compute.device?.properties.architecture ?? 0),
            "base_storage": .string(storage.rawValue), "threads": JSON(compute.cpu.threads), "rounds": JSON(rounds),
            "peak_device_bytes": JSON(used), "device_bytes_before": JSON(before), "peak_rss_bytes": .integer(Machine.peakResidentBytes()),
            "load_seconds": .number(loadSeconds),
        ]
        return Result(json: json, profile: profiled ? try session.profileDecoding(sequences: sequences, positions: prompt + new / 2) : [])
    }

    /// What a plan predicts for a step on the card; nil on a processor, whose rates a plan measures.
    private func predictedStepSeconds() throws -> Double? {
        guard let card = compute.device?.properties else { return nil }
        var request = ProgramRequest(storage: storage, lora: nil, sizes: SessionSizes(training: 0, evaluation: 32), target: compute.target)
        (request.slots, request.positions) = (sequences, prompt + new)
        let plan = try Session.plan(configuration, request) { source?.tensor($0)?.type ?? randomType }
        return plan.decoding.map { plan.seconds($0, Workload(), DeviceModel.predicting(card, compute.element).decoding) + DeviceModel.submissionSeconds }
    }

    /// What random weights that are no linears are stored as on the processor.
    private var randomType: ElementType { storage == .nf4 ? .bf16 : ElementType(rawValue: storage.rawValue) ?? .f32 }

    private struct Timing {
        /// Seconds of reading all prompts and choosing each sequence's first token.
        let promptSeconds: Double
        /// Mean seconds of the steps after the second token; the step of the second token is left out because its program is made in it.
        let stepSeconds: Double
        /// The same in seconds of processor time, of all threads.
        let stepProcessorSeconds: Double
    }

    /// - Parameter stopAfter: new tokens after which each sequence ends early; what is measured then says nothing.
    private func measure(_ session: Session, stopAfter: Int? = nil) throws -> Timing {
        let vocabulary = UInt64(configuration.vocabularySize)
        let prompts = (0..<sequences).map { sequence in (0..<prompt).map { Int32(mix64(UInt64(sequence * prompt + $0)) % vocabulary) } }
        let start = clock.uptime
        var told = 0
        // When the last sequence has its first and its second token.
        var (first, second, processor) = (start, start, Self.processorSeconds)
        _ = try session.generate(
            prompts.map { GenerationRequest(prompt: $0, maxNewTokens: new) }, rules: .greedy, endTokens: [], slots: sequences
        ) { _, _ in
            told += 1
            if told == sequences { first = clock.uptime }
            if told == 2 * sequences { (second, processor) = (clock.uptime, Self.processorSeconds) }
            return stopAfter.map { told < $0 * sequences } ?? true
        }
        let steps = Double(max(1, new - 2))
        return Timing(
            promptSeconds: first - start, stepSeconds: (clock.uptime - second) / steps,
            stepProcessorSeconds: (Self.processorSeconds - processor) / steps)
    }

    /// Processor time of this process so far: user and system, all threads.
    private static var processorSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// - Parameter stored: a tensor's element type in the file; float32 where it says nil.
    package static func stepBytes(
        _ configuration: ModelConfiguration, _ storage: BaseStorage, _ target: ProgramTarget, stored: (String) -> ElementType?
    ) throws -> StepBytes {
        var request = ProgramRequest(storage: storage, lora: nil, sizes: SessionSizes(training: 0, evaluation: 32), target: target)
        (request.slots, request.positions) = (1, Session.granularity)
        let plan = try Session.plan(configuration, request, stored: stored)
        // The cache has a slot more, which padding writes to.
        return StepBytes(
            weights: configuration.family.bytesPerToken(storage, target, stored: stored), cachedPosition: plan.cacheBytes / 2 / Session.granularity)
    }

    // MARK: the memory's speed

    /// Bytes a second of the memory that holds the weights, and how they were measured.
    private func bandwidth() throws -> (Double, String) {
        if let device = compute.device {
            if let rate = try Self.copyRate(device) { return (rate, "a copy on the card, bytes read and written") }
            return (TableModel(device.properties, compute.element).model.bytesPerSecond, "the table's rate for the card's architecture")
        }
        return (try readRate(), "reading memory with all threads")
    }

    /// Copies 256 MiB (less on a small card) in rows of ten; the fastest row counts. nil for a device that measures no time.
    private static func copyRate(_ device: any Accelerator) throws -> Double? {
        let bytes = min(256 << 20, device.properties.totalBytes / 16)
        return try device.withMemory(bytes: bytes) { from -> Double? in
            try device.withMemory(bytes: bytes) { to -> Double? in
                try device.zero(from, bytes: bytes)
                try device.copy(from, to: to, bytes: bytes)
                var best = Double.infinity
                for _ in 0..<5 {
                    try device.mark()
                    for _ in 0..<10 { try device.copy(from, to: to, bytes: bytes) }
                    try device.mark()
                    best = min(best, try device.marks().reduce(0, +) / 10)
                }
                return best > 0 && best.isFinite ? 2 * Double(bytes) / best : nil
            }
        }
    }

    /// Reads 256 MiB, which no cache holds.
    private func readRate() throws -> Double {
        let bytes = 256 << 20
        let buffer = try Buffer(bytes: bytes)
        // Pages that were never written to are all mapped to one page of zeros.
        memset(buffer.base, 1, bytes)
        // Kept, so that no compiler leaves the reading out.
        let sums = UnsafeMutablePointer<UInt64>.allocate(capacity: compute.cpu.threads)
        defer { sums.deallocate() }
        var best = Double.infinity
        for _ in 0..<5 {
            let start = clock.uptime
            let words = buffer.pointer(as: SIMD8<UInt64>.self)
            let lanes = MemoryLayout<SIMD8<UInt64>>.size
            compute.cpu.parallelRanges(over: bytes / lanes, grain: 1 << 10) { range, worker in
                // Four sums, so that none waits for the one before.
                var (a, b, c, d) = (SIMD8<UInt64>.zero, SIMD8<UInt64>.zero, SIMD8<UInt64>.zero, SIMD8<UInt64>.zero)
                for i in stride(from: range.lowerBound, to: range.upperBound - 3, by: 4) {
                    a &+= words[i]
                    b &+= words[i + 1]
                    c &+= words[i + 2]
                    d &+= words[i + 3]
                }
                sums[worker] = (a &+ b &+ c &+ d).wrappedSum()
            }
            best = min(best, clock.uptime - start)
        }
        return Double(bytes) / best
    }
}
