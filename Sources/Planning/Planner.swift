import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// What a plan is made from. Everything but the measured rates is deterministic.
package struct Planner {
    /// What a planner knows of one sample.
    package struct Length: Sendable {
        package let tokens: Int
        package let trained: Int

        package init(tokens: Int, trained: Int) {
            self.tokens = tokens
            self.trained = trained
        }

        package init(_ sample: TokenSample) { self.init(tokens: sample.ids.count, trained: sample.trainedCount) }
    }

    package var source: ModelSource
    package var storage: BaseStorage
    package var lora: LoRASettings
    package var train: [Length]
    package var validation: [Length]
    /// Samples of each optimiser step, by index into `train`, for steps 0..<steps of the first epochs.
    package var samplesOfStep: (Int) -> [Int]
    package var steps: Int
    package var packing: Bool
    package var evalSteps: Int
    package var evalSamples: Int
    package var saveTotalLimit: Int
    package var saveSteps: Int
    /// Held-out rows that are answered, the longest prompt among them, and the most new tokens of each.
    package var testRows: Int
    package var longestPrompt: Int
    package var maxNewTokens: Int
    /// Bytes of one merged element; 0 when nothing is merged.
    package var mergedElementBytes: Int
    package var threads: Int
    /// Resident bytes of the process now: the program, tokenizer and data.
    package var residentBytes: Int64
    package var rates: DeviceRates
    /// nil plans for the processor.
    package var card: PlannedCard?
    /// Whether programs are fused; see `RecomputePolicy.fuse`.
    package var fuse = true
    /// How the base lies that the merged model is compared with.
    package var comparedStorage = BaseStorage.stored

    /// Tokens of a micro-batch on a CPU: enough for GEMM to run at its best, few enough for caches and memory.
    package static let tokensPerBatch = 1024
    /// Sequences that `generate` reads and continues at a time.
    package static let slots = 16
    /// Rows of a sample whose logits are compared.
    package static let comparedRows = 16
    /// What BLAS packs its operands into: touched once a thread works, kept for good.
    static let blasBytesPerThread: Int64 = 12 << 20

    package init(
        source: ModelSource, storage: BaseStorage, lora: LoRASettings, train: [Length], validation: [Length],
        samplesOfStep: @escaping (Int) -> [Int], steps: Int, packing: Bool, evalSteps: Int, evalSamples: Int, saveTotalLimit: Int,
        saveSteps: Int, testRows: Int, longestPrompt: Int, maxNewTokens: Int, mergedElementBytes: Int, threads: Int, residentBytes: Int64,
        rates: DeviceRates, card: PlannedCard? = nil
    ) {
        self.card = card
        self.source = source
        self.storage = storage
        self.lora = lora
        self.train = train
        self.validation = validation
        self.samplesOfStep = samplesOfStep
        self.steps = steps
        self.packing = packing
        self.evalSteps = evalSteps
        self.evalSamples = evalSamples
        self.saveTotalLimit = saveTotalLimit
        self.saveSteps = saveSteps
        self.testRows = testRows
        self.longestPrompt = longestPrompt
        self.maxNewTokens = maxNewTokens
        self.mergedElementBytes = mergedElementBytes
        self.threads = threads
        self.residentBytes = residentBytes
        self.rates = rates
    }

    package func plan() throws -> Plan {
        if let card { return try plan(on: card) }
        let training = largest(over: trainedSteps, tokensPerBatch: Self.tokensPerBatch)
        let evaluation = largest(over: CollectionOfOne(validation), tokensPerBatch: Self.tokensPerBatch, packing: true)
        let chunk = min(HeadBlock.chunk, Session.roundedUp(max(training.trained, evaluation.trained)))
        let sizes = SessionSizes(training: max(1, training.rows), evaluation: max(1, evaluation.rows), headChunk: chunk)
        let request = asked(ProgramRequest(storage: storage, lora: lora, sizes: sizes, target: .cpu(threads: threads)))
        let program = try Session.plan(source.configuration, request) { source.tensor($0)?.type }
        let tokens = training.tokens
        var warnings: [String] = []
        let phases = self.phases(program, sizes, trainTokens: tokens, &warnings)
        let merged = Int64(program.matrixParameters) * Int64(mergedElementBytes)
        return Plan(
            choices: .init(storage: storage, threads: threads, tokensPerBatch: Self.tokensPerBatch, sizes: sizes, recompute: request.recompute),
            trainingMemory: base() + [
                .init("weights (\(storage.rawValue))", Int64(program.weightBytes)),
                .init("adapters, gradients, optimiser", Int64(program.adapterBytes)), .init("arena", Int64(program.arenaBytes)),
            ],
            testMemory: base() + [
                .init("weights (\(storage.rawValue))", Int64(program.weightBytes)),
                .init("adapters, gradients, optimiser", Int64(program.adapterBytes)), .init("merged weights", merged),
                .init("arenas", Int64(2 * program.evaluationArenaBytes)), .init("KV cache", Int64(program.cacheBytes)),
            ],
            disk: disk(program, merged), phases: phases, steps: steps, trainTokens: tokens,
            trainableParameters: program.trainableParameters, warnings: warnings)
    }

    /// The same request with the test's answers.
    func asked(_ request: ProgramRequest) -> ProgramRequest {
        var request = request
        request.recompute.fuse = fuse
        if testRows > 0 { (request.slots, request.positions) = (min(Self.slots, testRows), longestPrompt + maxNewTokens) }
        return request
    }

    func base() -> [Plan.Part] {
        [.init("program, tokenizer, data", residentBytes), .init("BLAS", Int64(threads) * Self.blasBytesPerThread)]
    }

    func disk(_ program: ProgramPlan, _ merged: Int64) -> [Plan.Part] {
        let checkpoint = Int64(program.checkpointBytes)
        let saves = saveSteps > 0 ? steps / saveSteps + 1 : 1
        // One more than is kept: the oldest goes when the newest is whole.
        let kept = saveTotalLimit > 0 ? min(saves, saveTotalLimit + 1) : saves
        return [
            .init("checkpoints (\(kept))", Int64(kept) * checkpoint), .init("adapter", Int64(program.parameterBytes)),
            .init("merged model", merged),
        ]
    }

    /// The samples of every optimiser step.
    var trainedSteps: some Sequence<[Length]> { (0..<steps).lazy.map { samplesOfStep($0).map { train[$0] } } }

    /// Rows and trained tokens of the largest micro-batch, and tokens over all.
    func largest(over groups: some Sequence<[Length]>, tokensPerBatch: Int, packing: Bool? = nil) -> (rows: Int, trained: Int, tokens: Int) {
        var (rows, trained, tokens) = (0, 0, 0)
        for group in groups {
            for batch in packedGroups(lengths: group.map(\.tokens), tokensPerBatch: tokensPerBatch, packing: packing ?? self.packing) {
                let sum = batch.reduce(0) { $0 + group[$1].tokens }
                rows = max(rows, sum)
                trained = max(trained, batch.reduce(0) { $0 + group[$1].trained })
                tokens += sum
            }
        }
        return (rows, trained, tokens)
    }

    private func phases(_ program: ProgramPlan, _ sizes: SessionSizes, trainTokens: Int, _ warnings: inout [String]) -> [Plan.Phase] {
        // The head runs over the trained tokens only: its share of the cost shrinks to theirs.
        let head = 2 * Double(source.configuration.vocabularySize * source.configuration.hiddenSize)
        let perTrain = rates.seconds(program.training) / Double(Session.roundedUp(sizes.training)) - (1 - share(train)) * 2 * head / rates.matrixFlops
        let perEvaluation =
            rates.seconds(program.evaluation) / Double(Session.roundedUp(sizes.evaluation)) - (1 - share(validation)) * head / rates.matrixFlops
        let decoding =
            2 * Double(program.matrixParameters) * Double(Self.slots) / rates.matrixFlops + Double(4 * program.matrixParameters) / rates.bytes
        let form = FormSeconds(perToken: perEvaluation, perDecodingStep: decoding)
        return phases(
            perTrainedToken: perTrain, trainTokens: trainTokens, forms: [form, form] + (mergedElementBytes > 0 ? [form] : []),
            matrixParameters: program.matrixParameters, &warnings)
    }

    /// How fast a form of the model is tested: a token evaluated, and one new token of each sequence at a time.
    struct FormSeconds {
        let perToken: Double
        let perDecodingStep: Double
    }

    /// - Parameter forms: base, base + adapter and, where it is tested, the merged model.
    func phases(
        perTrainedToken: Double, trainTokens: Int, forms: [FormSeconds], matrixParameters: Int, _ warnings: inout [String]
    ) -> [Plan.Phase] {
        let validationTokens = validation.reduce(0) { $0 + $1.tokens }
        let watched = min(evalSamples, validation.count)
        let watchedTokens = validation.isEmpty ? 0 : Double(validationTokens) * Double(watched) / Double(validation.count)
        let evaluations = evalSteps > 0 ? max(0, (steps - 1) / evalSteps) : 0
        let training = Double(trainTokens) * perTrainedToken
        let evaluating = Double(evaluations) * watchedTokens * (forms.first?.perToken ?? 0)
        if evaluating > training {
            warnings.append("evaluating every \(evalSteps) steps takes longer than the training itself: raise eval_steps or lower eval_samples")
        }
        // Losses and answers of every form. An untrained model seldom ends its answers, a trained one does: about half the tokens.
        let decodingSteps = Double((testRows + Self.slots - 1) / Self.slots * maxNewTokens)
        let testing = forms.enumerated().reduce(0.0) { sum, form in
            sum + Double(validationTokens + testRows * longestPrompt) * form.element.perToken
                + (form.offset == 0 ? 1 : 0.5) * decodingSteps * form.element.perDecodingStep
        }
        return [
            .init("training", training), .init("evaluation", evaluating),
            .init("merging", Double(matrixParameters * 8) / rates.bytes), .init("testing", testing),
        ]
    }

    func share(_ lengths: [Length]) -> Double {
        let tokens = lengths.reduce(0) { $0 + $1.tokens }
        return tokens > 0 ? Double(lengths.reduce(0) { $0 + $1.trained }) / Double(tokens) : 0
    }
}

