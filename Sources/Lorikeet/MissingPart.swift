import LorikeetGround
import LorikeetRecipe

/// A part of a run's output that is named and is not there: what the run has not made yet, with the command that makes it.
package enum MissingPart {
    /// - Parameter path: what was named as a model, an adapter or a folder to upload: `out/merged`, `out/gguf`.
    /// - Returns: nil where the path is there, or is no part of a run's output.
    package static func error(at path: String, files: any Files = RealFiles()) -> LorikeetError? {
        let place = RealFiles.trimmed(path)
        let run = OutputDirectory(path: RealFiles.parent(of: place), files: files)
        guard !files.exists(place), let part = OutputParts.Part(rawValue: BaseOrigin.lastPart(place)), files.exists(run.runYAML) else { return nil }
        switch part {
        case .adapter: return .input("the run has not made its adapter yet", at: place, fix: "finish it: \(finishing(run))")
        case .merged:
            let what = files.isDirectory(run.adapter) ? "the run has made its adapter, and has not merged it" : "the run has not merged its adapter yet"
            return .input(what, at: place, fix: "finish it: \(finishing(run))")
        case .gguf: return exported(place, run, what: "no GGUF file was exported", form: ExportForms.standard.rawValue)
        case .bitsAndBytes: return exported(place, run, what: "the run has not exported this form", form: part.rawValue)
        }
    }

    /// The command that merges, exports and tests what a run has trained, or trains on.
    static func finishing(_ run: OutputDirectory) -> String { "lorikeet run --config \(run.runYAML.shellWord) --output \(run.path.shellWord)" }

    private static func exported(_ place: String, _ run: OutputDirectory, what: String, form: String) -> LorikeetError {
        let fix =
            run.files.isDirectory(run.merged)
            ? "make it: lorikeet export --model \(run.merged.shellWord) --output \(place.shellWord) --form \(form)"
            : "finish the run, with an export: \(finishing(run)) --export \(form)"
        return .input(what, at: place, fix: fix + " (lorikeet export --help lists the forms)")
    }
}
