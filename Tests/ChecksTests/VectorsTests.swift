import LorikeetEngine
import Testing

@testable import LorikeetChecks

/// The measures by which vectors and numbers are compared.
struct VectorsTests {
    @Test func `numbers that cannot be compared are far apart`() {
        let good: [Float] = [1, 2, 3]
        #expect(Vectors.distance(good, good) == 0 && Vectors.cosine(good, good) == 1 && Vectors.relative(2, to: 2) == 0)
        #expect(abs(Vectors.distance([1, 2, 4], good) - 1 / 14.0.squareRoot()) < 1e-12)
        #expect(Vectors.relative(-1, to: 2) == 1.5 && Vectors.relative(1, to: -2) == 1.5)
        // B is 0, so A's gradient is 0 on both sides.
        #expect(Vectors.cosine([0, 0], [0, 0]) == 1 && Vectors.distance([0, 0], [0, 0]) == 0)
        func passes(_ a: [Float], _ b: [Float]) -> Bool {
            [Vectors.distance(a, b), 1 - Vectors.cosine(a, b)].contains { Deviation(name: "", measured: $0, tolerance: 1e9).passes }
        }
        for bad in [Float.nan, .infinity, -.infinity] {
            for place in 0..<3 {
                var broken = good
                broken[place] = bad
                for (a, b) in [(good, broken), (broken, good), (broken, broken)] { #expect(!passes(a, b)) }
            }
            for (a, b) in [(1, Double(bad)), (Double(bad), 1), (Double(bad), Double(bad))] {
                #expect(!Deviation(name: "", measured: Vectors.relative(a, to: b), tolerance: 1e9).passes)
            }
        }
        #expect(!passes([], []) && !passes(good, [1, 2]) && !Deviation(name: "", measured: Vectors.relative(1, to: 0), tolerance: 1e9).passes)
    }
}
