import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// What a device reaches, for predictions and choices; from its model alone, so that the same card always chooses the same.
package struct DeviceSpeed: Sendable {
    /// In matrix products of the activations' type.
    package let flopsPerSecond: Double
    package let bytesPerSecond: Double
    private let multiprocessors: Int
    /// Columns of the tiles in which the library multiplies 128 rows, and what share of the best speed each width reaches.
    private let tiles: [(columns: Int, speed: Double)]

    /// Measured on an H100; others in proportion to their data sheets (dense tensor-core rate and memory bandwidth).
    package init(_ card: AcceleratorProperties, _ element: DeviceElement) {
        let (flops, bytes): (Double, Double) =
            switch card.architecture {
            case ..<80: (0.65e12, 0.25e12)
            case 80: (2.2e12, 1.5e12)
            case ..<89: (1.1e12, 0.6e12)
            case 89: (1.3e12, 0.7e12)
            case ..<100: (5.6e12, 2.6e12)
            default: (6e12, 3e12)
            }
        flopsPerSecond = flops * Double(max(1, card.multiprocessors)) / (element == .f32 ? 16 : 1)
        bytesPerSecond = bytes
        multiprocessors = max(1, card.multiprocessors)
        tiles = card.architecture >= 90 ? [(256, 1), (128, 0.9)] : [(128, 1), (64, 0.9)]
    }

    /// What share of its time a card computes in a product of `rows` by `columns` results: its last round of tiles leaves
    /// multiprocessors idle, and a tile at the edge is not full. 3,072 rows of the 1B shape run 7 % slower a token than 4,096 on an H100.
    func fullness(rows: Int, columns: Int) -> Double {
        tiles.map { tile in
            let (down, across) = ((rows + 127) / 128, (columns + tile.columns - 1) / tile.columns)
            let rounds = (down * across + multiprocessors - 1) / multiprocessors
            return tile.speed * Double(rows * columns) / Double(rounds * multiprocessors * 128 * tile.columns)
        }.max() ?? 1
    }

    /// Of `operations` one after the other; each begins and ends with a card half empty.
    package func seconds(_ cost: Cost, operations: Int) -> Double {
        cost.matrixFlops / flopsPerSecond + cost.bytes / bytesPerSecond + Double(operations) * 2e-6
    }
}

/// Where the bytes of a training session on a card go. Their sum is what the card is predicted to hold.
package struct DeviceBytes: Sendable, Equatable {
    /// What the driver takes for a process: context, pinned staging, kernels, workspace of products.
    package var context: Int
    /// The frozen weights as they are stored.
    package var weights: Int
    /// The linears again in the activations' type, where they are kept so.
    package var expanded: Int
    /// Adapters, gradients, moments.
    package var adapters: Int
    package var arena: Int
    /// Keys and values of sequences in `generate`.
    package var cache = 0

    package var total: Int { context + weights + expanded + adapters + arena + cache }
}

/// How a session on a card is to run.
package struct DevicePlan: Sendable {
    package let sizes: SessionSizes
    package let recompute: RecomputePolicy
    /// Stored linears are expanded once and kept in the activations' type: their bits are those of every expansion.
    package let keepsExpanded: Bool
    package let bytes: DeviceBytes
    /// Predicted for one micro-batch of `sizes.training` tokens.
    package let stepSeconds: Double
}

