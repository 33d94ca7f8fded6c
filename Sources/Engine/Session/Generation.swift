import LorikeetGround

extension Session {
    /// Greedy continuations of prompts, several at a time against one KV cache.
    ///
    /// - Parameters:
    ///   - endTokens: a sequence ends with the first of these, which is part of the result.
    ///   - slots: sequences at a time.
    ///   - onToken: told (prompt's index, token) as each token is chosen; returning false stops that sequence.
    /// - Returns: the new tokens of each prompt, in the prompts' order.
    /// - Throws: exit 2 for a prompt's token id that the embedding table does not have; exit 1 where logits are not finite, for then no
    ///   token is the likeliest.
    package func generate(
        prompts: [[Int32]], maxNewTokens: Int, endTokens: Set<Int32>, slots: Int = 16, onToken: ((Int, Int32) -> Bool)? = nil
    ) throws -> [[Int32]] {
        try checkPrompts(prompts)
        var results: [[Int32]] = Array(repeating: [], count: prompts.count)
        defer { releaseCaches() }
        for first in stride(from: 0, to: prompts.count, by: slots) {
            let group = first..<min(prompts.count, first + slots)
            let longest = group.map { prompts[$0].count }.max() ?? 0
            var sequences = Sequences(
                session: self, prompts: group.map { prompts[$0] }, maxNewTokens: maxNewTokens, positions: Self.roundedUp(longest + maxNewTokens))
            var next = try sequences.readPrompts()
            var active = Array(next.indices).filter { !prompts[first + $0].isEmpty }
            for _ in 0..<maxNewTokens where !active.isEmpty {
                for slot in active { results[first + slot].append(next[slot]) }
                active = active.filter { slot in
                    let goesOn = onToken?(first + slot, next[slot]) ?? true
                    return goesOn && !endTokens.contains(next[slot]) && results[first + slot].count < maxNewTokens
                }
                if !active.isEmpty { next = try sequences.step(active, next) }
            }
        }
        return results
    }

    /// Before the first prompt is read: a later one must not be refused when earlier ones have been answered.
    private func checkPrompts(_ prompts: [[Int32]]) throws {
        for prompt in prompts {
            var rows = DecodingRows()
            for (position, id) in prompt.enumerated() { rows.append(id, position: position, slot: 0) }
            try rows.check(vocabulary: model.family.vocabularySize, slots: 1, maximumPositions: max(1, prompt.count), outputRows: [])
        }
    }

    /// The state of one group of sequences.
    private struct Sequences {
        let session: Session
        let prompts: [[Int32]]
        let positions: Int
        /// Positions of each sequence that may come to be used: known before its first key is rotated and cached.
        let whole: [Int]
        var lengths: [Int] = []

        init(session: Session, prompts: [[Int32]], maxNewTokens: Int, positions: Int) {
            self.session = session
            self.prompts = prompts
            self.positions = positions
            whole = prompts.map { $0.count + maxNewTokens }
        }

        /// Reads all prompts, in pieces of at most the session's tokens, and returns each one's first new token.
        mutating func readPrompts() throws -> [Int32] {
            lengths = prompts.map(\.count)
            var next: [Int32] = Array(repeating: 0, count: prompts.count)
            var rows = DecodingRows()
            var ends: [(slot: Int, row: Int)] = []
            for (slot, prompt) in prompts.enumerated() {
                for (position, id) in prompt.enumerated() {
                    if position == prompt.count - 1 { ends.append((slot, rows.ids.count)) }
                    rows.append(id, position: position, slot: slot)
                    guard rows.ids.count == Session.roundedUp(session.sizes.evaluation) else { continue }
                    try flush(&rows, &ends, into: &next)
                }
            }
            if !rows.ids.isEmpty { try flush(&rows, &ends, into: &next) }
            return next
        }

        private func flush(_ rows: inout DecodingRows, _ ends: inout [(slot: Int, row: Int)], into next: inout [Int32]) throws {
            let logits = try session.decode(rows, lengths: whole, positions: positions, outputRows: ends.map(\.row))
            for (i, end) in ends.enumerated() { next[end.slot] = try session.largest(logits, i) }
            rows = DecodingRows()
            ends = []
        }

        /// One new token for each active sequence.
        mutating func step(_ active: [Int], _ last: [Int32]) throws -> [Int32] {
            var rows = DecodingRows()
            for slot in active {
                rows.append(last[slot], position: lengths[slot], slot: slot)
                lengths[slot] += 1
            }
            let logits = try session.decode(rows, lengths: whole, positions: positions, outputRows: Array(active.indices))
            var next = last
            for (i, slot) in active.enumerated() { next[slot] = try session.largest(logits, i) }
            return next
        }
    }

    /// Index of the largest logit of row `row`; the lowest of equals.
    ///
    /// - Throws: exit 1 where a logit is NaN or infinite.
    private func largest(_ logits: [Float], _ row: Int) throws -> Int32 {
        let vocabulary = model.family.vocabularySize
        let range = row * vocabulary..<(row + 1) * vocabulary
        guard logits[range].allSatisfy(\.isFinite) else {
            throw LorikeetError(
                .checkFailed, "the model's logits are not finite numbers, so no token is the likeliest",
                fix: "the weights or the adapter hold NaN or infinity, or a value left the range of float16: say --compute-type float32, "
                    + "or merge or train again")
        }
        var best = range.lowerBound
        for i in range where logits[i] > logits[best] { best = i }
        return Int32(best - row * vocabulary)
    }
}
