import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe

/// The key `export`: other forms of the merged model, planned before training and written after merging.
extension Preparation {
    /// What the exported forms add to a plan.
    struct PlannedExports {
        /// Bytes on the disk.
        var disk: [Plan.Part] = []
        /// The forms that are tested, with the bytes of their weights.
        var tested: [PlannedExport] = []
        /// The adapter is written as a GGUF.
        var hasAdapter = false
        /// What llama.cpp computes differently.
        var warnings: [String] = []

        /// Adds their bytes.
        func add(to plan: inout Plan) {
            if hasAdapter { plan.disk.append(Plan.Part("adapter as GGUF", 4 * Int64(plan.trainableParameters))) }
            plan.disk += disk
            plan.warnings += warnings
        }
    }

    /// Processor seconds that encode an element: 6.7 billion of them in 41 (copied, NF4), 125 (blocks of one scale) and 354 to 510 (k-quants, whose scales are
    /// searched) seconds.
    private static func secondsPerElement(_ form: GGUFForm) -> Double {
        if TestedForm.gguf(form).isExact { return 6e-9 }
        return form.rawValue.contains("_k") ? 76e-9 : 18e-9
    }

    /// - Throws: exit 2 where the model cannot be written in a form: known before anything is trained.
    func plannedExports(cpu: CPU, files: any Files) throws -> PlannedExports {
        let forms = try ExportForms(recipe)
        var planned = PlannedExports(hasAdapter: forms.hasAdapter)
        // Refuses a model that has no GGUF.
        if forms.hasAdapter { _ = try GGUFWriting(source.configuration, path: source.path) }
        if forms.hasDirectory {
            let bytes = try Merger(base: source, adapter: nil, settings: directorySettings, files: files, cpu: cpu).byteCount()
            planned.disk.append(Plan.Part("\(BitsAndBytesExport.form) directory", bytes))
            planned.tested.append(
                PlannedExport(Plan.Part("weights (\(BitsAndBytesExport.form))", bytes), secondsPerElement: 6e-9, isExact: false))
        }
        guard !forms.gguf.isEmpty else { return planned }
        let export = try GGUFExport(base: source, adapter: nil, settings: exportSettings, files: files, cpu: cpu)
        // What a Modelfile cannot be made of is refused here too.
        _ = try export.modelfiles(forms.gguf)
        let gguf = try forms.gguf.map { Plan.Part("weights (GGUF \($0.label))", Int64(try export.bytes($0))) }
        planned.disk.append(Plan.Part("GGUF files", gguf.reduce(0) { $0 + $1.bytes }))
        planned.tested += zip(forms.gguf, gguf).map { PlannedExport($1, secondsPerElement: Self.secondsPerElement($0), isExact: TestedForm.gguf($0).isExact) }
        planned.warnings = export.warnings
        return planned
    }

    var exportSettings: GGUFExport.Settings {
        var settings = GGUFExport.Settings(name: exportName)
        settings.template = mergedTemplate
        return settings
    }

    /// How the directory `bnb-4bit` is written. What is no linear keeps 16 bits: the merged model's type, or, where that has 32, bfloat16 for a
    /// base that is stored in it, which may not fit float16.
    var directorySettings: MergeSettings {
        let isBF16 = source.configuration.weights.contains { source.tensor($0.tensor)?.type == .bf16 }
        var settings = MergeSettings(type: recipe.mergeType == .f32 ? (isBF16 ? .bf16 : .f16) : recipe.mergeType)
        settings.isNF4 = true
        return settings
    }
}

extension Pipeline {
    /// Writes the forms that the recipe exports, unless they are there already, unchanged and made from this merged model.
    ///
    /// - Returns: what is to be tested.
    func export(_ merged: ModelSource, _ preparation: Preparation, _ cpu: CPU) throws -> [ExportedFile] {
        let forms = try ExportForms(recipe)
        var exported: [(form: TestedForm, path: String)] = []
        if !forms.hasNoGGUF { exported += try exportGGUF(forms, merged, preparation, cpu) }
        if forms.hasDirectory {
            try exportDirectory(merged, preparation.directorySettings, cpu)
            exported.append((.bitsAndBytes, output.bitsAndBytes))
        }
        return exported.map { ExportedFile(form: $0.form, path: $0.path, tolerance: recipe.exportTolerance ?? $0.form.lossTolerance) }
    }

