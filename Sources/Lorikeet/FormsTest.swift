import LorikeetDatasets
import LorikeetDelivery
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetPlanning
import LorikeetRecipe
import LorikeetReporting
import LorikeetTraining

/// The test of a run: base, base + adapter and merged model on held-out rows, and the three proofs.
struct FormsTest {
    let preparation: Preparation
    let dataset: Dataset
    let choices: Plan.Choices
    let compute: Compute
    /// The adapter's shape.
    let lora: LoRASettings
    let merged: ModelSource
    let adapter: String
    let files: any Files
    /// What is known already.
    let record: TestRecord
    /// The exported forms of the merged model.
    var exports: [ExportedFile] = []
    /// Called while a form's memory on the card is at its largest, so that the peak can be recorded.
    var observe: () -> Void = {}
    /// Told the share of the test that is done; what it throws ends the test.
    var progress: (Double) throws -> Void = { _ in }
    /// Told the seconds of parts of the test: `answering` and `comparing`.
    var spent: (_ part: String, _ seconds: Double) -> Void = { _, _ in }
    var clock: any Clock = SystemClock()

    private var recipe: Recipe { preparation.recipe }

    struct Result {
        var before: FormResult
        var after: FormResult
        var merged: FormResult
        var identity: LogitDifference
        var identityVerdict: Verdict
        var transferVerdict: Verdict
        var sidecar: SidecarComparison
        var exported: [ExportedForm] = []
        var rows: [HeldOutRow]
        var questions: [String]
    }

    /// One form after the other, so that memory, and a card, hold one at a time: weights are freed and mapped pages given back before the next.
    ///
    /// - Parameter trained: the base as it was trained on, with the adapter; its weights are freed here. nil loads it.
    /// - Throws: `Interrupted` where the processor's `interruption` says so, which is asked while weights are loaded and between two operations of a model.
    func run(trained: Model?) throws -> Result {
        let questions = try preparation.answerTest(dataset, slots: choices.test.slots)
        let (before, after) = try trainedForms(trained, questions)
        preparation.source.files.giveBackPages()
        let compared = try (dataset.validation.isEmpty ? dataset.train : dataset.validation).first(Planner.comparedSamples)
        let logits = try timed("comparing") { try reference(compared) }
        preparation.source.files.giveBackPages()
        try progress(3 / Self.parts)
        let merged = try record.form("merged") { try mergedForm(questions) }
        let identity = try timed("comparing") { try difference(logits, compared, self.merged) }
        self.merged.files.giveBackPages()
        try progress(1)
        let samples = try [dataset.validation, dataset.train].flatMap { try $0.first(SidecarComparison.mostSamples) }
        let sidecar = try timed("comparing") {
            try SidecarComparison(
                of: self.merged.path, trained: .init(tokenizer: preparation.tokenizer, template: preparation.template, now: recipe.templateSeconds),
                samples: samples, files: files)
        }
        let exported = try exports.map { try exportedForm($0, logits, compared, merged: merged.loss, samples) }
        let precision = MergePrecision(of: self.merged)
        return Result(
            before: before, after: after, merged: merged, identity: identity, identityVerdict: identity.verdict(precision),
            transferVerdict: transferVerdict(trained: after, merged: merged, tolerance: recipe.mergeTolerance),
            sidecar: sidecar, exported: exported, rows: questions.rows, questions: questions.rows.map(question))
    }

    private func timed<Result>(_ part: String, _ body: () throws -> Result) rethrows -> Result {
        let start = clock.uptime
        defer { spent(part, clock.uptime - start) }
        return try body()
    }

    private var processor: Compute { Compute(cpu: compute.cpu) }

    /// Sizes of sessions that only evaluate and decode.
    private var sizes: SessionSizes { SessionSizes(training: 0, evaluation: choices.sizes.evaluation, headChunk: choices.sizes.headChunk) }

