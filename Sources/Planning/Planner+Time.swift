import LorikeetDevices
import LorikeetEngine

/// A run's predicted time, by phase.
extension Planner {
    /// Predicted seconds of the units of work that a run consists of.
    struct Times {
        /// Opening the device, and loading the model that is trained.
        var starting = 0.0
        var loading = 0.0
        /// All training micro-batches of the run.
        var training = 0.0
        /// One update by the optimiser.
        var perStep = 0.0
        /// Rows of an evaluation of all validation samples, with those that pad its batches.
        var evaluatedRows = 0
        /// The tested forms of the model, in this order: base, base + adapter and, where it is tested, merged.
        var forms: [FormSeconds] = []
        /// Sequences that are answered at a time.
        var slots = Planner.slots
        /// Loading one more form.
        var formLoading = 0.0
        /// Loading the two models whose logits are compared, and the texts whose tokens are; and each token that is compared.
        var comparing = 0.0
        var comparedPerToken = 0.0
    }

    /// Predicted seconds of testing one form of the model.
    struct FormSeconds {
        /// One evaluated row.
        let perToken: Double
        /// One new token for each of `slots` sequences.
        let perDecodingStep: Double

        /// - Parameters:
        ///   - evaluatingSeconds: of an evaluated token on the host, while the card waits.
        ///   - decodingSeconds: of a decoding step on the host, likewise.
        init(_ program: ProgramPlan, _ data: Workload, _ model: DeviceModel, evaluatingSeconds: Double = 0, decodingSeconds: Double = 0) {
            perToken = program.seconds(program.evaluation, data, model) / Double(program.evaluation.tokens) + evaluatingSeconds
            perDecodingStep = program.decoding.map { program.seconds($0, data, model.decoding) + decodingSeconds } ?? 0
        }
    }

    var host: HostTable {
        var table = HostTable(threads: machine.threads)
        if let measured = machine.writtenBytesPerSecond { table.writtenBytesPerSecond = measured }
        return table
    }

    /// Linears are quantised at loading.
    var converts: Bool { model.storage == .nf4 }

    /// - Parameter steps: all optimiser steps.
    func timesOnProcessor(_ program: ProgramPlan, _ steps: PlannedBatches) -> Times {
        var times = Times()
        if let training = program.training {
            times.training = Double(steps.paddedRows) * program.seconds(training, steps.workload, machine.processor) / Double(training.tokens)
        }
        times.perStep = program.seconds(program.step, Workload(), machine.processor)
        times.evaluatedRows = data.evaluation.paddedRows
        let form = FormSeconds(program, data.evaluation.workload, machine.processor)
        times.forms = Array(repeating: form, count: model.mergedElementBytes > 0 ? 3 : 2)
        times.starting = host.opening(nil)
        times.loading = host.loading(fileBytes: model.fileBytes, converted: converts ? program.matrixParameters : 0, on: nil)
        times.formLoading = 0.02
        times.comparing = HostTable.comparingSeconds
        times.comparedPerToken = form.perToken
        return times
    }

    /// Seconds of making the plan.
    private var planning: Double {
        let replicas = machine.card == nil && Replicas(threads: machine.threads, samplesPerStep: data.samplesPerStep).count > 1
        return host.planning(visits: data.visits, sharing: data.sharing != nil, onCard: machine.card != nil, replicas: replicas)
    }

