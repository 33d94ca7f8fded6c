import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTraining

/// What a run delivers, and what the same command finds of it the next time.
extension Pipeline {
    /// Reports a run that is finished and whole, and takes it over where it is an earlier output.
    ///
    /// - Returns: its summary; nil while there is work left, or something to be made again.
    /// - Throws: exit 2 when an input has changed since the run began.
    func finished() throws -> JSON? {
        guard acceptedChanges.isEmpty, let summary = try output.finishedSummary(), goal == .adapter || summary["merged_matches_adapter"] != nil else {
            return nil
        }
        if let kept = try output.keptInputs() {
            if output.inputsMoved, case let here = try located().recipe, let model = here.model {
                let source = try ModelSource.open(model, files: environment.files)
                try RunInputs(recipe: here, source: source, files: environment.files, check: requireGoing) { (0..<$0).forEach($1) }.requireSame(as: kept)
            } else {
                try kept.requireUnchanged(files: environment.files, check: requireGoing)
            }
        }
        var faults = try output.faults(merged: goal == .testedModel)
        if faults.isEmpty, earlier != nil {
            // The report names the places where everything is from now on. Exported forms are not copied: they are made again from the merged model.
            try takeOver()
            faults = try output.faults(merged: goal == .testedModel)
        }
        guard faults.isEmpty else {
            for fault in faults { try reporter.warning(fault) }
            return nil
        }
        try reporter.note(finishedText(goal == .testedModel ? withPresentTolerance(summary) : summary))
        if goal == .testedModel {
            for proof in Self.proofs where summary[proof]?["pass"] == .null {
                try reporter.warning("the proof '\(proof)' was not tested")
            }
        }
        return summary
    }

    /// Keys of the proofs in summary.json.
    static let proofs = ["merged_matches_adapter", "transfer", "sidecar"]

    /// Writes the model cards, and checks that a finished run's proofs passed: cards and verdict are the same whether the run has just ended or is
    /// asked for again.
    ///
    /// `merge_tolerance` may have changed since; the transfer proof is decided again with the present one.
    ///
    /// - Throws: exit 1 when a proof failed, with the sentence of the first time.
    func requireProofs(_ summary: JSON) throws -> JSON {
        let present = goal == .testedModel ? withPresentTolerance(summary) : summary
        if present != summary {
            try output.claim(for: recipe)
            try output.write(present, to: output.summaryJSON)
        }
        output.removeTestRecord()
        try writeCards(present)
        guard goal == .testedModel else { return summary }
        if let failure = present["failed_proof"] {
            throw LorikeetError(.checkFailed, failure["what"]?.string ?? "a proof failed", at: failedPlace(present), fix: failure["fix"]?.string)
        }
        if let proof = Self.proofs.first(where: { present[$0]?["pass"]?.bool == false }) {
            throw LorikeetError(.checkFailed, "the proof '\(proof)' failed", at: output.merged, fix: "look at its numbers in \(output.summaryJSON)")
        }
        return present
    }

    /// The summary with the transfer proof decided by the recipe's tolerance, where it is the tolerance that decides.
    private func withPresentTolerance(_ summary: JSON) -> JSON { withPresentExportTolerance(withPresentMergeTolerance(summary)) }

    private func withPresentMergeTolerance(_ summary: JSON) -> JSON {
        guard var all = summary.object, var transfer = summary["transfer"]?.object, let pass = transfer["pass"]?.bool,
            let trained = transfer["trained_form_loss"]?.double, let merged = transfer["merged_loss"]?.double, trained.isFinite, merged.isFinite
        else { return summary }
        let byLoss = Self.failedProof(FormsTest.Result.aboveTolerance(merged: output.merged))
        // A proof that failed by something else than its losses stays failed.
        guard pass || all["failed_proof"] == byLoss, pass != (merged <= trained + recipe.mergeTolerance) else { return summary }
        transfer["pass"] = .bool(!pass)
        all["transfer"] = .object(transfer)
        if !pass { all["failed_proof"] = nil } else { all["failed_proof"] = all["failed_proof"] ?? byLoss }
        return .object(all)
    }

    /// A failed proof as the summary holds it.
    static func failedProof(_ error: LorikeetError) -> JSON { ["what": .string(error.what), "fix": error.fix.map { .string($0) } ?? .null] }

    /// Step 2: opens what the recipe names. Weights that are on a hub stay there until it is known that the run fits.
    func prepare() throws -> (Preparation, InputLocator.Download?) {
        let located = try located(weights: false)
        if let download = located.download { try reporter.note("its weights are fetched once the plan shows that the run fits: \(download.words)") }
        let files = located.download == nil ? environment.files : located.files
        return (try Preparation(recipe: located.recipe, files: files), located.download)
    }

