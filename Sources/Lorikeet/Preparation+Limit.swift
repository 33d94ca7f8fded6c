import LorikeetDevices
import LorikeetEngine
import LorikeetPlanning

extension Preparation {
    /// The training program of a plan, and the data it runs on.
    func trainingProgram(of plan: Plan, card: PlannedCard?) throws -> (plan: ProgramPlan, load: Workload) {
        var request = ProgramRequest(
            storage: plan.choices.storage, lora: recipe.loraSettings, sizes: plan.choices.sizes,
            target: card.map { .device($0.element) } ?? .cpu(threads: plan.choices.threads))
        request.passes = plan.choices.passes
        let program = try Session.plan(source.configuration, request) { source.tensor($0)?.type }
        var load = plan.trainingLoad
        if !plan.choices.keepsExpanded { load.storedBytes = program.storedBytes }
        load.embeddingOnHost = plan.choices.embeddingOnHost
        return (program, load)
    }

    /// The limit that the run's speed is compared with.
    ///
    /// - Parameter processor: the processor's rates, for a run without a card.
    func limit(of plan: Plan, card: PlannedCard?, processor: DeviceModel) throws -> Plan.Limit {
        let (program, load) = try trainingProgram(of: plan, card: card)
        let model = card.map { DeviceModel.predicting($0.properties, $0.element) } ?? processor
        let head = source.configuration.vocabularySize * source.configuration.hiddenSize
        return Plan.Limit(
            matrixParameters: max(0, program.matrixParameters - head), headParameters: head, productFlops: model.productFlops,
            ops: program.training?.secondsByKind(load, model) ?? [])
    }
}
