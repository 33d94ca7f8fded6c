import LorikeetGround
import Testing

@testable import LorikeetEngine

/// A session runs nothing on numbers that its tables, caches and rows do not have.
struct BatchCheckTests {
    private static let vocabulary: Int32 = 53

    private static func batch() -> TokenBatch { TinyModel.pack([TinyModel.tokens(6), TinyModel.tokens(5, seed: 2)]) }

    @Test func `a segment restarts positions and predicts its own next token; padding rows are segments of their own`() {
        var batch = TokenBatch(sequence: [5, 6, 7], weight: 0.5)
        batch.append([8], weight: 0.5)
        batch.append([], weight: 0.5)
        batch.append([1, 2], targets: [3, 4], weight: 0.25, dropoutKeys: [70, 71])
        var whole = TokenBatch()
        (whole.ids, whole.positions, whole.segmentStart) = ([5, 6, 7, 8, 1, 2, 0, 0], [0, 1, 2, 0, 0, 1, 0, 0], [0, 0, 0, 3, 4, 4, 6, 7])
        (whole.targets, whole.weights) = ([6, 7, -1, -1, 3, 4, -1, -1], [0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0, 0])
        whole.dropoutKeys = [0, 1, 2, 3, 70, 71, 0, 0]
        whole.parents = Array(repeating: -1, count: 8)
        #expect(batch.padded(to: 8) == whole && batch.padded(to: 6) == batch && batch.padded(to: 0) == batch)
        #expect(batch.rows == 6 && batch.trainedRows == 4)
        batch.setWeight(2)
        #expect(batch.weights == Array(repeating: 2, count: 6))
    }

    struct Mistake: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// What the sentence has to say.
        let words: [String]
        let make: @Sendable (inout TokenBatch) -> Void

        init(_ name: String, _ words: [String], _ make: @escaping @Sendable (inout TokenBatch) -> Void) {
            (testDescription, self.words, self.make) = (name, words, make)
        }
    }

    private static let ids: [Int32] = [53, 54, 49_152, .max, -1, .min]

    static let mistakes: [Mistake] =
        ids.flatMap { id -> [Mistake] in
            [
                Mistake("id \(id)", ["token id \(id) of row 7", "53 rows (ids 0 to 52)", "tokenizer"]) { $0.ids[7] = id },
                Mistake("target \(id)", id == -1 ? [] : ["target \(id) of row 7", "53 rows"]) { $0.targets[7] = id },
            ]
        } + [
            Mistake("a negative position", ["position -3 of row 2 is negative"]) { $0.positions[2] = -3 },
            Mistake("a segment that starts behind its row", ["row 4", "starts at row 5"]) { $0.segmentStart[4] = 5 },
            Mistake("a segment that starts before row 0", ["starts at row -1"]) { $0.segmentStart[0] = -1 },
            Mistake("a segment with a gap", ["row 9", "starts at row 0"]) { $0.segmentStart[9] = 0 },
            Mistake("fewer positions than ids", ["11 ids"]) { $0.positions.removeLast() },
            Mistake("fewer targets than ids", ["11 ids"]) { $0.targets.removeLast() },
            Mistake("fewer weights than ids", ["11 ids"]) { $0.weights.removeLast() },
            Mistake("fewer dropout keys than ids", ["11 ids"]) { $0.dropoutKeys.removeLast() },
        ]

    @Test(arguments: mistakes) func `a batch that names what is not there is refused, and changes nothing`(_ mistake: Mistake) throws {
        let model = try TinyModel.model()
        let session = try Session(model: model, maximumTokens: 64)
        let good = try session.accumulate(Self.batch(), zeroFirst: true)
        let gradients = Array(model.adapters.floats(.gradients))
        var wrong = Self.batch()
        mistake.make(&wrong)
        // -1 says that a row has no target.
        guard !mistake.words.isEmpty else { return try #expect(session.evaluate(wrong).count == good.logProbabilities.count - 1) }
        let calls: [() throws -> Void] = [
            { _ = try session.accumulate(wrong, zeroFirst: true) }, { _ = try session.evaluate(wrong) }, { _ = try session.magnitudes(wrong) },
            { _ = try session.logits(wrong, rows: [0]) }, { _ = try session.profile(wrong) },
        ]
        for call in calls {
            let error = #expect(throws: LorikeetError.self) { try call() }
            #expect(error?.exit == .unusableInput)
            for word in mistake.words { #expect(error?.description.contains(word) == true, "\(String(describing: error))") }
        }
        #expect(Array(model.adapters.floats(.gradients)) == gradients)
        #expect(try session.accumulate(Self.batch(), zeroFirst: true).lossSum == good.lossSum)
    }

    @Test(arguments: [Int32(53), .max, -1]) func `prompts are refused before the first is answered, and good ones are answered as before`(id: Int32) throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let prompts = [TinyModel.tokens(5), TinyModel.tokens(40, seed: 3)]
        let answers = try session.generate(prompts: prompts, maxNewTokens: 4, endTokens: [], slots: 1)
        var told = 0
        let error = #expect(throws: LorikeetError.self) {
            try session.generate(prompts: prompts + [[1, id]], maxNewTokens: 4, endTokens: [], slots: 1) { _, _ in
                told += 1
                return true
            }
        }
        #expect(told == 0 && error?.exit == .unusableInput && error?.description.contains("token id \(id) of row 1") == true)
        #expect(try session.generate(prompts: prompts, maxNewTokens: 4, endTokens: [], slots: 1) == answers)
        // The last id of the table is one of it.
        #expect(try session.generate(prompts: [[Self.vocabulary - 1]], maxNewTokens: 1, endTokens: [])[0].count == 1)
    }

    @Test func `decoding is held to its cache and its rows`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 32)
        let cases: [(Session.DecodingRows, [Int], String)] = [
            (.init(ids: [1], positions: [32], slots: [0]), [0], "position 32"), (.init(ids: [1], positions: [-1], slots: [0]), [0], "position -1"),
            (.init(ids: [1], positions: [0], slots: [2]), [0], "sequence 2"), (.init(ids: [1], positions: [0], slots: [-1]), [0], "sequence -1"),
            (.init(ids: [1], positions: [0], slots: [0]), [1], "row 1"), (.init(ids: [1], positions: [0], slots: [0]), [-1], "row -1"),
        ]
        for (rows, outputs, word) in cases {
            let error = #expect(throws: LorikeetError.self) { try session.decode(rows, lengths: [32, 32], positions: 32, outputRows: outputs) }
            #expect(error?.exit == .unusableInput && error?.description.contains(word) == true, "\(String(describing: error))")
        }
        #expect(try session.decode(.init(ids: [1], positions: [31], slots: [1]), lengths: [32, 32], positions: 32, outputRows: [0]).count == 53)
    }

    @Test(arguments: [Float.nan, .infinity]) func `logits that are not finite choose no token`(bad: Float) throws {
        let model = try TinyModel.model()
        let session = try Session(model: model, maximumTokens: 32)
        #expect(try session.generate(prompts: [[1, 2, 3]], maxNewTokens: 2, endTokens: [])[0].count == 2)
        model.adapters.floats(.values).update(repeating: bad)
        let error = #expect(throws: LorikeetError.self) { try session.generate(prompts: [[1, 2, 3]], maxNewTokens: 2, endTokens: []) }
        #expect(error?.exit == .checkFailed && error?.description.contains("not finite") == true)
    }
}
