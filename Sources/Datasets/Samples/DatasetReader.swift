import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers
import Synchronization

/// Reads data files into samples: a block of rows at a time, its rows on all workers, their samples in the files' order into a sink.
struct DatasetReader {
    private enum Outcome: Sendable {
        case notChosen
        case made(MadeSample, unread: [String], RecordChoice.Split)
        case unusable(Unusable, RecordChoice.Split)
        case failed(LorikeetError)
    }

    let settings: DatasetSettings
    /// Whose copies the workers use.
    let maker: SampleMaker
    let paths: DataFiles
    let hasTemplate: Bool
    let bos: Int32?
    let files: any Files
    let cpu: CPU
    /// Called between blocks; what it throws ends the reading.
    let check: () throws -> Void

    /// - Throws: as `Dataset.load`; `StoreFailure` where the sink's file cannot be written.
    func read(into sink: SampleSink) throws -> Dataset {
        let splits = paths.validation.isEmpty
        let choice = try RecordChoice(
            settings, splits: splits, place: paths.train[0], trainRows: { try countRows(paths.train) }, validationRows: { try countRows(paths.validation) })
        var gathered = Gathered(
            train: SplitCounter(source: Self.shown(paths.train), keepsFingerprints: false),
            validation: SplitCounter(source: Self.shown(splits ? paths.train : paths.validation), keepsFingerprints: true),
            // One thread shares nothing with another: it needs no copy of its own.
            makers: cpu.threads == 1 ? [maker] : Array(repeating: nil, count: cpu.threads))
        for (inValidation, list) in [(false, paths.train), (true, paths.validation)] {
            gathered.row = 0
            for path in list { try read(path, inValidation, choice, into: &gathered, sink) }
        }
        return try dataset(of: &gathered, choice, sink)
    }

    private func dataset(of gathered: inout Gathered, _ choice: RecordChoice, _ sink: SampleSink) throws -> Dataset {
        let trainReport = try gathered.train.finished(settings, mayBeEmpty: false)
        var report = DataReport(train: trainReport, validation: nil)
        if !paths.validation.isEmpty || choice.holdsOut && !choice.wantsNoValidation {
            report.validation = try gathered.validation.finished(settings, mayBeEmpty: choice.wantsNoValidation)
            report.overlap = gathered.validation.fingerprints.count { gathered.train.seen.contains($0) }
        }
        report.notes = gathered.notes
        report.findMistakes(maxLength: settings.maxLength)
        let storage = try sink.finish()
        return Dataset(
            train: SampleSet(entries: gathered.train.entries, storage: storage), validation: SampleSet(entries: gathered.validation.entries, storage: storage),
            heldOut: HeldOutSet(entries: gathered.validation.heldOut, storage: storage), report: report)
    }

    private static func shown(_ paths: [String]) -> String { paths.count == 1 ? paths[0] : "\(paths[0]) and \(paths.count - 1) more" }

    private func countRows(_ paths: [String]) throws -> Int {
        try paths.reduce(0) { $0 + (try RowCount.rows(of: $1, files: files, cpu: cpu, check: check)) }
    }

    // MARK: - One file

    /// The two splits while they are gathered.
    private struct Gathered {
        var train: SplitCounter
        var validation: SplitCounter
        /// Rows of the files before, by which rows are chosen.
        var row = 0
        var notes: [String] = []
        /// The workers' own makers, by worker; nil for one that had no rows yet.
        var makers: [SampleMaker?]
    }

    /// Rows that were read into samples and are not gathered yet.
    private struct Finished {
        let rows: [Row]
        let outcomes: [Outcome]
    }

    /// While the workers read one block, one of them gathers the block before, another one fetches the next block, and a third one writes what was
    /// gathered last: with many of them none of the three may wait for another.
    private func read(_ path: String, _ inValidation: Bool, _ choice: RecordChoice, into gathered: inout Gathered, _ sink: SampleSink) throws {
        let blocks = try RowBlocks(path: path, files: files)
        guard var block = try blocks.next() else { return }
        let form = RecordForm(path: path, form: blocks.form)
        let reader = try begin(block, form, inValidation, &gathered)
        var finished: Finished?
        while true {
            try check()
            var following = Result<RowBlock?, any Error>.success(nil)
            var added = Result<Void, any Error>.success(())
            var written = Result<Void, any Error>.success(())
            var makers: [SampleMaker?] = []
            swap(&makers, &gathered.makers)
            sink.pass()
            let outcomes = outcomes(block, form, reader, first: gathered.row, &makers) {
                choice.split(of: $0, inValidationFiles: inValidation)
            } meanwhile: { task in
                switch task {
                case 0: added = Result { if let finished { try add(finished, of: path, to: &gathered, sink) } }
                case 1: following = Result { try blocks.next() }
                case 2: written = Result { try sink.write() }
                default: return false
                }
                return true
            }
            swap(&makers, &gathered.makers)
            try added.get()
            try written.get()
            let done = Finished(rows: block.rows, outcomes: outcomes)
            gathered.row += block.rows.count
            if inValidation { gathered.validation.countRows(block.rows.count) } else { gathered.train.countRows(block.rows.count) }
            if !inValidation, paths.validation.isEmpty { gathered.validation.countRows(block.rows.count) }
            // What is wrong with a row is said before what is wrong behind it.
            guard case .success(let next?) = following else {
                try add(done, of: path, to: &gathered, sink)
                _ = try following.get()
                return
            }
            (block, finished) = (next, done)
        }
    }

