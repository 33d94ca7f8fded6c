/// The stream that blocks add to: the current hidden state and what the last block adds to it.
///
/// The sum is formed inside the next normalisation, so that it costs no pass of its own.
package struct ResidualStream {
    package var hidden: ValueID
    package var delta: ValueID?

    /// `stream += delta`.
    package mutating func add(_ delta: ValueID) { self.delta = delta }
}

/// Collects a family's forward pass. One method an op; shapes are checked by construction.
package struct ProgramBuilder {
    package let purpose: ProgramPurpose
    package let tokens: Int
    package let adapters: AdapterLayout
    package let target: ProgramTarget
    /// Trained tokens whose logits exist at a time.
    package let headChunk: Int
    package private(set) var values = ValueTable()
    package private(set) var ops: [any Op] = []
    package private(set) var inputs: ProgramInputs
    package private(set) var outputs = ProgramOutputs()
    /// The frozen tensors named so far.
    package private(set) var weights: [WeightDeclaration] = []
    private var declared: Set<String> = []
    private var ropeTables: [(rope: RoPETable, cos: ValueID, sin: ValueID)] = []
    private var layer = 0
    /// The ops of each block of the model.
    private var blocks: [Range<Int>] = []

    package init(purpose: ProgramPurpose, tokens: Int, adapters: AdapterLayout, target: ProgramTarget, headChunk: Int = HeadBlock.chunk) {
        self.purpose = purpose
        self.tokens = tokens
        self.adapters = adapters
        self.target = target
        self.headChunk = headChunk
        let perRow = [tokens]
        inputs = ProgramInputs(
            ids: values.add("ids", perRow, .i32, .input), positions: values.add("positions", perRow, .i32, .input))
        switch purpose {
        case .training, .evaluation:
            inputs.segmentStart = values.add("segment_start", perRow, .i32, .input)
            inputs.targets = values.add("targets", perRow, .i32, .input)
            inputs.weights = values.add("weights", perRow, .f32, .input)
            inputs.dropoutKeys = values.add("dropout_keys", perRow, .i32, .input)
            if target.isDevice { inputs.trainedRows = values.add("trained_rows", perRow, .i32, .input) }
        case .decoding(_, _, let outputRows):
            inputs.slots = values.add("slots", perRow, .i32, .input)
            inputs.outputRows = values.add("output_rows", [outputRows], .i32, .input)
        }
    }

    package mutating func transient(_ name: String, _ shape: [Int], _ type: ValueType = .f32) -> ValueID {
        values.add(name, shape, type, .transient)
    }

    /// A transient of the activations' type.
    private mutating func activationValue(_ name: String, _ shape: [Int]) -> ValueID { transient(name, shape, target.element) }

    package mutating func append(_ op: any Op) { ops.append(op) }
    mutating func replace(_ index: Int, with op: any Op) { ops[index] = op }

    /// One block of the model: what `body` appends, a norm first, reading the stream alone.
    package mutating func block(_ body: (inout ProgramBuilder) -> Void) {
        let start = ops.count
        body(&self)
        blocks.append(start..<ops.count)
    }

    var blockCount: Int { blocks.count }

    private mutating func declare(_ tensor: String, _ shape: [Int], _ role: WeightDeclaration.Role) {
        if declared.insert(tensor).inserted { weights.append(WeightDeclaration(tensor: tensor, shape: shape, role: role)) }
    }

    /// hidden [T, C] = scale * table[ids].
    package mutating func embedding(_ weight: String, vocabulary: Int, columns: Int, scale: Float = 1) -> ResidualStream {
        declare(weight, [vocabulary, columns], .table)
        let hidden = transient("embedding", [tokens, columns], target.residual)
        append(Embedding(ids: inputs.ids, output: hidden, weight: weight, scale: scale))
        return ResidualStream(hidden: hidden, delta: nil)
    }

    /// Adds the stream's pending delta and normalises: y [T, C].
    package mutating func norm(_ stream: inout ResidualStream, _ weight: String, epsilon: Float, weightOffset: Float = 0) -> ValueID {
        let shape = values[stream.hidden].shape
        declare(weight, [shape[1]], .vector)
        let y = activationValue(String(weight.dropLast(".weight".count)), shape)
        let inverse = transient("inverse_rms", [shape[0]])
        var sum: ValueID?
        if stream.delta != nil { sum = transient("hidden", shape, target.residual) }
        append(
            RMSNorm(
                hidden: stream.hidden, delta: stream.delta, sum: sum, output: y, inverseRMS: inverse, weight: weight,
                epsilon: epsilon, weightOffset: weightOffset))
        stream = ResidualStream(hidden: sum ?? stream.hidden, delta: nil)
        return y
    }

    /// y [T, sum of rows] = x Wᵀ (+ bias) (+ adapter), the named matrices side by side in one product.
    ///
    /// - Parameter residual: y is added to the residual stream and has its type.
    package mutating func linear(_ x: ValueID, _ matrices: [LinearWeight], residual: Bool = false) -> ValueID {
        let columns = values[x].shape[1]
        let rows = matrices.reduce(0) { $0 + $1.rows }
        let y = transient(matrices.map(\.shortName).joined(separator: "|"), [tokens, rows], residual ? target.residual : target.element)
        var parts: [LinearPart] = []
        var (first, ranks) = (0, 0)
        for matrix in matrices {
            declare(matrix.name + ".weight", [matrix.rows, matrix.columns], .linear(matrix))
            if matrix.hasBias { declare(matrix.name + ".bias", [matrix.rows], .vector) }
            var adapter: LinearAdapter?
            if let slot = adapters.slots[matrix.name] {
                let a = values.add("\(matrix.shortName).lora_A", [slot.rank, columns], .f32, .parameter, flatOffset: slot.offsetA)
                let b = values.add("\(matrix.shortName).lora_B", [matrix.rows, slot.rank], .f32, .parameter, flatOffset: slot.offsetB)
                adapter = LinearAdapter(slot: slot, a: a, b: b, column: ranks, dropout: adapters.dropout)
                ranks += slot.rank
            }
            parts.append(LinearPart(weight: matrix, firstRow: first, adapter: adapter))
            first += matrix.rows
        }
        // Room for one joint expansion; what is stored as float32 in one piece is read in place instead.
        let scratch = activationValue("expanded", [LinearPart.scratchElements(parts: parts, columns: columns)])
        let product = ranks > 0 ? activationValue("xA", [tokens, ranks]) : nil
        let dropped =
            parts.contains { $0.adapter != nil } && adapters.dropout > 0 && purpose == .training
            ? activationValue("dropped", [tokens, columns]) : nil
        append(
            Linear(
                x: x, y: y, parts: parts, columns: columns, scratch: scratch, product: product, dropped: dropped,
                dropoutKeys: purpose == .training ? inputs.dropoutKeys : nil))
        return y
    }

    /// Rotates the first `heads` heads of the joint buffer in place by the positions' angles.
    package mutating func rope(_ joint: ValueID, _ table: RoPETable, heads: Int, headDimension: Int) {
        let half = table.inverseFrequencies.count
        var angles = ropeTables.first { $0.rope == table }.map { ($0.cos, $0.sin) }
        if angles == nil {
            let cos = transient("cos", [tokens, half])
            let sin = transient("sin", [tokens, half])
            append(RoPEAngles(positions: inputs.positions, cos: cos, sin: sin, table: table))
            ropeTables.append((table, cos, sin))
            angles = (cos, sin)
        }
        guard let (cos, sin) = angles else { return }
        var rope = RoPE(joint: joint, cos: cos, sin: sin, heads: heads, headDimension: headDimension, inverse: false)
        if rope.takesUpdate(pairs: half) { rope.update = takeUpdate(of: joint) }
        append(rope)
    }

    /// out [T, H*D]: causal attention inside each segment, or against the cache when decoding.
    package mutating func attention(_ joint: ValueID, _ shape: AttentionShape) -> ValueID {
        let out = activationValue("attention", [tokens, shape.heads * shape.headDimension])
        defer { layer += 1 }
        if case .decoding(let slots, let positions, _) = purpose, let slot = inputs.slots {
            let cache = values.add(
                "cache.\(layer)", [slots, positions, 2 * shape.keyValueHeads * shape.headDimension], target.element, .state)
            append(
                CachedAttention(
                    joint: joint, out: out, cache: cache, slots: slot, positions: inputs.positions, maximumPositions: positions,
                    scratch: target.threads.map { transient("scores", [$0, positions]) }, shape: shape))
        } else if let start = inputs.segmentStart {
            let logSumExp = transient("log_sum_exp", [shape.heads, tokens])
            let scratch = target.threads.map { transient("scores", [$0, AttentionKernels.scratchFloats(rows: tokens, shape: shape)]) }
            append(
                Attention(
                    joint: joint, out: out, logSumExp: logSumExp, segmentStart: start, scratch: scratch, shape: shape))
        }
        return out
    }

    /// a [T, F] = activation(gate) * up, from the joint [T, 2F] buffer, gate first.
    package mutating func gatedActivation(_ gateUp: ValueID, _ activation: Activation) -> ValueID {
        let shape = values[gateUp].shape
        let out = activationValue("activated", [shape[0], shape[1] / 2])
        let update = shape[1] % 64 == 0 ? takeUpdate(of: gateUp) : nil
        append(GatedActivation(gateUp: gateUp, out: out, activation: activation, update: update))
        return out
    }

    /// The head: log-probabilities of the targets (and their gradient when training), or logits of the wanted rows.
    package mutating func head(_ x: ValueID, _ weight: String, vocabulary: Int, softCap: Float? = nil) {
        let columns = values[x].shape[1]
        declare(weight, [vocabulary, columns], .table)
        let block = min(vocabulary, HeadBlock.rows)
        if case .decoding(_, _, let wanted) = purpose, let rows = inputs.outputRows {
            let logits = values.add("logits", [wanted, vocabulary], .f32, .output)
            let gathered = activationValue("gathered", [wanted, columns])
            let scratch = target.isDevice ? nil : transient("expanded", [block, columns])
            append(Logits(x: x, rows: rows, gathered: gathered, logits: logits, scratch: scratch, weight: weight, vocabulary: vocabulary, softCap: softCap))
            outputs.logits = logits
        } else if let targets = inputs.targets, let weights = inputs.weights {
            let chunk = min(tokens, headChunk)
            let result = values.add("log_probabilities", [tokens], .f32, .output)
            let gradient = purpose == .training ? activationValue("d.\(values[x].name)", [tokens, columns]) : nil
            append(
                HeadLoss(
                    x: x, targets: targets, weights: weights, logProbabilities: result, gradient: gradient,
                    trainedRows: inputs.trainedRows, gathered: activationValue("gathered", [chunk, columns]),
                    logits: activationValue("logits", [chunk, vocabulary]),
                    scratch: target.isDevice ? nil : transient("expanded", [block, columns]), weight: weight, vocabulary: vocabulary, softCap: softCap))
            outputs.logProbabilities = result
        }
    }

    /// Differentiates (training), lays values out in the arena, and returns the program.
    package consuming func build(recompute: RecomputePolicy = .norms) -> Program {
        let forward = ops.count
        if purpose == .training {
            var backward = Differentiation(values: values, forward: ops, blocks: blocks, policy: recompute, target: target)
            backward.run()
            values = backward.values
            ops += backward.ops
        }
        return Program(
            purpose: purpose, tokens: tokens, values: values, ops: ops, firstBackwardOp: forward, inputs: inputs,
            outputs: outputs, schedule: Schedule(values: values, ops: ops, alignment: target.isDevice ? 256 : Schedule.alignment))
    }
}
