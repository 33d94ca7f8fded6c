import Glibc
import Testing

@testable import LorikeetEngine

struct GenerationTests {
    /// What greedy decoding without a cache gives: the whole sequence again for every token.
    private func slow(_ session: Session, _ prompt: [Int32], _ count: Int) throws -> [Int32] {
        var ids = prompt
        for _ in 0..<count {
            let logits = try session.logits(TinyModel.pack([ids]), rows: [ids.count - 1])
            ids.append(Int32(logits.indices.max { logits[$0] < logits[$1] } ?? 0))
        }
        return Array(ids.dropFirst(prompt.count))
    }

    @Test(arguments: [1, 3, 16])
    func `cached, batched decoding continues as recomputing everything does`(slots: Int) throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let prompts = [5, 1, 17, 40, 9].enumerated().map { TinyModel.tokens($1, seed: UInt64($0 + 9)) }
        let fast = try session.generate(prompts: prompts, maxNewTokens: 6, endTokens: [], slots: slots)
        for (prompt, tokens) in zip(prompts, fast) { #expect(try tokens == slow(session, prompt, 6)) }
    }

    @Test func `a sequence ends with an end token, which is kept`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let prompt = TinyModel.tokens(5)
        let free = try session.generate(prompts: [prompt], maxNewTokens: 6, endTokens: [])[0]
        let end = free[2]
        let stopped = try session.generate(prompts: [prompt, prompt], maxNewTokens: 6, endTokens: [end])
        let expected = Array(free.prefix(through: free.firstIndex(of: end) ?? 0))
        #expect(stopped == [expected, expected])
    }

    @Test func `evaluation and decoding agree on the logits`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 64)
        let sequence = TinyModel.tokens(12)
        let logits = try session.logits(TinyModel.pack([sequence]), rows: [4])
        let highest = Double(logits.max() ?? 0)
        let sum = logits.reduce(0.0) { $0 + exp(Double($1) - highest) }
        let expected = Double(logits[Int(sequence[5])]) - highest - log(sum)
        let measured = Double(try session.evaluate(TinyModel.pack([sequence]))[4])
        #expect(abs(measured - expected) < 1e-5)
    }
}
