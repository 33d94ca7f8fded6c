import LorikeetDevices
import LorikeetEngine
import LorikeetPlanning

extension Preparation {
    /// The training program of a plan, and the data it runs on.
    func trainingProgram(of plan: Plan, card: PlannedCard?, _ programs: ModelPrograms) throws -> (plan: ProgramPlan, load: Workload) {
        var request = ProgramRequest(
            storage: plan.choices.storage, lora: recipe.loraSettings, sizes: plan.choices.sizes,
            target: card.map { .device($0.element) } ?? .cpu(threads: plan.choices.threads))
        request.passes = plan.choices.passes
        let program = try programs.plan(request) { source.tensor($0)?.type }
        var load = plan.trainingLoad
        if !plan.choices.keepsExpanded { load.storedBytes = program.storedBytes }
        load.embeddingOnHost = plan.choices.embeddingOnHost
        return (program, load)
    }

    /// The limit that the run's speed is compared with.
    ///
    /// - Parameter planner: what made the plan.
    func limit(of plan: Plan, _ planner: Planner) throws -> Plan.Limit {
        let card = planner.machine.card
        let (program, load) = try trainingProgram(of: plan, card: card, planner.model.programs)
        let model = card.map { DeviceModel.predicting($0.properties, $0.element) } ?? planner.machine.processor
        let head = source.configuration.vocabularySize * source.configuration.hiddenSize
        return Plan.Limit(
            matrixParameters: max(0, program.matrixParameters - head), headParameters: head, productFlops: model.productFlops,
            ops: program.training?.secondsByKind(load, model) ?? [])
    }
}
