import LorikeetGround

/// A sequence to be continued.
package struct GenerationRequest: Sendable {
    package var prompt: [Int32]
    /// The most new tokens.
    package var maxNewTokens: Int
    /// How many sequences with the same prompt came before: see `TokenChooser`.
    package var repetition: Int

    package init(prompt: [Int32], maxNewTokens: Int, repetition: Int = 0) {
        self.prompt = prompt
        self.maxNewTokens = maxNewTokens
        self.repetition = repetition
    }
}

extension Session {
    /// Continuations of prompts that all have the same limit; prompts that are equal count as repetitions of the first.
    package func generate(
        prompts: [[Int32]], maxNewTokens: Int, endTokens: Set<Int32>, slots: Int = 16, rules: SamplingRules = .greedy,
        onToken: (Int, Int32) throws -> Bool = { _, _ in true }
    ) throws -> [[Int32]] {
        var asked: [[Int32]: Int] = [:]
        let requests = prompts.map { prompt in
            let repetition = asked[prompt, default: 0]
            asked[prompt] = repetition + 1
            return GenerationRequest(prompt: prompt, maxNewTokens: maxNewTokens, repetition: repetition)
        }
        return try generate(requests, rules: rules, endTokens: endTokens, slots: slots, onToken: onToken)
    }

    /// Continuations of prompts, several at a time against one KV cache. When a sequence ends, the next prompt takes its place. What all prompts
    /// begin with (a system message, say) is computed once.
    ///
    /// - Parameters:
    ///   - rules: how tokens are chosen.
    ///   - endTokens: a sequence ends with the first of these, which is part of the result.
    ///   - slots: sequences at a time.
    ///   - onToken: told (request's index, token) as each token is chosen; returning false stops that sequence, and what it throws ends them all.
    /// - Returns: the new tokens of each request, in the requests' order.
    /// - Throws: exit 2 for a prompt's token id that the embedding table does not have; exit 1 where logits are not finite, for then no
    ///   token can be chosen.
    package func generate(
        _ requests: [GenerationRequest], rules: SamplingRules, endTokens: Set<Int32>, slots: Int, onToken: (Int, Int32) throws -> Bool = { _, _ in true }
    ) throws -> [[Int32]] {
        try requests.forEach { try check(prompt: $0.prompt) }
        var results: [[Int32]] = Array(repeating: [], count: requests.count)
        defer { releaseCaches() }
        for group in Self.groups(requests) {
            let positions = Self.roundedUp(group.map { requests[$0].positions }.max() ?? 1)
            let shared = rotatesByLength ? [] : Self.sharedPrefix(group.map { requests[$0].prompt })
            var sequences = RunningSequences(session: self, slots: min(max(1, slots), group.count), positions: positions)
            try sequences.share(shared)
            var waiting = group[...]
            while true {
                // Reading a prompt alone costs almost as much as reading several.
                if !waiting.isEmpty, sequences.free.count >= min(waiting.count, max(1, slots / 4)) {
                    let next = waiting.prefix(sequences.free.count)
                    waiting = waiting.dropFirst(next.count)
                    try sequences.start(next.map { ($0, requests[$0]) }, rules: rules)
                } else if sequences.isEmpty {
                    break
                } else {
                    try sequences.step()
                }
                for (request, token) in sequences.chosen {
                    results[request].append(token)
                    let goesOn = try onToken(request, token)
                    if !goesOn || endTokens.contains(token) || results[request].count >= requests[request].maxNewTokens { sequences.end(request) }
                }
            }
        }
        return results
    }

    /// The tokens that all prompts begin with, but for each prompt's last, whose logits are needed; empty where computing them once saves too little.
    package static func sharedPrefix(_ prompts: [[Int32]]) -> ArraySlice<Int32> {
        guard let first = prompts.first else { return [] }
        let length = prompts.reduce(first.count) { shortest, prompt in
            min(shortest, prompt.count - 1, zip(first, prompt).prefix { $0 == $1 }.count)
        }
        // A call of its own expands the weights once more, which costs as much as reading some tokens.
        return length * (prompts.count - 1) >= granularity ? first.prefix(length) : []
    }

    /// Tokens of the requests' prompts that `generate` reads: what those of one group begin with counts once.
    ///
    /// - Parameter sharing: false where the length of a whole sequence decides how its keys are rotated (LongRoPE), so that nothing is shared.
    package static func promptTokens(_ requests: [GenerationRequest], sharing: Bool) -> Int {
        groups(requests).reduce(0) { sum, group in
            let prompts = group.map { requests[$0].prompt }
            let shared = sharing ? sharedPrefix(prompts).count : 0
            return prompts.reduce(sum + shared) { $0 + $1.count - shared }
        }
    }

    /// Before the first prompt is read: a later one must not be refused when earlier ones have been answered.
    func check(prompt: [Int32]) throws {
        var rows = DecodingRows()
        for (position, id) in prompt.enumerated() { rows.append(id, position: position, slot: 0) }
        try rows.check(vocabulary: model.family.vocabularySize, slots: 1, maximumPositions: max(1, prompt.count), outputRows: [])
    }

    /// Indices of the requests, grouped by length: at most 512 positions, at most 1,024, and so on, doubling. Each slot of the cache is as long as
    /// the group's longest sequence needs, so short sequences get no slots as long as a long one's. Requests without a prompt, or for no token, are
    /// in no group.
    private static func groups(_ requests: [GenerationRequest]) -> [[Int]] {
        var groups: [Int: [Int]] = [:]
        for (index, request) in requests.enumerated() where !request.prompt.isEmpty && request.maxNewTokens > 0 {
            var limit = 512
            while limit < request.positions { limit *= 2 }
            groups[limit, default: []].append(index)
        }
        return groups.sorted { $0.key < $1.key }.map(\.value)
    }

