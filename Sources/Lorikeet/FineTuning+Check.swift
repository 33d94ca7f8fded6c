import LorikeetDatasets
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

extension FineTuning {
    /// What a run would learn from its data: counts of both splits, mistakes, and samples token by token. Its description is the table that
    /// `lorikeet check` prints.
    public struct DataCheck: Sendable, Equatable, CustomStringConvertible {
        /// The training or the validation records.
        public struct Split: Sendable, Equatable {
            let split: DataReport.Split

            /// The file, or the first of several.
            public var source: String { split.source }
            /// How its records are laid out: `messages`, `instruction`, `prompt` and others (docs/data.md).
            public var layout: String { split.layout.rawValue }
            /// Records in the files.
            public var recordsInFiles: Int { split.rowsInFile }
            /// Records that were chosen.
            public var records: Int { split.rows }
            /// Records that became samples.
            public var samples: Int { split.samples }
            /// Records that cannot be used.
            public var unusable: Int { split.unusable }
            /// The first of them: file and line, and the reason.
            public var firstUnusable: [String] { split.firstUnusable.map(\.description) }
            /// Samples that are longer than `max_length` and lose their end.
            public var truncated: Int { split.truncated }
            /// Samples that repeat an earlier one.
            public var duplicates: Int { split.duplicates }
            /// Tokens of all samples.
            public var tokens: Int { split.lengths.total }
            /// Tokens that have a loss.
            public var trainedTokens: Int { split.trainedTokens }
            /// Tokens of the longest sample.
            public var longest: Int { split.lengths.max }
        }

        /// Something that would silently train the wrong thing; a run refuses it.
        public struct Mistake: Sendable, Equatable {
            /// What is wrong.
            public let what: String
            /// What to do about it.
            public let fix: String
        }

        /// A training sample, token by token.
        public struct Sample: Sendable, Equatable, CustomStringConvertible {
            let preview: SamplePreview

            /// A token of a sample.
            public struct Token: Sendable, Equatable {
                /// Its number in the model's vocabulary.
                public let id: Int
                /// Its own text, spaces included; a part of a character is U+FFFD.
                public let text: String
                /// Whether it has a loss.
                public let isTrained: Bool
            }

            /// The record's place among the training records, from 0.
            public var record: Int { preview.record }
            /// The tokens in their order.
            public var tokens: [Token] { preview.tokens.map { Token(id: Int($0.id), text: $0.text, isTrained: $0.trained) } }
            /// The text with the tokens divided by `|`; what is learnt stands in `[brackets]`.
            public var description: String { preview.text }
        }

        package let report: DataReport
        package let previews: [SamplePreview]
        /// What the user should know of model, settings and files, besides ``warnings``.
        public internal(set) var notes: [String]

        /// The training records.
        public var training: Split { Split(split: report.train) }
        /// The validation records; nil where there are none.
        public var validation: Split? { report.validation.map(Split.init) }
        /// Validation samples that are training samples too.
        public var overlap: Int { report.overlap }
        /// What would silently train the wrong thing.
        public var mistakes: [Mistake] { report.mistakes.map { Mistake(what: $0.what, fix: $0.fix) } }
        /// Why a run would refuse the data (``LorikeetFailure/Kind-swift.enum/checkFailed``): its first mistake. nil where there is none.
        public var failure: LorikeetFailure? { report.error(.checkFailed).map { LorikeetFailure($0) } }
        /// What does not stop a run.
        public var warnings: [String] { report.warnings }
        /// The samples that were asked for.
        public var samples: [Sample] { previews.map(Sample.init) }

        /// The check as `lorikeet check --json` prints it, with the samples.
        public var json: String { json(withSamples: true) }

        package func json(withSamples: Bool) -> String {
            var object = report.json.object ?? [:]
            if withSamples { object["samples"] = .array(previews.map(Self.json)) }
            return JSON.object(object).serialized(pretty: true)
        }

        private static func json(_ sample: SamplePreview) -> JSON {
            [
                "record": JSON(sample.record), "ids": .array(sample.tokens.map { JSON(Int($0.id)) }),
                "mask": .array(sample.tokens.map { JSON($0.trained ? 1 : 0) }),
                "tokens": .array(sample.tokens.map { ["id": JSON(Int($0.id)), "text": .string($0.text), "trained": .bool($0.trained)] }),
            ]
        }

        /// The counts as a table.
        public var description: String { report.table() }

        /// Reads the data of a recipe whose files are found; no weights are read.
        ///
        /// - Parameters:
        ///   - cacheFolder: where samples are kept between starts; nil keeps them in memory.
        ///   - opened: called with what is to be said of the model, before the records are read; what it throws ends the check.
        package init(
            _ located: InputLocator.LocatedRecipe, rows: PreviewRows, cacheFolder: String?, opened: ([String]) throws -> Void = { _ in }
        ) throws {
            var preparation = try Preparation(recipe: located.recipe, files: located.files)
            try opened(preparation.warnings)
            let dataset = try preparation.loadData(cacheFolder: cacheFolder, files: located.files, cpu: DeviceRequest(located.recipe).processor)
            previews = try dataset.preview(rows, tokenizer: preparation.tokenizer)
            (report, notes) = (dataset.report, dataset.report.notes)
        }
    }

    /// Training records to show as samples.
    public enum SampleRows: Sendable, Equatable {
        /// So many from the beginning.
        case first(Int)
        /// These, by their place among the training records, from 0. One that is no sample is left out.
        case records([Int])

        var rows: PreviewRows {
            switch self {
            case .first(let count): .first(max(0, count))
            case .records(let records): .records(records.map { $0...$0 })
            }
        }
    }

    /// Reads data and chat template as a run would, without the model's weights: what `lorikeet check` does.
    ///
    /// - Parameter samples: which training samples to show token by token.
    /// - Returns: the counts and samples. Mistakes in the data are a part of it (``DataCheck/failure``) and are not thrown.
    /// - Throws: where recipe, model or data cannot be used, more records than `max_bad_records` allows are unusable, or nothing is left to train, and
    ///   where the calling task was cancelled (``LorikeetFailure/Kind-swift.enum/interrupted``), which ends the check after the part it is in.
    public func check(samples: SampleRows = .first(2)) async throws(LorikeetFailure) -> DataCheck {
        try await OwnThread.run { isCancelled in
            let check = CancellationCheck(isCancelled: isCancelled)
            let located = try locator(isCancelled).locate(recipe, weights: false)
            try check()
            var warnings: [String] = []
            var result = try DataCheck(located, rows: samples.rows, cacheFolder: cacheFolder) {
                warnings = $0
                try check()
            }
            try check()
            result.notes = notes + located.notes + located.warnings + warnings + result.notes
            return result
        }
    }
}
