import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// What the two proofs make of numbers: they pass on evidence alone.
struct ComparisonTests {
    private func difference(_ x: [[Float]], _ y: [[Float]], vocabulary: (x: Int, y: Int) = (3, 3)) -> LogitDifference {
        LogitRecord.difference(x, y, vocabulary: vocabulary)
    }

    @Test func `equal logits pass, and the figures are those of the rows`() {
        let same = difference([[1, 2, -8, 4, 5, 6]], [[1, 2, -8, 4, 5, 6]])
        #expect(same.verdict(.float32) == .pass && same.maximum == 0 && same.largestLogit == 8 && same.sameChoice == 1 && same.rows == 2)
        let near = difference([[0, 10, 0], [0, 0, 10]], [[0, 10.03, 0], [0, 0, 10]])
        #expect(abs(near.maximum - 0.03) < 1e-5 && abs(near.mean - 0.03 / 6) < 1e-6)
        #expect(near.verdict(.float16) == .pass && near.verdict(.float32) == .fail)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity]) func `a logit that is not finite fails, on either side and at any place`(bad: Float) {
        for place in 0..<6 {
            var broken: [Float] = [1, 2, 3, 4, 5, 6]
            broken[place] = bad
            for (x, y) in [([1, 2, 3, 4, 5, 6], broken), (broken, [1, 2, 3, 4, 5, 6]), (broken, broken)] as [([Float], [Float])] {
                for precision in [MergePrecision.float32, .float16, .bfloat16] { #expect(difference([x], [y]).verdict(precision) == .fail) }
                #expect(difference([x], [y]).unusableRows == 1 && difference([x], [y]).rows == 1)
            }
        }
        let all = difference([[1, 2, 3]], [[bad, bad, bad]])
        #expect(all.verdict(.bfloat16) == .fail && all.rows == 0 && all.sameChoice == nil)
    }

    @Test func `rows that only one model has fail`() {
        #expect(difference([[1, 2, 3]], [[]]).verdict(.float32) == .fail)
        #expect(difference([[1, 2, 3], [1, 2, 3]], [[1, 2, 3], [1, 2, 3, 4, 5, 6]]).verdict(.float32) == .fail)
        // Another vocabulary, though as many logits.
        #expect(difference([[1, 2, 3, 4, 5, 6]], [[1, 2, 3, 4, 5, 6]], vocabulary: (3, 2)).verdict(.float32) == .fail)
    }

    @Test func `nothing compared is not tested, which is no pass`() {
        for empty in [difference([], []), difference([[], []], [[], []])] {
            #expect(empty.verdict(.float32) == .notTested && empty.verdict(.float32).json == .null && empty.sameChoice == nil)
        }
    }

    @Test func `another choice on most rows fails, however near the logits are`() {
        // Differences within bfloat16's tolerance.
        let (a, b): ([Float], [Float]) = ([10, 9.9, 0], [9.9, 10, 0])
        #expect(difference([a, a, a], [b, b, a]).verdict(.bfloat16) == .fail)
        #expect(difference([a, a, a], [b, b, b]).verdict(.bfloat16) == .fail)
        #expect(difference([a, a, a], [b, a, a]).verdict(.bfloat16) == .pass)
    }

    @Test func `transfer passes on two finite losses, of which the merged one is not worse than allowed`() {
        func verdict(_ trained: Double?, _ merged: Double?, _ failure: String? = nil) -> Verdict {
            transferVerdict(
                trained: FormResult(loss: trained, answersRight: nil, answers: []),
                merged: FormResult(loss: merged, answersRight: nil, answers: [], failure: failure), tolerance: 0.05)
        }
        #expect(verdict(1, 1.04) == .pass && verdict(1, 0.5) == .pass && verdict(1, 1.06) == .fail)
        #expect(verdict(nil, nil) == .notTested && verdict(1, nil) == .notTested && verdict(nil, 1) == .notTested)
        for bad in [Double.nan, .infinity, -.infinity] { #expect(verdict(bad, 1) == .fail && verdict(1, bad) == .fail && verdict(bad, bad) == .fail) }
        #expect(verdict(1, 1, "no answers") == .fail)
        #expect([Verdict.pass, .fail, .notTested].map(\.json) == [true, false, .null])
    }

    @Test func `a session whose weights are NaN fails against one whose are not`() throws {
        let lora = LoRASettings(r: 2, alpha: 4, targetModules: ["q_proj"])
        let model = try Compute(cpu: CPU(threads: 1)).model(ModelSource.open(MergeTests.llama), storage: .stored, lora: lora)
        let session = try Session(model: model, maximumTokens: 32)
        let samples = (0..<3).map { number in
            TokenSample(record: number, ids: (0..<9).map { Int32(number * 9 + $0) }, trained: (0..<9).map { $0 > 2 })
        }
        let record = try LogitRecord(of: session, samples: samples, rowsOfSample: 4)
        #expect(try record.difference(from: session).verdict(.float32) == .pass)
        model.adapters.floats(.values).update(repeating: .nan)
        let broken = try record.difference(from: session)
        #expect(broken.verdict(.bfloat16) == .fail && broken.unusableRows == 12)
        // And the loss that transfer compares is no number.
        #expect(try session.evaluate(TokenBatch(sequence: samples[0].ids)).contains { !$0.isFinite })
    }
}