    /// The next token of each chooser from its row of logits [choosers, V].
    ///
    /// - Throws: exit 1 where logits are not finite.
    func choose(_ logits: UnsafeBufferPointer<Float>, _ choosers: inout [TokenChooser]) throws -> [Int32] {
        let vocabulary = model.family.vocabularySize
        var results = [Result<Int32, any Error>](repeating: .success(0), count: choosers.count)
        choosers.withUnsafeMutableBufferPointer { choosers in
            results.withUnsafeMutableBufferPointer { results in
                model.cpu.parallel(over: choosers.count) { row in
                    let own = UnsafeBufferPointer(rebasing: logits[row * vocabulary..<(row + 1) * vocabulary])
                    results[row] = Result { try choosers[row].choose(own) }
                }
            }
        }
        return try results.map { try $0.get() }
    }
}

extension GenerationRequest {
    /// Positions that the sequence may come to have.
    fileprivate var positions: Int { prompt.count + maxNewTokens }
}

/// Sequences that are being continued, each in a slot of the KV cache.
private struct RunningSequences {
    let session: Session
    /// Positions that the cache holds of each slot.
    let positions: Int

    private struct Sequence {
        let request: Int
        var chooser: TokenChooser
        /// Positions in the cache; the token after them was chosen and is not there yet.
        var length: Int
        var last: Int32 = 0
    }

    private var slots: [Sequence?]
    /// Positions at the start of every slot that are those of all prompts: sequences neither read nor overwrite them.
    private var shared = 0
    /// Positions that each slot's sequence may come to have: known before its first key is rotated and cached.
    private var whole: [Int]
    /// The tokens that the last call chose, and for which requests.
    private(set) var chosen: [(request: Int, token: Int32)] = []

    init(session: Session, slots: Int, positions: Int) {
        self.session = session
        self.positions = positions
        self.slots = Array(repeating: nil, count: slots)
        whole = Array(repeating: 1, count: slots)
    }

    /// Slots without a sequence.
    var free: [Int] { slots.indices.filter { slots[$0] == nil } }
    var isEmpty: Bool { slots.allSatisfy { $0 == nil } }

    mutating func end(_ request: Int) {
        for slot in slots.indices where slots[slot]?.request == request { slots[slot] = nil }
    }

    /// Reads the tokens that all prompts begin with and puts their keys and values into every slot.
    mutating func share(_ prefix: ArraySlice<Int32>) throws {
        guard !prefix.isEmpty else { return }
        var rows = Session.DecodingRows()
        for (position, id) in prefix.enumerated() {
            rows.append(id, position: position, slot: 0)
            guard rows.ids.count == Session.roundedUp(session.sizes.evaluation) || position == prefix.count - 1 else { continue }
            _ = try session.decode(rows, lengths: whole, positions: positions, outputRows: [])
            rows = Session.DecodingRows()
        }
        try session.spreadCache(positions: prefix.count)
        shared = prefix.count
    }

    /// Gives each request a free slot, reads its prompt, in pieces of at most the session's tokens, and chooses its first token.
    mutating func start(_ requests: [(index: Int, request: GenerationRequest)], rules: SamplingRules) throws {
        chosen = []
        let places = zip(free, requests).map { ($0, $1.index, $1.request) }
        for (slot, index, request) in places {
            let chooser = TokenChooser(rules, prompt: request.prompt, repetition: request.repetition)
            slots[slot] = Sequence(request: index, chooser: chooser, length: request.prompt.count)
            whole[slot] = request.positions
        }
        var rows = Session.DecodingRows()
        var ends: [(slot: Int, row: Int)] = []
        for (slot, _, request) in places {
            for (position, id) in request.prompt.enumerated().dropFirst(shared) {
                if position == request.prompt.count - 1 { ends.append((slot, rows.ids.count)) }
                rows.append(id, position: position, slot: slot)
                guard rows.ids.count == Session.roundedUp(session.sizes.evaluation) else { continue }
                try decode(rows, ends)
                (rows, ends) = (Session.DecodingRows(), [])
            }
        }
        if !rows.ids.isEmpty { try decode(rows, ends) }
    }

    /// One new token for each sequence.
    mutating func step() throws {
        chosen = []
        var rows = Session.DecodingRows()
        var ends: [(slot: Int, row: Int)] = []
        for slot in slots.indices {
            guard let sequence = slots[slot] else { continue }
            ends.append((slot, rows.ids.count))
            rows.append(sequence.last, position: sequence.length, slot: slot)
            slots[slot]?.length += 1
        }
        try decode(rows, ends)
    }

    /// Runs rows, and chooses the token after each of `ends`.
    private mutating func decode(_ rows: Session.DecodingRows, _ ends: [(slot: Int, row: Int)]) throws {
        var choosers = ends.compactMap { slots[$0.slot]?.chooser }
        let tokens = try session.decode(rows, lengths: whole, positions: positions, outputRows: ends.map(\.row), choosers: &choosers)
        for (i, end) in ends.enumerated() {
            slots[end.slot]?.chooser = choosers[i]
            slots[end.slot]?.last = tokens[i]
            if let request = slots[end.slot]?.request { chosen.append((request, tokens[i])) }
        }
    }
}
