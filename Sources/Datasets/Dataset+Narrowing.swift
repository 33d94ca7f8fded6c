/// What the same records give where fewer of them are used, or less of each.
extension Dataset {
    /// What narrowing leaves out.
    package struct Narrowed: Sendable {
        package let dataset: Dataset
        /// Training samples that lose their end, of those of `dataset`, and records that nothing is left of.
        package let truncated: Int
        package let dropped: Int

        /// Nothing is left out that was not before.
        package init(whole dataset: Dataset) { self.init(dataset, truncated: dataset.report.train.truncated, dropped: 0) }

        fileprivate init(_ dataset: Dataset, truncated: Int, dropped: Int) {
            (self.dataset, self.truncated, self.dropped) = (dataset, truncated, dropped)
        }
    }

    /// The samples that `load` would make with other numbers of records, or a smaller `max_length`, without reading a record: choices of records are nested, and
    /// truncation keeps a sample's beginning.
    ///
    /// - Parameters:
    ///   - settings: what this dataset was loaded with, but for smaller `maxTrainSamples`, `maxValidationSamples` and `maxLength`.
    ///   - splits: the validation records are split off the training files.
    /// - Returns: nil where `load` would refuse the result, or a run would: too many records of which nothing is left, or that lose their end.
    /// - Throws: exit 4 when samples cannot be read.
    package func narrowed(to settings: DatasetSettings, splits: Bool) throws -> Narrowed? {
        guard
            let choice = try? RecordChoice(
                settings, splits: splits, place: report.train.source, trainRows: { report.train.rowsInFile },
                validationRows: { report.validation?.rowsInFile ?? 0 })
        else { return nil }
        func isTrained(_ record: Int) -> Bool { choice.split(of: record, inValidationFiles: false) == .train }
        func isHeldOut(_ record: Int) -> Bool { choice.split(of: record, inValidationFiles: !splits) == .validation }
        let train = try train.narrowed(maxLength: settings.maxLength, isTrained)
        let validation = try validation.narrowed(maxLength: settings.maxLength, isHeldOut)
        /// Whether the rule of `max_bad_records` allows those chosen records that became no samples.
        func areUsable(_ samples: SampleSet, rowsInFile: Int, _ isChosen: (_ record: Int) -> Bool) -> Bool {
            let rows = (0..<rowsInFile).count { isChosen($0) }
            return rows - samples.count <= Int(settings.maxBadRecords * Double(rows))
        }
        guard areUsable(train.samples, rowsInFile: report.train.rowsInFile, isTrained),
            areUsable(validation.samples, rowsInFile: report.validation?.rowsInFile ?? 0, isHeldOut)
        else { return nil }
        guard !train.samples.isEmpty, Double(train.truncated) <= DataReport.truncationLimit * Double(train.samples.count) else { return nil }
        let whole = Set(validation.samples.entries.lazy.filter { !$0.truncated }.map(\.record))
        let held = HeldOutSet(entries: heldOut.entries.filter { whole.contains($0.record) }, storage: heldOut.storage)
        var dataset = Dataset(train: train.samples, validation: validation.samples, heldOut: held, report: report)
        dataset.isFromStore = isFromStore
        return Narrowed(dataset, truncated: train.truncated, dropped: train.dropped)
    }
}

extension SampleSet {
    /// The samples of some records, cut to a length.
    ///
    /// - Returns: with the numbers of samples that lost their end, and of those of which nothing is left to train.
    fileprivate func narrowed(maxLength: Int, _ isChosen: (_ record: Int) -> Bool) throws -> (samples: SampleSet, truncated: Int, dropped: Int) {
        var (kept, stored, truncated, dropped) = ([Entry](), [Int32](), 0, 0)
        for index in entries.indices where isChosen(Int(entries[index].record)) {
            var entry = entries[index]
            if entry.tokens > maxLength {
                // As `SampleMaker` cuts: nothing behind the last trained token that is left matters.
                let trained = try sample(at: index).trained[..<maxLength]
                guard let last = trained.lastIndex(of: true) else {
                    dropped += 1
                    continue
                }
                (entry.tokens, entry.trained, entry.truncated) = (Int32(last + 1), Int32(trained.count { $0 }), true)
            }
            if entry.truncated { truncated += 1 }
            kept.append(entry)
            stored.append(storedTokens?[index] ?? entries[index].tokens)
        }
        return (SampleSet(entries: kept, storage: storage, storedTokens: stored), truncated, dropped)
    }
}
