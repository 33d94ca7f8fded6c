import LorikeetDevices

/// What a program is for. The same family code describes the first three.
package enum ProgramPurpose: Sendable, Hashable {
    /// Forward, loss, backward into the adapters' gradients.
    case training
    /// Forward and the log-probability of each target.
    case evaluation
    /// Forward with a KV cache of `slots` sequences of `positions` tokens; logits of `outputRows` rows.
    case decoding(slots: Int, positions: Int, outputRows: Int)
    /// The optimiser's update of the trained parameters; see `StepProgram`.
    case step

    var isDecoding: Bool { if case .decoding = self { true } else { false } }
}

/// What a program is made for: it decides element types and scratch.
package enum ProgramTarget: Sendable, Hashable {
    /// float32 on this machine's processor with so many threads.
    case cpu(threads: Int)
    /// A card; activations are of this type, sums float32.
    case device(DeviceElement)

    /// Bytes to which the offsets of values in the arena and of persistent values are aligned.
    var alignment: Int { isDevice ? DeviceWeights.alignment : Schedule.alignment }
    /// The type of activations.
    package var element: ValueType {
        if case .device(let element) = self { ValueType(element) } else { .f32 }
    }
    /// The type of the residual stream and its gradient: float32 beside float16, whose range it can leave.
    package var residual: ValueType { element == .f16 ? .f32 : element }
    /// Threads of the processor; nil on a card.
    package var threads: Int? { if case .cpu(let threads) = self { threads } else { nil } }
    package var isDevice: Bool { if case .device = self { true } else { false } }
}

/// A step program: ops in order on values with fixed offsets in one arena. Bytes, time, execution and the listing all come from it.
package struct Program: Sendable {
    package let purpose: ProgramPurpose
    package let target: ProgramTarget
    /// Tokens in the micro-batch (T).
    package let tokens: Int
    package let values: ValueTable
    package let ops: [any Op]
    /// For each op the forward op that it is, repeats, or is the adjoint of: its place in the forward pass.
    let origins: [Int]
    let roles: [OpRole]
    /// Index of the first backward op; `ops.count` where there are none.
    package let firstBackwardOp: Int
    package let inputs: ProgramInputs
    package let outputs: ProgramOutputs
    package let schedule: Schedule
    /// Values that lack a term from their first write until an op completes them (see `Op.completes`).
    let incomplete: Set<ValueID>
    /// Names of trained tensors that the forward pass does not use; see `TrainedSite`.
    var unusedTensors: [String] = []

    /// Bytes of the arena this program needs.
    package var arenaBytes: Int { schedule.arenaBytes }
    /// Bytes of the host's pinned memory that its parked values need.
    package var parkedBytes: Int { values.parkedBytes }
}

/// The inputs every program has; all are one number a row (token), int32 unless said otherwise.
package struct ProgramInputs: Sendable {
    package var ids: ValueID
    package var positions: ValueID
    /// First row of the row's segment (training, evaluation).
    package var segmentStart: ValueID?
    /// First row of the segment that comes before the row's own in its text, -1 where there is none (training and evaluation on the processor).
    package var parents: ValueID?
    /// Token id this row has to predict, -1 where it is not trained.
    package var targets: ValueID?
    /// float32: what this row's -log p counts in the loss.
    package var weights: ValueID?
    package var dropoutKeys: ValueID?
    /// Positions of the row's whole sequence, where a LongRoPE table needs them.
    package var lengths: ValueID?
    /// Cache slot of the row (decoding).
    package var slots: ValueID?
    /// Rows whose logits are wanted (decoding).
    package var outputRows: ValueID?
    /// float64: what an optimiser step is given.
    package var numbers: ValueID?
    /// The rows with a target, in order, then -1 (training and evaluation on a card).
    package var trainedRows: ValueID?
}

package struct ProgramOutputs: Sendable {
    /// float32 [T]: log p of the target, 0 where there is none.
    package var logProbabilities: ValueID?
    /// int32 [T]: the likeliest token, -1 where there is no target (evaluation on the processor).
    package var choices: ValueID?
    /// float32 [outputRows, V].
    package var logits: ValueID?
    /// float32 [outputRows, parts, 2]: see `LargestLogit`; nil where the vocabulary is too large for it.
    package var largest: ValueID?
}
