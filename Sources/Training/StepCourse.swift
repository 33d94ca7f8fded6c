import LorikeetJSON

/// How many steps a training has, and where each stands on the learning rate's schedule, once that has been planned anew
/// (docs/decisions/0019-schedule-planned-anew.md).
///
/// The schedule is a curve over the planned steps. A change stretches or shortens what is left of it: the rate goes on from where it is and the last
/// step has the rate that the planned last step would have had.
package struct StepCourse: Sendable, Equatable {
    /// From the step `step` (0 for the first) on, training has `total` steps.
    package struct Change: Sendable, Equatable {
        package var step: Int
        package var total: Int

        package init(step: Int, total: Int) { (self.step, self.total) = (step, total) }
    }

    /// Steps by the recipe.
    package let planned: Int
    /// By their steps, which ascend.
    package private(set) var changes: [Change]

    package init(planned: Int, changes: [Change] = []) { (self.planned, self.changes) = (planned, changes) }

    /// Steps by the last change.
    package var total: Int { changes.last?.total ?? planned }

    /// Plans the steps from `step` on anew. Changes at later steps belong to what was trained before training went back: they are dropped.
    package mutating func change(at step: Int, total: Int) {
        changes.removeAll { $0.step >= step }
        changes.append(Change(step: step, total: total))
    }

    /// Where a step stands on the curve of the planned steps, from 0 to `planned` - 1.
    package func position(ofStep step: Int) -> Double {
        guard !changes.isEmpty else { return Double(step) }
        let last = Double(planned - 1)
        // Of the last change: its first step, that step's place on the curve, and the steps of all.
        var (start, origin, total) = (0, 0.0, planned)
        func place(_ step: Int) -> Double {
            step < total - 1 ? min(last, origin + Double(step - start) * (last - origin) / Double(total - 1 - start)) : last
        }
        for change in changes where change.step <= step { (start, origin, total) = (change.step, place(change.step), change.total) }
        return place(step)
    }
}
