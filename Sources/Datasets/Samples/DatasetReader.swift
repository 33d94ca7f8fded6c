import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

/// Reads data files into samples: a block of rows at a time, its rows on all workers, their samples in the files' order into a sink.
struct DatasetReader {
    private enum Outcome: Sendable {
        case notChosen
        case made(MadeSample, unread: [String], RecordChoice.Split)
        case unusable(Unusable, RecordChoice.Split)
        case failed(LorikeetError)
    }

    let settings: DatasetSettings
    let maker: SampleMaker
    let paths: DataFiles
    let hasTemplate: Bool
    let bos: Int32?
    let files: any Files
    let cpu: CPU

    /// - Throws: as `Dataset.load`; `StoreFailure` where the sink's file cannot be written.
    func read(into sink: SampleSink) throws -> Dataset {
        let splits = paths.validation.isEmpty
        let choice = try RecordChoice(
            settings, splits: splits, place: paths.train[0], trainRows: { try countRows(paths.train) }, validationRows: { try countRows(paths.validation) })
        var train = SplitCounter(source: Self.shown(paths.train), keepsFingerprints: false)
        var validation = SplitCounter(source: Self.shown(splits ? paths.train : paths.validation), keepsFingerprints: true)
        var notes: [String] = []
        for (inValidation, list) in [(false, paths.train), (true, paths.validation)] {
            var row = 0
            for path in list { try read(path, inValidation, choice, &row, &train, &validation, &notes, sink) }
        }
        let trainReport = try train.finished(settings, mayBeEmpty: false)
        var report = DataReport(train: trainReport, validation: nil)
        if !splits || choice.holdsOut && !choice.wantsNoValidation {
            report.validation = try validation.finished(settings, mayBeEmpty: choice.wantsNoValidation)
            report.overlap = validation.fingerprints.count { train.seen.contains($0) }
        }
        report.notes = notes
        report.findMistakes(maxLength: settings.maxLength)
        let storage = try sink.finish()
        return Dataset(
            train: SampleSet(entries: train.entries, storage: storage), validation: SampleSet(entries: validation.entries, storage: storage),
            heldOut: HeldOutSet(entries: validation.heldOut, storage: storage), report: report)
    }

    private static func shown(_ paths: [String]) -> String { paths.count == 1 ? paths[0] : "\(paths[0]) and \(paths.count - 1) more" }

    private func countRows(_ paths: [String]) throws -> Int {
        var count = 0
        for path in paths {
            let blocks = try RowBlocks(path: path, files: files)
            while let block = try blocks.next() { count += block.rows.count }
        }
        return count
    }

    // MARK: - One file

    private func read(
        _ path: String, _ inValidation: Bool, _ choice: RecordChoice, _ row: inout Int, _ train: inout SplitCounter, _ validation: inout SplitCounter,
        _ notes: inout [String], _ sink: SampleSink
    ) throws {
        let blocks = try RowBlocks(path: path, files: files)
        var reader: RecordReader?
        while let block = try blocks.next() {
            let form = RecordForm(path: path, form: blocks.form)
            if reader == nil {
                let place = "\(path):\(block.rows[0].line)"
                let made = try RecordReader(first: form.json(block, block.rows[0]), settings: settings, at: place)
                try requireSense(made.layout, at: place)
                for counter in [0, 1] where (counter == 1) == inValidation || counter == 1 && paths.validation.isEmpty {
                    if counter == 0 { train.begin(layout: made.layout) } else { validation.begin(layout: made.layout) }
                }
                if settings.completionOnlyLoss == false, settings.assistantOnlyLoss == nil, [.messages, .conversations].contains(made.layout) {
                    notes.append("\(path): completion_only_loss has no effect on conversations: assistant_only_loss says what of them is learnt")
                }
                if case .csv(let header) = blocks.form {
                    notes.append(
                        "\(path): fields are divided by \(header.delimiterName), the first line names the columns \(header.columns.joined(separator: ", "))")
                }
                reader = made
            }
            guard let reader else { break }
            let first = row
            let outcomes = outcomes(block, form, reader, first: first) { choice.split(of: $0, inValidationFiles: inValidation) }
            for (index, outcome) in outcomes.enumerated() {
                func place() -> String { "\(path):\(block.rows[index].line)" }
                switch outcome {
                case .notChosen: break
                case .failed(let error): throw error
                case .made(let made, let unread, .train): try train.add(made, unread: unread, at: place(), to: sink)
                case .made(let made, let unread, .validation): try validation.add(made, unread: unread, at: place(), to: sink)
                case .unusable(let unusable, .train): train.add(unusable, at: place())
                case .unusable(let unusable, .validation): validation.add(unusable, at: place())
                }
            }
            row += block.rows.count
            if inValidation { validation.countRows(block.rows.count) } else { train.countRows(block.rows.count) }
            if !inValidation, paths.validation.isEmpty { validation.countRows(block.rows.count) }
        }
    }

