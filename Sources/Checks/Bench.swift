import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The benchmark of a training step, on random weights of a known shape or on a model: tokens a second, and their share of what the best
/// matrix product of the step's sizes would allow, measured in the same run.
package struct Bench {
    package var configuration: ModelConfiguration
    /// Weights to load; nil makes random ones.
    package var source: ModelSource?
    package var storage: BaseStorage
    package var lora: LoRASettings
    package var compute: Compute
    /// Rows of a step, in segments of `sequence`: one micro-batch, or those of replicas; nil takes the fastest micro-batch that fits on a card.
    package var tokens: Int?
    /// Tokens of a segment.
    package var sequence = 512
    /// How many times the batches are measured.
    package var rounds = 15
    /// Bytes of the card's memory that may be used; nil allows all of it.
    package var memoryCap: Int?
    /// Lengths of records in tokens: each `recordsPerStep` of them are one step, packed into one micro-batch. nil makes one micro-batch of `tokens`.
    package var lengths: [Int]?
    package var clock: any Clock = SystemClock()
    /// Whether the program is fused; see `PassPolicy.fuse`.
    package var fuse = true
    /// By which a step on the processor is predicted; nil predicts none there.
    package var processor: DeviceModel?

    package init(configuration: ModelConfiguration, source: ModelSource?, storage: BaseStorage, lora: LoRASettings, compute: Compute) {
        self.configuration = configuration
        self.source = source
        self.storage = storage
        self.lora = lora
        self.compute = compute
    }

    package struct Result {
        /// The measurements, in the form of `bench --json`.
        package let json: JSON
        /// The time of each kind of op; empty unless asked for.
        package let profile: [Session.OpTime]
    }

    /// Sizes and recomputation of the step: as asked for, or on a card the fastest under the memory cap.
    private struct Choice {
        var sizes: SessionSizes
        var passes = PassPolicy.norms
        var keepsExpanded = false
        var embeddingOnHost = false
        var predictedBytes = 0
        /// Of the host.
        var pinnedBytes = 0
        /// Seconds of a step.
        var predictedSeconds: Double?
    }

    /// Micro-batch sizes, in rows, that are tried on a card: whole segments, up to 16,384 rows.
    package static func candidates(_ sequence: Int) -> [Int] {
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32].map { $0 * sequence }.filter { $0 <= max(sequence, 16384) }
    }

    /// The mean of the steps on the processor, from the program of the largest.
    private func predictedSeconds(_ batches: [TokenBatch], _ choice: Choice, _ model: DeviceModel) throws -> Double {
        var request = ProgramRequest(storage: storage, lora: lora, sizes: choice.sizes, target: compute.target)
        request.passes = choice.passes
        let plan = try Session.plan(configuration, request) { source?.tensor($0)?.type }
        guard let training = plan.training else { return 0 }
        let data = Workload(segments: SegmentLengths(batches.flatMap(\.segmentLengths)))
        let rows = Double(batches.reduce(0) { $0 + Session.roundedUp($1.rows) }) / Double(max(1, batches.count))
        return plan.seconds(training, data, model) * rows / Double(training.tokens) + plan.seconds(plan.step, Workload(), model)
    }

    /// - Parameters:
    ///   - batches: the steps; empty lets the size be chosen.
    ///   - replicas: that they are dealt to.
    ///   - before: bytes of the card in use before anything is loaded.
    /// - Throws: exit 3 where nothing fits under the cap.
    private func choice(_ batches: [TokenBatch], _ replicas: Replicas, before: Int) throws -> Choice {
        let longest = batches.map(\.rows).max() ?? 0
        guard let device = compute.device else {
            let largest = batches.flatMap { parts(of: $0, replicas) }.map(\.rows).max() ?? longest
            var choice = Choice(sizes: SessionSizes(training: largest, evaluation: 32, replicas: replicas))
            choice.passes.fuse = fuse
            choice.predictedSeconds = try processor.map { try predictedSeconds(batches, choice, $0) }
            return choice
        }
        var planner = try DevicePlanner(
            configuration, storage: storage, lora: lora, card: device.properties, element: compute.element,
            workload: Workload(segments: SegmentLengths(batches.isEmpty ? [sequence] : batches.flatMap(\.segmentLengths))), contextBytes: before
        ) { source?.tensor($0)?.type }
        planner.fuse = fuse
        planner.hostCap = Int(Machine.totalMemoryBytes() / 2)
        let plan = try planner.plan(
            among: batches.isEmpty ? Self.candidates(sequence) : [longest], evaluation: 32, headChunk: 4096, cap: memoryCap ?? device.properties.totalBytes)
        let counts = Dictionary(batches.isEmpty ? [(plan.sizes.training, 1)] : batches.map { ($0.rows, 1) }, uniquingKeysWith: +)
        let seconds = planner.predictedSeconds(plan, counts: counts) / Double(max(1, batches.count))
        return Choice(
            sizes: plan.sizes, passes: plan.passes, keepsExpanded: plan.keepsExpanded, embeddingOnHost: plan.embeddingOnHost,
            predictedBytes: plan.bytes.total, pinnedBytes: plan.bytes.pinned,
            predictedSeconds: seconds + planner.predictedUpdateSeconds)
    }

    /// - Parameter profiled: also times every op of one more step.
    /// - Throws: exit 2 for too few `lengths`, 3 where nothing fits under the cap, 4 when the machine fails.
    package func run(profiled: Bool) throws -> Result {
        let before = try compute.device?.usedBytes() ?? 0
        var batches = try lengths.map { try packed($0) } ?? tokens.map { [full($0)] } ?? []
        let replicas =
            compute.device == nil ? Replicas(threads: compute.cpu.threads, samplesPerStep: batches.map(\.segmentLengths.count).min() ?? 1) : .one
        let choice = try choice(batches, replicas, before: before)
        if batches.isEmpty { batches = [full(choice.sizes.training)] }
        let microBatches = batches.map { parts(of: $0, replicas) }
        let (loadStart, residentBefore) = (clock.uptime, Machine.residentBytes())
        let model = try loaded(embeddingOnHost: choice.embeddingOnHost)
        if choice.keepsExpanded { try model.keepExpanded() }
        let loadSeconds = clock.uptime - loadStart
        let (loadPeak, anonymous) = (Machine.peakResidentBytes(), Machine.anonymousBytes())
        let session = try Session(model: model, sizes: choice.sizes, passes: choice.passes)
        let first = clock.uptime
        let (firstLoss, firstNorm) = try step(session, microBatches[0])
        let firstStep = Machine.processAge()
        let firstSeconds = clock.uptime - first
        // Warm-up: a card records a program as a graph in its second run.
        for step in microBatches + microBatches { _ = try self.step(session, step) }
        let tokens = batches.map(\.rows).max() ?? 0
        let (steps, products) = try measure(session, microBatches, tokens)
        let used = try compute.device?.usedBytes() ?? 0
        // On the processor the fastest round counts: other processes only slow it down, and a step, which is bound by memory, more than a
        // product. On a card the median counts: nothing else runs there.
        let chosen = (compute.device == nil ? steps.min() : steps.sorted()[steps.count / 2]) ?? .nan
        let useful = lengths?.prefix(batches.count * Self.recordsPerStep).reduce(0, +) ?? batches[0].rows
        let speed = Double(useful) / chosen
        let plan = try Session.plan(
            configuration, ProgramRequest(storage: storage, lora: lora, sizes: choice.sizes, target: compute.target)
        ) { source?.tensor($0)?.type }
        // The step's frozen products take 4 floating-point operations for each matrix element and token: 2 forward, 2 for the input's gradient.
        let productFlops = 4 * Double(plan.matrixParameters) * speed
        let tuned = compute.device?.gemmChoices?.algorithms ?? [:]
        let json: JSON = [
            "tokens_per_second": .number(speed), "gemm_flops_per_second": .number(products),
            "share_of_gemm_limit": .number(productFlops / products), "matrix_parameters": JSON(plan.matrixParameters),
            "step_seconds": .number(chosen / Double(batches.count)), "predicted_step_seconds": choice.predictedSeconds.map { .number($0) } ?? .null,
            "tokens": JSON(tokens), "replicas": JSON(choice.sizes.replicas.count), "steps": JSON(batches.count),
            "sequence": JSON(sequence), "threads": JSON(compute.cpu.threads), "blas_kernels": .string(CPU.blasKernels),
            "device": .string(compute.device?.properties.name ?? "cpu"), "compute_type": .string(compute.element.suffix),
            "gpu_arch": JSON(compute.device?.properties.architecture ?? 0), "base_storage": .string(storage.rawValue),
            "first_loss": .number(firstLoss), "first_gradient_norm": .number(firstNorm), "recompute": .string(choice.passes.rawValue),
            "keeps_expanded": .bool(choice.keepsExpanded), "embedding_on_host": .bool(choice.embeddingOnHost),
            "predicted_pinned_bytes": JSON(choice.pinnedBytes), "measured_products": JSON(tuned.count),
            "changed_products": JSON(tuned.values.count { $0 != 0 }),
            "peak_device_bytes": JSON(used), "device_bytes_before": JSON(before), "predicted_device_bytes": JSON(choice.predictedBytes),
            "peak_rss_bytes": .integer(Machine.peakResidentBytes()), "rss_before_load_bytes": .integer(residentBefore),
            "peak_rss_after_load_bytes": .integer(loadPeak), "anonymous_rss_after_load_bytes": .integer(anonymous),
            "load_seconds": .number(loadSeconds),
            "first_step_seconds": .number(firstStep), "before_first_step_seconds": .number(firstStep - firstSeconds),
        ]
        return Result(json: json, profile: profiled ? try session.profile(microBatches[0][0]) : [])
    }

    /// Seconds of each round through the batches, and the fastest product's FLOP/s. Steps and products alternate, so that both meet the same
    /// load of the machine.
    private func measure(_ session: Session, _ batches: [[TokenBatch]], _ tokens: Int) throws -> ([Double], Double) {
        var rate: any GEMMRate
        if let device = compute.device {
            rate = try DeviceGEMMRate(configuration: configuration, tokens: tokens, device: device, element: compute.element)
        } else {
            rate = try ProcessorGEMMRate(configuration: configuration, tokens: tokens, cpu: compute.cpu, clock: clock)
        }
        var steps: [Double] = []
        for round in 0..<rounds {
            if compute.device == nil || round == 0 { try rate.measure() }
            let start = clock.uptime
            for batch in batches { _ = try step(session, batch) }
            steps.append(clock.uptime - start)
        }
        return (steps, rate.best)
    }

    private func loaded(embeddingOnHost: Bool) throws -> Model {
        var compute = compute
        compute.embeddingOnHost = embeddingOnHost
        if let source { return try compute.model(source, storage: storage, lora: lora) }
        return try compute.randomModel(configuration, storage: storage, lora: lora)
    }

    /// Records of one step where `lengths` are given.
    private static let recordsPerStep = 16

    /// The micro-batches of a step: its segments dealt to replicas, each in as few micro-batches as it may have.
    private func parts(of batch: TokenBatch, _ replicas: Replicas) -> [TokenBatch] {
        guard replicas.count > 1 else { return [batch] }
        let lengths = batch.segmentLengths
        let (alone, shares) = replicas.deal(lengths)
        var parts = alone.map { [lengths[$0]] }
        for share in shares {
            parts.append([])
            for index in share {
                if parts[parts.count - 1].reduce(lengths[index], +) > replicas.rows { parts.append([]) }
                parts[parts.count - 1].append(lengths[index])
            }
        }
        return parts.filter { !$0.isEmpty }.map { segments in
            var part = self.batch(segments)
            part.setWeight(1 / Float(batch.rows))
            return part
        }
    }

    /// Runs one training step; returns its loss and the norm of its gradients.
    private func step(_ session: Session, _ batches: [TokenBatch]) throws -> (Double, Double) {
        let loss = try session.accumulate(atOnce: batches).reduce(0) { $0 + $1.lossSum }
        return (loss, try session.optimiserStep(learningRate: 1e-4, optimiser: AdamWSettings()).gradientNorm)
    }

    /// A micro-batch of `tokens` rows in segments of `sequence`.
    private func full(_ tokens: Int) -> TokenBatch {
        batch(stride(from: 0, to: tokens, by: sequence).map { min(sequence, tokens - $0) })
    }

    /// The micro-batches of steps of `recordsPerStep` records each, at most 64.
    ///
    /// - Throws: exit 2 for fewer records than one step has.
    private func packed(_ lengths: [Int]) throws -> [TokenBatch] {
        guard lengths.count >= Self.recordsPerStep else {
            throw LorikeetError.input(
                "\(lengths.count) lengths are less than one step's \(Self.recordsPerStep)", at: "--lengths", fix: "give at least \(Self.recordsPerStep)")
        }
        return stride(from: 0, to: min(lengths.count, 64 * Self.recordsPerStep) - Self.recordsPerStep + 1, by: Self.recordsPerStep).map {
            batch(Array(lengths[$0..<($0 + Self.recordsPerStep)]))
        }
    }

    /// Random tokens in segments of these lengths, every one trained.
    private func batch(_ segments: [Int]) -> TokenBatch {
        var batch = TokenBatch()
        let weight = 1 / Float(segments.reduce(0, +))
        func token(_ row: Int) -> Int32 { Int32(mix64(UInt64(row)) % UInt64(configuration.vocabularySize)) }
        for length in segments {
            let rows = batch.rows..<(batch.rows + length)
            batch.append(rows.map(token), targets: rows.map { token($0 + 1) }, weight: weight)
        }
        return batch
    }
}
