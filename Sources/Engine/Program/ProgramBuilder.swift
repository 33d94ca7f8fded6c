/// Collects a family's forward pass. One method an op; `Program.verify` checks the result.
package struct ProgramBuilder {
    package let purpose: ProgramPurpose
    package let tokens: Int
    package let trained: TrainedLayout
    package let target: ProgramTarget
    /// Trained tokens whose logits exist at a time.
    package let headChunk: Int
    package private(set) var values = ValueTable()
    package private(set) var ops: [any Op] = []
    /// Values that lack a term until an op completes them (see `Op.completes`).
    private var incomplete: Set<ValueID> = []
    /// Names of the trained tensors that an op uses.
    private var used: Set<String> = []
    /// What is minimised in training.
    package let loss: any Loss
    package private(set) var inputs: ProgramInputs
    package private(set) var outputs = ProgramOutputs()
    /// The frozen tensors named so far.
    package private(set) var weights: [WeightDeclaration] = []
    private var declared: Set<String> = []
    /// The embedding's table where no head multiplies by it: only some of its rows are read.
    package private(set) var embeddingOnly: String?
    private var ropeTables: [(rope: RoPETable, cos: ValueID, sin: ValueID)] = []
    private var layer = 0
    /// The ops of each block of the model.
    private var blocks: [Range<Int>] = []

    package init(
        purpose: ProgramPurpose, tokens: Int, adapters: TrainedLayout, target: ProgramTarget, headChunk: Int = HeadBlock.chunk,
        loss: any Loss = CrossEntropy()
    ) {
        self.loss = loss
        self.purpose = purpose
        self.tokens = tokens
        trained = adapters
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
            if !target.isDevice { inputs.parents = values.add("parents", perRow, .i32, .input) }
            if target.isDevice { inputs.trainedRows = values.add("trained_rows", perRow, .i32, .input) }
        case .decoding(_, _, let outputRows):
            inputs.slots = values.add("slots", perRow, .i32, .input)
            inputs.outputRows = values.add("output_rows", [outputRows], .i32, .input)
        case .step: break
        }
    }

    package mutating func transient(_ name: String, _ shape: [Int], _ type: ValueType = .f32) -> ValueID {
        values.add(name, shape, type, .transient)
    }

    /// A transient of the activations' type.
    package mutating func activationValue(_ name: String, _ shape: [Int]) -> ValueID { transient(name, shape, target.element) }

    package mutating func append(_ op: any Op) { ops.append(op) }

    /// An op without which `value` lacks a term.
    package mutating func append(_ op: any Op, completing value: ValueID) {
        append(op)
        incomplete.insert(value)
    }

    /// The value of a trained tensor.
    package mutating func parameter(_ tensor: TrainedTensor) -> ValueID {
        used.insert(tensor.name)
        return values.add("\(tensor.module.lastPart).\(tensor.role.name)", tensor.shape, .f32, .parameter, flatOffset: tensor.offset)
    }

    /// Names of the trained tensors that no op uses so far.
    var unused: [String] { trained.tensors.map(\.name).filter { !used.contains($0) } }

    /// What `frozen` appends, extended by what is trained at the site: the first kind is the innermost.
    private mutating func extended(_ site: TrainedSite, by kinds: ArraySlice<any TrainedKind>, _ frozen: (inout ProgramBuilder) -> ValueID) -> ValueID {
        guard let outermost = kinds.last else { return frozen(&self) }
        return outermost.extend(site, &self) { $0.extended(site, by: kinds.dropLast(), frozen) }
    }

    private mutating func extended(_ use: TrainedSite.Use, x: ValueID, y: ValueID, _ op: any Op) -> ValueID {
        extended(TrainedSite(use: use, x: x, y: y), by: trained.kinds[...]) {
            $0.append(op)
            return y
        }
    }

    /// One block of the model: what `body` appends. The backward pass can run it again from the values that enter it.
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
    package mutating func embedding(_ weight: String, vocabulary: Int, columns: Int, scale: Float = 1) -> ValueID {
        declare(weight, [vocabulary, columns], .table)
        embeddingOnly = weight
        let hidden = transient("embedding", [tokens, columns], target.residual)
        return extended(
            .embedding(weight: weight), x: inputs.ids, y: hidden, Embedding(ids: inputs.ids, output: hidden, weight: weight, scale: scale))
    }

    /// The residual stream with a sublayer's result added: stream + scale * delta.
    package mutating func add(_ stream: ValueID, _ delta: ValueID, scale: Float = 1) -> ValueID {
        let sum = transient("hidden", values[stream].shape, target.residual)
        append(Add(a: stream, b: delta, out: sum, scale: scale))
        return sum
    }

    /// The residual stream in the activations' type, for a product that reads it without a norm.
    package mutating func narrowed(_ stream: ValueID) -> ValueID {
        guard values[stream].type != target.element else { return stream }
        let narrow = activationValue("narrow", values[stream].shape)
        append(Convert(x: stream, out: narrow))
        return narrow
    }

    /// The normalised stream y [T, C], in the activations' type.
    package mutating func norm(_ x: ValueID, _ weight: String, epsilon: Float, weightOffset: Float = 0) -> ValueID {
        let shape = values[x].shape
        declare(weight, [shape[1]], .vector)
        let y = activationValue(String(weight.dropLast(".weight".count)), shape)
        let inverseRMS = transient("inverse_rms", [shape[0]])
        return extended(
            .norm(weight: weight), x: x, y: y,
            RMSNorm(hidden: x, output: y, inverseRMS: inverseRMS, weight: weight, epsilon: epsilon, weightOffset: weightOffset))
    }

    /// Normalises parts of the rows of x in place: heads of q and k, or all of each, in the joint buffer.
    package mutating func normInPlace(_ x: ValueID, _ parts: [NormPart], epsilon: Float, weightOffset: Float = 0) {
        let groups = parts.reduce(0) { $0 + $1.groups }
        for part in parts { declare(part.weight, [part.columns], .vector) }
        let width = parts.map { $0.firstColumn + $0.groups * $0.columns }.max() ?? 0
        // The backward pass reads what stood there before.
        let kept = purpose == .training ? activationValue("before norm", [tokens, width]) : nil
        append(
            NormRows(
                input: x, output: x, kept: kept, inverseRMS: transient("inverse_rms", [tokens, groups]), parts: parts, epsilon: epsilon,
                weightOffset: weightOffset))
    }

    /// A sublayer's output, normalised before it is added to the residual stream: y [T, C], of x's type.
    package mutating func sublayerNorm(_ x: ValueID, _ weight: String, epsilon: Float, weightOffset: Float = 0) -> ValueID {
        let shape = values[x].shape
        declare(weight, [shape[1]], .vector)
        let y = transient(String(weight.dropLast(".weight".count)), shape, values[x].type)
        let inverseRMS = transient("inverse_rms", [tokens, 1])
        return extended(
            .norm(weight: weight), x: x, y: y,
            NormRows(
                input: x, output: y, kept: nil, inverseRMS: inverseRMS, parts: [NormPart(weight: weight, columns: shape[1])], epsilon: epsilon,
                weightOffset: weightOffset))
    }

    /// y [T, sum of rows] = x Wᵀ (+ bias) (+ what is trained), the named matrices side by side in one product.
    ///
    /// - Parameter residual: y has the residual stream's type.
    package mutating func linear(_ x: ValueID, _ matrices: [LinearWeight], residual: Bool = false) -> ValueID {
        let columns = values[x].shape[1]
        let rows = matrices.reduce(0) { $0 + $1.rows }
        let y = transient(matrices.map(\.shortName).joined(separator: "|"), [tokens, rows], residual ? target.residual : target.element)
        var (parts, first): ([LinearPart], Int) = ([], 0)
        for matrix in matrices {
            declare(matrix.name + ".weight", [matrix.rows, matrix.columns], .linear(matrix))
            if matrix.hasBias { declare(matrix.name + ".bias", [matrix.rows], .vector) }
            parts.append(LinearPart(weight: matrix, firstRow: first))
            first += matrix.rows
        }
        return extended(TrainedSite(use: .linear(parts), x: x, y: y), by: trained.kinds[...]) {
            // Room for one joint expansion; what is stored as float32 in one piece is read in place instead.
            let expanded = $0.activationValue("expanded", [rows * columns])
            $0.append(Linear(x: x, y: y, parts: parts, columns: columns, scratch: expanded))
            return y
        }
    }

    /// Rotates the first `heads` heads of the joint buffer in place by the positions' angles.
    ///
    /// - Parameter interleaved: pairs are neighbours, not the two halves of the rotated dimensions.
    package mutating func rope(_ joint: ValueID, _ table: RoPETable, heads: Int, headDimension: Int, interleaved: Bool = false) {
        let half = table.inverseFrequencies.count
        var angles = ropeTables.first { $0.rope == table }.map { ($0.cos, $0.sin) }
        if angles == nil {
            let cos = transient("cos", [tokens, half])
            let sin = transient("sin", [tokens, half])
            if table.long != nil, inputs.lengths == nil { inputs.lengths = values.add("sequence_lengths", [tokens], .i32, .input) }
            append(RoPEAngles(positions: inputs.positions, lengths: table.long == nil ? nil : inputs.lengths, cos: cos, sin: sin, table: table))
            ropeTables.append((table, cos, sin))
            angles = (cos, sin)
        }
        guard let (cos, sin) = angles else { return }
        append(RoPE(joint: joint, cos: cos, sin: sin, heads: heads, headDimension: headDimension, inverse: false, interleaved: interleaved))
    }

    /// Multiplies the first `columns` columns of the joint buffer, the queries, by 1 + beta * log(1 + floor(position / original)), in place.
    package mutating func scaleQueries(_ joint: ValueID, columns: Int, beta: Float, original: Int) {
        append(QueryScale(joint: joint, positions: inputs.positions, columns: columns, beta: beta, original: original))
    }

    /// out [T, H*D]: causal attention inside each segment, or against the cache when decoding.
    package mutating func attention(_ joint: ValueID, _ shape: AttentionShape) -> ValueID {
        let out = activationValue("attention", [tokens, shape.heads * shape.headDimension])
        defer { layer += 1 }
        if case .decoding(let slots, let positions, _) = purpose, let slot = inputs.slots {
            let cache = values.add(
                "cache.\(layer)", [slots, positions, 2 * shape.keyValueHeads * shape.headDimension], target.element, .persistent)
            append(
                CachedAttention(
                    joint: joint, out: out, cache: cache, slots: slot, positions: inputs.positions, maximumPositions: positions,
                    scratch: target.threads.map { transient("scores", [$0, positions]) }, shape: shape))
        } else if let start = inputs.segmentStart {
            let logSumExp = transient("log_sum_exp", [shape.heads, tokens])
            let scratch = target.threads.map { transient("scores", [$0, AttentionKernels.scratchFloats(rows: tokens, shape: shape)]) }
            append(
                Attention(
                    joint: joint, out: out, logSumExp: logSumExp, segmentStart: start, parents: inputs.parents, scratch: scratch, shape: shape))
        }
        return out
    }

    /// a [T, F] = activation(gate) * up, from the joint [T, 2F] buffer, gate first.
    package mutating func gatedActivation(_ gateUp: ValueID, _ activation: Activation) -> ValueID {
        let shape = values[gateUp].shape
        let out = activationValue("activated", [shape[0], shape[1] / 2])
        append(GatedActivation(gateUp: gateUp, out: out, activation: activation))
        return out
    }

    /// The head: log-probabilities of the targets (and the loss when training), or logits of the wanted rows.
    ///
    /// - Parameter logitScale: multiplies the logits, before the soft cap.
    package mutating func head(_ x: ValueID, _ weight: String, vocabulary: Int, softCap: Float? = nil, logitScale: Float = 1) {
        let columns = values[x].shape[1]
        declare(weight, [vocabulary, columns], .table)
        if weight == embeddingOnly { embeddingOnly = nil }
        let scratch = target.isDevice ? nil : transient("expanded", [min(vocabulary, HeadBlock.rows), columns])
        if case .decoding(_, _, let wanted) = purpose, let rows = inputs.outputRows {
            let logits = values.add("logits", [wanted, vocabulary], .f32, .output)
            let gathered = activationValue("gathered", [wanted, columns])
            append(
                Logits(
                    x: x, rows: rows, gathered: gathered, logits: logits, scratch: scratch, weight: weight, vocabulary: vocabulary, softCap: softCap,
                    logitScale: logitScale))
            outputs.logits = logits
            guard vocabulary <= LargestLogit.maximumVocabulary else { return }
            let largest = values.add("largest", [wanted, LargestLogit.parts(vocabulary: vocabulary), 2], .f32, .output)
            append(LargestLogit(logits: logits, largest: largest))
            outputs.largest = largest
        } else if let targets = inputs.targets {
            let chunk = min(tokens, headChunk)
            let result = values.add("log_probabilities", [tokens], .f32, .output)
            let chunks = HeadChunks(
                x: x, targets: targets, trainedRows: inputs.trainedRows, gathered: activationValue("gathered", [chunk, columns]),
                logits: activationValue("logits", [chunk, vocabulary]), scratch: scratch, weight: weight, vocabulary: vocabulary, softCap: softCap,
                logitScale: logitScale)
            let chooses = purpose == .evaluation && !target.isDevice
            outputs.choices = chooses ? values.add("choices", [tokens], .i32, .output) : nil
            append(HeadLogProbabilities(chunks: chunks, logProbabilities: result, choices: outputs.choices))
            outputs.logProbabilities = result
            guard purpose == .training else { return }
            let tokenWeights = transient("token_weights", [tokens])
            if let op = loss.op(logProbabilities: result, tokenWeights: tokenWeights, inputs: inputs) { append(op) }
        }
    }

    /// The forward pass and, where the program trains, its adjoints: what programs with different passes have in common.
    consuming func differentiated() -> DifferentiatedProgram {
        var list = OpList(
            entries: ops.enumerated().map { OpList.Entry(op: $1, origin: $0, role: .forward) }, values: values, incomplete: incomplete, target: target)
        if purpose == .training { list = Differentiation.differentiate(list) }
        return DifferentiatedProgram(
            purpose: purpose, tokens: tokens, blocks: blocks, inputs: inputs, outputs: outputs, unusedTensors: unused, list: list)
    }

    /// Runs the passes (differentiation where the program trains, recomputation, fusion), lays values out in the arena, and returns the
    /// program.
    package consuming func build(passes: PassPolicy = .norms) -> Program { differentiated().program(passes) }
}
