import LorikeetDatasets
import LorikeetDevices
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// Another value of a key.
package struct KeyChange: Sendable, Equatable {
    package let key: String
    package let value: KeyValue

    package init(_ key: String, _ value: KeyValue) { (self.key, self.value) = (key, value) }

    /// As an option's name without dashes, and its value.
    package var option: (name: String, value: String) {
        let name = KeyTable.key(named: key)?.option ?? key
        switch value {
        case .text(let text): return (name, text)
        case .list(let names): return (name, names.joined(separator: ","))
        case .number(let number): return (name, number == number.rounded() ? "\(Int(number))" : "\(number)")
        default: return (name, value.yaml)
        }
    }
}

/// Plans the run of a recipe, and that of the same recipe with other values of some keys, on a machine whose rates are measured once.
package struct RunPlanner {
    package private(set) var preparation: Preparation
    private(set) var dataset: Dataset
    private let merges: Bool
    private let card: PlannedCard?
    private let cpu: CPU
    /// What earlier runs on this machine took, by which the minutes are corrected; empty for another machine's card.
    private let measurements: Measurements
    /// What is planned for; nil until it is measured.
    var machine: PlannedMachine?

    /// - Parameters:
    ///   - dataset: the samples of the preparation's recipe.
    ///   - card: nil plans for the processor.
    package init(_ preparation: Preparation, _ dataset: Dataset, merges: Bool, card: PlannedCard?, cpu: CPU, measurements: Measurements = Measurements()) {
        (self.preparation, self.dataset, self.merges, self.card, self.cpu) = (preparation, dataset, merges, card, cpu)
        self.measurements = measurements
    }

    /// A plan of a recipe, and what became of its samples.
    struct Made {
        let recipe: Recipe
        let plan: Plan
        let data: Dataset.Narrowed
    }

    /// The recipe's own plan.
    ///
    /// - Throws: exit 3 where the card's memory does not suffice; else as `Preparation.plan`.
    package mutating func plan() throws -> Plan {
        guard let made = try plan([]) else { throw LorikeetError.input("no records are left", at: "data") }
        return made.plan
    }

    /// Makes changes the recipe's own.
    mutating func take(_ changes: [KeyChange]) throws {
        guard let (changed, data) = try preparation.changed(changes, dataset) else { return }
        (preparation, dataset) = (changed, data.dataset)
    }

    /// The recipe's own plan, where no other is made.
    package func ownPlan() throws -> Plan {
        var planner = self
        return try planner.plan()
    }

    /// The plan with other values of keys.
    ///
    /// - Returns: nil where a run would refuse the data.
    /// - Throws: as `plan()`; `Interrupted` where the processor's `interruption` says so.
    mutating func plan(_ changes: [KeyChange]) throws -> Made? {
        try cpu.requireGoing()
        guard let (changed, data) = try preparation.changed(changes, dataset) else { return nil }
        let card = changes.contains { $0.key == "gpu_memory" } ? card?.capped(gpuMemory: changed.recipe.gpuMemoryBytes) : card
        let exports = try merges ? changed.plannedExports(cpu: cpu, files: RealFiles()) : Preparation.PlannedExports()
        let planner = try changed.planner(data.dataset, merges: merges, exports: exports.tested, card: card, cpu: cpu, machine: machine)
        machine = planner.machine
        let plan = try changed.plan(planner, exports)
        return Made(recipe: changed.recipe, plan: plan.corrected(by: measurements, changed.subject(card: card, cpu: cpu)), data: data)
    }
}
