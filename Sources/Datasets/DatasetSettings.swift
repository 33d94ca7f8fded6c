/// What the recipe says about data; the initialiser's caller has checked every count and share.
package struct DatasetSettings: Sendable, Equatable {
    /// Which rows are taken when fewer are wanted than the file has.
    package enum Sampling: String, Sendable {
        /// A seeded choice, the same on every machine.
        case random
        /// The first ones of the file.
        case first
    }

    /// Where the instruction of an instruction/input/output record goes.
    package enum InstructionRole: String, Sendable {
        /// Instruction, newline, input: one user message.
        case user
        /// The instruction is the system message, the input the user's.
        case system
    }

    /// A JSONL file, or a directory with `train.jsonl` and perhaps `validation.jsonl`.
    package var data: String
    /// A JSONL file of validation records; nil takes the directory's, or splits `validationShare` off.
    package var validation: String?
    /// The share of rows split off for validation where no validation file is given: 0 none, below 1.
    package var validationShare = 0.0
    /// Maximum number of rows; nil takes all.
    package var maxTrainSamples: Int?
    package var maxValidationSamples: Int?
    package var sample = Sampling.random
    package var instructionRole = InstructionRole.user
    /// Tokens a sample may have; longer ones lose their end.
    package var maxLength = 512
    /// The share of rows that may be unusable (0.01 is one in a hundred). Lines that are not JSON are never tolerated.
    package var maxBadRecords = 0.01
    /// Seeds the choice of rows and the split.
    package var seed: UInt64 = 42

    package init(data: String) { self.data = data }
}