    /// The recipe with paths of this machine for what it names; reports what the user should know of it.
    private func located(weights: Bool = true) throws -> InputLocator.LocatedRecipe {
        let located = try environment.locator.locate(recipe, weights: weights, begunIn: output.path)
        for note in located.notes { try reporter.note(note) }
        for warning in located.warnings { try reporter.warning(warning) }
        return located
    }

    /// Fetches the weights that step 2 left on the hub.
    ///
    /// - Throws: exit 4 where the hub has a newer commit by now, for the plan is another's.
    func fetchWeights(_ download: InputLocator.Download, for planned: Preparation) throws -> Preparation {
        try reporter.note("fetching \(download.words)")
        let located = try environment.locator.locate(recipe, begunIn: output.path)
        for warning in located.warnings { try reporter.warning(warning) }
        let same = located.recipe.model == planned.recipe.model && located.recipe.data == planned.recipe.data
        guard same, located.recipe.validation == planned.recipe.validation else {
            throw LorikeetError.machine(
                "the hub has a newer commit than when the run was planned", at: download.model, fix: "run the same command again: it takes the newer one")
        }
        var whole = try Preparation(recipe: located.recipe, files: environment.files)
        whole.dataset = planned.dataset
        return whole
    }

    /// The inputs' check sums, held to those of the first start.
    ///
    /// - Throws: exit 2 when one is another.
    func verifiedInputs(_ preparation: Preparation, _ cpu: CPU) throws -> RunInputs {
        let inputs = try RunInputs(recipe: preparation.recipe, source: preparation.source, files: environment.files, check: requireGoing) {
            cpu.parallel(over: $0, $1)
        }
        if environment.acceptsChanges { return inputs }
        if let first = try output.keptInputs() {
            do { try inputs.requireSame(as: first) } catch var error as LorikeetError {
                if earlier != nil { error.fix = "bring back what the run began with, or leave resume_from out to begin anew" }
                throw error
            }
        } else if try output.inputsAreUnknown() {
            try reporter.note(
                "this run began without check sums of its inputs, so an input that has changed since is not noticed; from now on check sums are kept")
        }
        return inputs
    }

    /// `adapter/`, unless it is there with these very bytes.
    ///
    /// - Parameter template: the chat template of the training, which goes with the adapter wherever it is used.
    func deliver(_ adapters: TrainedSet, template: String?) throws {
        var (parts, files) = (output.parts, environment.files)
        // What training has come to is delivered before the run is stopped.
        parts.check = {}
        let pending = try PendingFolder(for: output.adapter, files: files)
        do {
            try CheckpointStore.writeAdapter(adapters, configuration: recipe.adapterConfiguration, to: pending.path, files: pending.files)
            if let template { try pending.files.writeDurably(template, to: pending.path + "/" + AdapterTemplate.file) }
            let made = try parts.sums(in: pending.path)
            let there = try files.isDirectory(output.adapter) ? parts.sums(in: output.adapter) : [:]
            if made.allSatisfy({ there[$0.key] == $0.value }) {
                pending.discard()
                return try parts.recordIfNeeded(.adapter)
            }
            try warn(kept: parts.make(.adapter, from: pending))
        } catch {
            pending.discard()
            throw error
        }
    }

    /// `merged/`, unless it is there as it was made, of this adapter.
    func merge(_ preparation: Preparation, _ cpu: CPU) throws -> ModelSource {
        let parts = output.parts
        if try parts.isWhole(.merged) {
            try parts.recordIfNeeded(.merged)
        } else {
            let adapter = try AdapterFile.read(directory: output.adapter, files: environment.files)
            var settings = MergeSettings(type: recipe.mergeType, into: preparation.mergedStorage)
            settings.template = preparation.mergedTemplate
            let merger = Merger(base: preparation.source, adapter: adapter, settings: settings, files: environment.files, cpu: cpu)
            var warnings: [String] = []
            try warn(
                kept: parts.make(.merged) {
                    warnings = try merger.write(to: $0, whenFull: .machineFailed, progress: { [self] in try told("merging", $0) }, whenBuilt: $1)
                })
            for warning in warnings { try reporter.warning(warning) }
        }
        return try ModelSource.open(output.merged, files: environment.files)
    }

    func warn(kept: String?) throws {
        guard let kept else { return }
        try reporter.warning("the replaced folder held files that this run did not make, or that have been changed: they are kept in \(kept)")
    }
}