/// How fast this machine is, for predictions of time only: nothing that decides bits depends on it.
package struct DeviceRates: Sendable {
    /// FLOP a second of a matrix product of the step's sizes.
    package var matrixFlops: Double
    /// Bytes a second of passes over memory.
    package var bytes: Double

    package init(matrixFlops: Double, bytes: Double) {
        self.matrixFlops = matrixFlops
        self.bytes = bytes
    }

    package func seconds(_ cost: Cost) -> Double { cost.matrixFlops / matrixFlops + cost.bytes / bytes }

    /// Measures both in about a tenth of a second.
    package static func measured(_ cpu: CPU, columns: Int, clock: any Clock) throws -> DeviceRates {
        let (m, n, k) = (256, 1024, max(64, min(columns, 4096)))
        let a = try Buffer(bytes: m * k * 4)
        let b = try Buffer(bytes: n * k * 4)
        let c = try Buffer(bytes: m * n * 4)
        var best = Double.infinity
        for _ in 0..<12 {
            let start = clock.uptime
            cpu.gemm(
                transposeB: true, m: m, n: n, k: k, a: a.pointer(as: Float.self), lda: k, b: b.pointer(as: Float.self), ldb: k,
                c: c.pointer(as: Float.self), ldc: n)
            best = min(best, clock.uptime - start)
        }
        // Ops around the products reach about nine tenths of what the best product does.
        return DeviceRates(matrixFlops: 0.9 * 2 * Double(m * n * k) / max(best, 1e-9), bytes: 8e9)
    }
}
