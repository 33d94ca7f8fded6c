import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetEngine

/// Texts whose common beginning is in the batch once.
struct SharedPrefixTests {
    struct Case: CustomTestStringConvertible {
        let name: String
        let family: any ModelFamily.Type
        var keys: JSONObject = [:]
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "llama", family: Llama.self), Case(name: "gemma2", family: Gemma2.self, keys: ["sliding_window": 7]),
        Case(name: "gemma3 with a window shorter than the prefix", family: Gemma3.self, keys: ["sliding_window": 5, "sliding_window_pattern": 2]),
        Case(name: "gemma3 with a window longer than the prefix", family: Gemma3.self, keys: ["sliding_window": 40, "sliding_window_pattern": 2]),
        Case(name: "ministral3", family: Ministral3.self),
    ]

    /// Families of texts: tokens that all members begin with, and the rest of each.
    private static let texts: [(shared: Int, rest: [Int])] = [(21, [15, 3, 1, 60]), (0, [9]), (1, [2, 2]), (90, [4, 33]), (0, [1])]

    private static func batches() -> (shared: TokenBatch, whole: TokenBatch) {
        var (shared, whole) = (TokenBatch(), TokenBatch())
        for (number, text) in texts.enumerated() {
            let prefix = TinyModel.tokens(text.shared, seed: UInt64(number + 70))
            let parent = prefix.isEmpty ? nil : shared.rows..<shared.rows + prefix.count
            if parent != nil { shared.append(prefix, targets: prefix.map { _ in -1 }) }
            for (member, count) in text.rest.enumerated() {
                let rest = TinyModel.tokens(count, seed: UInt64(100 * number + member + 7))
                let targets = rest.indices.map { $0 % 3 == 1 ? -1 : rest[($0 + 1) % rest.count] }
                shared.append(rest, targets: targets, parent: parent)
                whole.append(prefix + rest, targets: prefix.map { _ in -1 } + targets)
            }
        }
        return (shared, whole)
    }

    @Test(arguments: cases) func `log-probabilities and choices are those of whole texts, for any number of threads`(_ c: Case) throws {
        let (shared, whole) = Self.batches()
        #expect(shared.rows < whole.rows - 100)
        var all: [[Float]] = []
        for threads in 1...3 {
            let model = try Compute(cpu: CPU(threads: threads)).randomModel(
                FamilyFiles(c.family, c.keys).configuration, storage: .f32, lora: LoRASettings(r: 3, alpha: 6, targetModules: ["q_proj", "v_proj"]), seed: 3)
            let values = model.adapters.floats(.values)
            for i in values.indices { values[i] += 0.05 * Float(i % 21 - 10) / 10 }
            let session = try Session(model: model, maximumTokens: 64)
            #expect(session.sharesPrefixes && Session.sharesPrefixes(model.family, onCard: false))
            var forms: [[Float]] = []
            for adapter in [false, true] {
                model.adapterEnabled = adapter
                let expected = try session.evaluate(whole)
                let expectedChoices = try session.choices(whole)
                let found = try session.evaluate(shared)
                #expect(try session.choices(shared) == expectedChoices)
                #expect(found.count == expected.count)
                for (a, b) in zip(found, expected) { #expect(abs(a - b) <= 3e-5 * max(1, abs(b))) }
                let sums: [Double] = [found, expected].map { (values: [Float]) -> Double in values.reduce(0.0) { $0 + Double($1) } }
                #expect(abs(sums[0] - sums[1]) <= 5e-6 * abs(sums[1]))
                #expect(try session.evaluate(shared) == found)
                forms.append(found)
            }
            #expect(forms[0] != forms[1])
            all.append(forms[1])
        }
        // Workers' shares of a product have other sizes with another number of threads, and OpenBLAS may then sum in another order.
        for other in all.dropFirst() {
            #expect(other.count == all[0].count)
            for (a, b) in zip(other, all[0]) { #expect(abs(a - b) <= 3e-5 * max(1, abs(b))) }
        }
    }

    @Test(arguments: [BaseStorage.f32, .bf16, .nf4]) func `a random model is the same for any number of threads`(storage: BaseStorage) throws {
        func weights(_ threads: Int) throws -> [UInt32] {
            let model = try TinyModel.model(lora: nil, storage: storage, threads: threads)
            return model.family.weights().flatMap { declaration -> [UInt32] in
                guard let matrix = model.weights.matrix(declaration.tensor) else { return [] }
                var values = [Float](repeating: 0, count: matrix.rows * matrix.columns)
                matrix.expand(rows: 0..<matrix.rows, into: &values)
                return values.map(\.bitPattern)
            }
        }
        let one = try weights(1)
        #expect(one.count > 5000 && Set(one).count > 8)
        for threads in [2, 3, 7] { #expect(try weights(threads) == one) }
    }

    @Test func `choices are the likeliest tokens`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 64)
        let batch = TinyModel.pack([TinyModel.tokens(12), TinyModel.tokens(7, seed: 9)])
        _ = try session.evaluate(batch)
        let choices = try #require(try session.choices(batch))
        let rows = batch.targets.indices.filter { batch.targets[$0] >= 0 }
        let logits = try session.logits(batch, rows: rows)
        for (place, choice) in choices.enumerated() {
            let row = logits[place * 53..<(place + 1) * 53]
            #expect(Int(choice) == row.indices.max { row[$0] < row[$1] }.map { $0 - row.startIndex })
        }
        #expect(choices.count == rows.count)
    }

    @Test(arguments: cases) func `gradients are those of whole texts, and have the same bits each time`(_ c: Case) throws {
        let (shared, whole) = Self.batches()
        let model = try Compute(cpu: CPU(threads: 2)).randomModel(
            FamilyFiles(c.family, c.keys).configuration, storage: .f32, lora: LoRASettings(r: 3, alpha: 6, targetModules: ["all-linear"]), seed: 3)
        let values = model.adapters.floats(.values)
        for i in values.indices { values[i] += 0.05 * Float(i % 21 - 10) / 10 }
        let session = try Session(model: model, maximumTokens: 64, passes: #require(PassPolicy(rawValue: "norms+1")))
        func gradients(_ batch: TokenBatch) throws -> (loss: Double, values: [Float]) {
            var batch = batch
            batch.setWeight(1 / Float(batch.trainedRows))
            let loss = try session.accumulate(batch, zeroFirst: true).lossSum
            return (loss, Array(model.adapters.floats(.gradients)))
        }
        let (expected, found) = (try gradients(whole), try gradients(shared))
        #expect(abs(found.loss - expected.loss) <= 5e-6 * expected.loss)
        for tensor in model.adapters.tensors {
            let range = tensor.offset..<tensor.offset + tensor.elementCount
            let (a, b) = (found.values[range], expected.values[range])
            let distance = zip(a, b).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }.squareRoot()
            let length = b.reduce(0.0) { $0 + Double($1 * $1) }.squareRoot()
            #expect(length > 0 && distance <= 2e-5 * length, "\(tensor.name): \(distance / length)")
        }
        #expect(try gradients(shared).values == found.values)
    }

    @Test func `a segment goes on from a whole one`() throws {
        let session = try Session(model: TinyModel.model(), maximumTokens: 64)
        var good = TokenBatch(sequence: TinyModel.tokens(5))
        good.append(TinyModel.tokens(4, seed: 2), parent: 0..<5)
        #expect(try session.evaluate(good).count == 7)
        let mistakes: [(inout TokenBatch) -> Void] = [
            { $0.parents[5] = 6 }, { $0.parents[7] = -1 }, { $0.parents = $0.parents.map { $0 < 0 ? -1 : 9 } },
            { $0.parents = $0.parents.map { $0 < 0 ? -1 : 1 } },
            { for row in 5..<9 { $0.positions[row] -= 1 } }, { for row in 5..<9 { $0.positions[row] += 1 } }, { $0.parents[0] = -2 },
            { $0.parents.removeLast() },
            { $0.append([1], parent: 5..<9) },
        ]
        for mistake in mistakes {
            var wrong = good
            mistake(&wrong)
            #expect(throws: LorikeetError.self) { try session.evaluate(wrong) }
        }
    }

    /// A query of a segment that shares its first rows: its own rows see what they would in the whole text.
    @Test func `planned pairs of shared segments are those of whole ones less the shared queries`() {
        let lengths = SegmentLengths(counts: [36: 1, 40: 1, 21: -1])
        func pairs(_ n: Int, _ window: Int) -> Int { (1...n).reduce(0) { $0 + min($1, window) } }
        for window in [4, 21, 30, 100] {
            let expected = Double(pairs(36, window) + pairs(40, window) - pairs(21, window)) / Double(15 + 19 + 21)
            #expect(abs(lengths.keysPerQuery(window: window) - expected) < 1e-9)
        }
    }
}
