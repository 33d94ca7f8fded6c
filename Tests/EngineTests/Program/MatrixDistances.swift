@testable import LorikeetEngine

/// How far one adapter matrix of two gradients is apart.
struct MatrixDistance: CustomStringConvertible {
    let name: String
    /// L2 norm of the difference, relative to the matrix's own norm: a large matrix hides nothing of a small one. NaN stays NaN, which is
    /// below no limit.
    let relative: Double

    var description: String { "\(name): \(relative)" }
}

/// Each matrix by itself.
func distances(_ a: [Float], _ b: [Float], _ entries: [TrainedTensor]) -> [MatrixDistance] {
    entries.map { entry in
        let range = entry.offset..<entry.offset + entry.elementCount
        let difference = euclideanNorm(range.map { a[$0] - b[$0] })
        let norm = euclideanNorm(b[range])
        return MatrixDistance(name: entry.name, relative: norm > 0 ? difference / norm : difference == 0 ? 0 : .infinity)
    }
}

func euclideanNorm(_ values: some Sequence<Float>) -> Double { values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }
