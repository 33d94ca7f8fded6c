import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetReporting
import LorikeetTraining

/// What a run tells about itself, in the form of events.jsonl; docs/events.md lists every field.
extension Pipeline {
    /// Reports the program, the processor and the card.
    func reportEnvironment(_ compute: Compute) throws {
        var fields: JSONObject = [
            "version": .string(lorikeetVersion), "goal": .string(goal == .adapter ? "train" : "run"), "cpu": .string(Machine.cpuModel()),
            "threads": JSON(compute.cpu.threads), "blas_kernels": .string(CPU.blasKernels), "compute_type": .string(compute.element.suffix),
        ]
        if let card = compute.device?.properties {
            fields["gpu"] = .string(card.name)
            fields["gpu_driver"] = .string(card.driver)
            fields["gpu_arch"] = JSON(card.architecture)
        }
        try reporter.report(.environment, fields)
    }

    /// The most tokens of the first sample that are reported.
    private static let reportedTokens = 2048

    /// Reports the data's counts and lengths, and the first sample with its mask.
    func report(_ data: DataReport, first: SamplePreview?) throws {
        var fields: JSONObject = ["report": data.json]
        if let first {
            fields["first_sample"] = [
                "record": JSON(first.record), "token_count": JSON(first.tokens.count),
                "tokens": .array(
                    first.tokens.prefix(Self.reportedTokens).map { ["id": JSON(Int($0.id)), "text": .string($0.text), "trained": .bool($0.trained)] }),
            ]
        }
        try reporter.report(.data, fields)
    }

    /// Reports a training event.
    func report(_ event: TrainingEvent, _ plan: Plan) throws {
        switch event {
        case .step(let progress): try reporter.report(.step, fields(progress, plan))
        case .log(let progress): try reporter.report(.log, fields(progress, plan))
        case .evaluation(let step, let of, let epoch, let loss, let rows, let seconds):
            try reporter.report(
                .evaluation,
                [
                    "step": JSON(step), "of": JSON(of), "epoch": .number(epoch), "eval_loss": .number(loss), "rows": JSON(rows),
                    "seconds": .number(seconds),
                ])
        case .checkpoint(let step): try reporter.report(.checkpoint, ["step": JSON(step)])
        case .trouble(let trouble): try reporter.report(.warning, fields(trouble))
        case .planned(let change, let course):
            let dropped = course.planned - change.total
            let text =
                dropped > 0
                ? "the time left is not enough for all steps: \(dropped) of \(course.planned) are dropped, and the learning rate is planned anew to end at "
                    + "step \(change.total)"
                : "the time left is enough for all \(course.planned) steps again"
            try reporter.report(
                .warning,
                ["text": .string(text), "step": JSON(change.step), "of": JSON(change.total), "planned_steps": JSON(course.planned)])
        case .endedEarly(let step, let best):
            let text =
                "training ends at step \(step): \(best.without) evaluations were not better than step \(best.step ?? 0)'s loss of \(Figures.loss(best.loss))"
            try reporter.report(.note, ["text": .string(text), "step": JSON(step), "best_step": best.step.map { JSON($0) } ?? .null])
        case .warning(let text): try reporter.warning(text)
        }
    }

    private func fields(_ trouble: TrainingTrouble) -> JSONObject {
        var fields: JSONObject = [
            "text": .string(trouble.text), "trouble": .string(trouble.kind.rawValue), "action": .string(trouble.action.rawValue), "step": JSON(trouble.step),
        ]
        if let loss = trouble.loss { fields["loss"] = .number(loss) }
        if let scale = trouble.lossScale { fields["loss_scale"] = .number(scale) }
        if let step = trouble.toStep { fields["to_step"] = JSON(step) }
        if let factor = trouble.rateFactor { fields["learning_rate_factor"] = .number(factor) }
        return fields
    }

    private func fields(_ progress: TrainingProgress, _ plan: Plan) -> JSONObject {
        var fields: JSONObject = [
            "step": JSON(progress.step), "of": JSON(progress.of), "epoch": .number(progress.epoch), "loss": .number(progress.loss),
            "learning_rate": .number(progress.learningRate), "grad_norm": .number(progress.gradientNorm),
        ]
        if let scale = progress.lossScale { fields["loss_scale"] = .number(scale) }
        fields["tokens"] = JSON(progress.tokens)
        fields["trained_tokens"] = JSON(progress.trainedTokens)
        fields["computed_tokens"] = JSON(progress.computedTokens)
        fields["seconds"] = .number(progress.seconds)
        fields["tokens_per_second"] = .number(progress.tokensPerSecond)
        let share = plan.limit?.share(tokens: progress.computedTokens, trainedTokens: progress.trainedTokens, seconds: progress.seconds)
        if let share { fields["share_of_limit"] = .number(share) }
        fields["seconds_left"] = .number(progress.secondsLeft)
        let left = plan.secondsLeft(afterStep: progress.step, of: progress.of, trainingLeft: progress.secondsLeft)
        fields["run_seconds_left"] = .number(left)
        fields["run_seconds_planned"] = .number(plan.predictedSeconds)
        fields["run_seconds_expected"] = .number(secondsSoFar + left)
        return fields
    }

    /// Runs `body` and reports how the run ended, once its own files are open.
    func ending(_ body: () throws -> JSON) throws -> JSON {
        do {
            let summary = try body()
            if ends { try reporter.report(.end, ["exit": 0, "seconds": .number(environment.clock.uptime - environment.started)]) }
            return summary
        } catch let error as LorikeetError {
            if ends {
                // What has failed may fail here too; the first error is the one that is told.
                try? reporter.report(
                    .end,
                    [
                        "exit": JSON(Int(error.exit.rawValue)), "seconds": .number(environment.clock.uptime - environment.started),
                        "text": .string(error.description),
                    ])
            }
            throw error
        }
    }
}
