import LorikeetDevices
import LorikeetGround
import LorikeetTokenizers

/// The training and validation samples of a run.
///
///     let data = try Dataset.load(settings, tokenizer: tokenizer, template: template, files: RealFiles(), cpu: cpu)
///     try data.train.sample(at: 0).ids
package struct Dataset: Sendable {
    /// In the order of the files.
    package let train: SampleSet
    package let validation: SampleSet
    /// Validation records as questions; those without an answer of their own (`text`) or truncated are missing.
    package let heldOut: HeldOutSet
    package var report: DataReport
    /// The samples were found where an earlier start kept them: no record was read.
    package var isFromStore = false

    /// Reads, chooses, formats and tokenises, on all workers; the result follows from the arguments alone.
    ///
    /// - Parameters:
    ///   - template: the model's chat template; needed by the layouts with messages.
    ///   - endOfTurn: the text that ends an answer in that template, where it is no end token of the tokenizer.
    ///   - embeddingRows: of the model that will read the samples; nil where there is none.
    ///   - check: called between blocks of records, and between pieces of files that are hashed, on any thread; what it throws ends the reading.
    ///   - store: where samples are kept from start to start; nil keeps them in memory. A store that cannot be written is a warning.
    ///   - checksSamples: false takes kept samples whose index is sound, for a plan, which needs little more than their lengths. Training needs true.
    /// - Throws: exit 2 for a missing or empty file, unknown keys, a line that is not JSON, a token that the model has no
    ///   row for (both with `file:line`), more unusable records than `maxBadRecords` allows, or nothing left to train. Silent mistakes do not
    ///   throw: see `DataReport.mistakes`.
    package static func load(
        _ settings: DatasetSettings, tokenizer: Tokenizer, template: ChatTemplate?, endOfTurn: String? = nil, embeddingRows: Int? = nil,
        store: SampleStore? = nil, checksSamples: Bool = true, files: any Files, cpu: CPU, check: @escaping () throws -> Void = {}
    ) throws -> Dataset {
        let paths = try DataFiles.find(data: settings.data, validation: settings.validation, files: files)
        // Formats that are not read are named before anything is hashed.
        for path in paths.train + paths.validation { _ = try RowBlocks(path: path, files: files) }
        let key = try store?.key(settings, paths, embeddingRows: embeddingRows, cpu: cpu, check: check)
        if let store, let key, var found = store.find(key, checksSamples: checksSamples, cpu: cpu, check: check) {
            found.isFromStore = true
            return found
        }
        let reader = DatasetReader(
            settings: settings,
            maker: SampleMaker(
                tokenizer: tokenizer, template: template, endOfTurn: endOfTurn, settings: settings, embeddingRows: embeddingRows),
            paths: paths, hasTemplate: template != nil, bos: tokenizer.bos, files: files, cpu: cpu, check: check)
        guard let store, let key else { return try reader.read(into: SampleSink(file: nil)) }
        do {
            let bytes = try (paths.train + paths.validation).reduce(0) { $0 + (try files.byteCount(of: $1)) }
            // Tokens take about as many bytes as their text.
            let file = try store.create(key, about: bytes * 2)
            let dataset = try reader.read(into: SampleSink(file: file))
            try store.commit(dataset, key, file, cpu: cpu)
            return dataset
        } catch let failure as StoreFailure {
            var dataset = try reader.read(into: SampleSink(file: nil))
            dataset.report.warnings.append(
                "samples are kept in memory and made again at the next start, for they cannot be stored: \(failure.cause.description)")
            return dataset
        }
    }
}
