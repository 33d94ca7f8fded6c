import LorikeetJSON

/// Everything a page shows of one run: what its directory holds.
package struct RunRecord: Sendable {
    /// A key of the recipe and its value, as run.yaml writes it.
    package struct Setting: Sendable, Equatable {
        package let key: String
        package let value: String

        package init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }

    /// A row of the table that puts the presets beside the run.
    package struct PresetRow: Sendable, Equatable {
        package let name: String
        /// Values in `full`, in `kaggle-free` and in this run.
        package let values: [String]

        package init(name: String, values: [String]) {
            self.name = name
            self.values = values
        }
    }

    /// The folder's name.
    package var name: String
    package var settings: [Setting] = []
    package var presets: [PresetRow] = []
    /// The text of run.yaml.
    package var recipe = ""
    /// The command that repeats the run.
    package var command = ""
    /// plan.json and summary.json; nil where they are missing or damaged.
    package var plan: JSON?
    package var summary: JSON?
    /// Bytes of everything in the run's directory; nil where nobody looked.
    package var diskBytes: Double?
    package var log: RunLog

    package init(name: String, log: RunLog) {
        self.name = name
        self.log = log
    }

    package enum Status: String, Sendable {
        case running, finished, stopped, failed
    }

    /// What state the run is in. A run without an end whose process was killed cannot be told from one that goes on: it counts as running.
    package var status: Status {
        switch log.end?["exit"]?.int {
        case 0: .finished
        case 75: .stopped
        case .some: .failed
        // Versions that wrote no end wrote a summary.
        case nil where log.environment == nil && summary != nil: summary?["stopped_early"]?.bool == true ? .stopped : .finished
        case nil: .running
        }
    }

    func setting(_ key: String) -> String? { settings.first { $0.key == key }?.value }

    /// Steps done and steps of the whole run; nil before training.
    var stepsDone: (step: Int, of: Int)? {
        if let event = log.progress, let step = event["step"]?.int, let of = event["of"]?.int { return (step, of) }
        guard let steps = summary?["steps"]?.int else { return nil }
        return (steps, plan?["steps"]?.int ?? steps)
    }

    /// Validation loss before training and now: of the test where there was one, else of the first and the last evaluation.
    var validation: (before: Double?, after: Double?) {
        let tested = (summary?["validation_loss_before"]?.double, summary?["validation_loss_after"]?.double)
        return (tested.0, tested.1 ?? log.evaluations.last?.loss)
    }
}
