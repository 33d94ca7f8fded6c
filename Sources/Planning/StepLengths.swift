import LorikeetDatasets
import Synchronization

/// The lengths of the samples of all optimiser steps, in the steps' order, from which micro-batches of any size are packed. An epoch's order is made once for
/// all sizes; of a run with more than `mostKept` samples the later epochs' are made again for each size (all of them where one epoch has more), so that memory does not grow
/// with them.
final class StepLengths {
    /// Samples whose lengths are kept: 8 bytes each.
    private static let mostKept = 1 << 22

    private let data: PlannedData
    /// Of each step the tokens and the trained tokens of its samples.
    private let sizes: [SampleLength]
    /// The samples of the first epochs, in their order.
    private let kept: [SampleLength]
    private let keptEpochs: Int
    let largest: Int
    let allTokens: Int

    /// - Parameter mostKept: for tests.
    init(_ data: PlannedData, mostKept: Int = StepLengths.mostKept) {
        self.data = data
        let (epochs, count) = (data.epochs, data.train.count)
        let keptEpochs = min(epochs, mostKept / max(1, count))
        self.keptEpochs = keptEpochs
        var kept: [SampleLength] = []
        let sizes = [SampleLength](unsafeUninitializedCapacity: data.steps) { sizes, used in
            kept = [SampleLength](unsafeUninitializedCapacity: keptEpochs * count) { kept, used in
                func gather(_ epoch: Int) {
                    let lengths = data.lengthsOfEpoch(epoch)
                    lengths.withUnsafeBufferPointer { lengths in
                        data.forEachStep(data.steps(ofEpoch: epoch), lengths, fromEpoch: epoch) { step, samples in
                            var (tokens, trained) = (0, 0)
                            for sample in samples { (tokens, trained) = (tokens + sample.tokens, trained + sample.trained) }
                            sizes.initializeElement(at: step, to: SampleLength(tokens: tokens, trained: trained))
                        }
                        if epoch < keptEpochs { _ = kept[(epoch * count)..<((epoch + 1) * count)].initialize(fromContentsOf: lengths) }
                    }
                }
                // Epochs that are not kept one after the other, for each takes memory.
                data.parallel(keptEpochs, gather)
                for epoch in keptEpochs..<epochs { gather(epoch) }
                used = keptEpochs * count
            }
            used = epochs > 0 ? data.steps : 0
        }
        (self.kept, self.sizes) = (kept, sizes)
        largest = sizes.reduce(0) { max($0, $1.tokens) }
        allTokens = sizes.reduce(0) { $0 + $1.tokens }
    }

    /// The micro-batches that optimiser steps make.
    struct MicroBatches {
        /// The most rows and the most trained tokens of any.
        fileprivate(set) var rows = 0
        fileprivate(set) var trained = 0
        /// By tokens, the number of micro-batches.
        var counts: [Int: Int] {
            Dictionary(
                uniqueKeysWithValues: short.enumerated().lazy.filter { $0.element > 0 }.map { ($0.offset, $0.element) } + long.map { ($0.key, $0.value) })
        }
        // Nearly all are short, and an array counts them ten times as fast.
        private var short: [Int]
        private var long: [Int: Int] = [:]

        fileprivate init(most: Int) { short = Array(repeating: 0, count: min(most, 1 << 16) + 1) }

        fileprivate mutating func add(_ batch: SampleLength) {
            let tokens = batch.tokens
            (rows, trained) = (max(rows, tokens), max(trained, batch.trained))
            if tokens < short.count { short[tokens] += 1 } else { long[tokens, default: 0] += 1 }
        }

        fileprivate mutating func add(_ other: MicroBatches) {
            (rows, trained) = (max(rows, other.rows), max(trained, other.trained))
            for tokens in short.indices { short[tokens] += other.short[tokens] }
            long.merge(other.long, uniquingKeysWith: +)
        }
    }

    /// Pieces of the steps that are kept, which are packed beside one another.
    private static let pieces = 16

    func microBatches(tokensPerBatch: Int) -> MicroBatches {
        // Sums and maxima: the order in which pieces are added does not matter.
        let all = Mutex(MicroBatches(most: largest))
        let keptSteps = min(sizes.count, keptEpochs * data.stepsPerEpoch)
        kept.withUnsafeBufferPointer { kept in
            data.parallel(Self.pieces) { piece in
                let steps = keptSteps * piece / Self.pieces..<keptSteps * (piece + 1) / Self.pieces
                var packed = MicroBatches(most: largest)
                pack(steps, kept, fromEpoch: 0, tokensPerBatch, into: &packed)
                all.withLock { $0.add(packed) }
            }
        }
        var result = all.withLock { $0 }
        for epoch in keptEpochs..<max(keptEpochs, data.epochs) {
            let steps = data.steps(ofEpoch: epoch)
            let isCut = !data.packing || sizes[steps].contains { $0.tokens > tokensPerBatch }
            // Steps that fit are packed without their samples.
            let lengths = isCut ? data.lengthsOfEpoch(epoch) : data.train
            lengths.withUnsafeBufferPointer { pack(steps, $0, fromEpoch: epoch, tokensPerBatch, into: &result) }
        }
        return result
    }

    /// - Parameters: as for `PlannedData.forEachStep`.
    private func pack(
        _ steps: Range<Int>, _ lengths: UnsafeBufferPointer<SampleLength>, fromEpoch first: Int, _ tokensPerBatch: Int, into result: inout MicroBatches
    ) {
        data.forEachStep(steps, lengths, fromEpoch: first) { step, samples in
            let size = sizes[step]
            if data.packing, size.tokens <= tokensPerBatch {
                // A step that fits is one micro-batch, whatever its samples.
                if size.tokens > 0 { result.add(size) }
            } else {
                packedSizes(samples, tokensPerBatch: tokensPerBatch, packing: data.packing) { result.add($0) }
            }
        }
    }
}
