import LorikeetGround

/// A sequence whose KV cache is kept from one continuation to the next: of a prompt that begins as the sequence does, only the rest is read.
/// The session must not decode anything else meanwhile.
package final class CachedSequence {
    private let session: Session
    /// The tokens whose keys and values are in the cache, by position.
    private var cached: [Int32] = []
    /// Positions that the cache has.
    private var positions = 0
    /// Tokens of the last prompt that had to be read: the others were in the cache.
    package private(set) var tokensRead = 0

    package init(session: Session) { self.session = session }

    /// Frees the cache. Call it when the model has changed, e.g. when its adapter was switched on or off.
    package func forget() {
        cached = []
        positions = 0
        session.releaseCaches()
    }

    /// Continues `prompt`, which is not empty.
    ///
    /// - Parameter onToken: told each token as it is chosen; returning false ends the answer.
    /// - Returns: the new tokens, the end token among them.
    /// - Throws: as `Session.generate` does. The next call reads its whole prompt then.
    package func generate(
        _ request: GenerationRequest, rules: SamplingRules, endTokens: Set<Int32>, onToken: (Int32) -> Bool
    ) throws -> [Int32] {
        try session.check(prompt: request.prompt)
        guard !request.prompt.isEmpty, request.maxNewTokens > 0 else { return [] }
        let whole = request.prompt.count + request.maxNewTokens
        reserve(whole)
        // One token is read in any case: its logits are needed.
        let same = min(request.prompt.count - 1, zip(cached, request.prompt).prefix { $0 == $1 }.count)
        cached.removeSubrange(same...)
        tokensRead = request.prompt.count - same
        do {
            var chooser = [TokenChooser(rules, prompt: request.prompt, repetition: request.repetition)]
            var unread = Array(request.prompt.dropFirst(same))
            var answer: [Int32] = []
            while let token = try next(behind: unread, whole: whole, &chooser) {
                answer.append(token)
                guard onToken(token), !endTokens.contains(token), answer.count < request.maxNewTokens else { break }
                unread = [token]
            }
            return answer
        } catch {
            forget()
            throw error
        }
    }

    /// Makes sure that the cache has room for `count` positions. A larger cache is a new one, so its size doubles.
    private func reserve(_ count: Int) {
        // Where keys are rotated by the length of the whole sequence (LongRoPE), those of another length cannot be used.
        if count > positions || session.rotatesByLength { forget() }
        if positions == 0 {
            positions = 512
            while positions < count { positions *= 2 }
        }
    }

    /// Reads tokens behind those in the cache, in pieces of at most the session's tokens, and chooses the token after the last; nil where there are none.
    private func next(behind tokens: [Int32], whole: Int, _ chooser: inout [TokenChooser]) throws -> Int32? {
        var rows = Session.DecodingRows()
        for (offset, token) in tokens.enumerated() {
            rows.append(token, position: cached.count, slot: 0)
            cached.append(token)
            if offset == tokens.count - 1 {
                return try session.decode(rows, lengths: [whole], positions: positions, outputRows: [rows.ids.count - 1], choosers: &chooser).first
            }
            guard rows.ids.count == Session.roundedUp(session.sizes.evaluation) else { continue }
            _ = try session.decode(rows, lengths: [whole], positions: positions, outputRows: [])
            rows = Session.DecodingRows()
        }
        return nil
    }
}

extension Session {
    /// Whether the length of a whole sequence decides how its keys are rotated.
    var rotatesByLength: Bool { program(.evaluation, tokens: Self.granularity).inputs.lengths != nil }
}
