import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetEngine

/// Choosing tokens, held to transformers' logits processors (Tests/Reference/make_sampling.py).
struct SamplingTests {
    private static func cases() throws -> [JSON] {
        let path = URL(fileURLWithPath: #filePath).appending(path: "../../../Reference/sampling/cases.json").standardizedFileURL.path
        return try JSON.parse(RealFiles().read(path), source: path).array ?? []
    }

    private static func rules(_ settings: JSON?) -> SamplingRules {
        var rules = SamplingRules()
        rules.temperature = settings?["temperature"]?.double ?? 1
        rules.topK = settings?["top_k"]?.int
        rules.topP = settings?["top_p"]?.double ?? 1
        rules.minP = settings?["min_p"]?.double ?? 0
        rules.repetitionPenalty = settings?["repetition_penalty"]?.double ?? 1
        return rules
    }

    private static func probabilities(_ chooser: TokenChooser, _ logits: [Float]) -> [Double] {
        let weights = logits.withUnsafeBufferPointer { chooser.weights($0) }
        let total = weights.reduce(0.0) { $0 + Double($1) }
        return weights.map { Double($0) / total }
    }

    /// float32's exponential is good to about 1e-7; probabilities are at most 1.
    private static let tolerance = 1e-6

    @Test func `probabilities are those of transformers, and the same tokens are left`() throws {
        let cases = try Self.cases()
        #expect(cases.count == 24)
        for entry in cases {
            let name = entry["name"]?.string ?? ""
            let logits = (entry["logits"]?.array ?? []).compactMap(\.double).map(Float.init)
            let seen = (entry["seen"]?.array ?? []).compactMap(\.int).map(Int32.init)
            let found = Self.probabilities(TokenChooser(Self.rules(entry["settings"]), prompt: seen), logits)
            let ids = (entry["ids"]?.array ?? []).compactMap(\.int)
            #expect(found.indices.filter { found[$0] > 0 } == ids, "\(name)")
            for (id, expected) in zip(ids, (entry["probabilities"]?.array ?? []).compactMap(\.double)) {
                #expect(abs(found[id] - expected) < Self.tolerance, "\(name): token \(id)")
            }
        }
    }

    @Test func `the penalty holds for tokens that were chosen before`() throws {
        var rules = SamplingRules()
        rules.repetitionPenalty = 4
        let logits: [Float] = [3, 2, 1, -1]
        var chooser = TokenChooser(rules, prompt: [])
        // 3, then 3/4 and 2, then 3/4, 2/4 and 1, then 3/4, 2/4, 1/4: each token once, then the first again.
        let tokens = try (0..<4).map { _ in try logits.withUnsafeBufferPointer { try chooser.choose($0) } }
        #expect(tokens == [0, 1, 2, 0])
    }

    @Test func `greedy takes the lowest of equals, and needs finite logits`() throws {
        var chooser = TokenChooser(.greedy, prompt: [1])
        #expect(try [Float](arrayLiteral: 1, 5, 5).withUnsafeBufferPointer { try chooser.choose($0) } == 1)
        for bad in [Float.nan, .infinity, -.infinity] {
            #expect(throws: LorikeetError.self) { try [1, bad].withUnsafeBufferPointer { try chooser.choose($0) } }
        }
    }

    @Test(arguments: [1, 7, 4096, 9000, 200_001]) func `the largest of a row's parts are the greedy choice`(vocabulary: Int) throws {
        let parts = LargestLogit.parts(vocabulary: vocabulary)
        let each = (vocabulary + parts - 1) / parts
        func found(_ logits: [Float]) throws -> Int32 {
            let largest = logits.withUnsafeBufferPointer { logits in
                (0..<parts).flatMap { part -> [Float] in
                    let begin = min(vocabulary, part * each)
                    guard let base = logits.baseAddress else { return [] }
                    let (value, place) = CrossEntropyKernels.largest(base + begin, min(each, vocabulary - begin))
                    return [value, Float(begin + place)]
                }
            }
            return try largest.withUnsafeBufferPointer { try TokenChooser.likeliest($0, parts: parts) }[0]
        }
        var chooser = TokenChooser(.greedy, prompt: [1])
        for seed in 0..<5 {
            // Few values, so that there are equals; one row below zero.
            let logits = (0..<vocabulary).map { Float(mix64(UInt64($0 * 5 + seed)) % 91) - (seed == 4 ? 200 : 45) }
            #expect(try found(logits) == logits.withUnsafeBufferPointer { try chooser.choose($0) })
        }
        for bad in [Float.nan, .infinity, -.infinity] {
            for place in [0, vocabulary / 2, vocabulary - 1] {
                var logits = [Float](repeating: 1, count: vocabulary)
                logits[place] = bad
                #expect(throws: LorikeetError.self) { try found(logits) }
            }
        }
    }

    @Test func `tokens come as often as their probabilities say`() throws {
        let logits: [Float] = [0, 1, -1, 2, 0.5]
        var rules = SamplingRules()
        (rules.temperature, rules.seed) = (1, 7)
        let expected = Self.probabilities(TokenChooser(rules, prompt: []), logits)
        var chooser = TokenChooser(rules, prompt: [4, 2])
        var counts = [Int](repeating: 0, count: logits.count)
        let draws = 20_000
        for _ in 0..<draws { counts[Int(try logits.withUnsafeBufferPointer { try chooser.choose($0) })] += 1 }
        // Five standard deviations.
        for (count, p) in zip(counts, expected) { #expect(abs(Double(count) - p * Double(draws)) < 5 * (Double(draws) * p * (1 - p)).squareRoot()) }
    }

    @Test func `the random numbers are a function of seed, prompt, repetition and position`() throws {
        let logits = [Float](repeating: 0, count: 1000)
        func tokens(_ seed: UInt64, _ prompt: [Int32], _ repetition: Int = 0) throws -> [Int32] {
            var rules = SamplingRules()
            (rules.temperature, rules.seed) = (1, seed)
            var chooser = TokenChooser(rules, prompt: prompt, repetition: repetition)
            return try (0..<8).map { _ in try logits.withUnsafeBufferPointer { try chooser.choose($0) } }
        }
        let first = try tokens(1, [1, 2])
        #expect(try first == tokens(1, [1, 2]) && Set(first).count > 5)
        #expect(try first != tokens(2, [1, 2]) && first != tokens(1, [2, 1]) && first != tokens(1, [1, 2], 1))
    }

    @Test func `the k-th largest is that of a sorted list`() {
        for count in [1, 2, 9, 100] {
            let values = (0..<count).map { Float(mix64(UInt64($0)) % 37) }
            for k in 1...count { #expect(TokenChooser.largest(k, of: values) == values.sorted(by: >)[k - 1]) }
        }
    }
}
