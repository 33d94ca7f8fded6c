import LorikeetDevices

/// Sizes in which the head works.
package enum HeadBlock {
    /// Rows of the head's matrix expanded at a time.
    package static let rows = 2048
    /// Trained tokens whose logits exist at a time, at most; a plan takes fewer where its batches have fewer.
    package static let chunk = 512
}

/// What the head's ops share: the matrix, the targets, and room for one chunk of logits. Trained tokens are taken in chunks, so that a
/// T×V matrix never exists.
struct HeadChunks: Sendable {
    /// [T, C], the last norm's output.
    var x: ValueID
    /// [T] int32, -1 where a row is not trained.
    var targets: ValueID
    /// On a card: the rows with a target, then -1.
    var trainedRows: ValueID?
    /// [chunk, C] and [chunk, V].
    var gathered: ValueID
    var logits: ValueID
    /// Room for expanded rows of the matrix; a card holds it expanded.
    var scratch: ValueID?
    let weight: String
    let vocabulary: Int
    /// z -> cap * tanh(z / cap).
    let softCap: Float?
    /// Multiplies the logits before the soft cap (Granite: 1 / logits_scaling).
    var logitScale: Float = 1

    var reads: [ValueID] { [x, targets] + (trainedRows.map { [$0] } ?? []) }
    var writes: [ValueID] { [gathered, logits] + (scratch.map { [$0] } ?? []) }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&targets)
        name(&trainedRows)
        name(&gathered)
        name(&logits)
        name(&scratch)
    }

    func check(_ operands: inout OperandCheck) {
        let (shape, chunk) = (operands.shape(x), operands.shape(logits)[0])
        operands.expect(x, "x", nil, .activation)
        operands.expect(targets, "targets", [shape[0]], .i32)
        operands.expect(trainedRows, "trained rows", [shape[0]], .i32)
        operands.expect(gathered, "gathered rows", [chunk, shape[1]], .activation)
        operands.expect(logits, "logits", [chunk, vocabulary], .activation)
        operands.expect(scratch, "scratch", nil, .f32)
    }

    /// Forward, and the gradient of x where `backward`, over the rows with a target. A card reads and writes logits; the processor expands
    /// the matrix for every chunk.
    func work(_ context: WorkContext, backward: Bool) -> [Work] {
        let (shape, chunk) = (context.values[x].shape, context.values[logits].shape[0])
        let rows = min(shape[0], Int((Double(shape[0]) * context.load.trainedShare).rounded(.up)))
        let table = 4 * Double(vocabulary * shape[1])
        return stride(from: 0, to: rows, by: max(1, chunk)).flatMap { first -> [Work] in
            let count = min(chunk, rows - first)
            let passes = Double((backward ? 4 : 2) * count * vocabulary * context.values[logits].type.byteCount)
            return [.bytes(scratch == nil ? passes : table * (backward ? 2 : 1)), .launches(backward ? 5 : 3), .product(m: count, n: vocabulary, k: shape[1])]
                + (backward ? [.product(m: count, n: shape[1], k: vocabulary)] : [])
        }
    }
}

/// An op that works through chunks of logits.
protocol HeadOp: Op {
    var chunks: HeadChunks { get }
}

/// The log-probability of each target:
///
///     z = logitScale * x W^T (soft-capped where the family does)   [chunk, V]
///     logProbabilities[t] = z[target] - log sum exp z           [T] float32, 0 where targets[t] < 0
///
/// Overwrites logProbabilities.
struct HeadLogProbabilities: HeadOp {
    var chunks: HeadChunks
    var logProbabilities: ValueID
    /// [T] int32: the token with the largest logit, the first where several have it; -1 where targets[t] < 0. Only evaluation on the processor has it.
    var choices: ValueID?

    var kind: String { "head" }
    var reads: [ValueID] { chunks.reads }
    var writes: [ValueID] { [logProbabilities] + (choices.map { [$0] } ?? []) + chunks.writes }
    var detail: String { chunks.weight }

    mutating func rename(_ name: Renaming) {
        chunks.rename(name)
        name(&logProbabilities)
        name(&choices)
    }

    func check(_ operands: inout OperandCheck) {
        chunks.check(&operands)
        operands.expect(logProbabilities, "log-probabilities", [operands.shape(chunks.x)[0]], .f32)
        operands.expect(choices, "choices", [operands.shape(chunks.x)[0]], .i32)
    }

    func work(_ context: WorkContext) -> [Work] { chunks.work(context, backward: false) }

