import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// Searches for the least changes of a recipe with which its run fits. Every change that it names was planned.
package struct Fitting {
    private var planner: RunPlanner
    let limits: RunLimits
    /// What a change has to fit into.
    private let choosing: RunLimits
    private let recipe: Recipe
    var source: ModelSource { planner.preparation.source }
    var dataset: Dataset { planner.dataset }

    package init(_ planner: RunPlanner, _ limits: RunLimits) {
        (self.planner, self.limits, recipe) = (planner, limits, planner.preparation.recipe)
        choosing = limits.withTimeToChoose()
    }

    /// Changes with which the run fits.
    package struct Way: Sendable, Equatable {
        package let changes: [KeyChange]
        /// What the plan with them says, without a full stop.
        package let effect: String

        /// `--max-train-samples 61000 (ends 8 h 51 min after the start)`
        package var words: String { options.map { "--\($0.name) \($0.value)" }.joined(separator: " ") + " (\(effect))" }
        package var options: [(name: String, value: String)] { changes.map(\.option) }
    }

    /// A plan with some changes, and the first limit that it exceeds; nil fits.
    struct Trial {
        let changes: [KeyChange]
        /// nil where the card's memory does not suffice for any plan.
        let made: RunPlanner.Made?
        let misfit: (kind: RunLimits.Kind, error: LorikeetError)?
    }

    /// Whether a trial keeps a limit, and all that are looked at before it. Where merging and testing are too long for a session, a third of it is enough
    /// for them, so that training gets the rest.
    private func keeps(_ trial: Trial, _ kind: RunLimits.Kind) -> Bool {
        guard let misfit = trial.misfit else { return true }
        return misfit.kind > kind && (kind != .finishing || excess(trial, kind) ?? 0 <= 0)
    }

    /// Limits that one way may meet with a change each.
    private static let mostChanges = 3

    /// The least changes with which the run fits: the least of each key that can make it fit by itself, with what it needs besides.
    package mutating func ways() throws -> [Way] {
        guard let trial = try tried([]) else { return [] }
        return try ways(from: trial)
    }

    /// The error of a run that does not fit, with the least changes that fit as ready options.
    package mutating func explained(_ error: LorikeetError) throws -> (error: LorikeetError, ways: [Way]) {
        let ways = try ways()
        guard !ways.isEmpty else { return (error, []) }
        var error = error
        error.fix = (ways.count == 1 ? "" : "one of these is enough: ") + ways.map(\.words).joined(separator: ", or ") + (ways.count == 1 ? " is enough" : "")
        // Where fewer records alone fit, `fit` finds something too.
        if !recipe.fit, ways.contains(where: { $0.changes.count == 1 && ["max_train_samples", "max_steps"].contains($0.changes[0].key) }) {
            error.fix?.append("; or --fit, which trims the run by itself")
        }
        return (error, ways)
    }

    private mutating func ways(from trial: Trial) throws -> [Way] {
        guard let kind = trial.misfit?.kind, trial.changes.count < Self.mostChanges else { return [] }
        var ways: [Way] = []
        for ladder in try ladders(against: kind, trial) where allows(ladder.key) && !trial.changes.contains(where: { $0.key == ladder.key }) {
            guard let found = try least(ladder, trial, keeping: kind) else { continue }
            if found.misfit == nil {
                ways.append(Way(changes: found.changes, effect: effect(found, against: kind)))
            } else if let way = try self.ways(from: found).first {
                ways.append(way)
            }
        }
        return ways
    }

    /// The recipe with changes.
    func changed(_ changes: [KeyChange]) -> Recipe {
        var recipe = recipe
        for change in changes { recipe.set(change.key, change.value) }
        return recipe
    }

    /// Whether the run may go on with another value of a key.
    private func allows(_ key: String) -> Bool { !limits.goesOn || KeyTable.key(named: key).map { $0.role != .identity } ?? false }

    /// The plan with changes; nil where a run would refuse its data.
    mutating func tried(_ changes: [KeyChange]) throws -> Trial? {
        do {
            guard let made = try planner.plan(changes) else { return nil }
            return Trial(changes: changes, made: made, misfit: (changes.isEmpty ? limits : choosing).misfit(made.plan, made.recipe))
        } catch let error as LorikeetError where error.exit == .doesNotFit {
            return Trial(changes: changes, made: nil, misfit: (.card, error))
        }
    }

    // MARK: searching

    /// Values of a key, the least change first.
    struct Ladder {
        let key: String
        let values: [KeyValue]
        /// The values as numbers, by which a search guesses; nil halves the ladder.
        var numbers: [Double]?
    }

    /// The least change of a ladder with which `kind` and all limits before it are kept; nil where none is enough.
    mutating func least(_ ladder: Ladder, _ before: Trial, keeping kind: RunLimits.Kind) throws -> Trial? {
        func value(_ index: Int) -> KeyChange { KeyChange(ladder.key, ladder.values[index]) }
        var (low, high) = (-1, ladder.values.count - 1)
        var most: Trial?
        // The largest changes may leave data that a run refuses.
        while high >= 0, most == nil {
            most = try tried(before.changes + [value(high)])
            if most == nil { high -= high / 4 + 1 }
        }
        guard let last = most, keeps(last, kind) else { return nil }
        var found = last
        // What is too much at both ends, where it is known: between them it is taken for a straight line.
        var (above, below) = (excess(before, kind), excess(last, kind))
        var start = ladder.numbers.flatMap { _ in number(ladder.key, before) }
        while high - low > 1 {
            var next = (low + high) / 2
            if let numbers = ladder.numbers, let above, let below, let from = start, above > 0, below <= 0 {
                let aim = from + (numbers[high] - from) * above / (above - below)
                // Of falling numbers the first that is not above the aim.
                next = (low + 1..<high).first { abs(numbers[$0] - from) >= abs(aim - from) } ?? high - 1
            }
            guard let trial = try tried(before.changes + [value(next)]) else {
                low = next
                continue
            }
            if keeps(trial, kind) {
                (high, found, below) = (next, trial, excess(trial, kind) ?? below)
                // Close enough: as much is left as two steps of the ladder change.
                if let numbers = ladder.numbers, let above, let below, let from = start, numbers[high] != from,
                    -below <= 2 * (above - below) * abs((numbers[high] - (high > 0 ? numbers[high - 1] : from)) / (numbers[high] - from))
                {
                    break
                }
            } else {
                (low, above) = (next, excess(trial, kind) ?? above)
                start = ladder.numbers?[next]
            }
        }
        return found
    }

    /// The number that a key has in a trial's recipe.
    private func number(_ key: String, _ trial: Trial) -> Double? {
        guard let made = trial.made else { return nil }
        switch key {
        case "max_train_samples": return Double(made.data.dataset.train.count)
        case "num_train_epochs": return made.recipe.numTrainEpochs
        case "max_steps": return Double(made.plan.steps)
        case "max_validation_samples": return Double(made.data.dataset.validation.count)
        case "test_samples": return Double(made.recipe.testSamples)
        default: return nil
        }
    }

    /// By how many seconds or bytes a trial exceeds a limit; negative where it keeps it.
    private func excess(_ trial: Trial, _ kind: RunLimits.Kind) -> Double? {
        guard let made = trial.made else { return nil }
        switch kind {
        case .finishing: return choosing.time(made.plan, made.recipe).map { $0.finishing - $0.laterSeconds / 3 }
        case .time: return choosing.time(made.plan, made.recipe).map(\.excess)
        case .memory: return limits.memory(made.recipe).map { Double(made.plan.neededMemory - $0) }
        case .disk: return limits.disk(made.recipe).map { Double(made.plan.predictedDiskBytes - $0) }
        case .card: return nil
        }
    }
}
