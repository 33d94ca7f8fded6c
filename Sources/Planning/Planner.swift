import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Predicts a run's memory, disk and time, and chooses how it runs. The choices are functions of the inputs alone. Only the predicted times
/// depend on a measurement, of the processor's rates (`PlannedMachine.processor`).
package struct Planner {
    package var model: PlannedModel
    package var data: PlannedData
    package var intervals: PlannedIntervals
    package var answers: PlannedAnswers
    package var machine: PlannedMachine

    /// Tokens of a micro-batch on the processor: enough for GEMM's full rate, few enough for its caches and memory.
    package static let tokensPerBatch = 1024
    /// Sequences that `generate` decodes at a time.
    package static let slots = 16
    /// Samples whose logits are compared between the trained and the merged model: enough to meet every kind of token, few enough to
    /// take a second.
    package static let comparedSamples = 16
    /// Rows of each sample whose logits are compared between merged and trained model.
    package static let comparedRows = 16
    /// Tokens of samples that are compared at a time on the processor: enough that expanding the weights costs little beside them.
    package static let comparedTokens = 256
    /// Bytes of OpenBLAS's packing buffer for each thread, resident from the thread's first product on.
    static let blasBytesPerThread: Int64 = 12 << 20

    package init(model: PlannedModel, data: PlannedData, intervals: PlannedIntervals, answers: PlannedAnswers, machine: PlannedMachine) {
        (self.model, self.data, self.intervals, self.answers, self.machine) = (model, data, intervals, answers, machine)
    }

    /// - Throws: exit 3 where no choice fits a card; on the processor nothing is compared with a limit here (see `Plan.requireFit`).
    package func plan() throws -> Plan {
        if let card = machine.card { return try plan(on: card) }
        let training = data.largest(over: data.trainedSteps, tokensPerBatch: Self.tokensPerBatch)
        let evaluation = data.evaluation.largest
        let chunk = min(HeadBlock.chunk, Session.roundedUp(max(training.trained, evaluation.trained)))
        let sizes = SessionSizes(training: max(1, training.rows), evaluation: max(1, evaluation.rows), headChunk: chunk)
        let request = configured(ProgramRequest(storage: model.storage, lora: model.lora, sizes: sizes, target: .cpu(threads: machine.threads)))
        let program = try model.plan(request)
        let tokens = training.tokens
        var warnings: [String] = []
        let phases = self.phases(timesOnProcessor(program, tokens: tokens), program, &warnings)
        let merged = Int64(program.parameters) * Int64(model.mergedElementBytes)
        return Plan(
            choices: .init(storage: model.storage, threads: machine.threads, tokensPerBatch: Self.tokensPerBatch, sizes: sizes, passes: request.passes),
            trainingMemory: processMemory() + [
                .init("weights (\(model.storage.rawValue))", Int64(program.weightBytes)),
                .init("adapters, gradients, optimiser", Int64(program.adapterBytes)), .init("arena", Int64(program.arenaBytes)),
            ],
            testMemory: try testMemory(program, merged: merged),
            disk: disk(program, merged), phases: phases, steps: data.steps, trainTokens: tokens,
            trainableParameters: program.trainableParameters, warnings: warnings)
    }

    /// The request with the settings that all programs of the run share: fusion, optimiser and, where answers are generated, their sequences
    /// and positions.
    func configured(_ request: ProgramRequest) -> ProgramRequest {
        var request = request
        request.passes.fuse = model.fuse
        request.optimiser = model.optimiser
        if answers.rows > 0 { (request.slots, request.positions) = (min(Self.slots, answers.rows), answers.longestPrompt + answers.maxNewTokens) }
        return request
    }

    /// Host memory of the process itself, before a model is loaded.
    func processMemory() -> [Plan.Part] {
        [.init("program, tokenizer, data", machine.residentBytes), .init("BLAS", Int64(machine.threads) * Self.blasBytesPerThread)]
    }

    /// - Parameter merged: bytes of the merged model; 0 where none is written.
    func disk(_ program: ProgramPlan, _ merged: Int64) -> [Plan.Part] {
        let checkpoint = Int64(program.checkpointBytes)
        let saves = intervals.saveSteps > 0 ? data.steps / intervals.saveSteps + 1 : 1
        // One more than is kept: the oldest is removed after the newest is complete.
        let kept = intervals.saveTotalLimit > 0 ? min(saves, intervals.saveTotalLimit + 1) : saves
        return [
            .init("checkpoints (\(kept))", Int64(kept) * checkpoint), .init("adapter", Int64(program.parameterBytes)),
            .init("merged model", merged), .init("tokenizer, configuration, records of the run", model.otherDiskBytes),
        ]
    }

    // MARK: time

    /// Predicted seconds of the units of work that a run consists of.
    struct Times {
        /// All training micro-batches of the run.
        var training = 0.0
        /// One update by the optimiser.
        var perStep = 0.0
        /// The tested forms of the model, in this order: base, base + adapter and, where it is tested, merged.
        var forms: [FormSeconds] = []
        /// Loading the tested forms, and the texts whose tokens are compared.
        var beginningTests = 0.0
    }

    /// Predicted seconds of testing one form of the model.
    struct FormSeconds {
        /// One evaluated token.
        let perToken: Double
        /// One new token for each of `slots` sequences.
        let perDecodingStep: Double

        /// - Parameter decodingSeconds: of a decoding step on the host, beside the program.
        init(_ program: ProgramPlan, _ data: Workload, _ model: DeviceModel, decodingSeconds: Double = 0) {
            perToken = program.seconds(program.evaluation, data, model) / Double(program.evaluation.tokens)
            perDecodingStep = program.decoding.map { program.seconds($0, data, model) + decodingSeconds } ?? 0
        }
    }

    /// - Parameter tokens: of all optimiser steps.
    private func timesOnProcessor(_ program: ProgramPlan, tokens: Int) -> Times {
        var times = Times()
        if let training = program.training {
            times.training = Double(tokens) * program.seconds(training, PlannedData.workload(data.train), machine.processor) / Double(training.tokens)
        }
        times.perStep = program.seconds(program.step, Workload(), machine.processor)
        let form = FormSeconds(program, data.evaluation.workload, machine.processor)
        times.forms = Array(repeating: form, count: model.mergedElementBytes > 0 ? 3 : 2)
        return times
    }

    /// Bytes a second that merging reads, changes in float32 and writes: 19 s for a model of 7B parameters, 8 bytes each.
    private static let mergedBytesPerSecond = 2.8e9

    /// The phases of a run with their predicted seconds.
    func phases(_ times: Times, _ program: ProgramPlan, _ warnings: inout [String]) -> [Plan.Phase] {
        let (steps, validation) = (data.steps, data.validation)
        let validationTokens = Double(data.evaluation.rows)
        // Tokens of one evaluation during training, of `eval_samples` samples.
        let evaluated = validation.isEmpty ? 0 : validationTokens * Double(min(intervals.evalSamples, validation.count)) / Double(validation.count)
        let evaluations = intervals.evalSteps > 0 ? max(0, (steps - 1) / intervals.evalSteps) : 0
        let training = times.training + Double(steps) * times.perStep
        let perToken = times.forms.first?.perToken ?? 0
        let evaluating = Double(evaluations) * evaluated * perToken
        if evaluating > training {
            warnings.append("evaluating every \(intervals.evalSteps) steps takes longer than the training itself: raise eval_steps or lower eval_samples")
        }
        guard model.mergedElementBytes > 0 else {
            // No test; instead all held-out records are evaluated once more at the end.
            return [.init("training", training), .init("evaluation", evaluating + validationTokens * perToken)]
        }
        // Losses and answers of every form. The base seldom ends an answer before `max_new_tokens`; the trained forms need about half of them.
        let decodingSteps = Double((answers.rows + Self.slots - 1) / Self.slots * answers.maxNewTokens)
        let prompts = Double(answers.rows * (answers.longestPrompt - answers.sharedPrompt))
        // The trained and the merged form on the same samples.
        let compared = Double(data.heldOut.prefix(Self.comparedSamples).reduce(0) { $0 + $1.tokens })
        var testing = times.beginningTests
        for (index, form) in times.forms.enumerated() {
            let isBase = index == 0
            // On the processor the losses give away answers that are as expected: about half of a trained form's.
            let open = isBase || machine.card != nil ? 1 : 0.5
            testing += (validationTokens + open * prompts + (isBase ? 0 : compared)) * form.perToken
            testing += (isBase ? 1 : 0.5) * open * decodingSteps * form.perDecodingStep
        }
        // Each tensor is read, changed in float32 and written.
        let merged = Double(8 * program.parameters)
        return [
            .init("training", training), .init("evaluation", evaluating), .init("merging", merged / Self.mergedBytesPerSecond), .init("testing", testing),
        ]
    }
}
