import LorikeetDatasets

/// The lengths of the samples of all optimiser steps, in the steps' order, from which micro-batches of any size are packed. Where an epoch's order has to be
/// made for it and samples lie anywhere in memory, that is done once for all sizes; of a run with more than `mostKept` samples the lengths are gathered
/// again for each size, so that memory does not grow with them.
final class StepLengths {
    /// Samples whose lengths are kept: 8 bytes each.
    private static let mostKept = 1 << 22

    private let data: PlannedData
    private let mostKept: Int
    /// Of each step the tokens and the trained tokens of its samples.
    private var sizes: [SampleLength] = []
    /// The steps whose samples are kept together.
    private var parts: [Range<Int>] = []
    private var kept: (part: Range<Int>, lengths: [SampleLength], ends: [Int]) = (0..<0, [], [])

    /// - Parameter mostKept: for tests.
    init(_ data: PlannedData, mostKept: Int = StepLengths.mostKept) {
        (self.data, self.mostKept) = (data, mostKept)
        sizes.reserveCapacity(data.steps)
        kept.lengths.reserveCapacity(min(mostKept, data.visits))
        while sizes.count < data.steps { parts.append(gather(from: sizes.count, to: data.steps, most: mostKept, addingSizes: true)) }
    }

    var largest: Int { sizes.reduce(0) { max($0, $1.tokens) } }
    var allTokens: Int { sizes.reduce(0) { $0 + $1.tokens } }

    /// Keeps the lengths of steps from `first` on, at least one step's and about `most`.
    ///
    /// - Returns: the steps.
    private func gather(from first: Int, to end: Int, most: Int, addingSizes: Bool) -> Range<Int> {
        var (lengths, ends, step) = (kept.lengths, [Int](), first)
        kept.lengths = []
        lengths.removeAll(keepingCapacity: true)
        let train = data.train
        while step < end, step == first || lengths.count < most {
            var (tokens, trained) = (0, 0)
            for index in data.samplesOfStep(step) {
                let length = train[index]
                (tokens, trained) = (tokens + length.tokens, trained + length.trained)
                lengths.append(length)
            }
            if addingSizes { sizes.append(SampleLength(tokens: tokens, trained: trained)) }
            ends.append(lengths.count)
            step += 1
        }
        kept = (first..<step, lengths, ends)
        return first..<step
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
    }

    func microBatches(tokensPerBatch: Int) -> MicroBatches {
        var (result, packed) = (MicroBatches(most: largest), PackedSizes())
        for part in parts {
            // A step that fits is one micro-batch, whatever its samples.
            let isCut = !data.packing || sizes[part].contains { $0.tokens > tokensPerBatch }
            if isCut, kept.part != part { _ = gather(from: part.lowerBound, to: part.upperBound, most: .max, addingSizes: false) }
            for step in part {
                if data.packing, sizes[step].tokens <= tokensPerBatch {
                    if sizes[step].tokens > 0 { result.add(sizes[step]) }
                    continue
                }
                let place = step - part.lowerBound
                packed.pack(
                    kept.lengths[(place > 0 ? kept.ends[place - 1] : 0)..<kept.ends[place]], tokensPerBatch: tokensPerBatch, packing: data.packing)
                for group in packed.groups { result.add(group) }
            }
        }
        return result
    }
}
