import LorikeetDevices
import LorikeetGround
import LorikeetJSON

/// One split of a dataset as it was read, before it is counted.
struct LoadedSplit {
    var samples: [TokenSample] = []
    var heldOut: [HeldOutRow] = []
    var bad: [BadRecord] = []
    var badCount = 0
    var withoutEnd = 0
    var emptyAnswers = 0
    var rows = 0
    var source = ""
    var layout = RecordLayout.text
    var rowsInFile = 0
    var ignoredKeys: [String] = []

    /// Counts the split; `seen` gathers the samples' fingerprints.
    func counted(seen: inout Set<Fingerprint>, bos: Int32?) -> DataReport.Split {
        var split = DataReport.Split(source: source, layout: layout)
        split.rowsInFile = rowsInFile
        split.rows = rows
        split.samples = samples.count
        split.unusable = badCount
        split.firstUnusable = bad
        split.withoutEnd = withoutEnd
        split.emptyAnswers = emptyAnswers
        split.ignoredKeys = ignoredKeys
        for sample in samples {
            if sample.truncated { split.truncated += 1 }
            if !seen.insert(Fingerprint(sample)).inserted { split.duplicates += 1 }
            if let bos, sample.ids.count > 1, sample.ids[0] == bos, sample.ids[1] == bos { split.doubleBOS += 1 }
            split.trainedTokens += sample.trainedCount
        }
        split.lengths = TokenLengths(samples.map(\.ids.count))
        return split
    }
}

/// Reads rows of one file into samples.
struct RowReader {
    private enum Outcome: Sendable {
        case notChosen
        case made(SampleMaker.Result)
        case unusable(Unusable)
        case failed(LorikeetError)
    }

    /// Unusable records that are named.
    private static let named = 5

    private let file: JSONLines
    private let settings: DatasetSettings
    private let maker: SampleMaker
    private let layout: RecordLayout
    private let ignoredKeys: [String]

    /// Finds the layout from the first record.
    ///
    /// - Throws: exit 2 when that record is not JSON, its keys are unknown, or its layout needs a template and there is none.
    init(file: JSONLines, settings: DatasetSettings, maker: SampleMaker, hasTemplate: Bool) throws {
        self.file = file
        self.settings = settings
        self.maker = maker
        let first = try Self.parse(file, row: 0)
        layout = try RecordLayout.find(in: first, at: file.place(of: 0))
        ignoredKeys = layout.ignoredKeys(in: first)
        let needsTemplate = layout == .messages || layout == .conversations || layout == .instruction
        if needsTemplate, !hasTemplate {
            throw LorikeetError.input(
                "the model's tokenizer has no chat template, which records with the keys (\(layout.keys)) need", at: file.path,
                fix: "give a model with a chat template, or records with prompt and completion")
        }
    }

    /// The samples of the chosen rows (ascending). Every line of the file is parsed, chosen or not, so that a broken file is
    /// found at once.
    func read(_ chosen: [Int], heldOut: Bool, cpu: CPU) throws -> LoadedSplit {
        var isChosen = [Bool](repeating: false, count: file.rows.count)
        for row in chosen { isChosen[row] = true }
        let outcomes = outcomes(isChosen, heldOut: heldOut, cpu: cpu)
        var split = LoadedSplit()
        split.source = file.path
        split.layout = layout
        split.rowsInFile = file.rows.count
        split.rows = chosen.count
        split.ignoredKeys = ignoredKeys
        split.samples.reserveCapacity(chosen.count)
        for (row, outcome) in outcomes.enumerated() {
            switch outcome {
            case .notChosen: break
            case .failed(let error): throw error
            case .made(let made):
                split.samples.append(made.sample)
                if let question = made.heldOut { split.heldOut.append(question) }
                if !made.endIsTrained { split.withoutEnd += 1 }
                split.emptyAnswers += made.emptyAnswers
            case .unusable(let unusable):
                split.badCount += 1
                if split.bad.count < Self.named {
                    split.bad.append(BadRecord(place: file.place(of: row), reason: unusable.reason, fix: unusable.fix))
                }
            }
        }
        try check(split, mayBeEmpty: heldOut && chosen.isEmpty)
        return split
    }

    private func outcomes(_ isChosen: [Bool], heldOut: Bool, cpu: CPU) -> [Outcome] {
        var outcomes = [Outcome](repeating: .notChosen, count: file.rows.count)
        outcomes.withUnsafeMutableBufferPointer { buffer in
            let slots = buffer
            cpu.parallelRanges(over: slots.count) { rows, _ in
                for row in rows { slots[row] = outcome(of: row, isChosen: isChosen[row], heldOut: heldOut) }
            }
        }
        return outcomes
    }

    private func outcome(of row: Int, isChosen: Bool, heldOut: Bool) -> Outcome {
        let json: JSON
        do {
            json = try Self.parse(file, row: row)
        } catch let error as LorikeetError {
            return .failed(error)
        } catch {
            return .failed(.input("\(error)", at: file.place(of: row)))
        }
        guard isChosen else { return .notChosen }
        do {
            let record = try layout.record(from: json, instructionRole: settings.instructionRole)
            let made = try maker.make(record, row: row, heldOut: heldOut)
            try maker.requireRows(made, at: file.place(of: row))
            return .made(made)
        } catch let unusable as Unusable {
            return .unusable(unusable)
        } catch let error as LorikeetError {
            return .failed(error)
        } catch {
            return .failed(.input("\(error)", at: file.place(of: row)))
        }
    }

    private static func parse(_ file: JSONLines, row: Int) throws -> JSON {
        try file.withBytes(of: row) { try JSON.parse($0, source: file.path, firstLine: file.rows[row].line) }
    }

    /// The rule of `max_bad_records`.
    private func check(_ split: LoadedSplit, mayBeEmpty: Bool) throws {
        let allowed = Int(settings.maxBadRecords * Double(split.rows))
        guard split.badCount > allowed || split.samples.isEmpty && !mayBeEmpty else { return }
        guard let first = split.bad.first else {
            throw LorikeetError.input("no records are left", at: file.path, fix: "raise max_train_samples")
        }
        let others = split.bad.dropFirst().map { "; \($0.description)" }.joined()
        let more = split.badCount > split.bad.count ? "; and \(split.badCount - split.bad.count) more" : ""
        let count = split.badCount == 1 ? "1 of \(split.rows) records cannot be used" : "\(split.badCount) of \(split.rows) records cannot be used"
        throw LorikeetError.input(
            "\(first.reason) (\(count), max_bad_records allows \(allowed)\(others)\(more))", at: first.place,
            fix: first.fix ?? "fix or remove these records, or raise max_bad_records")
    }
}
