import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetRecipe

/// The model cards of what a run delivers.
extension Pipeline {
    /// What summary.json says of the base and the machine.
    func facts(_ preparation: Preparation, _ plan: Plan, _ compute: Compute) -> JSONObject {
        var base = BaseOrigin(
            recipe: recipe, source: preparation.source.files, hasTemplate: preparation.template != nil, files: environment.files)
        base.endTokens = preparation.tokenizer.endTokens
        var machine: JSONObject = ["processor": .string(Machine.cpuModel()), "threads": JSON(compute.cpu.threads)]
        if let card = compute.device?.properties { machine["card"] = .string("\(card.name), \(card.driver)") }
        return [
            "base": base.json, "machine": .object(machine), "base_storage": .string(plan.choices.storage.rawValue),
            "base_has_own_codes": .bool(plan.choices.storage == .stored && preparation.source.hasOwnCodes), "version": .string(lorikeetVersion),
        ]
    }

    /// Writes the cards that are missing or older than the summary. One that a user has edited stays, and a note says so. A card that cannot be written
    /// does not end a run whose results are there: a warning says so.
    func writeCards(_ summary: JSON) throws {
        for part in goal == .testedModel ? [.adapter, .merged] + output.parts.exported : [.adapter] {
            let text = ModelCard(part: part, recipe: recipe, summary: summary, files: environment.files).text()
            do { try write(card: text, of: part) } catch let error as LorikeetError where error.exit == .machineFailed {
                try reporter.warning("the model card could not be written (\(error.description)); the same command writes it")
            }
        }
    }

    private func write(card text: String, of part: OutputParts.Part) throws {
        let parts = output.parts
        switch try parts.cardState(part, text) {
        case .due:
            try output.claim(for: recipe)
            try parts.write(card: text, of: part)
        case .edited: try reporter.note("\(parts.cardPath(part)) has been edited and stays as it is")
        case .written, .noPart: break
        }
    }
}
