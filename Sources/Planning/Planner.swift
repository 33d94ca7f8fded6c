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

    /// Tokens of an evaluation batch on the processor, and of a training micro-batch on all its threads.
    package static let tokensPerBatch = Replicas.one.rows
    /// Sequences that `generate` decodes at a time.
    package static let slots = 16
    /// Samples whose logits are compared between the trained and the merged model: enough to meet every kind of token, few enough to
    /// take a second.
    package static let comparedSamples = 16
    /// Rows of each sample whose logits are compared between merged and trained model.
    package static let comparedRows = 16
    /// Tokens of samples that are compared at a time on the processor: enough that expanding the weights costs little beside them.
    package static let comparedTokens = 256
    /// Bytes that a thread takes from its first product on: packed blocks of products (1 to 3 MiB, in OpenBLAS's buffer and its own, by kernels and
    /// rows), its stack and the allocator's pages. Measured: about 1 MiB a thread with 16 threads, and at most 12 MiB together with two.
    static let blasBytesPerThread: Int64 = 6 << 20

    package init(model: PlannedModel, data: PlannedData, intervals: PlannedIntervals, answers: PlannedAnswers, machine: PlannedMachine) {
        (self.model, self.data, self.intervals, self.answers, self.machine) = (model, data, intervals, answers, machine)
    }

    /// - Throws: exit 3 where no choice fits a card; on the processor nothing is compared with a limit here (see `Plan.memoryError`).
    package func plan() throws -> Plan {
        if let card = machine.card { return try plan(on: card) }
        let replicas = Replicas(threads: machine.threads, samplesPerStep: data.samplesPerStep)
        let plan = try planOnProcessor(replicas)
        guard replicas.count > 1, plan.neededMemory > 2 * machine.pinnableBytes else { return plan }
        // Replicas may have twice a single session's rows at once.
        var alone = self
        alone.data.sharing = try data.sharingAlone?()
        return try alone.planOnProcessor(.one)
    }

    private func planOnProcessor(_ replicas: Replicas) throws -> Plan {
        let training = data.stepsOnProcessor(replicas)
        let evaluation = data.evaluation.largest
        let chunk = min(HeadBlock.chunk, Session.roundedUp(max(training.largest.trained, evaluation.trained)))
        let sizes = SessionSizes(training: max(1, training.largest.rows), evaluation: max(1, evaluation.rows), headChunk: chunk, replicas: replicas)
        let request = configured(ProgramRequest(storage: model.storage, lora: model.lora, sizes: sizes, target: .cpu(threads: machine.threads)))
        let program = try model.plan(request)
        var warnings: [String] = []
        let phases = self.phases(timesOnProcessor(program, training), program, &warnings)
        let merged = Int64(program.parameters) * Int64(model.mergedElementBytes)
        var plan = Plan(
            choices: .init(storage: model.storage, threads: machine.threads, tokensPerBatch: Self.tokensPerBatch, sizes: sizes, passes: request.passes),
            trainingMemory: processMemory() + [
                .init("weights (\(model.storage.rawValue))", Int64(program.weightBytes)),
                .init("adapters, gradients, optimiser", Int64(program.adapterBytes + program.replicaGradientBytes)), .init("arena", Int64(program.arenaBytes)),
            ],
            testMemory: try testMemory(program, merged: merged),
            disk: disk(program, merged), phases: phases, steps: data.steps, trainTokens: training.tokens,
            trainableParameters: program.trainableParameters, warnings: warnings)
        (plan.savedTokens, plan.trainingLoad, plan.slowdown) = (training.tokens - training.rows, training.workload, machine.slowdown)
        return plan
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
        let kept = (intervals.saveTotalLimit > 0 ? min(saves, intervals.saveTotalLimit + 1) : saves) + (intervals.keepsBest ? 1 : 0)
        return [
            .init("checkpoints (\(kept))", Int64(kept) * checkpoint), .init("adapter", Int64(program.parameterBytes)),
            .init("merged model", merged), .init("tokenizer, configuration, records of the run", model.otherDiskBytes),
        ]
    }
}
