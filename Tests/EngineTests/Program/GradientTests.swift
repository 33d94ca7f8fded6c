import LorikeetGround
import Testing

@testable import LorikeetEngine

/// The whole program's gradient against finite differences of its own loss, and its independence of packing.
struct GradientTests {
    /// Of a matrix's own norm. Central differences in float32 carry an error of about loss * 1e-7 / step, which is 2e-4 here; the smallest
    /// gradient's norm is above 0.1.
    static let tolerance = 2e-2

    /// A model, a batch and its gradient.
    private struct Slope {
        let model: Model
        let session: Session
        let batch: TokenBatch
        let gradients: [Float]

        init(targets: [String]) throws {
            model = try TinyModel.model(lora: LoRASettings(r: 3, alpha: 6, targetModules: targets))
            session = try Session(model: model, maximumTokens: 64)
            batch = TinyModel.pack([TinyModel.tokens(13), TinyModel.tokens(7, seed: 2)])
            _ = try session.accumulate(batch, zeroFirst: true)
            gradients = Array(model.adapters.floats(.gradients))
        }

        private func loss() throws -> Double { try session.evaluate(batch).reduce(0) { $0 - Double($1) } }

        /// By how much the loss's slope and `gradients` disagree on each matrix, relative to the norm of its own gradient: along that gradient
        /// and along a random direction, with the other matrices at rest. Infinite for a gradient of zeros.
        func deviations(_ gradients: [Float]) throws -> [MatrixDistance] {
            let values = model.adapters.floats(.values)
            return try model.adapters.tensors.map { entry in
                let range = entry.offset..<entry.offset + entry.elementCount
                let own = Array(gradients[range])
                let norm = euclideanNorm(own)
                var worst = norm > 0 ? 0 : Double.infinity
                for direction in [own, range.map { Float(Int(mix64(UInt64($0)) % 201) - 100) / 100 }] where norm > 0 {
                    let step = 1e-2 / euclideanNorm(direction)
                    let before = Array(values)
                    func moved(_ by: Double) throws -> Double {
                        for i in range { values[i] = before[i] + Float(by) * direction[i - range.lowerBound] }
                        defer { for i in range { values[i] = before[i] } }
                        return try loss()
                    }
                    let slope = try (moved(step) - moved(-step)) / (2 * step)
                    let expected = zip(own, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
                    worst = maximumOrNaN(worst, abs(slope - expected) / (euclideanNorm(direction) * norm))
                }
                return MatrixDistance(name: entry.name, relative: worst)
            }
        }
    }

    @Test(arguments: [["q_proj", "v_proj"], ["all-linear"], ["down_proj"]])
    func `each adapter matrix's gradient is the slope of the loss`(targets: [String]) throws {
        let slope = try Slope(targets: targets)
        let deviations = try slope.deviations(slope.gradients)
        #expect(deviations.count == slope.model.adapters.tensors.count && deviations.count >= 4)
        for deviation in deviations { #expect(deviation.relative <= Self.tolerance, "\(deviation)") }
    }

    @Test func `one wrong matrix is found, however small it is`() throws {
        let slope = try Slope(targets: ["all-linear"])
        let entries = slope.model.adapters.tensors
        let norms = entries.map { euclideanNorm(slope.gradients[$0.offset..<$0.offset + $0.elementCount]) }
        let smallest = try #require(norms.indices.min { norms[$0] < norms[$1] })
        let range = entries[smallest].offset..<entries[smallest].offset + entries[smallest].elementCount
        // A factor forgotten, a sign, a transposed matrix, nothing at all, no number.
        let mistakes: [(String, ([Float]) -> [Float])] = [
            ("factor", { $0.map { $0 * 1.1 } }), ("sign", { $0.map { -$0 } }), ("order", { $0.reversed() }), ("zeros", { $0.map { _ in 0 } }),
            ("NaN", { $0.map { _ in .nan } }),
        ]
        for (name, mistake) in mistakes {
            var wrong = slope.gradients
            wrong.replaceSubrange(range, with: mistake(Array(wrong[range])))
            let found = try slope.deviations(wrong).filter { !($0.relative <= Self.tolerance) }
            #expect(found.map(\.name) == [entries[smallest].name], "\(name): \(found)")
            #expect(distances(wrong, slope.gradients, entries).filter { !($0.relative < 1e-5) }.map(\.name) == [entries[smallest].name], "\(name)")
        }
        // Which one norm over all matrices does not show: the matrix is a small share of it.
        #expect(norms[smallest] < 0.1 * euclideanNorm(slope.gradients))
    }

    @Test(arguments: [0.0, 0.3]) func `computing values again changes no bit of the gradient`(dropout: Double) throws {
        let batch = TinyModel.pack([TinyModel.tokens(20)])
        let lora = LoRASettings(r: 3, alpha: 6, dropout: dropout, targetModules: ["all-linear"])
        var results: [[Float]] = []
        let written = [
            "nothing", "norms", "norms+1", "norms+2", "nothing+2", "norms+9", "norms+1,attention-kept", "nothing+2,attention-kept", "norms+1,gates-only",
            "norms+2,gates-only", "nothing+9,gates-only",
        ]
        for policy in written.map(PassPolicy.init(rawValue:)) {
            let policy = try #require(policy)
            let model = try TinyModel.model(lora: lora)
            let session = try Session(model: model, maximumTokens: 32, passes: policy)
            _ = try session.accumulate(batch, zeroFirst: true)
            results.append(Array(model.adapters.floats(.gradients)))
        }
        #expect(results.allSatisfy { $0 == results[0] })
        #expect(results[0].contains { $0 != 0 })
    }

    @Test(arguments: [Float(0), 0.3])
    func `sixteen samples give the same gradient in one, three or sixteen micro-batches`(dropout: Float) throws {
        let samples = (0..<16).map { TinyModel.tokens(3 + $0 % 7, seed: UInt64($0 + 5)) }
        let keys = TinyModel.pack(samples).dropoutKeys
        var (gradients, entries): ([[Float]], [TrainedTensor]) = ([], [])
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
            gradients.append(Array(model.adapters.floats(.gradients)))
            entries = model.adapters.tensors
        }
        for other in gradients.dropFirst() {
            for matrix in distances(other, gradients[0], entries) { #expect(matrix.relative < 1e-5, "\(matrix)") }
        }
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
            runs.append(Array(model.adapters.floats(.gradients)))
        }
        #expect(runs[0] == runs[1])
    }
}
