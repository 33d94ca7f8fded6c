/// The time that a session leaves for training, in seconds of the clock's uptime (`Clock.uptime`), and what was predicted.
package struct TrainingTime: Sendable, Equatable {
    /// When everything has to be done: the session's end without its margin.
    package var end: Double
    /// Predicted seconds of what follows training in this session; nil where it is left to a later one, so that training goes on until the end.
    package var finishing: Double?
    /// Those of them that are spent on writing to the disk.
    package var writing = 0.0
    /// The share that is added to `finishing` for what is not predicted.
    package var reserve = 0.2
    /// Predicted seconds of a step, of an evaluation during training and of a checkpoint; 0 where nothing is known.
    package var step: Double
    package var evaluation: Double
    package var checkpoint: Double
    /// Seconds after `end` that are kept for the last checkpoint.
    package var saving = 0.0
    /// Longer pauses between two steps are not taken for the pace of training.
    package var longestPause: Double

    package init(end: Double, finishing: Double?, step: Double, evaluation: Double = 0, checkpoint: Double = 0, longestPause: Double = .infinity) {
        (self.end, self.finishing, self.step) = (end, finishing, step)
        (self.evaluation, self.checkpoint, self.longestPause) = (evaluation, checkpoint, longestPause)
    }
}

/// Decides before each step whether training can go on as planned (docs/decisions/0019-schedule-planned-anew.md). A function of what it is told: it
/// reads no clock.
package struct Pacing: Sendable {
    package enum Decision: Sendable, Equatable {
        case goOn
        /// Training has `total` steps from here on.
        case plan(total: Int)
        /// No time is left: everything is saved and the session ends (exit 75).
        case stop
    }

    private let time: TrainingTime
    private let settings: TrainingSettings
    private var steps = 0
    /// Seconds of a step: a moving average over `window` steps that begins at the prediction.
    private var step: Double
    private let window: Double
    private var evaluation: Double
    private var checkpoint: Double
    private var slowestCheckpoint = 0.0
    private var computing = Slowness(most: 8)
    private var writing = Slowness(most: 20)
    /// The beginning of the last step, and the longest time from one to the next.
    private var last: Double?
    private var longest = 0.0
    /// The beginning of the first step.
    private var begun: Double?
    /// Steps that were done when the schedule was last planned anew, or when this process began.
    private var planned: Int?
    /// When the schedule was last planned anew in this process.
    private var changedAt: Double?

    package init(_ time: TrainingTime, _ settings: TrainingSettings) {
        (self.time, self.settings) = (time, settings)
        (step, evaluation, checkpoint) = (time.step, time.evaluation, time.checkpoint)
        let steps = time.step > 0 && time.longestPause.isFinite ? time.longestPause / 10 / time.step : 0
        window = min(200, max(5, steps))
    }

    // MARK: what is measured

    package mutating func addStep(seconds: Double) {
        // Some steps also compile or record, and take a hundred times as long as others.
        step = step > 0 ? step + (min(seconds, Self.mostOfOne * step) - step) / window : seconds
        steps += 1
        if steps > 1, time.step > 0 { computing.add(step / time.step) }
    }

    package mutating func addEvaluation(seconds: Double) { evaluation = seconds }

    package mutating func addCheckpoint(seconds: Double) {
        checkpoint = seconds
        slowestCheckpoint = max(slowestCheckpoint, seconds)
        // A small file's second of waiting says nothing about a large one's rate.
        if time.checkpoint > 0 { writing.add((seconds - 1) / max(0.25, time.checkpoint)) }
    }

    /// A single step counts at most so many times the average.
    private static let mostOfOne = 4.0

    // MARK: the decision

    /// How many times as long as predicted something takes.
    struct Slowness {
        /// What is more is taken for this.
        let most: Double
        /// At least 1.
        private(set) var present = 1.0
        private var slowest = 1.0

        init(most: Double) { self.most = most }

        mutating func add(_ factor: Double) {
            present = min(most, max(1, factor))
            slowest = max(slowest, present)
        }

        /// A machine that was slow may be slow again: the slowest so far, but no more than twice the present.
        var cautious: Double { min(slowest, 2 * present) }
    }

    /// The share of the session's time that caution may add to what is expected.
    private static let caution = 0.05

    /// Seconds that what follows training is expected to take by what was measured: computing at the pace of the steps, and writing at the slower one of
    /// the steps' and the checkpoints'.
    ///
    /// - Parameter begun: when this process began to train; the clock's uptime.
    private func expected(_ finishing: Double, since begun: Double) -> Double {
        func seconds(_ computing: Double, _ writing: Double) -> Double {
            (finishing - time.writing) * computing + time.writing * max(computing, writing)
        }
        let present = seconds(computing.present, writing.present)
        return min(seconds(computing.cautious, writing.cautious), present + Self.caution * max(0, time.end - begun))
    }

    /// When a step that is not done by then is dropped, so that what is finished can still be saved in this session; the clock's uptime.
    package var lastMoment: Double { time.end - max(0, 2 * slowestCheckpoint - time.saving) }

    /// Of the time left, the share that a new plan fills.
    private static let filled = 0.96
    /// The share of the steps left that a new plan has to give back before it is worth an event.
    private static let regained = 0.15
    /// A shortage of less than this share of what is added to the time that is kept is worth no event; nor is one of less than `mostSpent` of it shortly
    /// after a change.
    private static let spent = 0.25
    private static let mostSpent = 0.5

    /// - Parameters:
    ///   - done: steps that are done.
    ///   - total: steps by the present plan, more than `done`.
    ///   - most: steps by the recipe; no plan has more.
    ///   - now: the clock's uptime.
    package mutating func decide(done: Int, of total: Int, most: Int, now: Double) -> Decision {
        if let last { longest = min(time.longestPause, max(longest, now - last)) }
        last = now
        let begun = begun ?? now
        self.begun = begun
        // No plan follows the beginning, or another plan, at once: the pace is measured first.
        let since = done - (planned ?? done)
        planned = planned ?? done
        guard let finishing = time.finishing else { return now + longest > lastMoment ? .stop : .goOn }
        let expected = expected(finishing, since: begun)
        let added = time.reserve * expected
        let left = time.end - expected - added - now
        let short = needed(from: done, to: total) - left
        // A fiftieth of a session: the average has followed the pace by then.
        let isNew = changedAt.map { time.longestPause.isFinite && now - $0 < time.longestPause / 5 } ?? false
        if short <= 0 {
            return isNew ? .goOn : regained(done, total, most, left - Self.mostSpent * added, since, now)
        }
        if short < Self.spent * added || isNew && short < Self.mostSpent * added { return .goOn }
        if since < max(1, (total - done) / 20), left > 0 { return .goOn }
        if let fitting = fitting(from: done, below: total, in: Self.filled * left) { return changed(done, fitting, now) }
        // A last step, at the schedule's last rate, may use the share that was added.
        guard now + step + checkpoint <= time.end - expected else { return .stop }
        return total == done + 1 ? .goOn : changed(done, done + 1, now)
    }

    /// Seconds from `done` steps until all are done and saved.
    private func needed(from done: Int, to total: Int) -> Double {
        let evaluations = settings.evalSteps > 0 ? max(0, (total - 1) / settings.evalSteps - done / settings.evalSteps) : 0
        let training = Double(total - done) * step + Double(evaluations) * evaluation
        let bySteps = settings.saveSteps > 0 ? Double(total / settings.saveSteps - done / settings.saveSteps) : 0
        let byTime = settings.saveMinutes > 0 ? training / (settings.saveMinutes * 60) : 0
        return training + (1 + max(bySteps, byTime)) * checkpoint
    }

    /// The most steps, fewer than `total`, that are done in `seconds`; nil where not one more is.
    private func fitting(from done: Int, below total: Int, in seconds: Double) -> Int? {
        var (low, high) = (done, total)
        while high - low > 1 {
            let middle = low + (high - low) / 2
            if needed(from: done, to: middle) <= seconds { low = middle } else { high = middle }
        }
        return low > done ? low : nil
    }

    /// Gives dropped steps back where there is time for a good part of them.
    private mutating func regained(_ done: Int, _ total: Int, _ most: Int, _ left: Double, _ since: Int, _ now: Double) -> Decision {
        guard total < most, since >= max(5, (total - done) / 10) else { return .goOn }
        let possible = fitting(from: done, below: most + 1, in: Self.filled * left) ?? total
        guard Double(possible - total) >= max(1, Self.regained * Double(total - done)) else { return .goOn }
        return changed(done, possible, now)
    }

    private mutating func changed(_ done: Int, _ total: Int, _ now: Double) -> Decision {
        (planned, changedAt) = (done, now)
        return .plan(total: total)
    }
}
