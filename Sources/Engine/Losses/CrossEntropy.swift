import LorikeetDevices

/// loss = -sum_t weights[t] * logProbabilities[t]: the weights are the inputs', whatever the forward pass finds.
package struct CrossEntropy: Loss {
    package init() {}

    package func op(logProbabilities: ValueID, tokenWeights: ValueID, inputs: ProgramInputs) -> (any LossOp)? {
        inputs.weights.map { CrossEntropyWeights(logProbabilities: logProbabilities, weights: $0, tokenWeights: tokenWeights) }
    }
}

/// tokenWeights [T] = weights [T], float32. Overwrites tokenWeights.
struct CrossEntropyWeights: LossOp {
    var logProbabilities: ValueID
    var weights: ValueID
    var tokenWeights: ValueID

    var kind: String { "cross_entropy" }
    var reads: [ValueID] { [logProbabilities, weights] }
    var writes: [ValueID] { [tokenWeights] }
    var knownWeights: ValueID? { weights }

    mutating func rename(_ name: Renaming) {
        name(&logProbabilities)
        name(&weights)
        name(&tokenWeights)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(tokenWeights)
        operands.expect(logProbabilities, "log-probabilities", shape, .f32)
        operands.expect(weights, "weights", shape, .f32)
        operands.expect(tokenWeights, "token weights", nil, .f32)
    }

    func work(_ context: WorkContext) -> [Work] { context.kernel(moving: 2 * context.bytes(tokenWeights)) }

    func run(_ context: borrowing CPURun) throws {
        try context.floats(tokenWeights).update(from: try context.floats(weights), count: context.values[tokenWeights].elementCount)
    }

    func run(_ context: borrowing DeviceRun) throws {
        try context.device.copy(context.address(weights), to: context.address(tokenWeights), bytes: context.values[tokenWeights].byteCount)
    }
}
