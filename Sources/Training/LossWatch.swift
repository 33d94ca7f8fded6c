import LorikeetJSON

/// Watches the steps' losses for a training that diverges (docs/decisions/0018-trouble-in-training.md states the rule).
///
/// A loss is high where it exceeds the median of the last 32 losses that were not high by more than 1 (natural logarithm, a token) and by more than ten
/// times their median absolute deviation. One high loss, or a few, come from unusual records; eight in a row are a model that has become worse.
/// A function of the losses alone, so that a run that goes on from a checkpoint finds the same.
package struct LossWatch: Sendable, Equatable {
    /// Losses that are compared with; nothing is high before there are so many.
    package static let length = 32
    /// High losses in a row that count as divergence.
    package static let patience = 8
    static let leastRise = 1.0
    static let deviations = 10.0

    /// The last losses that were not high, oldest first.
    private(set) var losses: [Double] = []
    /// High losses since the last that was not.
    private(set) var high = 0

    package enum Finding: Sendable, Equatable {
        case usual
        /// The loss is above the limit.
        case high(limit: Double)
        /// It is the last of `patience` such losses in a row.
        case diverged(limit: Double)
    }

    package init() {}

    /// The loss above which a step is high; nil while too few losses are known.
    var limit: Double? {
        guard losses.count == Self.length else { return nil }
        let middle = Self.median(losses)
        let deviation = Self.median(losses.map { abs($0 - middle) })
        return middle + max(Self.leastRise, Self.deviations * deviation)
    }

    /// What the next step's loss says. A loss that is not finite says nothing here.
    mutating func add(_ loss: Double) -> Finding {
        guard loss.isFinite else { return .usual }
        if let limit, loss > limit {
            high += 1
            return high >= Self.patience ? .diverged(limit: limit) : .high(limit: limit)
        }
        high = 0
        losses.append(loss)
        if losses.count > Self.length { losses.removeFirst() }
        return .usual
    }

    /// The mean of the two middle values.
    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }

    var json: JSON { ["losses": .array(losses.map { JSON($0) }), "high": JSON(high)] }

    /// nil where a number is missing or out of its range.
    init?(json: JSON) {
        guard let values = json["losses"]?.array, values.count <= Self.length, let high = json["high"]?.int, (0...Self.patience).contains(high) else {
            return nil
        }
        losses = values.compactMap(\.double).filter(\.isFinite)
        guard losses.count == values.count else { return nil }
        self.high = high
    }
}
