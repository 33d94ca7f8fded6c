import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Predicts what a run takes and chooses how it runs. Everything but the rates of a processor is deterministic, and those choose nothing.
package struct Planner {
    package var model: PlannedModel
    package var data: PlannedData
    /// How often the run evaluates and saves.
    package var pace: PlannedPace
    package var answers: PlannedAnswers
    package var place: PlannedPlace

    /// Tokens of a micro-batch on a CPU: enough for GEMM to run at its best, few enough for caches and memory.
    package static let tokensPerBatch = 1024
    /// Sequences that `generate` reads and continues at a time.
    package static let slots = 16
    /// Samples whose logits are compared between the trained and the merged model: enough to meet every kind of token, few enough to
    /// take a second.
    package static let comparedSamples = 16
    /// Rows of a sample whose logits are compared.
    package static let comparedRows = 16
    /// What BLAS packs its operands into: touched once a thread works, kept for good.
    static let blasBytesPerThread: Int64 = 12 << 20

    package init(model: PlannedModel, data: PlannedData, pace: PlannedPace, answers: PlannedAnswers, place: PlannedPlace) {
        (self.model, self.data, self.pace, self.answers, self.place) = (model, data, pace, answers, place)
    }

    package func plan() throws -> Plan {
        if let card = place.card { return try plan(on: card) }
        let training = data.largest(over: data.trainedSteps, tokensPerBatch: Self.tokensPerBatch)
        let evaluation = data.largest(over: CollectionOfOne(data.validation), tokensPerBatch: Self.tokensPerBatch, packing: true)
        let chunk = min(HeadBlock.chunk, Session.roundedUp(max(training.trained, evaluation.trained)))
        let sizes = SessionSizes(training: max(1, training.rows), evaluation: max(1, evaluation.rows), headChunk: chunk)
        let request = asked(ProgramRequest(storage: model.storage, lora: model.lora, sizes: sizes, target: .cpu(threads: place.threads)))
        let program = try model.plan(request)
        let tokens = training.tokens
        var warnings: [String] = []
        let phases = self.phases(timesOnProcessor(program), program, trainTokens: tokens, &warnings)
        let merged = Int64(program.parameters) * Int64(model.mergedElementBytes)
        return Plan(
            choices: .init(storage: model.storage, threads: place.threads, tokensPerBatch: Self.tokensPerBatch, sizes: sizes, passes: request.passes),
            trainingMemory: base() + [
                .init("weights (\(model.storage.rawValue))", Int64(program.weightBytes)),
                .init("adapters, gradients, optimiser", Int64(program.adapterBytes)), .init("arena", Int64(program.arenaBytes)),
            ],
            testMemory: base() + [
                .init("weights (\(model.storage.rawValue))", Int64(program.weightBytes)),
                .init("adapters, gradients, optimiser", Int64(program.adapterBytes)), .init("merged weights", merged),
                .init("arenas", Int64(2 * program.evaluationArenaBytes)), .init("KV cache", Int64(program.cacheBytes)),
            ],
            disk: disk(program, merged), phases: phases, steps: data.steps, trainTokens: tokens,
            trainableParameters: program.trainableParameters, warnings: warnings)
    }

    /// The same request with the test's answers.
    func asked(_ request: ProgramRequest) -> ProgramRequest {
        var request = request
        request.passes.fuse = model.fuse
        request.optimiser = model.optimiser
        if answers.rows > 0 { (request.slots, request.positions) = (min(Self.slots, answers.rows), answers.longestPrompt + answers.maxNewTokens) }
        return request
    }

    func base() -> [Plan.Part] {
        [.init("program, tokenizer, data", place.residentBytes), .init("BLAS", Int64(place.threads) * Self.blasBytesPerThread)]
    }

    func disk(_ program: ProgramPlan, _ merged: Int64) -> [Plan.Part] {
        let checkpoint = Int64(program.checkpointBytes)
        let saves = pace.saveSteps > 0 ? data.steps / pace.saveSteps + 1 : 1
        // One more than is kept: the oldest goes when the newest is whole.
        let kept = pace.saveTotalLimit > 0 ? min(saves, pace.saveTotalLimit + 1) : saves
        return [
            .init("checkpoints (\(kept))", Int64(kept) * checkpoint), .init("adapter", Int64(program.parameterBytes)),
            .init("merged model", merged), .init("tokenizer, configuration, records of the run", model.besideBytes),
        ]
    }

    // MARK: time

    /// Predicted seconds of the parts of which a run consists.
    struct Times {
        /// Of a token in training, and of an optimiser step beside its micro-batches.
        var perTrainedToken = 0.0
        var perStep = 0.0
        /// Base, base + adapter and, where it is tested, the merged model.
        var forms: [FormSeconds] = []
        /// Of a byte read or written while merging.
        var perMergedByte = 0.0
    }

    /// How fast a form of the model is tested: a token evaluated, and one new token of each sequence at a time.
    struct FormSeconds {
        let perToken: Double
        let perDecodingStep: Double

        init(_ program: ProgramPlan, _ data: Workload, _ model: DeviceModel) {
            perToken = program.seconds(program.evaluation, data, model) / Double(program.evaluation.tokens)
            perDecodingStep = program.decoding.map { program.seconds($0, data, model) } ?? 0
        }
    }

    private func timesOnProcessor(_ program: ProgramPlan) -> Times {
        var times = Times()
        if let training = program.training {
            times.perTrainedToken = program.seconds(training, PlannedData.workload(data.train), place.processor) / Double(training.tokens)
        }
        times.perStep = program.seconds(program.step, Workload(), place.processor)
        let form = FormSeconds(program, PlannedData.workload(data.validation), place.processor)
        times.forms = Array(repeating: form, count: model.mergedElementBytes > 0 ? 3 : 2)
        times.perMergedByte = place.processor.seconds(.bytes(1))
        return times
    }

    func phases(_ times: Times, _ program: ProgramPlan, trainTokens: Int, _ warnings: inout [String]) -> [Plan.Phase] {
        let (steps, validation) = (data.steps, data.validation)
        let validationTokens = Double(validation.reduce(0) { $0 + $1.tokens })
        let watched = validation.isEmpty ? 0 : validationTokens * Double(min(pace.evalSamples, validation.count)) / Double(validation.count)
        let evaluations = pace.evalSteps > 0 ? max(0, (steps - 1) / pace.evalSteps) : 0
        let training = Double(trainTokens) * times.perTrainedToken + Double(steps) * times.perStep
        let perToken = times.forms.first?.perToken ?? 0
        let evaluating = Double(evaluations) * watched * perToken
        if evaluating > training {
            warnings.append("evaluating every \(pace.evalSteps) steps takes longer than the training itself: raise eval_steps or lower eval_samples")
        }
        guard model.mergedElementBytes > 0 else {
            // All held-out records once more at the end, and no test.
            return [.init("training", training), .init("evaluation", evaluating + validationTokens * perToken)]
        }
        // Losses and answers of every form. An untrained model seldom ends its answers, a trained one does: about half the tokens.
        let decodingSteps = Double((answers.rows + Self.slots - 1) / Self.slots * answers.maxNewTokens)
        let read = validationTokens + Double(answers.rows * answers.longestPrompt)
        // The trained and the merged form on the same samples.
        let compared = Double(data.heldOut.prefix(Self.comparedSamples).reduce(0) { $0 + $1.tokens })
        let testing = times.forms.enumerated().reduce(0.0) { sum, form in
            sum + (form.offset == 0 ? 0 : compared) * form.element.perToken + read * form.element.perToken + (form.offset == 0 ? 1 : 0.5) * decodingSteps * form.element.perDecodingStep
        }
        // Each tensor is read, changed in float32 and written.
        let merged = Double(8 * program.parameters)
        return [
            .init("training", training), .init("evaluation", evaluating), .init("merging", merged * times.perMergedByte), .init("testing", testing),
        ]
    }
}