    private func trainedForms(_ trained: Model?, _ questions: AnswerTest) throws -> (before: FormResult, after: FormResult) {
        var model = trained
        if let before = record.known("before"), let after = record.known("after") {
            trained?.releaseWeights()
            return (before, after)
        }
        if choices.keepsExpanded && !choices.test.keepsExpanded {
            // There is no room for the expanded weights beside the answers.
            model?.releaseWeights()
            model = nil
        }
        var compute = compute
        compute.embeddingOnHost = choices.embeddingOnHost
        let form = try model ?? loaded(compute, preparation.source, storage: choices.storage, lora: lora)
        defer { form.releaseWeights() }
        if model == nil, choices.test.keepsExpanded { try form.keepExpanded() }
        let session = try self.session(form, sizes)
        form.adapterEnabled = false
        let before = try record.form("before") { try self.form(session, questions, part: 0) }
        form.adapterEnabled = true
        return (before, try record.form("after") { try self.form(session, questions, part: 1) })
    }

    /// - Parameter lora: nil loads the model without the adapter.
    private func loaded(_ compute: Compute, _ source: ModelSource, storage: BaseStorage, lora: LoRASettings?) throws -> Model {
        let model = try compute.model(source, storage: storage, lora: lora)
        if lora != nil { try model.loadAdapter(AdapterFile.read(directory: adapter, files: files)) }
        return model
    }

    private func session(_ model: Model, _ sizes: SessionSizes) throws -> Session {
        let session = try Session(model: model, sizes: sizes)
        session.interruption = compute.cpu.interruption
        return session
    }

    private func mergedForm(_ questions: AnswerTest) throws -> FormResult {
        let model = try loaded(choices.test.mergedOnCard ? compute : processor, merged, storage: .stored, lora: nil)
        defer { model.releaseWeights() }
        var sizes = sizes
        // On the processor larger batches only take more memory.
        if model.placed == nil { sizes.evaluation = min(sizes.evaluation, Planner.tokensPerBatch) }
        return try form(session(model, sizes), questions, part: 3)
    }

    // MARK: identity

    /// Where the two forms are compared: in float32, so that they differ by the merging alone, and on the card where there is room for it.
    private var comparisonCompute: Compute {
        choices.test.comparedOnCard ? Compute(cpu: compute.cpu, device: compute.device, element: .f32) : processor
    }

    /// What the merged model has to equal: the base in the precision it was merged in, with the adapter beside it.
    private func reference(_ samples: [TokenSample]) throws -> LogitRecord {
        let model = try loaded(comparisonCompute, preparation.source, storage: preparation.mergedStorage, lora: lora)
        defer { model.releaseWeights() }
        let session = try self.session(model, comparedSizes(samples))
        defer { withExtendedLifetime(session) { observe() } }
        return try LogitRecord(of: session, samples: samples, rowsOfSample: Planner.comparedRows, tokensPerBatch: comparedTokens)
    }

    /// An exported file, loaded again: its loss, and of a plain float form the logits too.
    private func exportedForm(
        _ file: ExportedFile, _ logits: LogitRecord, _ compared: [TokenSample], merged: Double?, _ samples: [TokenSample]
    ) throws -> ExportedForm {
        let source = try ModelSource.open(file.path, files: files)
        let trained = SidecarComparison.Trained(tokenizer: preparation.tokenizer, template: preparation.template, now: recipe.templateSeconds)
        let loss = try record.form(file.form.name) { FormResult(loss: try self.loss(of: source), answersRight: nil, answers: []) }.loss
        let difference = file.form.isExact ? try difference(logits, compared, source) : nil
        source.files.giveBackPages()
        return ExportedForm(
            file, loss: loss, mergedLoss: merged, difference: difference,
            sidecar: try SidecarComparison(of: source.files, trained: trained, samples: samples, files: files),
            merged: MergePrecision(of: self.merged))
    }

    /// The validation loss of a model in the form of its file.
    private func loss(of source: ModelSource) throws -> Double? {
        let model = try loaded(choices.test.mergedOnCard ? compute : processor, source, storage: .stored, lora: nil)
        defer { model.releaseWeights() }
        var sizes = sizes
        let tokens = model.placed == nil ? min(choices.evaluationTokensPerBatch, Planner.tokensPerBatch) : choices.evaluationTokensPerBatch
        if model.placed == nil { sizes.evaluation = min(sizes.evaluation, Planner.tokensPerBatch) }
        return try session(model, sizes).loss(
            of: dataset.validation, tokensPerBatch: tokens,
            progress: { _ in
                try progress(1)
                return true
            })
    }

