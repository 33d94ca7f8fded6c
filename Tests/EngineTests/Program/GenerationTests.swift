import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
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

    @Test func `tokens of prompts are counted as they are read`() {
        func requests(_ prompts: [[Int32]]) -> [GenerationRequest] { prompts.map { GenerationRequest(prompt: $0, maxNewTokens: 8) } }
        func prompts(_ shared: Int, _ own: Int, _ count: Int, seed: UInt64) -> [[Int32]] {
            (0..<count).map { TinyModel.tokens(shared, seed: seed) + [Int32($0)] + TinyModel.tokens(own - 1, seed: 40) }
        }
        let alike = prompts(40, 3, 4, seed: 1)
        #expect(Session.promptTokens(requests(alike), sharing: true) == 40 + 4 * 3)
        #expect(Session.promptTokens(requests(alike), sharing: false) == 4 * 43)
        // A beginning that saves less than a call of its own costs is read with each prompt.
        #expect(Session.promptTokens(requests(prompts(5, 3, 4, seed: 2)), sharing: true) == 4 * 8)
        #expect(Session.promptTokens(requests([TinyModel.tokens(50)]), sharing: true) == 50)
        // Sequences of more than 512 positions are a group of their own.
        let long = prompts(600, 3, 2, seed: 3)
        #expect(Session.promptTokens(requests(alike + long), sharing: true) == 40 + 4 * 3 + 600 + 2 * 3)
        #expect(Session.promptTokens([], sharing: true) == 0)
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

    private static let warm: SamplingRules = {
        var rules = SamplingRules()
        (rules.temperature, rules.topK, rules.topP, rules.repetitionPenalty, rules.seed) = (1.2, 30, 0.95, 1.1, 5)
        return rules
    }()

    /// Prompts of different lengths, two of them equal.
    private static let prompts = [5, 1, 17, 40, 9, 3, 28].enumerated().map { TinyModel.tokens($1, seed: UInt64($0 + 9)) } + [TinyModel.tokens(5, seed: 9)]

    @Test func `a prompt's answer is the same alone and in any batch, with any number of threads`() throws {
        // From a file: random weights depend on the threads that make them.
        let source = try ModelSource.open(URL(fileURLWithPath: #filePath).appending(path: "../../../Reference/llama").standardizedFileURL.path)
        func answers(_ slots: Int, _ threads: Int, _ prompts: [[Int32]]) throws -> [[Int32]] {
            try Session(model: Compute(cpu: CPU(threads: threads)).model(source, storage: .stored, lora: nil), maximumTokens: 32)
                .generate(prompts: prompts, maxNewTokens: 12, endTokens: [], slots: slots, rules: Self.warm)
        }
        let together = try answers(16, 2, Self.prompts)
        for (slots, threads) in [(1, 1), (3, 2), (8, 3), (16, 1)] { #expect(try answers(slots, threads, Self.prompts) == together) }
        for (prompt, answer) in zip(Self.prompts.dropLast(), together) { #expect(try answers(1, 1, [prompt]) == [answer]) }
        #expect(try Array(answers(2, 2, Self.prompts.reversed()).reversed().dropFirst().dropLast()) == Array(together.dropFirst().dropLast()))
        // The second of two equal prompts has random numbers of its own.
        #expect(together.first != together.last)
    }

    @Test func `a slot that becomes free is taken by the next prompt while others go on`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let free = try session.generate(prompts: Self.prompts, maxNewTokens: 9, endTokens: [], slots: 1)
        // Sequences of different lengths in two slots.
        let requests = Self.prompts.enumerated().map { GenerationRequest(prompt: $1, maxNewTokens: [9, 1, 4, 2, 9, 3, 1, 5][$0]) }
        var order: [Int] = []
        let answers = try session.generate(requests, rules: .greedy, endTokens: [], slots: 2) { request, _ in
            order.append(request)
            return true
        }
        for (answer, (whole, request)) in zip(answers, zip(free, requests)) { #expect(answer == Array(whole.prefix(request.maxNewTokens))) }
        // The third prompt is read before the first is finished.
        #expect((order.firstIndex(of: 2) ?? .max) < (order.lastIndex(of: 0) ?? 0))
        let none = try session.generate(
            [GenerationRequest(prompt: [], maxNewTokens: 3), GenerationRequest(prompt: [1], maxNewTokens: 0)],
            rules: .greedy, endTokens: [], slots: 2)
        #expect(none == [[], []])
    }

    @Test(arguments: [1, 3, 16])
    func `what all prompts begin with is computed once, and the answers stay the same`(slots: Int) throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        // Longer than a piece of the session's 32 rows. The fourth prompt is the shared part and one token, the last two are equal.
        let shared = TinyModel.tokens(45, seed: 3)
        let own = [6, 11, 2, 1, 19, 4, 4].enumerated().map { TinyModel.tokens($1, seed: UInt64(min($0, 5) + 60)) }
        let prompts = own.map { shared + $0 }
        let first = session.decodedRows
        let answers = try session.generate(prompts: prompts, maxNewTokens: 6, endTokens: [], slots: slots)
        let common = prompts.dropFirst().reduce(prompts[0]) { common, prompt in Array(zip(common, prompt).prefix { $0 == $1 }.map(\.0)) }.count
        #expect(common >= 45 && common <= 46)
        // A prompt's last token is always its own. After the prompt each answer takes a row for every token but its last.
        let read = min(common, 45)
        #expect(session.decodedRows - first == read + prompts.reduce(0) { $0 + $1.count - read } + 5 * prompts.count)
        for (prompt, tokens) in zip(prompts, answers) { #expect(try tokens == slow(session, prompt, 6)) }
    }

    @Test func `prompts that share too little are read one by one`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let prompts = [9, 8, 7].enumerated().map { [1, 2] + TinyModel.tokens($1, seed: UInt64($0 + 70)) }
        _ = try session.generate(prompts: prompts, maxNewTokens: 1, endTokens: [])
        #expect(session.decodedRows == prompts.reduce(0) { $0 + $1.count })
    }

    @Test func `long and short prompts together`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 64)
        let prompts = [3, 530, 7, 1100, 600].map { TinyModel.tokens($0) }
        let together = try session.generate(prompts: prompts, maxNewTokens: 5, endTokens: [])
        for (prompt, answer) in zip(prompts, together) { #expect(try session.generate(prompts: [prompt], maxNewTokens: 5, endTokens: []) == [answer]) }
    }

    @Test func `a cached sequence reads only what is new, and continues as one that is read whole`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let sequence = CachedSequence(session: session)
        var said: [Int32] = []
        func answer(_ more: [Int32], _ count: Int = 7) throws -> [Int32] {
            said += more
            let tokens = try sequence.generate(GenerationRequest(prompt: said, maxNewTokens: count), rules: Self.warm, endTokens: []) { _ in true }
            return tokens
        }
        func whole(_ count: Int = 7) throws -> [Int32] {
            try Session(model: TinyModel.model(), maximumTokens: 32)
                .generate(prompts: [said], maxNewTokens: count, endTokens: [], slots: 1, rules: Self.warm)[0]
        }
        let first = try answer(TinyModel.tokens(9))
        #expect(try sequence.tokensRead == 9 && first == whole())
        // The answer but for its last token is in the cache.
        let second = try answer(first + TinyModel.tokens(5, seed: 3))
        #expect(try sequence.tokensRead == 6 && second == whole())
        // A conversation that goes another way from the twelfth token on.
        said = Array(said.prefix(12))
        let third = try answer(TinyModel.tokens(40, seed: 4))
        #expect(try sequence.tokensRead == 40 && third == whole())
        // Asked again, the last token is read again.
        #expect(try answer([]) == third && sequence.tokensRead == 1)
        // More than the cache holds: it is made anew.
        let long = try answer(TinyModel.tokens(480, seed: 5))
        #expect(try sequence.tokensRead == said.count && long == whole())
        sequence.forget()
        #expect(try answer([]) == long && sequence.tokensRead == said.count)
    }

    @Test func `a cached sequence stops where it is told to, and goes on`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let sequence = CachedSequence(session: session)
        let prompt = TinyModel.tokens(6)
        let free = try session.generate(prompts: [prompt], maxNewTokens: 8, endTokens: [], slots: 1)[0]
        var told = 0
        let stopped = try sequence.generate(GenerationRequest(prompt: prompt, maxNewTokens: 8), rules: .greedy, endTokens: []) { _ in
            told += 1
            return told < 3
        }
        #expect(stopped == Array(free.prefix(3)))
        let ended = try sequence.generate(GenerationRequest(prompt: prompt, maxNewTokens: 8), rules: .greedy, endTokens: [free[4]]) { _ in true }
        #expect(ended == Array(free.prefix(through: free.firstIndex(of: free[4]) ?? 0)))
        #expect(throws: LorikeetError.self) {
            try sequence.generate(GenerationRequest(prompt: [99], maxNewTokens: 8), rules: .greedy, endTokens: []) { _ in true }
        }
        #expect(try sequence.generate(GenerationRequest(prompt: prompt, maxNewTokens: 8), rules: .greedy, endTokens: []) { _ in true } == free)
    }
}
