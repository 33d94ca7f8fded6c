import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe

/// The key `export`: GGUF files of the merged model, planned before training and written after merging.
extension Preparation {
    /// What files of the exported model are called.
    var exportName: String { ModelName.of(recipe.model ?? "model") }

    /// Adds the exported files to a plan: their bytes, and the time to write and test them.
    ///
    /// - Returns: warnings of what llama.cpp computes differently.
    /// - Throws: exit 2 where the model cannot be written as a GGUF: known before anything is trained.
    func addExports(to plan: inout Plan, cpu: CPU, files: any Files) throws -> [String] {
        let forms = try ExportForms(recipe)
        if forms.hasAdapter {
            // Refuses a model that has no GGUF.
            _ = try GGUFWriting(source.configuration, path: source.path)
            plan.disk.append(Plan.Part("adapter as GGUF", 4 * Int64(plan.trainableParameters)))
        }
        guard !forms.gguf.isEmpty else { return [] }
        let export = try GGUFExport(base: source, adapter: nil, settings: exportSettings, files: files, cpu: cpu)
        // What a Modelfile cannot be made of is refused here too.
        _ = try export.modelfiles(forms.gguf)
        plan.disk.append(Plan.Part("GGUF files", try forms.gguf.reduce(0) { try $0 + Int64(export.bytes($1)) }))
        let count = Double(forms.gguf.count)
        plan.phases = plan.phases.map { phase in
            switch phase.name {
            case "merging": Plan.Phase(phase.name, phase.seconds * (1 + count))
            // The test has three forms; an exported file costs about as much as one of them, although it answers no records.
            case "testing": Plan.Phase(phase.name, phase.seconds * (1 + count / 3))
            default: phase
            }
        }
        return export.warnings
    }

    var exportSettings: GGUFExport.Settings {
        var settings = GGUFExport.Settings(name: exportName)
        settings.template = mergedTemplate
        return settings
    }
}

extension Pipeline {
    /// Writes `gguf/`, unless it is there already, unchanged and made from this merged model.
    ///
    /// - Returns: the files to be tested.
    func export(_ merged: ModelSource, _ preparation: Preparation, _ cpu: CPU) throws -> [ExportedFile] {
        let forms = try ExportForms(recipe)
        guard !forms.isEmpty else { return [] }
        let (parts, files) = (output.parts, environment.files)
        // The merged folder has the template already.
        let export =
            try forms.gguf.isEmpty
            ? nil : GGUFExport(base: merged, adapter: nil, settings: .init(name: preparation.exportName), files: files, cpu: cpu)
        var items = try forms.gguf.compactMap { try export?.item($0) }
        if try parts.isWhole(.gguf) {
            try parts.recordIfNeeded(.gguf)
        } else {
            for warning in export?.warnings ?? [] { try reporter.warning(warning) }
            if forms.hasAdapter {
                let adapter = try AdapterFile.read(directory: output.adapter, files: files)
                items.append(try GGUFAdapterExport(base: preparation.source, adapter: adapter, name: preparation.exportName, cpu: cpu).item())
            }
            let folder = ExportFolder(items, texts: try export?.modelfiles(forms.gguf) ?? [], files: files)
            try warn(kept: parts.make(.gguf) { try folder.write(to: $0, whenFull: .machineFailed) })
        }
        return zip(forms.gguf, items).map { ExportedFile(form: $0, path: output.gguf + "/" + $1.name, tolerance: recipe.exportTolerance ?? $0.lossTolerance) }
    }
}

extension Pipeline {
    /// The summary with the verdict of each quantised form decided by the present tolerance, where its loss alone decides.
    func withPresentExportTolerance(_ summary: JSON) -> JSON {
        guard var all = summary.object, let exports = summary["exports"]?.array, !exports.isEmpty else { return summary }
        var failure: JSON?
        let present = exports.map { entry -> JSON in
            guard var fields = entry.object, let form = entry["form"]?.string.flatMap(GGUFForm.init(rawValue:)), !form.isExact,
                entry["sidecar"]?["pass"]?.bool != false, let loss = entry["loss"]?.double, let merged = entry["merged_loss"]?.double
            else { return entry }
            let verdict = ExportedForm.verdict(loss: loss, merged: merged, tolerance: recipe.exportTolerance ?? form.lossTolerance)
            fields["pass"] = verdict.json
            if verdict == .fail, failure == nil { failure = Self.failedProof(ExportedForm.aboveTolerance(entry["file"]?.string ?? output.gguf)) }
            return .object(fields)
        }
        all["exports"] = .array(present)
        let byLoss = Self.failedProof(ExportedForm.aboveTolerance(""))
        if all["failed_proof"] == nil || all["failed_proof"] == byLoss { all["failed_proof"] = failure }
        return .object(all)
    }
}