    /// The phases of a run with their predicted seconds.
    func phases(_ times: Times, _ program: ProgramPlan, _ warnings: inout [String]) -> [Plan.Phase] {
        let (steps, validation) = (data.steps, data.validation)
        let validationRows = Double(times.evaluatedRows)
        // Rows of one evaluation during training, of `eval_samples` samples.
        let evaluated = validation.isEmpty ? 0 : validationRows * Double(min(intervals.evalSamples, validation.count)) / Double(validation.count)
        let evaluations = intervals.evalSteps > 0 ? max(0, (steps - 1) / intervals.evalSteps) : 0
        let training = times.training + Double(steps) * times.perStep
        let perToken = times.forms.first?.perToken ?? 0
        let evaluating = Double(evaluations) * evaluated * perToken
        if evaluating > training {
            warnings.append("evaluating every \(intervals.evalSteps) steps takes longer than the training itself: raise eval_steps or lower eval_samples")
        }
        let merges = model.mergedElementBytes > 0
        let saves = intervals.saveSteps > 0 ? steps / intervals.saveSteps + 1 : 1
        var phases: [Plan.Phase] = [
            .init("environment", times.starting), .init("data", HostTable.openingSeconds),
            .init("formatting", host.formatting(machine.reading, samples: data.train.count + validation.count)),
            .init("checks", HostTable.checkingSeconds),
            .init("planning", planning),
            .init("model loading", times.loading),
        ]
        if let card = machine.card { phases.append(.init("kernels", host.kernels(card))) }
        phases += [
            .init("training", training),
            // Without a test all held-out records are evaluated once more at the end.
            .init("evaluation", evaluating + (merges ? 0 : validationRows * perToken)),
            .init("checkpoints", Double(saves) * host.checkpoint(bytes: program.checkpointBytes)),
        ]
        if merges { phases += delivery(times, program, validationRows: validationRows) }
        phases.append(.init("report", HostTable.reportSeconds))
        return phases.map { $0.scaled(by: machine.slowdown.of($0.name)) }
    }

    /// Merging and what follows.
    private func delivery(_ times: Times, _ program: ProgramPlan, validationRows: Double) -> [Plan.Phase] {
        let elements = program.parameters
        var phases = [
            Plan.Phase("merging", host.merging(read: model.fileBytes, elements: elements, written: Int64(elements) * Int64(model.mergedElementBytes)))
        ]
        if !model.exports.isEmpty {
            phases.append(.init("exporting", host.exporting(model.exports, elements: elements, elementBytes: model.mergedElementBytes)))
        }
        let merged = times.forms.last?.perToken ?? 0
        var testing = times.formLoading + validationRows * times.forms.reduce(0) { $0 + $1.perToken }
        testing += Double(model.exports.count) * (times.formLoading + validationRows * merged)
        phases.append(.init("testing", testing))
        if answers.rows > 0 { phases.append(answering(times)) }
        // The trained and the merged form on the same samples, and exports that keep every element.
        let compared = Double(data.heldOut.prefix(Self.comparedSamples).reduce(0) { $0 + $1.tokens }) * times.comparedPerToken
        phases.append(.init("comparing", times.comparing + compared * Double(2 + model.exports.count { $0.isExact })))
        return phases
    }

    /// The answers of all forms. The trained forms' are about as long as those in the data; the base does not know where to end, and often goes on to
    /// the limit. At least, every answer is as long as the data's; at most, every one as long as it may be.
    private func answering(_ times: Times) -> Plan.Phase {
        let expected = answers.expected.map { min($0, answers.maxNewTokens) }
        let known = expected.isEmpty ? Array(repeating: (answers.maxNewTokens + 1) / 2, count: answers.rows) : expected
        let most = Array(repeating: answers.maxNewTokens, count: answers.rows)
        // Between the data's lengths and the limit: two thirds of the way.
        let untrained = known.map { ($0 + 2 * answers.maxNewTokens) / 3 }
        let prompts = Double(answers.promptTokens)
        // On the processor the losses give away answers that are as expected; `open` is the share of a trained form's that are left.
        func seconds(open: Double, _ lengths: (_ isBase: Bool) -> [Int]) -> Double {
            times.forms.enumerated().reduce(0) { sum, form in
                let steps = Self.decodingSteps(lengths(form.offset == 0), slots: times.slots)
                let share = form.offset == 0 || machine.card != nil ? 1 : open
                return sum + share * (prompts * form.element.perToken + Double(steps) * form.element.perDecodingStep)
            }
        }
        let least = seconds(open: 0) { _ in known }
        return Plan.Phase("answering", seconds(open: 0.5) { $0 ? untrained : known }, range: least...max(least, seconds(open: 1) { _ in most }))
    }

    /// Steps in which sequences of these lengths are decoded, `slots` at a time; when one ends, the next takes its place.
    static func decodingSteps(_ lengths: [Int], slots: Int) -> Int {
        var ends = Array(repeating: 0, count: max(1, slots))
        for length in lengths {
            let first = ends.indices.min { ends[$0] < ends[$1] } ?? 0
            ends[first] += length
        }
        return ends.max() ?? 0
    }
}
