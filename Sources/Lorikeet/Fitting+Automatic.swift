import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// The key `fit`: changes that the program makes by itself.
extension Fitting {
    /// Keys that `fit` changes.
    static let fittedKeys = ["max_train_samples", "num_train_epochs", "max_steps", "max_length"]

    /// The changes with which the run fits, in this order: fewer records, but half of them at least; fewer epochs, but one at least; shorter samples, as
    /// long as at most a twentieth lose their end; still fewer records. Where the recipe counts steps, fewer of those; where memory is short, only shorter
    /// samples.
    ///
    /// - Returns: none where the run fits, has begun, or where they do not suffice.
    package mutating func automatic() throws -> [KeyChange] {
        guard !limits.goesOn, let start = try tried([]), let kind = start.misfit?.kind else { return [] }
        guard kind >= .finishing, let made = start.made else {
            guard let lengths = lengths(start), let found = try least(lengths, start, keeping: kind), found.misfit == nil else { return [] }
            return found.changes
        }
        let (few, all) = (fewerSteps(made, share: Self.least), fewerSteps(made, share: 0.5))
        guard let records = all.first, let fewest = few.first, made.recipe.maxSteps <= 0 else {
            return try few.first.flatMap { try least($0, start, keeping: .time) }.flatMap { $0.misfit == nil ? $0.changes : nil } ?? []
        }
        var before = start
        for ladder in [records, epochs(made.recipe, least: 1), lengths(start)].compactMap({ $0 }) {
            if let found = try least(ladder, before, keeping: .time) { return found.misfit == nil ? found.changes : [] }
            // As much of this as may be, and more of the next.
            if let most = ladder.values.last, let trial = try tried(before.changes + [KeyChange(ladder.key, most)]) { before = trial }
        }
        // The records' last change counts.
        guard let found = try least(fewest, before, keeping: .time), found.misfit == nil else { return [] }
        let last = found.changes.last.map { [$0] } ?? []
        return last + found.changes.filter { $0.key != fewest.key }
    }

    /// The share of records that is used at least.
    private static let least = 0.02

    /// Changes in words: `max_train_samples: 100000 -> 61000`.
    static func words(_ changes: [KeyChange], from recipe: Recipe, samples: Int) -> [String] {
        changes.map { change in
            let before = recipe.values[change.key] ?? .none
            let shown = change.key == "max_train_samples" && (before == .none || samples < recipe.maxTrainSamples ?? .max) ? "\(samples)" : before.yaml
            return "\(change.key): \(shown) -> \(change.value.yaml)"
        }
    }
}

extension Recipe {
    /// With `fit`, the recipe with what the run in its output directory was fitted to: where that run has fewer records, epochs or steps, or shorter samples,
    /// and is the same otherwise.
    func fitted(files: any Files) -> Recipe {
        let earlier = output + "/run.yaml"
        guard fit, files.exists(earlier), let theirs = try? Recipe.resolve(file: earlier, options: [], files: files).recipe else { return self }
        var fitted = self
        for key in Fitting.fittedKeys {
            guard let value = theirs.values[key], value != KeyValue.none, value.isBelow(values[key] ?? .none) else { continue }
            fitted.set(key, value)
        }
        var compared = theirs
        if let date = templateDate { compared.set("template_date", .text(date)) }
        let differences = fitted.differences(from: compared, role: .identity).filter { !$0.hasPrefix("template_date:") }
        return differences.isEmpty ? fitted : self
    }

    /// The recipe as run.yaml has it: what `fit` decided is decided.
    func decided() -> Recipe {
        var recipe = self
        recipe.set("fit", .flag(false))
        return recipe
    }
}

extension KeyValue {
    /// Whether it is a smaller number; without one there is no limit.
    fileprivate func isBelow(_ other: KeyValue) -> Bool {
        func number(_ value: KeyValue) -> Double? {
            switch value {
            case .integer(let number): Double(number)
            case .number(let number): number
            default: nil
            }
        }
        guard let mine = number(self) else { return false }
        return mine < number(other) ?? .infinity
    }
}
