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

/// The test of a run: base, base + adapter and merged model on held-out rows, and the two proofs.
struct FormsTest {
    let preparation: Preparation
    let dataset: Dataset
    let choices: Plan.Choices
    /// The base as it was trained on, with the adapter.
    let trained: Model
    let merged: ModelSource
    let adapter: String
    let files: any Files

    private var recipe: Recipe { preparation.recipe }

    struct Result {
        var before: FormResult
        var after: FormResult
        var merged: FormResult
        var identity: LogitDifference
        var identityPasses: Bool
        var transferPasses: Bool
        var rows: [HeldOutRow]
        var questions: [String]
        var fields: JSONObject
    }

    /// Rows whose logits are compared: enough to meet every kind of token, few enough to take a second.
    private static let comparedRows = 16

    func run() throws -> Result {
        // Training's arena is gone by now; these sessions only evaluate and decode.
        let sizes = SessionSizes(training: 0, evaluation: choices.sizes.evaluation, headChunk: choices.sizes.headChunk)
        let trainedSession = try Session(model: trained, sizes: sizes)
        let questions = preparation.answerTest(dataset)
        trained.adapterEnabled = false
        let before = try form(trainedSession, questions)
        trained.adapterEnabled = true
        let after = try form(trainedSession, questions)
        let mergedModel = try Model(source: self.merged, storage: .stored, lora: nil, cpu: trained.cpu)
        let mergedSession = try Session(model: mergedModel, sizes: sizes)
        let merged = try form(mergedSession, questions)
        let compared = Array(dataset.validation.prefix(Self.comparedRows)) + (dataset.validation.isEmpty ? Array(dataset.train.prefix(Self.comparedRows)) : [])
        let identity = try compareLogits(referenceSession(trainedSession, sizes), mergedSession, samples: compared)
        let precision = MergePrecision(rawValue: recipe.mergeDtype) ?? .float16
        let identityPasses = identity.maximum <= mergeLogitTolerance(precision) * max(identity.largestLogit, 1)
        var transferPasses = true
        if let trainedLoss = after.loss, let mergedLoss = merged.loss {
            transferPasses = mergedLoss <= trainedLoss + recipe.mergeTolerance
        }
        return Result(
            before: before, after: after, merged: merged, identity: identity, identityPasses: identityPasses, transferPasses: transferPasses,
            rows: questions.rows, questions: questions.rows.map(question),
            fields: fields(before, after, merged, identity, identityPasses, transferPasses))
    }

    /// What the merged model has to equal: the base in the precision it was merged in, with the adapter beside it.
    private func referenceSession(_ trainedSession: Session, _ sizes: SessionSizes) throws -> Session {
        if recipe.mergeInto == "trained" || trained.storage == .stored { return trainedSession }
        let original = try Model(
            source: preparation.source, storage: .stored, lora: recipe.loraSettings, cpu: trained.cpu)
        try original.loadAdapter(AdapterFile.read(directory: adapter, files: files))
        return try Session(model: original, sizes: sizes)
    }

    private func form(_ session: Session, _ test: AnswerTest) throws -> FormResult {
        let loss = try session.loss(of: dataset.validation, tokensPerBatch: choices.tokensPerBatch)
        let answers = test.rows.isEmpty ? [] : try test.answers(of: session)
        return FormResult(loss: loss, answersRight: test.shareRight(answers), answers: answers)
    }

    /// The last line of the prompt that says something: what a person would call the question.
    private func question(_ row: HeldOutRow) -> String {
        let lines = preparation.tokenizer.decode(row.promptIDs, skipSpecial: true).split(separator: "\n").map(String.init)
        return lines.dropLast().last ?? lines.last ?? ""
    }

    private func fields(
        _ before: FormResult, _ after: FormResult, _ merged: FormResult, _ identity: LogitDifference, _ identityPasses: Bool, _ transferPasses: Bool
    ) -> JSONObject {
        func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
        return [
            "validation_loss_before": number(before.loss), "validation_loss_after": number(after.loss),
            "answers_right_before": number(before.answersRight), "answers_right_after": number(merged.answersRight),
            "answers_right_with_adapter": number(after.answersRight),
            "merged_matches_adapter": [
                "pass": .bool(identityPasses), "max_logit_difference": .number(identity.maximum), "mean_logit_difference": .number(identity.mean),
                "largest_logit": .number(identity.largestLogit), "same_choice": .number(identity.sameChoice),
            ],
            "transfer": ["pass": .bool(transferPasses), "trained_form_loss": number(after.loss), "merged_loss": number(merged.loss)],
        ]
    }
}

extension FormsTest.Result {
    /// Losses, right answers and proofs, and three answers before and after.
    func text() -> String {
        func percent(_ share: Double?) -> String { share.map { "\(Int(($0 * 100).rounded())) %" } ?? "-" }
        func figure(_ loss: Double?) -> String { loss.map(Terminal.figure) ?? "-" }
        var lines = [
            "validation loss   \(figure(before.loss)) -> \(figure(after.loss)) (merged \(figure(merged.loss)))",
            "right answers     \(percent(before.answersRight)) -> \(percent(merged.answersRight)) of \(rows.count) held-out rows",
            "merged = adapter  \(identityPasses ? "pass" : "FAIL") (largest difference of a logit \(Terminal.figure(identity.maximum)) of \(Terminal.figure(identity.largestLogit)); same choice on \(percent(identity.sameChoice)))",
            "transfer          \(transferPasses ? "pass" : "FAIL")", "",
        ]
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
