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
    package var cpu: CPU
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
        cpu: CPU, clock: any Clock = SystemClock()
    ) {
        self.configuration = configuration
        self.source = source
        self.storage = storage
        self.lora = lora
        self.tokens = tokens
        self.sequence = sequence
        self.rounds = rounds
        self.cpu = cpu
        self.clock = clock
    }

    package struct Result {
        package let json: JSON
        package let profile: [Session.OpTime]
    }

    /// - Parameter profiled: also times every op of one more step.
    package func run(profiled: Bool) throws -> Result {
        let loadStart = clock.uptime
        let model =
            try source.map { try Model(source: $0, storage: storage, lora: lora, cpu: cpu) }
            ?? Model(randomly: configuration, storage: storage, lora: lora, cpu: cpu)
        let session = try Session(model: model, sizes: SessionSizes(training: tokens, evaluation: 32))
        let loadSeconds = clock.uptime - loadStart
        let batch = batch()
        let first = clock.uptime
        try step(session, batch, number: 1)
        let firstStep = Machine.processAge()
        let firstSeconds = clock.uptime - first
        try step(session, batch, number: 2)
        let plan = try Session.plan(
            configuration, ProgramRequest(storage: storage, lora: lora, sizes: session.sizes, workers: cpu.threads)
        ) { source?.tensor($0)?.type }
        // Products and steps take turns, so that both see the same machine.
        var steps: [Double] = []
        var gemm = try GemmProbe(configuration: configuration, tokens: tokens, cpu: cpu, clock: clock)
        for round in 0..<rounds {
            gemm.measure()
            let start = clock.uptime
            try step(session, batch, number: 3 + round)
            steps.append(clock.uptime - start)
        }
        // Both at their fastest: what else runs on the machine only ever slows, and it slows the step (memory) more than the product.
        let speed = Double(tokens) / (steps.min() ?? .nan)
        let best = gemm.best
        let json: JSON = [
            "tokens_per_second": .number(speed), "gemm_flops_per_second": .number(best),
            "share_of_gemm_limit": .number(4 * Double(plan.matrixParameters) * speed / best), "matrix_parameters": JSON(plan.matrixParameters),
            "step_seconds": .number(Double(tokens) / speed), "median_step_seconds": .number(steps.sorted()[steps.count / 2]), "tokens": JSON(tokens),
            "sequence": JSON(sequence), "threads": JSON(cpu.threads),
            "blas_kernels": .string(CPU.blasKernels), "base_storage": .string(storage.rawValue), "arena_bytes": JSON(plan.arenaBytes),
            "peak_device_bytes": 0, "predicted_device_bytes": 0, "peak_rss_bytes": .integer(Machine.peakResidentBytes()),
            "load_seconds": .number(loadSeconds), "first_step_seconds": .number(firstStep),
            "before_first_step_seconds": .number(firstStep - firstSeconds),
        ]
        return Result(json: json, profile: profiled ? try session.profile(batch) : [])
    }

    private func step(_ session: Session, _ batch: TokenBatch, number: Int) throws {
        _ = try session.accumulate(batch, zeroFirst: true)
        _ = adamWStep(session.model.adapters, learningRate: 1e-4, settings: AdamWSettings(), step: number, cpu: cpu)
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

/// The matrix products of a step, alone.
private struct GemmProbe {
    let sizes: [(n: Int, k: Int)]
    let tokens: Int
    let cpu: CPU
    let clock: any Clock
    let a, b, c: Buffer

    init(configuration: ModelConfiguration, tokens: Int, cpu: CPU, clock: any Clock) throws {
        let hidden = configuration.hiddenSize
        let joint = (configuration.headCount + 2 * configuration.keyValueHeadCount) * configuration.headDimension
        // A slice of the head serves for all of it: 8,192 outputs reach the same speed.
        sizes = [
            (joint, hidden), (hidden, configuration.headCount * configuration.headDimension), (2 * configuration.intermediateSize, hidden),
            (hidden, configuration.intermediateSize), (min(8192, configuration.vocabularySize), hidden),
        ]
        self.tokens = tokens
        self.cpu = cpu
        self.clock = clock
        a = try Buffer(bytes: 4 * tokens * (sizes.map { max($0.k, $0.n) }.max() ?? 1))
        b = try Buffer(bytes: 4 * (sizes.map { $0.n * $0.k }.max() ?? 1))
        c = try Buffer(bytes: 4 * tokens * (sizes.map { max($0.k, $0.n) }.max() ?? 1))
        for buffer in [a, b] {
            let values = buffer.pointer(as: Float.self)
            for i in 0..<buffer.byteCount / 4 { values[i] = Float(i % 17) * 0.1 - 0.8 }
        }
    }

    /// FLOP a second of the fastest product so far.
    private(set) var best = 0.0

    /// Runs each of the forward and backward products three times.
    mutating func measure() {
        for (n, k) in sizes {
            for backward in [false, true] {
                for _ in 0..<3 {
                    let start = clock.uptime
                    cpu.gemm(
                        transposeB: !backward, m: tokens, n: backward ? k : n, k: backward ? n : k, a: a.pointer(as: Float.self),
                        lda: backward ? n : k, b: b.pointer(as: Float.self), ldb: k, c: c.pointer(as: Float.self), ldc: backward ? k : n)
                    best = max(best, 2 * Double(tokens * n * k) / (clock.uptime - start))
                }
            }
        }
    }
}
