import LorikeetDevices

/// Root-mean-square normalisation of groups of columns.
enum NormRowsKernels {
    /// Rows `ld` floats apart.
    struct Rows {
        let start: UnsafeMutablePointer<Float>
        let ld: Int

        init(_ start: UnsafeMutablePointer<Float>, ld: Int) { (self.start, self.ld) = (start, ld) }

        init(_ context: borrowing CPURun, _ id: ValueID) throws { self.init(try context.floats(id), ld: context.values[id].shape[1]) }
    }

    struct Part {
        let weight: UnsafePointer<Float>
        let firstColumn, groups, columns: Int
    }

    /// Calls body(part, first column, number among all groups) for each group of a row.
    @inline(__always)
    private static func eachGroup(_ parts: [Part], _ body: (Part, Int, Int) -> Void) {
        var number = 0
        for part in parts {
            for group in 0..<part.groups {
                body(part, part.firstColumn + group * part.columns, number)
                number += 1
            }
        }
    }

    /// y = x / rms * (weight + offset) of each group, x to `kept` where given, 1/rms to `inverseRMS` [rows, all groups]. `into` may be `x`.
    static func forward(
        _ x: Rows, into y: Rows, kept: Rows?, inverseRMS: UnsafeMutablePointer<Float>, parts: [Part], epsilon: Float, weightOffset: Float,
        rows: Int, cpu: CPU
    ) {
        let groups = parts.reduce(0) { $0 + $1.groups }
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                eachGroup(parts) { part, column, number in
                    let (from, to, count) = (x.start + row * x.ld + column, y.start + row * y.ld + column, part.columns)
                    if let kept { (kept.start + row * kept.ld + column).update(from: from, count: count) }
                    let r = 1 / (sumOfProducts(from, from, count) / Float(count) + epsilon).squareRoot()
                    inverseRMS[row * groups + number] = r
                    eachEight(count) {
                        store8(load8(from + $0) * r * (load8(part.weight + $0) + weightOffset), to + $0)
                    } rest: { i, n in
                        storePartly(loadPartly(from + i, n) * r * (loadPartly(part.weight + i, n) + weightOffset), to + i, n)
                    }
                }
            }
        }
    }

    /// dx = r * (g - x * r² * mean(g x)), g = dy * (weight + offset), of each group. `dx` may be `dy`.
    static func backward(
        dy: Rows, x: Rows, inverseRMS: UnsafePointer<Float>, dx: Rows, parts: [Part], weightOffset: Float, rows: Int, cpu: CPU
    ) {
        let groups = parts.reduce(0) { $0 + $1.groups }
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                eachGroup(parts) { part, column, number in
                    let (g, h, to) = (dy.start + row * dy.ld + column, x.start + row * x.ld + column, dx.start + row * dx.ld + column)
                    var sums = SIMD8<Float>(repeating: 0)
                    eachEight(part.columns) { i in
                        sums.addProduct(load8(g + i) * (load8(part.weight + i) + weightOffset), load8(h + i))
                    } rest: { i, n in
                        sums.addProduct(loadPartly(g + i, n) * (loadPartly(part.weight + i, n) + weightOffset), loadPartly(h + i, n))
                    }
                    let r = inverseRMS[row * groups + number]
                    let factor = r * r * r * sums.sum() / Float(part.columns)
                    eachEight(part.columns) { i in
                        store8(load8(g + i) * (load8(part.weight + i) + weightOffset) * r - load8(h + i) * factor, to + i)
                    } rest: { i, n in
                        storePartly(
                            loadPartly(g + i, n) * (loadPartly(part.weight + i, n) + weightOffset) * r - loadPartly(h + i, n) * factor, to + i, n)
                    }
                }
            }
        }
    }
}