    private func difference(_ record: LogitRecord, _ samples: [TokenSample], _ source: ModelSource) throws -> LogitDifference {
        let model = try loaded(comparisonCompute, source, storage: .stored, lora: nil)
        defer { model.releaseWeights() }
        let session = try self.session(model, comparedSizes(samples))
        defer { withExtendedLifetime(session) { observe() } }
        return try record.difference(from: session)
    }

    private func comparedSizes(_ samples: [TokenSample]) -> SessionSizes {
        SessionSizes(training: 0, evaluation: Planner.comparison(samples.map(\.ids.count), tokensPerBatch: comparedTokens).rows, headChunk: 32)
    }

    /// Tokens that are compared at a time; a card computes one sample after the other.
    private var comparedTokens: Int { choices.test.comparedOnCard ? 1 : Planner.comparedTokens }

    /// Parts of the test that count the same in its progress: three forms' losses and answers, and the two sides of the comparison.
    private static let parts = 5.0

    private func form(_ session: Session, _ test: AnswerTest, part: Double) throws -> FormResult {
        let lossShare = test.rows.isEmpty ? 1 : 0.5
        let tokens = session.model.placed == nil ? min(choices.evaluationTokensPerBatch, Planner.tokensPerBatch) : choices.evaluationTokensPerBatch
        var begun = BegunAnswers(test)
        let evaluated = { (result: EvaluatedSample) in
            if let choices = result.choices, result.logProbabilities.allSatisfy(\.isFinite) { begun.add(result.sample, choices: choices) }
        }
        let loss = try session.loss(of: dataset.validation, tokensPerBatch: tokens, evaluated: evaluated) {
            try progress((part + lossShare * $0) / Self.parts)
            return true
        }
        guard !test.rows.isEmpty else { return FormResult(loss: loss, answersRight: nil, answers: []) }
        do {
            let answers = try timed("answering") {
                try test.answers(of: session, begun: begun.tokens, onGroup: observe) {
                    try progress((part + lossShare + (1 - lossShare) * $0) / Self.parts)
                }
            }
            return FormResult(loss: loss, answersRight: test.shareRight(answers), answers: answers)
        } catch let error as LorikeetError where error.exit == .checkFailed {
            // The proof fails and is reported with everything else that was measured.
            return FormResult(loss: loss, answersRight: nil, answers: test.rows.map { _ in "" }, failure: error.what)
        }
    }

    /// The last line of the prompt that says something: what a person would call the question.
    private func question(_ row: HeldOutRow) -> String {
        let lines = preparation.tokenizer.decode(row.promptIDs, skipSpecial: true).split(separator: "\n").map(String.init)
        return lines.dropLast().last ?? lines.last ?? ""
    }
}

extension FormsTest.Result {
    /// What summary.json holds of the test; numbers that are not finite are null.
    var fields: JSONObject {
        func number(_ value: Double?) -> JSON { value.flatMap { $0.isFinite ? .number($0) : nil } ?? .null }
        // Without a compared row there are no differences, which is not a difference of 0.
        func compared(_ value: Double) -> JSON { identity.rows > 0 ? number(value) : .null }
        return [
            "validation_loss_before": number(before.loss), "validation_loss_after": number(after.loss),
            "answers_right_before": number(before.answersRight), "answers_right_after": number(merged.answersRight),
            "answers_right_with_adapter": number(after.answersRight),
            "merged_matches_adapter": [
                "pass": identityVerdict.json, "max_logit_difference": compared(identity.maximum), "mean_logit_difference": compared(identity.mean),
                "largest_logit": compared(identity.largestLogit), "same_choice": number(identity.sameChoice), "rows": JSON(identity.rows),
                "unusable_rows": JSON(identity.unusableRows),
            ],
            "transfer": ["pass": transferVerdict.json, "trained_form_loss": number(after.loss), "merged_loss": number(merged.loss)],
            "sidecar": sidecar.json, "exports": .array(exported.map(\.json)),
        ]
    }

