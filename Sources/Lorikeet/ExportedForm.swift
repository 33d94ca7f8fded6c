import LorikeetDelivery
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetReporting

/// A GGUF, or a directory, that a run exported.
struct ExportedFile {
    let form: TestedForm
    let path: String
    /// By how much its loss may exceed the merged model's.
    let tolerance: Double
}

/// An exported form, read again and compared with the model that was merged.
struct ExportedForm: Sendable {
    let form: TestedForm
    let path: String
    /// Mean -log p of the trained tokens of all validation rows; nil without any.
    let loss: Double?
    /// The merged model's.
    let mergedLoss: Double?
    /// How far its logits are from base + adapter's; nil for a quantised form.
    let difference: LogitDifference?
    /// Its tokenizer beside the one that was trained with.
    let sidecar: SidecarComparison
    /// Of a plain float form: its logits are base + adapter's. Of a quantised one: its loss is no worse than the tolerance allows.
    let verdict: Verdict

    init(_ file: ExportedFile, loss: Double?, mergedLoss: Double?, difference: LogitDifference?, sidecar: SidecarComparison, merged: MergePrecision) {
        (form, path, self.loss, self.mergedLoss, self.difference, self.sidecar) = (file.form, file.path, loss, mergedLoss, difference, sidecar)
        let own: Verdict
        if let difference {
            own = difference.verdict(Self.coarser(file.form, merged))
        } else {
            own = Self.verdict(loss: loss, merged: mergedLoss, tolerance: file.tolerance)
        }
        verdict = sidecar.verdict == .fail ? .fail : own
    }

    static func verdict(loss: Double?, merged: Double?, tolerance: Double) -> Verdict {
        guard let loss, let merged else { return .notTested }
        return loss.isFinite && merged.isFinite && loss <= merged + tolerance ? .pass : .fail
    }

    /// The precision that decides how far logits may differ: the file's or the merged model's, whichever rounds more.
    private static func coarser(_ form: TestedForm, _ merged: MergePrecision) -> MergePrecision {
        let own: MergePrecision = form == .gguf(.bf16) ? .bfloat16 : form == .gguf(.f16) ? .float16 : .float32
        return mergeLogitTolerance(own) > mergeLogitTolerance(merged) ? own : merged
    }

    /// What summary.json holds; numbers that are not finite are null.
    var json: JSON {
        func number(_ value: Double?) -> JSON { value.flatMap { $0.isFinite ? .number($0) : nil } ?? .null }
        var fields: JSONObject = [
            "form": .string(form.name), "file": .string(path), "pass": verdict.json, "loss": number(loss), "merged_loss": number(mergedLoss),
            "sidecar": sidecar.json,
        ]
        if let difference, difference.rows > 0 {
            fields["max_logit_difference"] = number(difference.maximum)
            fields["mean_logit_difference"] = number(difference.mean)
        }
        return .object(fields)
    }

    /// A line of the report.
    var words: String {
        var text = "\(verdict.word) (loss \(Figures.loss(loss)), merged \(Figures.loss(mergedLoss))"
        if let difference, difference.rows > 0 { text += "; largest difference of a logit \(Figures.number(difference.maximum))" }
        if sidecar.verdict == .fail { text += "; tokenizer: \(sidecar.words)" }
        return text + ")"
    }

    /// The lines of a finished run's exported forms: name and what `words` said.
    ///
    /// - Parameter summary: the run's summary.json.
    static func lines(of summary: JSON) -> [(name: String, words: String)] {
        (summary["exports"]?.array ?? []).compactMap { entry in
            guard let form = entry["form"]?.string.flatMap(TestedForm.init(name:)) else { return nil }
            let verdict = entry["pass"]?.bool.map { $0 ? "pass" : "FAIL" } ?? "not tested"
            var text = "\(verdict) (loss \(Figures.number(entry["loss"]?.double)), merged \(Figures.number(entry["merged_loss"]?.double))"
            if let most = entry["max_logit_difference"]?.double { text += "; largest difference of a logit \(Figures.number(most))" }
            if entry["sidecar"]?["pass"]?.bool == false { text += "; tokenizer: \(entry["sidecar"]?["difference"]?.string ?? "another one")" }
            return (form.title, text + ")")
        }
    }

    /// Why it fails; nil where it does not.
    var failure: LorikeetError? {
        guard verdict == .fail else { return nil }
        if sidecar.verdict == .fail {
            return LorikeetError(
                .checkFailed, "the tokenizer in the exported form is not the one that was trained with: \(sidecar.words)", at: path,
                fix: "export from the model's Hugging Face directory, or use merged/")
        }
        return difference == nil
            ? Self.aboveTolerance(form, loss: loss, merged: mergedLoss, at: path)
            : LorikeetError(
                .checkFailed, "the GGUF does not compute what base + adapter does: \(words)", at: path, fix: "set merge_dtype: float32, or report this")
    }

    /// The sentence of a quantised form that fails by its loss.
    static func aboveTolerance(_ form: TestedForm, loss: Double?, merged: Double?, at path: String) -> LorikeetError {
        let better = form.formsWithMoreBits.joined(separator: ", ")
        guard let loss, let merged, loss.isFinite, merged.isFinite else {
            return LorikeetError(.checkFailed, "the loss of \(form.title) is not a finite number", at: path, fix: "export a form with more bits (\(better))")
        }
        // Rounded up, so that the form passes with it.
        let enough = Figures.number(((loss - merged) * 1000).rounded(.up) / 1000)
        return LorikeetError(
            .checkFailed, "the loss of \(form.title) (\(Figures.loss(loss))) exceeds the merged model's (\(Figures.loss(merged)))" + aboveToleranceEnding,
            at: path,
            fix: "export a form with more bits (\(better)), or set export_tolerance to \(enough) or more where that loss is acceptable")
    }

    private static let aboveToleranceEnding = " by more than export_tolerance"

    /// Whether a failed proof, as summary.json holds it, is that of a form whose loss exceeds the tolerance; of older versions too.
    static func isAboveTolerance(_ failure: JSON?) -> Bool { failure?["what"]?.string?.hasSuffix(aboveToleranceEnding) ?? false }
}
