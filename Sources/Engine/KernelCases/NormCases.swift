import LorikeetDevices

/// Norms of parts of rows: heads of q and k, all of q and of k, a sublayer's output.
extension KernelCase {
    private struct Rows: Sendable {
        var rows: Int
        /// Groups and columns of each part, one behind the other.
        var parts: [(groups: Int, columns: Int)]
        /// Columns behind the parts, which stay as they are.
        var behind = 0
        var inPlace = true
        /// Of the residual stream's type.
        var stream = false
        var weightOffset: Float = 0
        var large = false

        var ld: Int { parts.reduce(behind) { $0 + $1.groups * $1.columns } }
        var detail: String {
            "\(rows) rows of \(parts.map { "\($0.groups) x \($0.columns)" }.joined(separator: " | ")) + \(behind)" + (inPlace ? ", in place" : "")
                + (stream ? ", stream" : "") + (weightOffset == 0 ? "" : ", 1 + w")
        }
    }

    static let normRowsCases: [KernelCase] = [
        Rows(rows: 3, parts: [(3, 64), (1, 64)], behind: 64), Rows(rows: 5, parts: [(2, 13), (1, 13)], behind: 7, weightOffset: 1),
        Rows(rows: 2, parts: [(4, 128), (2, 128)], behind: 256), Rows(rows: 7, parts: [(1, 256), (1, 128)], behind: 128),
        Rows(rows: 3, parts: [(2, 256)], behind: 8), Rows(rows: 2, parts: [(1, 1032), (1, 520)], behind: 520), Rows(rows: 3, parts: [(1, 577)], inPlace: false),
        Rows(rows: 4, parts: [(1, 40)], inPlace: false, stream: true, weightOffset: 1), Rows(rows: 2, parts: [(1, 1100)], inPlace: false, stream: true),
        Rows(rows: 517, parts: [(16, 128), (8, 128)], behind: 1024, large: true), Rows(rows: 130, parts: [(1, 16384)], inPlace: false, large: true),
        Rows(rows: 300, parts: [(1, 2304)], inPlace: false, stream: true, weightOffset: 1, large: true),
        Rows(rows: 257, parts: [(1, 4096), (1, 1024)], behind: 1024, large: true),
    ].map { item in
        KernelCase(name: "norm_rows", detail: item.detail, large: item.large) { comparison in try comparison.compare { normRows(item, &$0) } }
    }

    /// Forward, and backward from what forward kept.
    private static func normRows(_ s: Rows, _ b: inout CaseBuilder) -> [any Op] {
        var (parts, first): ([NormPart], Int) = ([], 0)
        for (number, part) in s.parts.enumerated() {
            b.vector("w\(number)", part.columns)
            parts.append(NormPart(weight: "w\(number)", firstColumn: first, groups: part.groups, columns: part.columns))
            first += part.groups * part.columns
        }
        let groups = s.parts.reduce(0) { $0 + $1.groups }
        let role = s.stream ? CaseBuilder.Role.residual : .activation
        let (x, dy) = (b.given("x", [s.rows, s.ld], role), b.given("dy", [s.rows, s.ld]))
        let y = s.inPlace ? x : b.made("y", [s.rows, s.ld], role)
        let dx = s.inPlace ? dy : b.made("dx", [s.rows, s.ld])
        // What the parts do not cover is part of no other buffer.
        let kept = s.inPlace ? b.made("kept", [s.rows, first], role) : nil
        let inverse = b.made("1/rms", [s.rows, groups], .plain)
        b.compare(y, roundings: 3)
        if let kept { b.compare(kept, roundings: 0) }
        b.compare(inverse, roundings: 8, in: .f32)
        b.compare(dx, roundings: 4)
        return [
            NormRows(input: x, output: y, kept: kept, inverseRMS: inverse, parts: parts, epsilon: 1e-5, weightOffset: s.weightOffset),
            NormRowsBackward(dy: dy, x: kept ?? x, inverseRMS: inverse, dx: dx, parts: parts, weightOffset: s.weightOffset),
        ]
    }

    // MARK: the residual stream

    static let residualCases: [KernelCase] = [(1, 5), (3, 24), (7, 33), (300, 2048)].map { rows, columns in
        KernelCase(name: "residual", detail: "\(rows) x \(columns)", large: rows > 100) { comparison in
            try comparison.compare { b in
                let size = [rows, columns]
                let (hidden, delta, narrow) = (b.given("hidden", size, .residual), b.given("delta", size, .residual), b.given("delta, narrow", size))
                let (sum, mixed) = (b.made("sum", size, .residual), b.made("sum, narrow delta", size, .residual))
                let (gradients, dDelta) = (b.made("sum of gradients", size), b.made("d.delta", size))
                for id in [sum, mixed, gradients, dDelta] { b.compare(id, roundings: 2) }
                return [
                    Add(a: hidden, b: delta, out: sum, scale: 0.22), Add(a: hidden, b: narrow, out: mixed),
                    Add(a: narrow, b: narrow, out: gradients, isGradient: true), Convert(x: sum, out: dDelta, scale: 0.22),
                ]
            }
        }
    }
}