    /// The first proof that failed; nil where none did.
    func failure(merged path: String) -> LorikeetError? {
        if identityVerdict == .fail {
            return LorikeetError(
                .checkFailed, "the merged model does not compute what base + adapter does: \(identityText)", at: path,
                fix: "set merge_dtype: float32, or report this")
        }
        guard transferVerdict == .fail else { return sidecarFailure(path) ?? exported.lazy.compactMap(\.failure).first }
        if let broken = [("merged model", merged), ("trained form", after)].first(where: { $1.failure != nil || $1.loss?.isFinite == false }) {
            return LorikeetError(
                .checkFailed, "the \(broken.0) cannot be used: \(broken.1.failure ?? "its loss is not a finite number")", at: path,
                fix: "look for NaN or infinity in the base and the adapter, and train again with a lower learning_rate")
        }
        return Self.aboveTolerance(merged: path)
    }

    private func sidecarFailure(_ path: String) -> LorikeetError? {
        guard sidecar.verdict == .fail else { return nil }
        return LorikeetError(
            .checkFailed, "the merged folder's tokenizer is not the one that was trained with: \(sidecar.words)", at: path,
            fix: "copy the base model's tokenizer files there, or use the base model's Hugging Face directory as --model")
    }

    /// The sentence of a transfer proof that fails by its losses alone.
    static func aboveTolerance(merged path: String) -> LorikeetError {
        LorikeetError(
            .checkFailed, "the merged model's loss exceeds the trained form's by more than merge_tolerance", at: path,
            fix: "set merge_into: trained, or train on base_storage f16")
    }

    /// A sentence for each proof that had nothing to compare.
    var notTested: [String] {
        let fix = "give --validation FILE, or a validation_share above 0"
        return (identityVerdict == .notTested ? ["merged = adapter was not tested, for there are no records to compare: \(fix)"] : [])
            + (transferVerdict == .notTested ? ["transfer was not tested, for there are no held-out records: \(fix)"] : [])
            + (sidecar.verdict == .notTested ? ["the sidecar was not tested, for there are no records to compare: \(fix)"] : [])
    }

    private var identityText: String {
        if identity.unusableRows > 0 { return "\(identity.unusableRows) rows of logits are NaN or infinite, or only one of the two models has them" }
        guard let same = identity.sameChoice else { return "no rows compared" }
        let (most, of) = (Figures.number(identity.maximum), Figures.number(identity.largestLogit))
        return "largest difference of a logit \(most) of \(of); same choice on \(Figures.percent(same))"
    }

    /// Losses, right answers and proofs, and three answers before and after.
    func text() -> String {
        var lines =
            before.loss == nil && rows.isEmpty
            ? ["held-out records  none: no loss and no answers to compare"]
            : [
                "validation loss   \(Figures.loss(before.loss)) -> \(Figures.loss(after.loss)) (merged \(Figures.loss(merged.loss)))",
                "right answers     \(Figures.percent(before.answersRight)) -> \(Figures.percent(merged.answersRight)) of \(rows.count) held-out rows",
            ]
        lines += [
            "merged = adapter  \(identityVerdict.word) (\(identityText))",
            "transfer          \(transferVerdict.word)" + (transferVerdict == .notTested ? " (no held-out records)" : ""),
            "sidecar           \(sidecar.verdict.word) (\(sidecar.words))",
        ]
        lines += exported.map { "\($0.form.title.padded(to: 18))\($0.words)" } + [""]
        for index in rows.indices.prefix(3) {
            lines.append("question  \(shortened(questions[index]))")
            lines.append("  before  \(shortened(before.answers[index]))")
            lines.append("  after   \(shortened(merged.answers[index]))")
            lines.append("  right   \(shortened(rows[index].answer))")
        }
        return lines.joined(separator: "\n")
    }

    private func shortened(_ text: String) -> String {
        let line = text.split(separator: "\n").joined(separator: " ⏎ ")
        return line.count > 90 ? line.prefix(89) + "…" : line
    }
}
