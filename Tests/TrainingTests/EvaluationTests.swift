import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import Testing

@testable import LorikeetTraining

/// The loss of held-out samples: what they share is computed once, and the result stays.
struct EvaluationTests {
    struct Mix: CustomTestStringConvertible {
        let testDescription: String
        let samples: [TokenSample]
        /// Fewer rows are computed than the samples have.
        var shares = true
    }

    /// Tokens of a text; other numbers are other texts.
    private static func text(_ number: Int, _ count: Int) -> [Int32] { (0..<count).map { Int32((number * 7919 + $0 * $0 * 31 + $0 * 17) % 150 + 3) } }

    private static func sample(_ record: Int, _ prompt: [Int32], answer: Int, tail: Int = 2) -> TokenSample {
        let ids = prompt + text(record + 1000, answer + tail)
        return TokenSample(record: record, ids: ids, trained: ids.indices.map { (prompt.count..<prompt.count + answer).contains($0) })
    }

    private static let system = text(1, 21), other = text(2, 40)

    static let mixes = [
        Mix(testDescription: "a system message", samples: (0..<40).map { sample($0, system + text($0 + 50, 3 + $0 % 9), answer: 1 + $0 % 3) }),
        Mix(
            testDescription: "different system messages, mixed",
            samples: (0..<30).map { sample($0, ($0 % 3 == 0 ? system : $0 % 3 == 1 ? other : []) + text($0 + 50, 3 + $0 % 5), answer: 2) }),
        Mix(testDescription: "the same prompt", samples: (0..<12).map { sample($0, other, answer: 1 + $0 % 4) }),
        Mix(testDescription: "nothing in common", samples: (0..<10).map { sample($0, text($0 + 20, 5 + $0), answer: 2, tail: 0) }, shares: false),
        Mix(testDescription: "one record", samples: [sample(0, system, answer: 3, tail: 0)], shares: false),
        Mix(
            testDescription: "all tokens trained, equal records, one without a loss",
            samples: (0..<6).map { TokenSample(record: $0, ids: text($0 / 2, 30), trained: (0..<30).map { $0 > 0 }) }
                + [TokenSample(record: 9, ids: text(3, 20), trained: Array(repeating: false, count: 20))]),
        Mix(testDescription: "longer than a micro-batch", samples: (0..<5).map { sample($0, text(4, 150) + text($0, 20), answer: 5) }),
    ]

    private func check(_ session: Session, _ mix: Mix, tokensPerBatch: Int) throws {
        let set = SampleSet(mix.samples)
        var found: [Int: EvaluatedSample] = [:]
        let loss = try #require(try session.loss(of: set, tokensPerBatch: tokensPerBatch, evaluated: { found[$0.index] = $0 }))
        var (sum, count) = (0.0, 0)
        for (index, sample) in mix.samples.enumerated() where sample.trainedCount > 0 {
            let alone = pack(samples: [sample], tokensPerBatch: 1024)[0]
            let expected = try session.evaluate(alone)
            let choices = try session.choices(alone)
            let result = try #require(found[index])
            found[index] = nil
            #expect(result.logProbabilities.count == expected.count && result.choices == choices && result.sample == sample)
            for (a, b) in zip(result.logProbabilities, expected) { #expect(abs(a - b) <= 5e-6 * max(1, abs(b))) }
            for value in expected { (sum, count) = (sum - Double(value), count + 1) }
        }
        #expect(found.isEmpty)
        #expect(abs(loss - sum / Double(count)) <= 5e-6 * abs(loss))
    }

    @Test(arguments: mixes, [64, 1024]) func `a loss with shared beginnings is that of samples alone`(_ mix: Mix, tokensPerBatch: Int) throws {
        let model = try Compute(cpu: CPU(threads: 2)).model(ModelSource.open(TrainerTests.llama), storage: .nf4, lora: TrainerTests.lora, seed: 5)
        for enabled in [true, false] {
            model.adapterEnabled = enabled
            try check(Session(model: model, maximumTokens: 64), mix, tokensPerBatch: tokensPerBatch)
        }
    }

    static let smollm2 = ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"]

    @Test(.enabled(if: smollm2 != nil, "set LORIKEET_SMOLLM2 to the model's path"), arguments: mixes.prefix(2))
    func `a loss of SmolLM2 with shared beginnings is that of samples alone`(_ mix: Mix) throws {
        let model = try Compute(cpu: CPU(threads: 2)).model(ModelSource.open(#require(Self.smollm2)), storage: .stored, lora: nil)
        let few = Mix(testDescription: mix.testDescription, samples: Array(mix.samples.prefix(9)))
        try check(Session(model: model, maximumTokens: 256), few, tokensPerBatch: 256)
    }

    @Test(arguments: mixes, [16, 64, 1024]) func `every sample with a loss is in one micro-batch, which has no more rows than asked`(
        _ mix: Mix, tokensPerBatch: Int
    ) throws {
        let set = SampleSet(mix.samples)
        let groups = try set.evaluationGroups(tokensPerBatch: tokensPerBatch, sharing: true)
        let members = groups.flatMap(\.families).flatMap(\.members)
        #expect(members.map(\.index).sorted() == mix.samples.indices.filter { mix.samples[$0].trainedCount > 0 })
        for group in groups { #expect(group.rows <= tokensPerBatch || group.families.count == 1 && group.families[0].members.count == 1) }
        for family in groups.flatMap(\.families) {
            let first = mix.samples[family.members[0].index].ids.prefix(family.shared)
            for member in family.members {
                let sample = mix.samples[member.index]
                #expect(sample.ids.starts(with: first) && family.shared < member.rows)
                #expect(!sample.trained.prefix(family.shared + 1).contains(true) && member.rows == sample.trained.lastIndex(of: true))
            }
        }
        let rows = groups.reduce(0) { $0 + $1.rows }
        let whole = members.reduce(0) { $0 + $1.rows }
        #expect(tokensPerBatch < 1024 || (rows < whole) == mix.shares || mix.testDescription.hasPrefix("all tokens"))
        #expect(rows <= whole)
        // Without sharing, micro-batches are those of whole samples.
        let packed = packedGroups(lengths: mix.samples.map(\.ids.count), tokensPerBatch: tokensPerBatch)
        #expect(try set.evaluationGroups(tokensPerBatch: tokensPerBatch, sharing: false).map { $0.families.map { $0.members[0].index } } == packed)
    }

    @Test func `samples of two system messages become two families`() throws {
        let groups = try SampleSet(Self.mixes[1].samples).evaluationGroups(tokensPerBatch: 1024, sharing: true)
        let shared = groups.flatMap(\.families).filter { $0.members.count >= 10 }.map(\.shared)
        #expect(shared.sorted() == [21, 40])
    }
}
