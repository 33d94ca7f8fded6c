import LorikeetDevices

/// Sizes in which the head works.
package enum HeadBlock {
    /// Rows of the head's matrix expanded at a time.
    package static let rows = 2048
    /// Trained tokens whose logits exist at a time, at most; a plan takes fewer where its batches have fewer.
    package static let chunk = 512
}

/// Head and cross-entropy over the trained tokens only, in chunks: never a T×V matrix.
///
///     z = logitScale * x W^T (soft-capped where the family does)   [chunk, V]
///     logProbabilities[t] = z[target] - log sum exp z  [T], 0 where targets[t] < 0
///     loss = -sum_t weights[t] * logProbabilities[t]
///     gradient[t, :] = d loss / d x = (weights[t] * (softmax(z) - onehot(target))) W * logitScale   [T, C], 0 where not trained
///
/// In training the weights are known beforehand, so each chunk forms its gradient at once and its logits are never kept.
/// Overwrites logProbabilities and gradient.
struct HeadLoss: Op {
    let x: ValueID
    let targets: ValueID
    let weights: ValueID
    let logProbabilities: ValueID
    let gradient: ValueID?
    /// On a card: the rows with a target, then -1.
    let trainedRows: ValueID?
    let gathered: ValueID
    let logits: ValueID
    /// Room for expanded rows of the matrix; a card holds it expanded.
    let scratch: ValueID?
    let weight: String
    let vocabulary: Int
    let softCap: Float?
    /// Multiplies the logits before the soft cap (Granite: 1 / logits_scaling).
    var logitScale: Float = 1

    var kind: String { "head_loss" }
    var reads: [ValueID] { [x, targets, weights] + (trainedRows.map { [$0] } ?? []) }
    var writes: [ValueID] { [logProbabilities, gathered, logits] + [scratch, gradient].compactMap { $0 } }
    var detail: String { weight }

    /// As if every token were trained. A card reads and writes logits; the processor expands the matrix for every chunk.
    func cost(_ values: ValueTable) -> Cost {
        let product = 2 * Double(values[x].elementCount) * Double(vocabulary)
        guard scratch != nil else {
            let logits = Double(values[x].shape[0] * vocabulary * values[logits].type.byteCount)
            return Cost(matrixFlops: (gradient == nil ? 1 : 2) * product, bytes: (gradient == nil ? 2 : 4) * logits)
        }
        let chunks = Double((values[x].shape[0] + HeadBlock.chunk - 1) / HeadBlock.chunk)
        let passes: Double = gradient == nil ? 1 : 2
        return Cost(matrixFlops: passes * product, bytes: chunks * passes * 4 * Double(vocabulary * values[x].shape[1]))
    }

    func differentiate(_ backward: inout Differentiation) {
        if let gradient, backward.needsGradient(x) { backward.setGradient(of: x, to: gradient) }
    }
}

/// logits [n, V] = logitScale * x[rows] W^T (soft-capped) for the wanted rows of a decoding program. Overwrites logits.
struct Logits: Op {
    let x: ValueID
    let rows: ValueID
    let gathered: ValueID
    let logits: ValueID
    let scratch: ValueID?
    let weight: String
    let vocabulary: Int
    let softCap: Float?
    var logitScale: Float = 1

    var kind: String { "logits" }
    var reads: [ValueID] { [x, rows] }
    var writes: [ValueID] { [gathered, logits] + (scratch.map { [$0] } ?? []) }
    var detail: String { weight }

    func cost(_ values: ValueTable) -> Cost {
        Cost(matrixFlops: 2 * Double(values[gathered].elementCount) * Double(vocabulary), bytes: 4 * Double(vocabulary * values[x].shape[1]))
    }
}