    /// `gguf/`.
    private func exportGGUF(
        _ forms: ExportForms, _ merged: ModelSource, _ preparation: Preparation, _ cpu: CPU
    ) throws -> [(form: TestedForm, path: String)] {
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
            var texts = try export?.modelfiles(forms.gguf) ?? []
            // A GGUF of an adapter has no place for it.
            if forms.hasAdapter, let template = preparation.choice.source { texts.append((AdapterTemplate.file, template)) }
            let folder = ExportFolder(items, texts: texts, from: [merged, preparation.source], files: files)
            try warn(
                kept: parts.make(.gguf) {
                    try folder.write(
                        to: $0, whenFull: .machineFailed, progress: { [self] in try told("exporting \($0.form)", $1) }, whenBuilt: $1)
                })
        }
        return zip(forms.gguf, items).map { (form: TestedForm.gguf($0), path: output.gguf + "/" + $1.name) }
    }

    /// `bnb-4bit/`.
    private func exportDirectory(_ merged: ModelSource, _ settings: MergeSettings, _ cpu: CPU) throws {
        let parts = output.parts
        if try parts.isWhole(.bitsAndBytes) { return try parts.recordIfNeeded(.bitsAndBytes) }
        let merger = Merger(base: merged, adapter: nil, settings: settings, files: environment.files, cpu: cpu)
        var warnings: [String] = []
        try warn(
            kept: parts.make(.bitsAndBytes) {
                warnings = try merger.write(
                    to: $0, whenFull: .machineFailed, progress: { [self] in try told("exporting \(BitsAndBytesExport.form)", $0) }, whenBuilt: $1)
            })
        for warning in warnings { try reporter.warning(warning) }
    }
}

extension Pipeline {
    /// The summary with the verdict of each quantised form decided by the present tolerance, where its loss alone decides.
    func withPresentExportTolerance(_ summary: JSON) -> JSON {
        guard var all = summary.object, let exports = summary["exports"]?.array, !exports.isEmpty else { return summary }
        var failure: JSON?
        let present = exports.map { entry -> JSON in
            guard var fields = entry.object, let form = entry["form"]?.string.flatMap(TestedForm.init(name:)), !form.isExact,
                entry["sidecar"]?["pass"]?.bool != false, let loss = entry["loss"]?.double, let merged = entry["merged_loss"]?.double
            else { return entry }
            let verdict = ExportedForm.verdict(loss: loss, merged: merged, tolerance: recipe.exportTolerance ?? form.lossTolerance)
            fields["pass"] = verdict.json
            if verdict == .fail, failure == nil {
                failure = Self.failedProof(ExportedForm.aboveTolerance(form, loss: loss, merged: merged, at: output.parts.place(form.part)))
            }
            return .object(fields)
        }
        all["exports"] = .array(present)
        if all["failed_proof"] == nil || ExportedForm.isAboveTolerance(all["failed_proof"]) { all["failed_proof"] = failure }
        return .object(all)
    }

    /// Where the proof stands that a summary says has failed: the exported form, where the merged model's own proofs did not fail.
    func failedPlace(_ summary: JSON) -> String {
        guard Self.proofs.allSatisfy({ summary[$0]?["pass"]?.bool != false }) else { return output.merged }
        let failed = summary["exports"]?.array?.first { $0["pass"]?.bool == false }
        guard let failed, let form = failed["form"]?.string.flatMap(TestedForm.init(name:)) else { return output.merged }
        let folder = output.parts.place(form.part)
        // The folder may have been moved since.
        return form.part == .gguf ? folder + "/" + BaseOrigin.lastPart(failed["file"]?.string ?? "") : folder
    }
}
