import LorikeetDevices
import LorikeetGround

/// The largest batches that a session will run; they decide the size of its arena.
package struct SessionSizes: Sendable, Hashable {
    /// Rows (tokens) of the largest training micro-batch; 0 for sessions that never train.
    package var training: Int
    /// Rows of the largest evaluation batch.
    package var evaluation: Int
    /// Rows with a target whose logits exist at a time.
    package var headChunk: Int
    /// How the processor deals a step's micro-batches out.
    package var replicas: Replicas

    package init(training: Int, evaluation: Int, headChunk: Int = HeadBlock.chunk, replicas: Replicas = .one) {
        self.training = training
        self.evaluation = evaluation
        self.headChunk = headChunk
        self.replicas = replicas
    }
}

/// Runs a model's programs: training, evaluation and decoding share one arena, which replicas divide while they train.
///
/// Programs are made for token counts that are multiples of `granularity` and are kept. The arena is sized for the largest at the start, and
/// grows where a larger program is run.
package final class Session {
    package let model: Model
    package let sizes: SessionSizes
    package let passes: PassPolicy
    /// Token counts of programs are multiples of this. Above 128 tokens a card's are multiples of 128, the rows of a matrix product's tile: a
    /// partial tile takes as long as a full one.
    package static let granularity = 32

    /// Rows that a training or evaluation batch of `tokens` is padded to.
    package static func batchRows(_ tokens: Int, _ target: ProgramTarget) -> Int {
        target.isDevice && tokens > 128 ? tokens.roundedUp(toMultipleOf: 128) : roundedUp(tokens)
    }

    private var programs: [ProgramKey: Program] = [:]
    /// Rows that decoding programs have computed so far, without padding.
    package private(set) var decodedRows = 0
    /// The last step program, and the optimiser that it was made for.
    private var step: (optimiser: AnyHashable, program: Program)?
    let backend: any SessionBackend
    /// The sessions that compute a step's micro-batches at once; empty where this one computes all.
    let replicas: [Session]
    /// Asked before every op on the processor and of `magnitudes`, and on a card before every program, but not in an update of the parameters: true
    /// ends the work with `Interrupted`.
    package var interruption: (@Sendable () -> Bool)? {
        get { backend.interruption }
        set {
            backend.interruption = newValue
            for replica in replicas { replica.interruption = newValue }
        }
    }
    /// Called with every op's seconds while `profile` runs.
    var observer: OpObserver?

    private struct ProgramKey: Hashable {
        let purpose: ProgramPurpose
        let tokens: Int
    }

    /// - Throws: exit 4 when memory for the arena cannot be had.
    package init(model: Model, sizes: SessionSizes, passes: PassPolicy = .norms, clock: any Clock = SystemClock()) throws {
        self.model = model
        self.sizes = sizes
        self.passes = passes
        backend = try model.placed.map { try DeviceBackend(model: model, on: $0) } ?? CPUBackend(model: model, clock: clock)
        replicas = try Self.replicas(of: model, sizes, passes)
        try pushAdapters()
        let parts = replicaArenas
        var bytes = max(Schedule.alignment, parts.reduce(0, +))
        if sizes.trainsAlone {
            let training = program(.training, tokens: Self.batchRows(sizes.training, backend.target))
            bytes = max(bytes, training.arenaBytes)
            try backend.reserveParked(training.parkedBytes)
        }
        bytes = max(bytes, program(.evaluation, tokens: Self.batchRows(sizes.evaluation, backend.target)).arenaBytes)
        try backend.reserve(bytes)
        guard let arena = (backend as? CPUBackend)?.arena else { return }
        var offset = 0
        for (replica, bytes) in zip(replicas, parts) {
            (replica.backend as? CPUBackend)?.arena = Buffer(part: arena, at: offset, bytes: bytes)
            offset += bytes
        }
    }

    package convenience init(model: Model, maximumTokens: Int, passes: PassPolicy = .norms) throws {
        try self.init(model: model, sizes: SessionSizes(training: maximumTokens, evaluation: maximumTokens), passes: passes)
    }

    /// `tokens` as a token count of a program: the next multiple of `granularity`, at least one.
    package static func roundedUp(_ tokens: Int) -> Int {
        max(granularity, tokens.roundedUp(toMultipleOf: granularity))
    }

    /// The program for `tokens` rows, made at first use.
    package func program(_ purpose: ProgramPurpose, tokens: Int) -> Program {
        let key = ProgramKey(purpose: purpose, tokens: tokens)
        if let known = programs[key] { return known }
        let program = model.family.program(
            purpose, tokens: tokens, adapters: model.adapters.layout, target: backend.target,
            headChunk: sizes.headChunk, passes: passes)
        programs[key] = program
        return program
    }

    /// The result of one training micro-batch.
    package struct MicroBatchResult: Sendable {
        /// The sum over rows of weight * -log p.
        package let lossSum: Double
        /// log p of each row with a target, in row order.
        package let logProbabilities: [Float]
    }

    /// Forward and backward: adds the gradient of sum(weight * -log p) to `model.adapters.gradients`.
    ///
    /// - Parameter zeroFirst: clears the gradients before (a step's first micro-batch).
    /// - Throws: exit 2 for ids that the model's tables do not have, exit 4 when memory for the arena cannot be had.
    package func accumulate(_ batch: TokenBatch, zeroFirst: Bool) throws -> MicroBatchResult {
        try submit(batch, zeroFirst: zeroFirst)()
    }

    /// `accumulate` in two parts, so that the host can prepare what comes next while a card computes: this call asks the device for the work.
    ///
    /// - Returns: waits for the result.
    /// - Throws: as `accumulate`; a card's failures may be thrown by the returned function.
    package func submit(_ batch: TokenBatch, zeroFirst: Bool) throws -> () throws -> MicroBatchResult {
        try batch.check(vocabulary: model.family.vocabularySize)
        if zeroFirst { try backend.clearGradients() }
        let results = try run(batch, .training)
        return {
            let results = try results()
            var sum = 0.0
            for (row, target) in batch.targets.enumerated() where target >= 0 { sum -= Double(batch.weights[row]) * Double(results[row]) }
            return MicroBatchResult(lossSum: sum, logProbabilities: Self.trained(results, batch))
        }
    }

    /// log p of each row with a target, in row order, without dropout.
    ///
    /// - Throws: exit 2 for ids that the model's tables do not have, exit 4 when memory for the arena cannot be had.
    package func evaluate(_ batch: TokenBatch) throws -> [Float] {
        Self.trained(try run(batch, .evaluation)(), batch)
    }

    /// The likeliest token in place of each target of the batch that `evaluate` was just given, in row order; nil on a card.
    package func choices(_ batch: TokenBatch) throws -> [Int32]? {
        let program = program(.evaluation, tokens: Self.batchRows(batch.rows, backend.target))
        guard let output = program.outputs.choices, let offset = program.schedule.offsets[output.index] else { return nil }
        // An output lives until the next program runs.
        let bits = try backend.fetch(at: offset, count: batch.rows)()
        return Self.trained(bits, batch).map { Int32(bitPattern: $0.bitPattern) }
    }

    /// Whether batches may hold what texts begin with once. A card's attention does not take them, and where a sequence's length decides how its keys are
    /// rotated (LongRoPE), its first tokens are not those of another length.
    package var sharesPrefixes: Bool { !backend.target.isDevice && !rotatesByLength }

    /// The same for a model that is not loaded.
    package static func sharesPrefixes(_ family: any ModelFamily, onCard: Bool) -> Bool {
        !onCard && sharesPrompts(family)
    }

    /// Whether `generate` reads once what prompts begin with, on any device.
    package static func sharesPrompts(_ family: any ModelFamily) -> Bool {
        family.namedForward().inputs.lengths == nil
    }

    private static func trained(_ results: [Float], _ batch: TokenBatch) -> [Float] {
        batch.targets.indices.filter { batch.targets[$0] >= 0 }.map { results[$0] }
    }

    /// The largest magnitudes of the 16-bit values of a forward pass, in the order of the ops; empty where no value has 16 bits.
    package func magnitudes(_ batch: TokenBatch) throws -> [ValueMagnitude] {
        let (program, _, trained) = try prepare(batch, .evaluation)
        return try backend.magnitudes(program, trainedRows: trained)
    }

    /// Asks the device to run the program for a batch; the returned function waits for log p of each row.
    private func run(_ batch: TokenBatch, _ purpose: ProgramPurpose) throws -> () throws -> [Float] {
        let (program, rows, trained) = try prepare(batch, purpose)
        try backend.execute(program, trainedRows: trained, caches: nil, observe: observer)
        guard let output = program.outputs.logProbabilities, let offset = program.schedule.offsets[output.index] else { return { [] } }
        return try backend.fetch(at: offset, count: rows)
    }

    /// The program for a batch with its inputs in place; the batch's rows, and how many of them are trained.
    ///
    /// - Throws: exit 2 for ids, positions or segments that the model's tables do not have (see `TokenBatch.check`).
    private func prepare(_ batch: TokenBatch, _ purpose: ProgramPurpose) throws -> (program: Program, rows: Int, trained: Int) {
        try batch.check(vocabulary: model.family.vocabularySize)
        let padded = batch.padded(to: Self.batchRows(batch.rows, backend.target))
        let program = program(purpose, tokens: padded.rows)
        try backend.reserve(program.arenaBytes)
        try write(padded.ids, to: program.inputs.ids, program)
        try write(padded.positions, to: program.inputs.positions, program)
        if let id = program.inputs.segmentStart { try write(padded.segmentStart, to: id, program) }
        if let id = program.inputs.parents { try write(padded.parents, to: id, program) }
        guard sharesPrefixes || batch.parents.allSatisfy({ $0 < 0 }) else {
            throw LorikeetError.input("segments that go on from another are for the processor, without LongRoPE")
        }
        if let id = program.inputs.lengths { try write(padded.sequenceLengths, to: id, program) }
        if let id = program.inputs.targets { try write(padded.targets, to: id, program) }
        if let id = program.inputs.weights { try write(padded.weights, to: id, program) }
        if let id = program.inputs.dropoutKeys { try write(padded.dropoutKeys, to: id, program) }
        let trained = padded.targets.indices.filter { padded.targets[$0] >= 0 }
        if let id = program.inputs.trainedRows {
            try write(trained.map(Int32.init) + Array(repeating: -1, count: padded.rows - trained.count), to: id, program)
        }
        return (program, batch.rows, trained.count)
    }

    /// Logits [rows.count, V] of the given rows of one packed batch.
    ///
    /// - Throws: exit 2 for ids or rows that do not exist, exit 4 when memory cannot be had.
    package func logits(_ batch: TokenBatch, rows: [Int]) throws -> [Float] {
        try batch.check(vocabulary: model.family.vocabularySize)
        // The segments become cache slots, so that decoding's program serves here too.
        let starts = Array(Set(batch.segmentStart)).sorted()
        let slotOf = Dictionary(uniqueKeysWithValues: starts.enumerated().map { ($1, Int32($0)) })
        let longest = Int(batch.positions.max() ?? 0) + 1
        return try decode(
            DecodingRows(ids: batch.ids, positions: batch.positions, slots: batch.segmentStart.map { slotOf[$0] ?? 0 }),
            lengths: batch.segmentLengths.map { batch.longestSequence ?? $0 }, positions: longest, outputRows: rows)
    }

    /// Rows for a decoding program: new tokens with the slot and position each is written to.
    struct DecodingRows {
        var ids: [Int32] = []
        var positions: [Int32] = []
        var slots: [Int32] = []

        mutating func append(_ id: Int32, position: Int, slot: Int) {
            ids.append(id)
            positions.append(Int32(position))
            slots.append(Int32(slot))
        }
    }

    /// Runs rows against a cache with a slot for each sequence and `positions` in each, and returns the logits of `outputRows`.
    ///
    /// - Parameter lengths: positions of each slot's sequence when it is whole.
    /// - Returns: [outputRows.count, V].
    /// - Throws: exit 2 for ids, slots, positions or output rows that do not exist.
    func decode(_ rows: DecodingRows, lengths: [Int], positions: Int, outputRows: [Int]) throws -> [Float] {
        let program = try run(rows, lengths: lengths, positions: positions, outputRows: outputRows)
        return try read(program.outputs.logits, of: program, count: outputRows.count * model.family.vocabularySize) { Array($0) }
    }

    /// Runs rows as `decode` does and chooses the token behind each of `outputRows`. Where all are chosen as the likeliest, no logits leave the device.
    ///
    /// - Parameter choosers: one for each of `outputRows`.
    /// - Throws: as `decode`; exit 1 where logits are not finite.
    func decode(
        _ rows: DecodingRows, lengths: [Int], positions: Int, outputRows: [Int], choosers: inout [TokenChooser]
    ) throws -> [Int32] {
        let program = try run(rows, lengths: lengths, positions: positions, outputRows: outputRows)
        if let largest = program.outputs.largest, choosers.allSatisfy(\.takesLargest) {
            let parts = program.values[largest].shape[1]
            return try read(largest, of: program, count: outputRows.count * parts * 2) { try TokenChooser.likeliest($0, parts: parts) }
        }
        // Where they lie: of sixteen sequences and a vocabulary of 128,256 a fresh array of them, 8 MB, takes longer than the step.
        return try read(program.outputs.logits, of: program, count: outputRows.count * model.family.vocabularySize) { try choose($0, &choosers) }
    }

    /// - Parameter body: gets `count` elements of an output, which are there only while it runs; none where the program has no such output.
    private func read<Result>(
        _ output: ValueID?, of program: Program, count: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result
    ) throws -> Result {
        guard let output, let offset = program.schedule.offsets[output.index] else { return try body(.init(start: nil, count: 0)) }
        return try backend.read(at: offset, count: count, body)
    }

    func decodingProgram(rows: Int, slots: Int, positions: Int, outputRows: Int) -> Program {
        // A processor's products take any number of rows; programs of fewer sizes are made.
        let unit = backend.target.isDevice ? Self.granularity : 8
        let tokens = rows <= Self.granularity ? rows : rows.roundedUp(toMultipleOf: unit)
        return program(.decoding(slots: slots + 1, positions: positions, outputRows: max(1, outputRows)), tokens: tokens)
    }

    /// Runs the decoding program of these rows.
    func run(_ rows: DecodingRows, lengths: [Int], positions: Int, outputRows: [Int]) throws -> Program {
        let slots = lengths.count
        try rows.check(vocabulary: model.family.vocabularySize, slots: slots, maximumPositions: positions, outputRows: outputRows)
        let program = decodingProgram(rows: rows.ids.count, slots: slots, positions: positions, outputRows: outputRows.count)
        let count = program.tokens
        var padded = rows
        // Padding writes to a slot of its own that nobody reads.
        while padded.ids.count < count { padded.append(0, position: 0, slot: slots) }
        try backend.reserve(program.arenaBytes)
        try write(padded.ids, to: program.inputs.ids, program)
        try write(padded.positions, to: program.inputs.positions, program)
        if let id = program.inputs.slots { try write(padded.slots, to: id, program) }
        if let id = program.inputs.lengths { try write(padded.slots.map { Int32(clamping: Int($0) < slots ? lengths[Int($0)] : 1) }, to: id, program) }
        decodedRows += rows.ids.count
        if let id = program.inputs.outputRows { try write(outputRows.isEmpty ? [0] : outputRows.map(Int32.init), to: id, program) }
        try backend.execute(
            program, trainedRows: 0, caches: .decoding(slots: slots + 1, positions: positions, outputRows: 0), observe: observer)
        return program
    }

    /// Copies the first positions of the KV caches' first slot to the other slots.
    func spreadCache(positions: Int) throws { try backend.spreadCache(positions: positions) }

    /// Frees the KV caches.
    package func releaseCaches() {
        backend.releaseCaches()
        programs = programs.filter { !$0.key.purpose.isDecoding }
    }

    private func write<Element>(_ elements: [Element], to id: ValueID, _ program: Program) throws {
        guard let offset = program.schedule.offsets[id.index] else { return }
        try elements.withUnsafeBytes { try backend.write($0, at: offset) }
    }

    // MARK: the adapters' state

    /// One update of the trained parameters from the gradients that `accumulate` left, or none where those are not finite.
    ///
    /// - Throws: exit 4 when memory or the card fail.
    package func optimiserStep(learningRate: Double, optimiser: any Optimiser) throws -> OptimiserResult {
        try submitStep(learningRate: learningRate, optimiser: optimiser)()
    }

    /// `optimiserStep` in two parts, as `submit` is for `accumulate`: the returned function waits. Nothing else may use the session in between.
    package func submitStep(learningRate: Double, optimiser: any Optimiser) throws -> () throws -> OptimiserResult {
        guard model.adapters.elementCount > 0 else { return { OptimiserResult(gradientNorm: 0) } }
        let program = stepProgram(optimiser)
        try backend.reserve(program.arenaBytes)
        let before = model.adapters.state
        // See `OptimiserOperands.numbers`.
        let numbers =
            optimiser.numbers(learningRate: learningRate, update: Int(before.updates) + 1) + [optimiser.maxGradNorm ?? 0, 1 / Double(before.lossScale)]
        if let id = program.inputs.numbers { try write(numbers, to: id, program) }
        try backend.execute(program, trainedRows: 0, caches: nil, observe: nil)
        let pull = try backend.fetchState()
        return { [model] in
            try pull()
            let after = model.adapters.state
            return OptimiserResult(gradientNorm: Double(after.gradientNorm), skipped: after.skipped != 0)
        }
    }

    /// The step program of `optimiser`; made again where the optimiser or its settings are not those of the last call.
    private func stepProgram(_ optimiser: any Optimiser) -> Program {
        if let step, step.optimiser == AnyHashable(optimiser) { return step.program }
        let program = StepProgram.build(
            count: model.adapters.elementCount, optimiser: type(of: optimiser), settings: optimiser, target: backend.target)
        step = (AnyHashable(optimiser), program)
        return program
    }

    /// float16's current loss scale; nil where the activations' type needs none.
    package var lossScaling: LossScaling? {
        guard scalesLoss else { return nil }
        let state = model.adapters.state
        return LossScaling(scale: state.lossScale, goodSteps: Int(state.goodSteps))
    }

    private var scalesLoss: Bool { backend.target.element == .f16 }

    /// Sets the loss scale; without effect where the activations' type needs none.
    package func setLossScaling(_ scaling: LossScaling) throws {
        guard scalesLoss else { return }
        (model.adapters.state.lossScale, model.adapters.state.goodSteps) = (scaling.scale, Float(scaling.goodSteps))
        try backend.pushState()
    }

    /// Sets the loss scale that this device's element type needs, where the state comes from a device of another type.
    private func adoptLossScale() {
        if scalesLoss, model.adapters.state.goodSteps < 0 {
            (model.adapters.state.lossScale, model.adapters.state.goodSteps) = (LossScaling.start.scale, 0)
        } else if !scalesLoss {
            (model.adapters.state.lossScale, model.adapters.state.goodSteps) = (1, -1)
        }
    }

    /// Copies the trained state from the device to the host's `model.adapters`. Call it before reading those.
    package func pullAdapters() throws { try backend.pullAdapters() }

    /// Copies the host's `model.adapters` to the device. Call it after writing those.
    package func pushAdapters() throws {
        adoptLossScale()
        try backend.pushAdapters()
    }
}
