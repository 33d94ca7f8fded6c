import LorikeetDatasets
import LorikeetDelivery
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// Which keys help against which limit.
extension Fitting {
    /// The ladders of keys that help against a limit, those first that change the result least.
    mutating func ladders(against kind: RunLimits.Kind, _ trial: Trial) throws -> [Ladder] {
        switch kind {
        case .card: return try [cap(trial), nf4(trial), lengths(trial)].compactMap { $0 }
        case .memory: return memory(trial) + [exports(trial), nf4(trial), lengths(trial)].compactMap { $0 }
        case .disk: return disk(trial)
        case .finishing: return finishing(trial)
        case .time: return time(trial)
        }
    }

    private func current(_ trial: Trial) -> Recipe { trial.made?.recipe ?? changed(trial.changes) }

    // MARK: memory and disk

    /// What the card has more, where a cap is the limit.
    private mutating func cap(_ trial: Trial) throws -> Ladder? {
        guard current(trial).gpuMemoryBytes != nil, var enough = trial.misfit?.error.enough else { return nil }
        // What is enough for training may not be for testing: asked again with it.
        for _ in 0..<4 {
            let value = KeyValue.text(Units.enoughMebibytes(enough))
            guard let next = try tried(trial.changes + [KeyChange("gpu_memory", value)]) else { return nil }
            guard next.misfit?.kind == .card else { return Ladder(key: "gpu_memory", values: [value]) }
            guard let more = next.misfit?.error.enough, more > enough else { return nil }
            enough = more
        }
        return nil
    }

    private func memory(_ trial: Trial) -> [Ladder] {
        guard let made = trial.made, let enough = limits.enoughMemory(made.plan, made.recipe) else { return [] }
        return [Ladder(key: "ram", values: [.text(Units.enoughMebibytes(Int(enough)))])]
    }

    private func nf4(_ trial: Trial) -> Ladder? {
        let recipe = current(trial)
        return recipe.storage(for: source) == .nf4 ? nil : Ladder(key: "base_storage", values: [.text("nf4")])
    }

    private func exports(_ trial: Trial) -> Ladder? {
        let recipe = current(trial)
        return recipe.export.isEmpty || recipe.export == ["none"] ? nil : Ladder(key: "export", values: [.list(["none"])])
    }

    private func disk(_ trial: Trial) -> [Ladder] {
        guard let made = trial.made else { return [] }
        var ladders: [Ladder] = []
        if let enough = limits.enoughDisk(made.plan, made.recipe) { ladders.append(Ladder(key: "disk", values: [.text(Units.enoughMebibytes(Int(enough)))])) }
        let kept = made.recipe.saveTotalLimit == 0 ? 3 : made.recipe.saveTotalLimit - 1
        if kept >= 1 { ladders.append(Ladder(key: "save_total_limit", values: (1...kept).reversed().map { .integer($0) })) }
        if made.recipe.mergeType == .f32 { ladders.append(Ladder(key: "merge_dtype", values: [.text("float16")])) }
        if let exports = exports(trial) { ladders.append(exports) }
        return ladders
    }

    // MARK: time

    /// Less than this share of the records or epochs is no way of training the same model.
    private static let leastShare = 0.02

    private func time(_ trial: Trial) -> [Ladder] {
        guard let made = trial.made, let time = limits.time(made.plan, made.recipe) else { return [] }
        var ladders: [Ladder] = []
        if time.training > 0, made.plan.steps > 1 { ladders += fewerSteps(made, share: Self.leastShare) + [lengths(trial)].compactMap { $0 } }
        if let interval = evaluations(made) { ladders.append(interval) }
        if time.finishing > time.laterSeconds / 3 { ladders += finishing(trial) }
        if let total = time.total, total > time.sessions { ladders.append(Ladder(key: "sessions", values: [.integer(total), .integer(total + 1)])) }
        return ladders
    }

    /// Fewer held-out records in the test, and fewer answers.
    private func finishing(_ trial: Trial) -> [Ladder] {
        guard let made = trial.made else { return [] }
        let tested = made.data.dataset.validation.count
        return (tested > 1 ? [Self.counts("max_validation_samples", below: tested, least: 1)] : [])
            + (made.recipe.testSamples > 1 ? [Self.counts("test_samples", below: made.recipe.testSamples, least: 1)] : [])
    }