/// Chooses micro-batches, what is computed again and what stays expanded, for the least time a token under a cap.
package struct DevicePlanner {
    private let family: any ModelFamily
    private let layout: AdapterLayout
    private let storage: BaseStorage
    private let element: DeviceElement
    private let speed: DeviceSpeed
    private let segment: Int
    private let contextBytes: Int
    private let weightBytes: Int
    private let expandedBytes: Int
    private let step: Program
    private let blockCount: Int
    /// Whether programs are fused; see `RecomputePolicy.fuse`.
    package var fuse = true

    /// - Parameters:
    ///   - segment: tokens of a usual record: attention's work grows with it.
    ///   - contextBytes: what the opened card holds before anything is loaded; what running adds to it is counted here.
    ///   - stored: a tensor's type in the file; float32 where it says nil.
    package init(
        _ configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, card: AcceleratorProperties, element: DeviceElement,
        segment: Int, contextBytes: Int, stored: (String) -> ElementType?
    ) throws {
        family = configuration.family
        layout = try lora.map { [family] in try AdapterLayout($0, linears: family.linears()) } ?? .none
        self.storage = storage
        self.element = element
        self.segment = segment
        self.contextBytes = contextBytes + card.bytesToRun
        speed = DeviceSpeed(card, element)
        blockCount = family.blockCount
        var (weights, expanded) = (DeviceWeights.overheadBytes, 0)
        for declaration in family.weights() {
            let bytes = DeviceWeights.bytes(declaration, storage: storage, stored: stored(declaration.tensor) ?? .f32, element: element)
            let plain = declaration.shape.reduce(1, *) * element.bytes
            weights += bytes
            if case .linear = declaration.role, bytes < plain { expanded += plain }
        }
        (weightBytes, expandedBytes) = (weights, expanded)
        step = StepProgram.build(
            count: layout.elementCount, optimiser: AdamWSettings.self, settings: AdamWSettings(), target: .device(element))
    }

    /// The fastest way to train micro-batches of `tokens` within `cap` bytes; nil where none fits.
    ///
    /// - Parameter headChunk: trained tokens whose logits exist at a time, at most; halved where that spares blocks from running again.
    package func plan(tokens: Int, evaluation: Int, headChunk: Int, cap: Int) -> DevicePlan? {
        let rows = Session.batchRows(tokens, .device(element))
        var best: DevicePlan?
        for chunk in [headChunk, headChunk / 2, headChunk / 4, headChunk / 16].map({ min(max(128, $0), headChunk, rows) }) {
            let sizes = SessionSizes(training: rows, evaluation: evaluation, headChunk: chunk)
            if best?.sizes.headChunk == chunk { continue }
            for plan in plans(sizes, cap) where plan.stepSeconds < best?.stepSeconds ?? .infinity { best = plan }
            if let best, best.recompute.blocks == 0, best.keepsExpanded || expandedBytes == 0 { break }
        }
        return best
    }

    /// With and without kept expansions: the fewest blocks that run again, for each makes the arena smaller and the step longer.
    private func plans(_ sizes: SessionSizes, _ cap: Int) -> [DevicePlan] {
        var known: [Int: (arena: Int, cost: Cost, operations: Int)] = [:]
        let evaluationArena = program(.evaluation, Session.batchRows(sizes.evaluation, .device(element)), sizes, policy(0)).arenaBytes
        func measured(_ blocks: Int) -> (arena: Int, cost: Cost, operations: Int) {
            if let value = known[blocks] { return value }
            let training = program(.training, sizes.training, sizes, policy(blocks))
            let value = (max(training.arenaBytes, evaluationArena, step.arenaBytes), cost(training), training.ops.count)
            known[blocks] = value
            return value
        }
        return (expandedBytes > 0 ? [true, false] : [false]).compactMap { keeps in
            func bytes(_ blocks: Int) -> DeviceBytes {
                DeviceBytes(
                    context: contextBytes, weights: weightBytes, expanded: keeps ? expandedBytes : 0, adapters: step.persistentBytes,
                    arena: measured(blocks).arena)
            }
            var (low, high) = (0, blockCount)
            guard bytes(high).total <= cap else { return nil }
            while low < high {
                let middle = (low + high) / 2
                if bytes(middle).total <= cap { high = middle } else { low = middle + 1 }
            }
            // Expansion reads half a byte a weight and writes two; kept, it is not there at all.
            let saved = keeps ? Double(expandedBytes) * 2.5 : 0
            let (_, cost, operations) = measured(low)
            let seconds = speed.seconds(Cost(matrixFlops: cost.matrixFlops, bytes: max(0, cost.bytes - saved)), operations: operations)
            return DevicePlan(
                sizes: sizes, recompute: policy(low), keepsExpanded: keeps, bytes: bytes(low), stepSeconds: seconds)
        }
    }

    /// The fastest of several micro-batch sizes a token; of those within 2 % of it the smallest, for what fits the card's cache better is
    /// not in the costs, and memory is left to others.
    ///
    /// - Throws: exit 3 with the smallest cap that would do, where none fits.
    package func plan(among tokens: [Int], evaluation: Int, headChunk: Int, cap: Int) throws -> DevicePlan {
        var plans: [DevicePlan] = []
        for count in tokens.sorted() {
            guard let plan = plan(tokens: count, evaluation: min(evaluation, count), headChunk: headChunk, cap: cap) else { break }
            plans.append(plan)
        }
        func perToken(_ plan: DevicePlan) -> Double { plan.stepSeconds / Double(plan.sizes.training) }
        let fastest = plans.map(perToken).min() ?? 0
        if let chosen = plans.first(where: { perToken($0) <= 1.02 * fastest }) { return chosen }
        let least = smallestBytes(tokens: tokens.min() ?? Session.granularity, evaluation: evaluation, headChunk: headChunk)
        throw LorikeetError(
            .doesNotFit, "micro-batches of \(tokens.min() ?? 0) tokens do not fit in \(Units.formatBytes(Int64(cap))) of the card's memory", at: "gpu_memory",
            mend: "gpu_memory of \(Units.formatBytes(Int64(least))) would do, or a smaller max_length")
    }

    /// The arena of an evaluation batch of `tokens`, and its predicted time.
    package func evaluation(tokens: Int, headChunk: Int) -> (arenaBytes: Int, seconds: Double) {
        let sizes = SessionSizes(training: 0, evaluation: tokens, headChunk: headChunk)
        let program = program(.evaluation, Session.batchRows(tokens, .device(element)), sizes, policy(0))
        return (program.arenaBytes, speed.seconds(cost(program), operations: program.ops.count))
    }

    /// What the leanest way to train micro-batches of `tokens` takes.
    package func smallestBytes(tokens: Int, evaluation: Int, headChunk: Int) -> Int {
        let sizes = SessionSizes(training: Session.batchRows(tokens, .device(element)), evaluation: min(evaluation, tokens), headChunk: min(headChunk, 256))
        let training = program(.training, sizes.training, sizes, policy(blockCount))
        let evaluation = program(.evaluation, Session.batchRows(sizes.evaluation, .device(element)), sizes, policy(0))
        return contextBytes + weightBytes + step.persistentBytes + max(training.arenaBytes, evaluation.arenaBytes, step.arenaBytes)
    }

    /// A program's cost with attention over segments instead of all its rows, and at a third of the products' rate, as measured; products
    /// by how full they keep the card.
    private func cost(_ program: Program) -> Cost {
        program.ops.reduce(Cost()) { sum, op in
            var cost = op.cost(program.values)
            switch op {
            case is Attention, is AttentionBackward: cost.matrixFlops *= 3 * min(1, Double(segment) / Double(program.tokens))
            case let op as Linear: cost.matrixFlops /= speed.fullness(rows: program.tokens, columns: program.values[op.y].shape[1])
            case let op as LinearBackward: cost.matrixFlops /= speed.fullness(rows: program.tokens, columns: op.columns)
            default: break
            }
            return sum + cost
        }
    }

    private func policy(_ blocks: Int) -> RecomputePolicy {
        var policy = RecomputePolicy(blocks: blocks)
        policy.fuse = fuse
        return policy
    }

    private func program(_ purpose: ProgramPurpose, _ tokens: Int, _ sizes: SessionSizes, _ recompute: RecomputePolicy) -> Program {
        family.program(
            purpose, tokens: tokens, adapters: layout, target: .device(element), headChunk: sizes.headChunk, recompute: recompute)
    }
}