    /// Finds a file's layout from its first row.
    private func begin(_ block: RowBlock, _ form: RecordForm, _ inValidation: Bool, _ gathered: inout Gathered) throws -> RecordReader {
        let path = form.path
        let place = "\(path):\(block.rows[0].line)"
        let reader = try RecordReader(first: form.json(block, block.rows[0]), settings: settings, at: place)
        try requireSense(reader.layout, at: place)
        if !inValidation { gathered.train.begin(layout: reader.layout) }
        if inValidation || paths.validation.isEmpty { gathered.validation.begin(layout: reader.layout) }
        if settings.completionOnlyLoss == false, settings.assistantOnlyLoss == nil, [.messages, .conversations].contains(reader.layout) {
            gathered.notes.append("\(path): completion_only_loss has no effect on conversations: assistant_only_loss says what of them is learnt")
        }
        if case .csv(let header) = form.form {
            gathered.notes.append(
                "\(path): fields are divided by \(header.delimiterName), the first line names the columns \(header.columns.joined(separator: ", "))")
        }
        return reader
    }

    /// Adds the samples of a block in the order of its rows.
    private func add(_ finished: Finished, of path: String, to gathered: inout Gathered, _ sink: SampleSink) throws {
        for (index, outcome) in finished.outcomes.enumerated() {
            func place() -> String { "\(path):\(finished.rows[index].line)" }
            switch outcome {
            case .notChosen: break
            case .failed(let error): throw error
            case .made(let made, let unread, .train): gathered.train.add(made, unread: unread, at: place(), to: sink)
            case .made(let made, let unread, .validation): gathered.validation.add(made, unread: unread, at: place(), to: sink)
            case .unusable(let unusable, .train): gathered.train.add(unusable, at: place())
            case .unusable(let unusable, .validation): gathered.validation.add(unusable, at: place())
            }
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

    /// Rows that a worker takes at once.
    private static let rowsAtOnce = 32

    /// Reads the rows of a block on all workers.
    ///
    /// - Parameters:
    ///   - makers: of each worker.
    ///   - meanwhile: does the task of a number, from 0 on; false where there is none. The workers do these before they read rows, each once.
    private func outcomes(
        _ block: RowBlock, _ form: RecordForm, _ reader: RecordReader, first: Int, _ makers: inout [SampleMaker?],
        split: @Sendable (Int) -> RecordChoice.Split?, meanwhile: (_ task: Int) -> Bool
    ) -> [Outcome] {
        var outcomes = [Outcome](repeating: .notChosen, count: block.rows.count)
        let nextTask = Atomic<Int>(0)
        let next = Atomic<Int>(0)
        outcomes.withUnsafeMutableBufferPointer { slots in
            makers.withUnsafeMutableBufferPointer { makers in
                cpu.parallel(over: cpu.threads) { worker in
                    while meanwhile(nextTask.add(1, ordering: .relaxed).oldValue) {}
                    while true {
                        let start = next.add(Self.rowsAtOnce, ordering: .relaxed).oldValue
                        guard start < slots.count else { return }
                        let own = makers[worker] ?? maker.forOneThread()
                        makers[worker] = own
                        for index in start..<min(slots.count, start + Self.rowsAtOnce) {
                            slots[index] = outcome(block, index, form, reader, own, row: first + index, split: split(first + index))
                        }
                    }
                }
            }
        }
        return outcomes
    }

    private func outcome(
        _ block: RowBlock, _ index: Int, _ form: RecordForm, _ reader: RecordReader, _ maker: SampleMaker, row: Int, split: RecordChoice.Split?
    ) -> Outcome {
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
            var error = error
            error.place = error.place ?? place
            return .failed(error)
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
        var place: String { "\(path):\(row.line)" }
        return try block.withBytes(of: row) { bytes in
            if case .csv(let header) = form { return try header.record(bytes, at: place) }
            do {
                return try JSON.parse(bytes, source: path, firstLine: row.line)
            } catch let error as LorikeetError {
                throw error.exit == .unusableInput && error.kind != .repeatedKey ? TextFault.explained(bytes, error, at: place) : error
            }
        }
    }
}
