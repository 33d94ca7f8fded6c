import LorikeetDatasets

/// Which samples each optimiser step takes: a function of (seed, epoch) and nothing else.
package final class StepSampler {
    private let settings: TrainingSettings
    private let count: Int
    /// The last epoch's order: steps come one after another.
    private var cached: (epoch: Int, order: [Int])?

    package init(settings: TrainingSettings, count: Int) {
        self.settings = settings
        self.count = count
    }

    /// Samples of step `step` (0 for the first): the next `samplesPerStep` of its epoch's order, fewer in an epoch's last step.
    package func samples(ofStep step: Int) -> (epoch: Int, indices: [Int]) {
        guard count > 0 else { return (0, []) }
        let perEpoch = settings.stepsPerEpoch(samples: count)
        let (epoch, inside) = (step / perEpoch, step % perEpoch)
        if cached?.epoch != epoch {
            cached = (epoch, epochOrder(count: count, seed: settings.seed, epoch: epoch, shuffle: settings.shuffle))
        }
        let order = cached?.order ?? []
        let first = inside * settings.samplesPerStep
        return (epoch, Array(order[first..<min(count, first + settings.samplesPerStep)]))
    }

    /// The samples' lengths in the order in which an epoch visits them: its steps take them from there, `samplesPerStep` each.
    ///
    /// - Parameter lengths: of all samples.
    package static func lengths(_ lengths: [SampleLength], ofEpoch epoch: Int, _ settings: TrainingSettings) -> [SampleLength] {
        epochLengths(lengths, seed: settings.seed, epoch: epoch, shuffle: settings.shuffle)
    }
}
