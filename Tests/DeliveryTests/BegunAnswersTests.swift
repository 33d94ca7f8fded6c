import LorikeetDevices
import LorikeetEngine
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets
@testable import LorikeetDelivery

/// Answers that begin with what a loss has told already.
struct BegunAnswersTests {
    private static func ids(_ number: Int, _ count: Int) -> [Int32] { (0..<count).map { Int32((number * 37 + $0 * 11) % 150 + 3) } }

    private func test(_ rows: [HeldOutRow], eos: Int32) throws -> AnswerTest {
        let tokenizer = try Tokenizer(
            vocabulary: (0..<160).map { String(UnicodeScalar(UInt32($0 + 0x4E00)) ?? "?") }, merges: [], rules: TokenizerRules(.scalars),
            names: TokenNames(eos: eos))
        return try AnswerTest(rows: rows, tokenizer: tokenizer, slots: 3)
    }

    @Test func `answers are those of prompts alone, whatever the records' own answers are`() throws {
        let model = try Compute(cpu: CPU(threads: 2)).model(ModelSource.open(MergeTests.llama), storage: .stored, lora: nil)
        let session = try Session(model: model, maximumTokens: 64)
        let prompts = (0..<8).map { Self.ids($0, 4 + $0) }
        let greedy = try session.generate(prompts: prompts, maxNewTokens: 16, endTokens: [])
        // A token that ends some answers early.
        let end = greedy[0][2]
        let rows = prompts.enumerated().map { HeldOutRow(record: $0, promptIDs: $1, promptText: "", answer: "\u{4E05}") }
        let test = try test(rows, eos: end)
        #expect(test.maxNewTokens == 16)
        let expected = try test.answers(of: session)
        // Record by record: the model's own answer, a part of it, another one, another prompt, none.
        let answers = greedy.enumerated().map { number, tokens -> [Int32] in
            switch number % 4 {
            case 0: tokens
            case 1: Array(tokens.prefix(5))
            case 2: Array(tokens.prefix(2)) + Self.ids(number, 3)
            default: Self.ids(number, 3)
            }
        }
        var begun = BegunAnswers(test)
        for (number, answer) in answers.enumerated() where number != 7 {
            let prompt = number == 6 ? Self.ids(70, 9) : prompts[number]
            let ids = prompt + answer
            let sample = TokenSample(record: number, ids: ids, trained: ids.indices.map { $0 >= prompt.count || number == 5 && $0 == 2 })
            var batch = TokenBatch()
            batch.append(ids, targets: ids.indices.map { $0 + 1 < ids.count && sample.trained[$0 + 1] ? ids[$0 + 1] : -1 })
            _ = try session.evaluate(batch)
            begun.add(sample, choices: try #require(try session.choices(batch)))
        }
        for (number, tokens) in begun.tokens.enumerated() { #expect(greedy[number].starts(with: tokens)) }
        let counts: [Int] = begun.tokens.map { (tokens: [Int32]) in tokens.count }
        #expect(
            counts[0] == (greedy[0].firstIndex(of: end) ?? -9) + 1 && counts[1] >= 1 && counts[2] >= 1 && counts[3] >= 1 && counts[5] >= 1 && counts[6] == 0
                && counts[7] == 0, "\(counts)")
        #expect(try test.answers(of: session, begun: begun.tokens) == expected)
    }
}