    /// With w the weight of a token (minus the derivative of the loss by its log-probability): dx = w * (softmax(z) - onehot(target)) W * logitScale.
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(chunks.x), let tokenWeights = backward.gradient(of: logProbabilities) else { return }
        let dx = backward.newGradient(of: chunks.x)
        var again = chunks
        again.gathered = backward.values.addCopy(of: chunks.gathered)
        again.logits = backward.values.addCopy(of: chunks.logits)
        again.scratch = chunks.scratch.map { backward.values.addCopy(of: $0) }
        backward.append(
            HeadGradient(
                chunks: again, tokenWeights: tokenWeights,
                logProbabilities: backward.transient("log_probabilities'", backward.values[logProbabilities].shape), dx: dx))
        backward.contribute(dx, to: chunks.x)
    }
}

/// The log-probabilities and the gradient of x, see `HeadLogProbabilities.differentiate`: each chunk of logits gives both.
///
/// Where token weights are known before the forward pass, the fusion table lets it stand for both passes of the head; else it computes
/// the logits again, and the log-probabilities are only room that the kernel needs. Overwrites logProbabilities and dx (0 where not
/// trained).
struct HeadGradient: HeadOp {
    var chunks: HeadChunks
    /// [T] float32.
    var tokenWeights: ValueID
    var logProbabilities: ValueID
    var dx: ValueID

    var kind: String { "head.gradient" }
    var reads: [ValueID] { chunks.reads + [tokenWeights] }
    var writes: [ValueID] { [logProbabilities, dx] + chunks.writes }
    var detail: String { chunks.weight }

    mutating func rename(_ name: Renaming) {
        chunks.rename(name)
        name(&tokenWeights)
        name(&logProbabilities)
        name(&dx)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(chunks.x)
        chunks.check(&operands)
        operands.expect(tokenWeights, "token weights", [shape[0]], .f32)
        operands.expect(logProbabilities, "log-probabilities", [shape[0]], .f32)
        operands.expect(dx, "dx", shape, .activation)
    }

    func work(_ context: WorkContext) -> [Work] { chunks.work(context, backward: true) }
}

/// logits [n, V] = logitScale * x[rows] W^T (soft-capped) for the wanted rows of a decoding program, float32. Overwrites logits.
struct Logits: Op {
    var x: ValueID
    var rows: ValueID
    var gathered: ValueID
    var logits: ValueID
    var scratch: ValueID?
    let weight: String
    let vocabulary: Int
    let softCap: Float?
    var logitScale: Float = 1

    var kind: String { "logits" }
    var reads: [ValueID] { [x, rows] }
    var writes: [ValueID] { [gathered, logits] + (scratch.map { [$0] } ?? []) }
    var detail: String { weight }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&rows)
        name(&gathered)
        name(&logits)
        name(&scratch)
    }

    func check(_ operands: inout OperandCheck) {
        let rows = operands.shape(self.rows)[0]
        operands.expect(x, "x", nil, .activation)
        operands.expect(self.rows, "rows", nil, .i32)
        operands.expect(gathered, "gathered rows", [rows, operands.shape(x)[1]], .activation)
        operands.expect(logits, "logits", [rows, vocabulary], .f32)
        operands.expect(scratch, "scratch", nil, .f32)
    }

    /// Few rows: the matrix is read once, and is what they take.
    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[gathered].shape
        let table = Double(vocabulary * shape[1] * context.target.element.byteCount)
        return [.bytes(table + context.bytes(logits)), .product(m: shape[0], n: vocabulary, k: shape[1]), .launches(2)]
    }
}

/// The largest logit of each part of a row, and its place in the row; the first of equals. Of a vocabulary of 128,256 and 32 sequences the logits are
/// 16 MB, and copying and searching them on the host takes as long as the rest of a decoding step.
///
///     largest[r, p] = (max z[r, i], the smallest such i)     i in part p of the row: ceil(V / parts) logits
///
/// A logit that is NaN or infinite counts as infinity. Places are float32 numbers, exact below 2^24. Overwrites largest.
struct LargestLogit: Op {
    /// [n, V] float32.
    var logits: ValueID
    /// [n, parts, 2] float32.
    var largest: ValueID

    /// Logits of a part, about.
    private static let part = 4096
    /// The largest vocabulary whose places float32 holds.
    static let maximumVocabulary = 1 << 24

    static func parts(vocabulary: Int) -> Int { min(32, (vocabulary + part - 1) / part) }

    var kind: String { "largest_logit" }
    var reads: [ValueID] { [logits] }
    var writes: [ValueID] { [largest] }

    mutating func rename(_ name: Renaming) {
        name(&logits)
        name(&largest)
    }

    func check(_ operands: inout OperandCheck) {
        let (shape, parts) = (operands.shape(logits), operands.shape(largest)[1])
        operands.expect(logits, "logits", nil, .f32)
        operands.expect(largest, "largest", [shape[0], parts, 2], .f32)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: context.bytes(logits)) }
}