    /// Fewer records, and fewer epochs; or fewer steps, where the recipe counts those.
    ///
    /// - Parameter share: of the records and epochs that stays at least.
    func fewerSteps(_ made: RunPlanner.Made, share: Double) -> [Ladder] {
        let recipe = made.recipe
        if recipe.maxSteps > 0 { return [Self.counts("max_steps", below: recipe.maxSteps, least: 1)] }
        let step = recipe.perDeviceTrainBatchSize * recipe.gradientAccumulationSteps
        let samples = made.data.dataset.train.count
        let records = Self.counts("max_train_samples", below: samples, least: max(step, Int(share * Double(samples))))
        return [records, epochs(recipe, least: max(0.01, share * recipe.numTrainEpochs))]
    }

    /// Epochs in twentieths, of less than one in hundredths.
    func epochs(_ recipe: Recipe, least: Double) -> Ladder {
        let hundredths = (1..<max(2, Int((100 * min(recipe.numTrainEpochs, 10_000)).rounded(.up)))).reversed()
        let values = hundredths.filter { ($0 % 5 == 0 || $0 < 100) && Double($0) / 100 >= least && Double($0) / 100 < recipe.numTrainEpochs }.map {
            Double($0) / 100
        }
        return Ladder(key: "num_train_epochs", values: values.map { .number($0) }, numbers: values)
    }

    /// Numbers of three digits and zeros below `count`, falling.
    private static func counts(_ key: String, below count: Int, least: Int) -> Ladder {
        var (values, unit) = ([Int](), 1)
        while count / unit >= 1000 { unit *= 10 }
        var next = (count - 1) / unit * unit
        while next >= max(1, least) {
            values.append(next)
            if next <= 100 * unit, unit > 1 { unit /= 10 }
            next -= unit
        }
        return Ladder(key: key, values: values.map { .integer($0) }, numbers: values.map(Double.init))
    }

    /// Lengths below the longest sample with which at most as many samples lose their end as a run accepts.
    func lengths(_ trial: Trial) -> Ladder? {
        let samples = (trial.made?.data.dataset ?? dataset).train.lengths.map(\.tokens).sorted()
        let recipe = current(trial)
        guard let longest = samples.last else { return nil }
        let shortest = samples[min(samples.count - 1, Int((1 - DataReport.truncationLimit) * Double(samples.count)))]
        let unit = longest > 512 ? 32 : longest > 64 ? 8 : 1
        let values = stride(from: (min(longest, recipe.maxLength) - 1) / unit * unit, through: max(8, shortest), by: -unit).map { $0 }
        return values.isEmpty ? nil : Ladder(key: "max_length", values: values.map { .integer($0) })
    }

    /// Fewer evaluations during training, where they take more than a twentieth of the time.
    private func evaluations(_ made: RunPlanner.Made) -> Ladder? {
        let seconds = made.plan.phases.reduce(0) { $1.name == "evaluation" ? $0 + $1.seconds : $0 }
        guard made.recipe.evalSteps > 0, seconds > 0.05 * made.plan.predictedSeconds, made.recipe.evalSteps < made.plan.steps else { return nil }
        let values = [2, 5, 10].map { $0 * made.recipe.evalSteps }.filter { $0 < made.plan.steps }
        return Ladder(key: "eval_steps", values: (values + [0]).map { .integer($0) })
    }

    // MARK: words

    /// What a plan that fits says of the limit that was exceeded.
    func effect(_ trial: Trial, against kind: RunLimits.Kind) -> String {
        guard let made = trial.made else { return "" }
        var words: [String] = []
        switch kind {
        case .card: words.append("takes \(Units.formatBytes(made.plan.predictedGPUBytes)) of the card's memory")
        case .memory: words.append("takes \(Units.formatBytes(made.plan.neededMemory)) of memory")
        case .disk: words.append("takes \(Units.formatBytes(made.plan.predictedDiskBytes)) on the disk")
        case .finishing, .time: break
        }
        if let time = limits.time(made.plan, made.recipe), let needed = time.needed {
            words.append(
                needed == 1 ? "ends \(Units.formatSeconds(time.end)) after the start" : "ends in session \(time.number + needed - 1), \(time.lastEndWords)")
        } else if words.isEmpty || kind == .card {
            words.append("takes \(Units.formatSeconds(made.plan.predictedSeconds))")
        }
        if trial.changes.contains(where: { $0.key == "max_length" }) {
            words.append("\(made.data.truncated) of \(made.data.dataset.train.count) samples lose their end")
            if made.data.dropped > 0 { words.append("\(made.data.dropped) records are left out, for nothing of their answers is left") }
        }
        return words.joined(separator: ", ")
    }
}

extension SessionTime {
    /// When a run that needs later sessions ends.
    fileprivate var lastEndWords: String { "\(Units.formatSeconds(lastEnd)) after its start" }
}
