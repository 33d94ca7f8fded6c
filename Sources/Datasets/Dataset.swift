import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

/// The training and validation samples of a run.
///
///     let data = try Dataset.load(settings, tokenizer: tokenizer, template: template, files: RealFiles(), cpu: cpu)
///     data.train[0].ids
package struct Dataset: Sendable {
    /// In the order of the file.
    package let train: [TokenSample]
    package let validation: [TokenSample]
    /// Validation records as questions; those without an answer of their own (`text`) or truncated are missing.
    package let heldOut: [HeldOutRow]
    package let report: DataReport

    /// Reads, chooses, formats and tokenises, on all workers; the result follows from the arguments alone.
    ///
    /// - Parameters:
    ///   - template: the model's chat template; needed by the layouts with messages.
    ///   - embeddingRows: of the model that will read the samples; nil where there is none.
    /// - Throws: exit 2 for a missing or empty file, unknown keys, a line that is not JSON, a token that the model has no
    ///   row for (both with `file:line`), more unusable records than `maxBadRecords` allows, or nothing left to train. Silent mistakes do not throw: see `DataReport.mistakes`.
    package static func load(
        _ settings: DatasetSettings, tokenizer: Tokenizer, template: ChatTemplate?, embeddingRows: Int? = nil, files: any Files, cpu: CPU
    ) throws -> Dataset {
        let maker = SampleMaker(tokenizer: tokenizer, template: template, maxLength: settings.maxLength, embeddingRows: embeddingRows)
        let paths = try Self.paths(settings, files)
        let choice = try Choice(settings, paths: paths, files: files)
        var train = LoadedSplit()
        var validation: LoadedSplit?
        if let validationFile = choice.validationFile {
            let reader = try RowReader(file: choice.trainFile, settings: settings, maker: maker, hasTemplate: template != nil)
            train = try reader.read(choice.trainRows, heldOut: false, cpu: cpu)
            let other = try RowReader(file: validationFile, settings: settings, maker: maker, hasTemplate: template != nil)
            validation = try other.read(choice.validationRows, heldOut: true, cpu: cpu)
        } else {
            let reader = try RowReader(file: choice.trainFile, settings: settings, maker: maker, hasTemplate: template != nil)
            train = try reader.read(choice.trainRows, heldOut: false, cpu: cpu)
            if !choice.validationRows.isEmpty { validation = try reader.read(choice.validationRows, heldOut: true, cpu: cpu) }
        }
        return Dataset(train: train, validation: validation, tokenizer: tokenizer, maxLength: settings.maxLength)
    }

    private init(train: LoadedSplit, validation: LoadedSplit?, tokenizer: Tokenizer, maxLength: Int) {
        self.train = train.samples
        self.validation = validation?.samples ?? []
        heldOut = validation?.heldOut ?? []
        var seen = Set<Fingerprint>()
        var report = DataReport(train: train.counted(seen: &seen, bos: tokenizer.bos), validation: nil)
        if let validation {
            report.overlap = validation.samples.count { seen.contains(Fingerprint($0)) }
            var ownSeen = Set<Fingerprint>()
            report.validation = validation.counted(seen: &ownSeen, bos: tokenizer.bos)
        }
        report.findMistakes(maxLength: maxLength)
        self.report = report
    }

    /// The data's files: the one named, or the directory's.
    private static func paths(_ settings: DatasetSettings, _ files: any Files) throws -> (train: String, validation: String?) {
        guard !settings.data.isEmpty else {
            throw LorikeetError.input("no data is named", fix: "give --data a JSONL file or a directory with train.jsonl")
        }
        guard files.isDirectory(settings.data) else { return (settings.data, settings.validation) }
        let folder = settings.data.hasSuffix("/") ? settings.data : settings.data + "/"
        let train = folder + "train.jsonl"
        guard files.exists(train) else {
            let names = try files.list(settings.data).prefix(8).joined(separator: ", ")
            throw LorikeetError.input(
                "the directory has no train.jsonl (it has \(names.isEmpty ? "nothing" : names))", at: settings.data,
                fix: "name a JSONL file, or put train.jsonl and validation.jsonl there")
        }
        let validation = folder + "validation.jsonl"
        return (train, settings.validation ?? (files.exists(validation) ? validation : nil))
    }
}

/// Which rows of which file are trained, and which are held out.
private struct Choice {
    let trainFile: JSONLines
    /// nil: the held-out rows are the training file's.
    let validationFile: JSONLines?
    let trainRows: [Int]
    let validationRows: [Int]

    init(_ settings: DatasetSettings, paths: (train: String, validation: String?), files: any Files) throws {
        func pick(_ rows: [Int], _ wanted: Int?, _ purpose: StatelessRandom.Purpose) -> [Int] {
            guard let wanted, wanted < rows.count else { return rows }
            switch settings.sample {
            case .first: return Array(rows.prefix(wanted))
            case .random: return randomSubset(of: rows.count, wanted: wanted, seed: settings.seed, purpose: purpose).map { rows[$0] }
            }
        }
        trainFile = try JSONLines(path: paths.train, files: files)
        validationFile = try paths.validation.map { try JSONLines(path: $0, files: files) }
        var forTraining = Array(trainFile.rows.indices)
        var heldOut = validationFile.map { Array($0.rows.indices) } ?? []
        if validationFile == nil, settings.validationShare > 0 {
            let count = Int((settings.validationShare * Double(forTraining.count)).rounded())
            heldOut = randomSubset(of: forTraining.count, wanted: count, seed: settings.seed, purpose: .validationSplit)
            let held = Set(heldOut)
            forTraining.removeAll { held.contains($0) }
            guard !forTraining.isEmpty else {
                throw LorikeetError.input(
                    "validation_share \(settings.validationShare) leaves nothing to train", at: paths.train, fix: "make it smaller")
            }
        }
        trainRows = pick(forTraining, settings.maxTrainSamples, .trainSubset)
        validationRows = pick(heldOut, settings.maxValidationSamples, .validationSubset)
    }
}

/// A sample's tokens and mask in 128 bits, to find equal samples.
struct Fingerprint: Hashable {
    private let mixed: UInt64
    private let fnv: UInt64

    init(_ sample: TokenSample) {
        var mixed: UInt64 = 1
        var fnv = FNV1a()
        for (id, trained) in zip(sample.ids, sample.trained) {
            let word = UInt64(UInt32(bitPattern: id)) << 1 | (trained ? 1 : 0)
            mixed = mix64(mixed ^ word)
            fnv.add(word)
        }
        self.mixed = mixed
        self.fnv = fnv.value
    }
}