    /// Refuses a layout that the other settings, or the model, cannot be used with.
    private func requireSense(_ layout: RecordLayout, at place: String) throws {
        guard hasTemplate || [.prompt, .text].contains(layout) else {
            throw LorikeetError.input(
                "the model has no chat template, which records with \(layout.keys(textField: settings.textField)) need", at: place,
                fix: "name one (--chat-template chatml), or give records with prompt and completion")
        }
        if settings.assistantOnlyLoss == true, layout == .text {
            throw LorikeetError.input("assistant_only_loss has no meaning for raw text: there is no assistant in it", at: place, fix: "remove the key")
        }
        if settings.completionOnlyLoss == true, layout == .text {
            throw LorikeetError.input("completion_only_loss has no meaning for raw text: there is no completion in it", at: place, fix: "remove the key")
        }
        if settings.completionOnlyLoss == true, [.messages, .conversations].contains(layout) {
            throw LorikeetError.input(
                "completion_only_loss has no meaning for conversations: they have no completion", at: place, fix: "remove the key, or set assistant_only_loss")
        }
    }

    private func outcomes(
        _ block: RowBlock, _ form: RecordForm, _ reader: RecordReader, first: Int, split: @Sendable (Int) -> RecordChoice.Split?
    ) -> [Outcome] {
        var outcomes = [Outcome](repeating: .notChosen, count: block.rows.count)
        outcomes.withUnsafeMutableBufferPointer { buffer in
            let slots = buffer
            cpu.parallelRanges(over: slots.count) { rows, _ in
                for index in rows { slots[index] = outcome(block, index, form, reader, row: first + index, split: split(first + index)) }
            }
        }
        return outcomes
    }

    private func outcome(_ block: RowBlock, _ index: Int, _ form: RecordForm, _ reader: RecordReader, row: Int, split: RecordChoice.Split?) -> Outcome {
        var place: String { "\(form.path):\(block.rows[index].line)" }
        do {
            // Every row has to be readable, chosen or not.
            let json = try form.json(block, block.rows[index])
            guard let split else { return .notChosen }
            do {
                let read = try reader.read(json)
                let made = try maker.make(read.record, layout: reader.layout, row: row, heldOut: split == .validation)
                try maker.requireRows(made, at: place)
                return .made(MadeSample(made, bos: bos), unread: read.unread, split)
            } catch let unusable as Unusable {
                return .unusable(unusable, split)
            }
        } catch let error as LorikeetError {
            return .failed(error.place == nil ? LorikeetError(error.exit, error.what, at: place, fix: error.fix) : error)
        } catch {
            return .failed(.input("\(error)", at: place))
        }
    }
}

/// How the rows of a file become JSON.
struct RecordForm: Sendable {
    let path: String
    let form: RowBlocks.Form

    func json(_ block: RowBlock, _ row: Row) throws -> JSON {
        let place = "\(path):\(row.line)"
        return try block.withBytes(of: row) { bytes in
            if case .csv(let header) = form { return try header.record(bytes, at: place) }
            do {
                return try JSON.parse(bytes, source: path, firstLine: row.line)
            } catch let error as LorikeetError {
                throw error.exit == .unusableInput ? TextFault.explained(bytes, error, at: place) : error
            }
        }
    }
}
