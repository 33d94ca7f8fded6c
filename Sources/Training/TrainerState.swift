import LorikeetEngine
import LorikeetJSON

/// The state of training after a step: what a checkpoint holds beside the adapter and the optimiser's moments.
package struct TrainerState: Sendable, Equatable {
    /// Optimiser steps done.
    package var step = 0
    /// Sum over steps of their losses, and tokens so far: for the averages of the summary.
    package var lossSum = 0.0
    package var tokens = 0
    package var trainedTokens = 0
    package var computedTokens = 0
    /// Seconds spent in this process's steps, and the tokens of those steps. Checkpoints do not hold them: two runs of one recipe have the same bytes.
    package var seconds = 0.0
    package var timedTokens = 0
    /// Steps that changed nothing because their gradients were not finite.
    package var skipped = 0
    /// Steps without a finite loss, excluded steps among them: they are left out of the mean loss.
    package var stepsWithoutLoss = 0
    /// Skipped steps in a row that no smaller loss scale can save.
    package var unrecoverable = 0
    /// What went wrong so far and was answered.
    package var trouble = TroubleRecord()
    /// The last losses.
    package var watch = LossWatch()
    /// The best evaluation so far, where the best checkpoint is kept.
    package var best = BestEvaluation()
    /// Steps after which training ended because no evaluation was better; nil where it goes on.
    package var endedAt: Int?
    /// Where the steps and the schedule were planned anew.
    package var changes: [StepCourse.Change] = []
    /// float16's loss scale; nil where gradients need none.
    package var lossScaling: LossScaling?
    /// Evaluations so far: step and loss.
    package var evaluations: [Evaluation] = []

    package struct Evaluation: Sendable, Equatable {
        package var step: Int
        package var loss: Double
    }

    package init() {}

    /// The step state of a checkpoint that holds it here alone.
    var stepState: StepState {
        var result = StepState()
        if let lossScaling { (result.lossScale, result.goodSteps) = (lossScaling.scale, Float(lossScaling.goodSteps)) }
        result.updates = Float(step - skipped)
        return result
    }

    /// Mean loss of the steps so far.
    package var meanLoss: Double { step > stepsWithoutLoss ? lossSum / Double(step - stepsWithoutLoss) : 0 }

    var json: JSON {
        var json: JSONObject = [
            "global_step": JSON(step), "loss_sum": JSON(lossSum), "tokens": JSON(tokens), "trained_tokens": JSON(trainedTokens),
            "computed_tokens": JSON(computedTokens),
            // JSON cannot hold a loss that is not finite; the event and the warning have reported it.
            "evaluations": .array(evaluations.filter(\.loss.isFinite).map { ["step": JSON($0.step), "eval_loss": JSON($0.loss)] }),
            "skipped_steps": JSON(skipped), "unmeasured_steps": JSON(stepsWithoutLoss), "unrecoverable_steps": JSON(unrecoverable),
            "course_changes": .array(changes.map { ["step": JSON($0.step), "total_steps": JSON($0.total)] }), "loss_watch": watch.json,
            "best": best.json, "ended_at": endedAt.map { JSON($0) } ?? .null,
        ]
        for (name, value) in trouble.entries { json[name] = value }
        if let lossScaling {
            json["loss_scale"] = JSON(Double(lossScaling.scale))
            json["loss_scale_good_steps"] = JSON(lossScaling.goodSteps)
        }
        return .object(json)
    }

    /// The largest count that a file may claim: sums of a few of these stay exact in a double and in an Int.
    static let largest = 1 << 53
    /// As many as the recipe's table allows.
    static let maximumSteps = 1_000_000_000

    /// nil when a number is missing or out of its range. Numbers that older versions did not write may be missing.
    init?(json: JSON) {
        var fits = true
        func count(_ key: String, upTo limit: Int) -> Int {
            guard let value = json[key] else { return 0 }
            guard let count = value.int, (0...limit).contains(count) else {
                fits = false
                return 0
            }
            return count
        }
        func number(_ key: String) -> Double {
            guard let value = json[key] else { return 0 }
            guard let number = value.double, number.isFinite, abs(number) <= Double(Self.largest) else {
                fits = false
                return 0
            }
            return number
        }
        guard json["global_step"] != nil else { return nil }
        step = count("global_step", upTo: Self.maximumSteps)
        lossSum = number("loss_sum")
        tokens = count("tokens", upTo: Self.largest)
        trainedTokens = count("trained_tokens", upTo: Self.largest)
        // Earlier checkpoints do not have it: they computed every token.
        computedTokens = count(json["computed_tokens"] == nil ? "tokens" : "computed_tokens", upTo: Self.largest)
        skipped = count("skipped_steps", upTo: step)
        stepsWithoutLoss = count("unmeasured_steps", upTo: step)
        // Earlier checkpoints call it `hopeless_steps`.
        unrecoverable = count(json["unrecoverable_steps"] == nil ? "hopeless_steps" : "unrecoverable_steps", upTo: step)
        guard let recorded = TroubleRecord(json: json) else { return nil }
        trouble = recorded
        for entry in json["course_changes"]?.array ?? [] {
            guard let at = entry["step"]?.int, let total = entry["total_steps"]?.int, at > changes.last?.step ?? -1, at < total,
                total <= Self.maximumSteps
            else { return nil }
            changes.append(.init(step: at, total: total))
        }
        if let kept = json["best"] {
            guard let kept = BestEvaluation(json: kept) else { return nil }
            best = kept
        }
        if let ended = json["ended_at"], ended != JSON.null {
            guard let ended = ended.int, (0...step).contains(ended) else { return nil }
            endedAt = ended
        }
        if let kept = json["loss_watch"] {
            guard let kept = LossWatch(json: kept) else { return nil }
            watch = kept
        }
        if json["loss_scale"] != nil {
            let scale = number("loss_scale")
            guard (Double(LossScaling.smallest)...Double(LossScaling.largest)).contains(scale) else { return nil }
            lossScaling = LossScaling(scale: Float(scale), goodSteps: count("loss_scale_good_steps", upTo: Self.maximumSteps))
        }
        for entry in json["evaluations"]?.array ?? [] {
            guard let at = entry["step"]?.int, (0...step).contains(at), let loss = entry["eval_loss"]?.double, loss.isFinite else { return nil }
            evaluations.append(Evaluation(step: at, loss: loss))
        }
        guard fits else { return nil }
    }
}
