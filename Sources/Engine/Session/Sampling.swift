import LorikeetGround

/// How the next token is chosen from a model's logits: the definitions, and the order in which they apply, of transformers' logits
/// processors (`RepetitionPenaltyLogitsProcessor`, then the warpers for temperature, top-k, top-p and min-p).
package struct SamplingRules: Sendable, Equatable {
    /// Logits are divided by it. 0 is greedy: the likeliest token after the repetition penalty, and nothing is random.
    package var temperature = 0.0
    /// Only tokens whose logit is not below the k-th largest; tokens that tie with the k-th stay. nil keeps all.
    package var topK: Int?
    /// Only the likeliest tokens that are needed for this much probability. 1 keeps all.
    package var topP = 1.0
    /// Only tokens with at least this share of the likeliest token's probability. 0 keeps all.
    package var minP = 0.0
    /// Logits of tokens that the prompt or the answer holds are divided by it where they are positive, and multiplied where they are negative.
    package var repetitionPenalty = 1.0
    /// The seed of the random numbers.
    package var seed: UInt64 = 0

    package init() {}

    package static let greedy = SamplingRules()
}

/// Chooses the tokens of one sequence.
///
/// Each choice takes one random number, a function of the seed, the prompt's tokens, how often the same prompt was asked before, and the token's
/// position in the answer. So it does not matter what other sequences are computed beside this one, or by how many threads.
package struct TokenChooser: Sendable {
    private let rules: SamplingRules
    private let key: UInt64
    /// Tokens of the prompt and of the answer so far; empty where nothing is penalised.
    private var seen: Set<Int32> = []
    /// Tokens that were chosen so far.
    private var position: UInt64 = 0

    /// - Parameters:
    ///   - prompt: the tokens that come before the first choice.
    ///   - repetition: how many sequences with the same prompt came before this one: each gets random numbers of its own.
    package init(_ rules: SamplingRules, prompt: [Int32], repetition: Int = 0) {
        self.rules = rules
        var hash = FNV1a()
        for id in prompt { hash.add(UInt64(UInt32(bitPattern: id))) }
        hash.add(UInt64(repetition))
        key = mix64(mix64(rules.seed) ^ hash.value)
        if rules.repetitionPenalty != 1 { seen = Set(prompt) }
    }

    /// Whether every token is the one with the largest logit, whatever came before.
    var takesLargest: Bool { rules.temperature == 0 && rules.repetitionPenalty == 1 }

    /// The tokens with the largest logits.
    ///
    /// - Parameter largest: [rows, parts, 2], what `LargestLogit` writes.
    /// - Throws: exit 1 where a logit is NaN or infinite.
    static func likeliest(_ largest: UnsafeBufferPointer<Float>, parts: Int) throws -> [Int32] {
        try stride(from: 0, to: largest.count, by: 2 * parts).map { row in
            // Parts are in the order of their places, so that the first of equals stays.
            var best = row
            for part in stride(from: row, to: row + 2 * parts, by: 2) where largest[part] > largest[best] { best = part }
            guard largest[best].isFinite else { throw notFinite }
            return Int32(largest[best + 1])
        }
    }

    private static var notFinite: LorikeetError {
        LorikeetError(
            .checkFailed, "the model's logits are not finite numbers, so no token is the likeliest",
            fix: "the weights or the adapter hold NaN or infinity, or a value left the range of float16: say --compute-type float32, "
                + "or merge or train again")
    }

    /// The next token.
    ///
    /// - Parameter logits: [V].
    /// - Throws: exit 1 where a logit is NaN or infinite.
    package mutating func choose(_ logits: UnsafeBufferPointer<Float>) throws -> Int32 {
        guard logits.allSatisfy(\.isFinite) else { throw Self.notFinite }
        let token = rules.temperature == 0 ? largest(logits) : drawn(weights(logits))
        if rules.repetitionPenalty != 1 { seen.insert(token) }
        position += 1
        return token
    }

    /// Index of the largest logit; the lowest of equals.
    private func largest(_ logits: UnsafeBufferPointer<Float>) -> Int32 {
        if rules.repetitionPenalty != 1 { return penalised(logits).withUnsafeBufferPointer { Self.largest($0) } }
        return Self.largest(logits)
    }

    private static func largest(_ scores: UnsafeBufferPointer<Float>) -> Int32 {
        var best = 0
        for i in scores.indices where scores[i] > scores[best] { best = i }
        return Int32(best)
    }

    /// The logits after the repetition penalty. A token counts once, however often it was there.
    private func penalised(_ logits: UnsafeBufferPointer<Float>) -> [Float] {
        var scores = Array(logits)
        let penalty = Float(rules.repetitionPenalty)
        for id in seen where scores.indices.contains(Int(id)) {
            let score = scores[Int(id)]
            scores[Int(id)] = score < 0 ? score * penalty : score / penalty
        }
        return scores
    }

    /// What each token's probability is proportional to, [V]; 0 for those that may not be chosen.
    func weights(_ logits: UnsafeBufferPointer<Float>) -> [Float] {
        var scores = penalised(logits)
        let temperature = Float(rules.temperature)
        for i in scores.indices { scores[i] /= temperature }
        var weights = Self.exponentials(scores)
        if let k = rules.topK, k < scores.count {
            let least = Self.largest(k, of: scores)
            for i in scores.indices where scores[i] < least { weights[i] = 0 }
        }
        if rules.topP < 1 { keepLikeliest(&weights, scores) }
        if rules.minP > 0 {
            // The likeliest token's weight is e^0.
            let least = Float(rules.minP)
            for i in weights.indices where weights[i] < least { weights[i] = 0 }
        }
        return weights
    }

    /// e^(x - the largest x).
    private static func exponentials(_ scores: [Float]) -> [Float] {
        let highest = scores.max() ?? 0
        return [Float](unsafeUninitializedCapacity: scores.count) { memory, count in
            guard let out = memory.baseAddress else { return }
            scores.withUnsafeBufferPointer { scores in
                guard let scores = scores.baseAddress else { return }
                eachEight(memory.count) { i in
                    store8(exponential(load8(scores + i) - highest), out + i)
                } rest: { i, lanes in
                    storePartly(exponential(loadPartly(scores + i, lanes) - highest), out + i, lanes)
                }
            }
            count = memory.count
        }
    }

    /// The k-th largest of values, for 1 ≤ k ≤ their number.
    static func largest(_ k: Int, of values: [Float]) -> Float {
        // The k largest so far as a heap: every entry is at most its children, those of i are 2i + 1 and 2i + 2.
        var heap = Array(values.prefix(k))
        func sink(_ start: Int) {
            var i = start
            while 2 * i + 1 < heap.count {
                var child = 2 * i + 1
                if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
                if heap[i] <= heap[child] { return }
                heap.swapAt(i, child)
                i = child
            }
        }
        for i in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(i) }
        for value in values.dropFirst(k) where value > heap[0] {
            heap[0] = value
            sink(0)
        }
        return heap[0]
    }

    /// Top-p: a token stays if those before it, from the likeliest on, have less than `topP` of the probability. Of tokens with equal scores the
    /// higher id comes first, as in transformers, whose ascending sort leaves ties in the order of their ids.
    private func keepLikeliest(_ weights: inout [Float], _ scores: [Float]) {
        var (total, count) = (0.0, 0)
        for weight in weights where weight > 0 {
            total += Double(weight)
            count += 1
        }
        // Tokens at or below the n-th part of what is cut off hold no more than that together, so they are all cut off and need no sorting.
        let cut = (1 - rules.topP) * total / Double(max(1, count))
        var likely = weights.indices.filter { Double(weights[$0]) > cut }
        likely.sort { (scores[$0], $0) > (scores[$1], $1) }
        var kept = 0
        var mass = 0.0
        while kept < likely.count, kept == 0 || mass < rules.topP * total {
            mass += Double(weights[likely[kept]])
            kept += 1
        }
        var result = [Float](repeating: 0, count: weights.count)
        for id in likely.prefix(kept) { result[id] = weights[id] }
        weights = result
    }

    /// The token at the random number's place when the tokens' weights lie one behind the other, in the order of the ids.
    private func drawn(_ weights: [Float]) -> Int32 {
        let total = weights.reduce(0.0) { $0 + Double($1) }
        // 53 bits: a number in 0 ..< 1.
        let place = Double(mix64(key &+ position) >> 11) / Double(1 << 53) * total
        var (sum, last) = (0.0, 0)
        for (id, weight) in weights.enumerated() where weight > 0 {
            sum += Double(weight)
            last = id
            if sum > place { break }
        }
        return Int32(last)
    }
}
