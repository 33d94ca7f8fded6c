/// What the recipe says about data; the initialiser's caller has checked every count and share.
package struct DatasetSettings: Sendable, Equatable {
    /// Which rows are taken when fewer are wanted than there are.
    package enum Sampling: String, Sendable {
        /// A seeded choice, the same on every machine.
        case random
        /// The first ones.
        case first
    }

    /// Where the instruction of an instruction/input/output record goes.
    package enum InstructionRole: String, Sendable {
        /// Instruction, newline, input: one user message.
        case user
        /// The instruction is the system message, the input the user's.
        case system
    }

    /// Files, patterns, or a directory with `train.jsonl` and perhaps `validation.jsonl`; see `DataFiles`.
    package var data: [String]
    /// The same for validation records; empty takes the directory's, or splits `validationShare` off.
    package var validation: [String] = []
    /// The share of rows split off for validation where no validation file is given: 0 none, below 1.
    package var validationShare = 0.0
    /// Maximum number of rows; nil takes all.
    package var maxTrainSamples: Int?
    package var maxValidationSamples: Int?
    package var sample = Sampling.random
    package var instructionRole = InstructionRole.user
    /// nil: found from the keys of each file's first record.
    package var layout: RecordLayout?
    /// Which key of a record stands for which of the layout's.
    package var columns: [(ours: String, theirs: String)] = []
    /// The key of raw text.
    package var textField = "text"
    /// false trains every token of a conversation; nil is true where there is one.
    package var assistantOnlyLoss: Bool?
    /// false trains prompts too; nil is true where there are some.
    package var completionOnlyLoss: Bool?
    /// Tokens a sample may have; longer ones lose their end.
    package var maxLength = 512
    /// The share of rows that may be unusable (0.01 is one in a hundred). Lines that are not JSON are never tolerated.
    package var maxBadRecords = 0.01
    /// Seeds the choice of rows and the split.
    package var seed: UInt64 = 42

    package init(data: [String]) { self.data = data }
    package init(data: String) { self.data = [data] }

    package static func == (a: DatasetSettings, b: DatasetSettings) -> Bool { a.description == b.description }

    /// Every setting, for comparison and for the key of stored samples.
    package var description: String {
        let optional = [maxTrainSamples, maxValidationSamples].map { $0.map(String.init) ?? "all" }
        let flags = [assistantOnlyLoss, completionOnlyLoss].map { $0.map { "\($0)" } ?? "unset" }
        return [
            data.debugDescription, validation.debugDescription, "\(validationShare)", optional[0], optional[1], sample.rawValue, instructionRole.rawValue,
            layout?.rawValue ?? "auto", columns.map { "\($0.ours)=\($0.theirs)" }.debugDescription, textField.debugDescription, flags[0], flags[1],
            "\(maxLength)", "\(maxBadRecords)", "\(seed)",
        ].joined(separator: " ")
    }
}
