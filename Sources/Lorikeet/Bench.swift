import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// A training step on random weights of a known shape, or on a model, measured against the best GEMM of its sizes in the same run.
package struct Bench {
    package var configuration: ModelConfiguration
    /// Weights to load; nil makes random ones.
    package var source: ModelSource?
    package var storage: BaseStorage
    package var lora: LoRASettings
    /// Rows of a micro-batch, in segments of `sequence`.
    package var tokens: Int
    package var sequence: Int
    package var rounds: Int
    package var compute: Compute
    /// Tokens whose logits exist at a time.
    package var headChunk: Int
    package var clock: any Clock

    /// Shapes that `--shape` names.
    package static let shapes = ["smollm2-135m", "llama-3.2-1b", "llama-7b"]

    package static func configuration(shape: String) throws -> ModelConfiguration {
        let numbers: (hidden: Int, layers: Int, heads: Int, kv: Int, head: Int, ff: Int, vocabulary: Int, tied: Bool)
        switch shape {
        case "smollm2-135m": numbers = (576, 30, 9, 3, 64, 1536, 49152, true)
        case "llama-3.2-1b": numbers = (2048, 16, 32, 8, 64, 8192, 128256, true)
        case "llama-7b": numbers = (4096, 32, 32, 32, 128, 11008, 32000, false)
        default: throw LorikeetError.input("no shape is called '\(shape)'", at: "--shape", mend: "take one of \(shapes.joined(separator: ", "))")
        }
        return try ModelConfiguration(
            json: [
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": JSON(numbers.hidden),
                "num_hidden_layers": JSON(numbers.layers), "num_attention_heads": JSON(numbers.heads), "num_key_value_heads": JSON(numbers.kv),
                "head_dim": JSON(numbers.head), "intermediate_size": JSON(numbers.ff), "vocab_size": JSON(numbers.vocabulary),
                "tie_word_embeddings": .bool(numbers.tied), "rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu",
                "max_position_embeddings": 8192,
            ], source: shape)
    }

    package init(
        configuration: ModelConfiguration, source: ModelSource?, storage: BaseStorage, lora: LoRASettings, tokens: Int, sequence: Int, rounds: Int,
        compute: Compute, headChunk: Int? = nil, clock: any Clock = SystemClock()
    ) {
        self.configuration = configuration
        self.source = source
        self.storage = storage
        self.lora = lora
        self.tokens = tokens
        self.sequence = sequence
        self.rounds = rounds
        self.compute = compute
        self.headChunk = headChunk ?? (compute.device == nil ? HeadBlock.chunk : min(tokens, 4096))
        self.clock = clock
    }

    package struct Result {
        package let json: JSON
        package let profile: [Session.OpTime]
    }

    /// - Parameter profiled: also times every op of one more step.
    package func run(profiled: Bool) throws -> Result {
        let before = try compute.device?.usedBytes() ?? 0
        let loadStart = clock.uptime
        let model = try loaded()
        let sizes = SessionSizes(training: tokens, evaluation: 32, headChunk: headChunk)
        let session = try Session(model: model, sizes: sizes)
        let loadSeconds = clock.uptime - loadStart
        let batch = batch()
        let first = clock.uptime
        try step(session, batch, number: 1)
        let firstStep = Machine.processAge()
        let firstSeconds = clock.uptime - first
        for number in 2...3 { try step(session, batch, number: number) }
        let plan = try Session.plan(
            configuration, ProgramRequest(storage: storage, lora: lora, sizes: session.sizes, target: compute.target)
        ) { source?.tensor($0)?.type }
        // Products and steps take turns, so that both see the same machine.
        var steps: [Double] = []
        var probe: any ProductProbe
        if let device = compute.device {
            probe = try DeviceGemmProbe(configuration: configuration, tokens: tokens, device: device, element: compute.element)
        } else {
            probe = try GemmProbe(configuration: configuration, tokens: tokens, cpu: compute.cpu, clock: clock)
        }
        for round in 0..<rounds {
            if compute.device == nil || round == 0 { try probe.measure() }
            let start = clock.uptime
            try step(session, batch, number: 4 + round)
            steps.append(clock.uptime - start)
        }
        let used = try compute.device?.usedBytes() ?? 0
        let chosen = (compute.device == nil ? steps.min() : steps.sorted()[steps.count / 2]) ?? .nan
        // On the processor both at their fastest: what else runs there only ever slows, and it slows the step (memory) more than the
        // product. A card is ours alone: the median.
        let speed = Double(tokens) / chosen
        let json: JSON = [
            "tokens_per_second": .number(speed), "gemm_flops_per_second": .number(probe.best),
            "share_of_gemm_limit": .number(4 * Double(plan.matrixParameters) * speed / probe.best), "matrix_parameters": JSON(plan.matrixParameters),
            "step_seconds": .number(chosen), "median_step_seconds": .number(steps.sorted()[steps.count / 2]), "tokens": JSON(tokens),
            "sequence": JSON(sequence), "threads": JSON(compute.cpu.threads), "blas_kernels": .string(CPU.blasKernels),
            "device": .string(compute.device?.properties.name ?? "cpu"), "compute_type": .string(compute.element.suffix),
            "gpu_arch": JSON(compute.device?.properties.architecture ?? 0), "base_storage": .string(storage.rawValue),
            "arena_bytes": JSON(plan.arenaBytes), "peak_device_bytes": JSON(used), "device_bytes_before": JSON(before),
            "predicted_device_bytes": JSON(0), "peak_rss_bytes": .integer(Machine.peakResidentBytes()), "load_seconds": .number(loadSeconds),
            "first_step_seconds": .number(firstStep), "before_first_step_seconds": .number(firstStep - firstSeconds),
        ]
        return Result(json: json, profile: profiled ? try session.profile(batch) : [])
    }

    private func loaded() throws -> Model {
        if let source { return try compute.model(source, storage: storage, lora: lora) }
        if let device = compute.device {
            return try Model(randomly: configuration, storage: storage, lora: lora, cpu: compute.cpu, device: device, element: compute.element)
        }
        return try Model(randomly: configuration, storage: storage, lora: lora, cpu: compute.cpu)
    }

    private func step(_ session: Session, _ batch: TokenBatch, number: Int) throws {
        _ = try session.accumulate(batch, zeroFirst: true)
        _ = try session.optimiserStep(learningRate: 1e-4, settings: AdamWSettings(), step: number)
    }

    /// Random tokens, every one trained.
    private func batch() -> TokenBatch {
        var batch = TokenBatch(ids: [], positions: [], segmentStart: [], targets: [], weights: [], dropoutKeys: [])
        for row in 0..<tokens {
            let position = row % sequence
            batch.ids.append(Int32(mix64(UInt64(row)) % UInt64(configuration.vocabularySize)))
            batch.positions.append(Int32(position))
            batch.segmentStart.append(Int32(row - position))
            batch.targets.append(Int32(mix64(UInt64(row) + 1) % UInt64(configuration.vocabularySize)))
            batch.weights.append(1 / Float(tokens))
            batch.dropoutKeys.append(UInt32(row))
        }
        return batch
    }
}
