import Testing

@testable import LorikeetEngine

/// The whole program's gradient against finite differences of its own loss, and its independence of packing.
struct GradientTests {
    /// Central differences in float32 carry an error of about loss * 1e-7 / step.
    static let tolerance = 2e-2

    @Test(arguments: [["q_proj", "v_proj"], ["all-linear"], ["down_proj"]])
    func `the adapters' gradient is the slope of the loss`(targets: [String]) throws {
        let model = try TinyModel.model(lora: LoRASettings(r: 3, alpha: 6, targetModules: targets))
        let session = try Session(model: model, maximumTokens: 64)
        let batch = TinyModel.pack([TinyModel.tokens(13), TinyModel.tokens(7, seed: 2)])
        _ = try session.accumulate(batch, zeroFirst: true)
        let gradients = Array(model.adapters.floats(\.gradients))
        let values = model.adapters.floats(\.values)
        func loss() throws -> Double { try session.evaluate(batch).reduce(0) { $0 - Double($1) } }
        // Along the gradient itself and along a random direction, the loss changes as the gradient says.
        for seed in 0..<2 {
            let direction = gradients.indices.map { seed == 0 ? gradients[$0] : Float(Int(mix64(UInt64($0)) % 201) - 100) / 100 }
            let length = direction.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            let step = 1e-2 / length
            let before = Array(values)
            for i in values.indices { values[i] = before[i] + Float(step) * direction[i] }
            let above = try loss()
            for i in values.indices { values[i] = before[i] - Float(step) * direction[i] }
            let below = try loss()
            for i in values.indices { values[i] = before[i] }
            let slope = (above - below) / (2 * step)
            let expected = zip(gradients, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            #expect(abs(slope - expected) <= Self.tolerance * max(abs(expected), 1), "\(slope) is not \(expected)")
        }
    }

    @Test(arguments: [0.0, 0.3]) func `computing values again changes no bit of the gradient`(dropout: Double) throws {
        let batch = TinyModel.pack([TinyModel.tokens(20)])
        let lora = LoRASettings(r: 3, alpha: 6, dropout: dropout, targetModules: ["all-linear"])
        var results: [[Float]] = []
        for policy in ["nothing", "norms", "norms+1", "norms+2", "nothing+2", "norms+9"].map(RecomputePolicy.init(rawValue:)) {
            let policy = try #require(policy)
            let model = try TinyModel.model(lora: lora)
            let session = try Session(model: model, maximumTokens: 32, recompute: policy)
            _ = try session.accumulate(batch, zeroFirst: true)
            results.append(Array(model.adapters.floats(\.gradients)))
        }
        #expect(results.allSatisfy { $0 == results[0] })
        #expect(results[0].contains { $0 != 0 })
    }

    @Test(arguments: [Float(0), 0.3])
    func `sixteen samples give the same gradient in one, three or sixteen micro-batches`(dropout: Float) throws {
        let samples = (0..<16).map { TinyModel.tokens(3 + $0 % 7, seed: UInt64($0 + 5)) }
        let keys = TinyModel.pack(samples).dropoutKeys
        var gradients: [[Float]] = []
        for parts in [1, 3, 16] {
            let model = try TinyModel.model(lora: LoRASettings(r: 3, alpha: 6, dropout: Double(dropout), targetModules: ["all-linear"]))
            let session = try Session(model: model, maximumTokens: 128)
            var row = 0
            for part in 0..<parts {
                let range = (part * 16 / parts)..<((part + 1) * 16 / parts)
                var batch = TinyModel.pack(Array(samples[range]), weight: 1.0 / 16)
                batch.dropoutKeys = Array(keys[row..<row + batch.rows])
                row += batch.rows
                _ = try session.accumulate(batch, zeroFirst: part == 0)
            }
            gradients.append(Array(model.adapters.floats(\.gradients)))
        }
        #expect(distance(gradients[0], gradients[1]) < 1e-5)
        #expect(distance(gradients[0], gradients[2]) < 1e-5)
    }

    @Test func `a packed sample's loss equals its loss alone`() throws {
        let model = try TinyModel.model()
        let session = try Session(model: model, maximumTokens: 128)
        let samples = (0..<6).map { TinyModel.tokens(4 + $0 * 3, seed: UInt64($0 + 50)) }
        let together = try session.evaluate(TinyModel.pack(samples))
        var first = 0
        for sample in samples {
            let alone = try session.evaluate(TinyModel.pack([sample])).reduce(0) { $0 + Double($1) }
            let packed = together[first..<first + sample.count - 1].reduce(0) { $0 + Double($1) }
            first += sample.count - 1
            #expect(abs(alone - packed) <= 1e-6 * abs(alone))
        }
    }

    @Test func `an adapter that is off leaves the base model`() throws {
        let model = try TinyModel.model()
        let base = try TinyModel.model(lora: nil)
        let batch = TinyModel.pack([TinyModel.tokens(15)])
        model.adapterEnabled = false
        #expect(try Session(model: model, maximumTokens: 32).evaluate(batch) == Session(model: base, maximumTokens: 32).evaluate(batch))
    }

    @Test func `the same step twice gives the same bits`() throws {
        let batch = TinyModel.pack([TinyModel.tokens(40), TinyModel.tokens(9, seed: 4)])
        var runs: [[Float]] = []
        for _ in 0..<2 {
            let model = try TinyModel.model(storage: .nf4)
            let session = try Session(model: model, maximumTokens: 64)
            _ = try session.accumulate(batch, zeroFirst: true)
            runs.append(Array(model.adapters.floats(\.gradients)))
        }
        #expect(runs[0] == runs[1])
    }

    private func distance(_ a: [Float], _ b: [Float]) -> Double {
        var (difference, norm) = (0.0, 0.0)
        for (x, y) in zip(a, b) {
            difference += Double(x - y) * Double(x - y)
            norm += Double(x) * Double(x)
        }
        return (difference / norm).squareRoot()
    }
}
