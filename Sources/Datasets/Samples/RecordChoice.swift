import LorikeetGround

/// Which rows are trained, and which are held out.
struct RecordChoice {
    enum Split { case train, validation }

    private enum Rows {
        case all, none
        case some([Bool])

        func contains(_ row: Int) -> Bool {
            switch self {
            case .all: true
            case .none: false
            case .some(let flags): row < flags.count && flags[row]
            }
        }
    }

    private var train = Rows.all
    /// Of the validation files; of the training files where there are none.
    private var validation = Rows.all
    private let splits: Bool

    /// - Parameters:
    ///   - splits: the held-out rows are the training files'.
    ///   - trainRows: counts the rows of the training files; asked only where the choice depends on it.
    ///   - validationRows: the same for the validation files.
    init(_ settings: DatasetSettings, splits: Bool, place: String, trainRows: () throws -> Int, validationRows: () throws -> Int) throws {
        self.splits = splits
        func pick(_ rows: [Int], of count: Int, _ wanted: Int, _ purpose: StatelessRandom.Purpose) -> Rows {
            let picked: [Int] =
                switch settings.sample {
                case _ where wanted >= rows.count: rows
                case .first: Array(rows.prefix(wanted))
                case .random: randomSubset(of: rows.count, wanted: wanted, seed: settings.seed, purpose: purpose).map { rows[$0] }
                }
            var flags = [Bool](repeating: false, count: count)
            for row in picked { flags[row] = true }
            return .some(flags)
        }
        if splits {
            validation = .none
            guard settings.validationShare > 0 || settings.maxTrainSamples != nil else { return }
            let count = try trainRows()
            var forTraining = Array(0..<count)
            if settings.validationShare > 0 {
                let held = randomSubset(
                    of: count, wanted: Int((settings.validationShare * Double(count)).rounded()), seed: settings.seed, purpose: .validationSplit)
                var isHeld = [Bool](repeating: false, count: count)
                for row in held { isHeld[row] = true }
                forTraining.removeAll { isHeld[$0] }
                guard !forTraining.isEmpty else {
                    throw LorikeetError.input("validation_share \(settings.validationShare) leaves nothing to train", at: place, fix: "make it smaller")
                }
                validation = pick(held, of: count, settings.maxValidationSamples ?? .max, .validationSubset)
            }
            train = pick(forTraining, of: count, settings.maxTrainSamples ?? .max, .trainSubset)
        } else {
            if let wanted = settings.maxTrainSamples {
                let count = try trainRows()
                train = pick(Array(0..<count), of: count, wanted, .trainSubset)
            }
            if let wanted = settings.maxValidationSamples {
                let count = try validationRows()
                validation = pick(Array(0..<count), of: count, wanted, .validationSubset)
            }
        }
    }

    /// The split of a row of the training files or the validation files; nil where it is in neither.
    func split(of row: Int, inValidationFiles: Bool) -> Split? {
        if inValidationFiles { return validation.contains(row) ? .validation : nil }
        if train.contains(row) { return .train }
        return splits && validation.contains(row) ? .validation : nil
    }

    /// Whether no validation rows were wanted.
    var wantsNoValidation: Bool {
        switch validation {
        case .all: false
        case .none: true
        case .some(let flags): !flags.contains(true)
        }
    }

    var holdsOut: Bool { if case .none = validation { false } else { true } }
}
