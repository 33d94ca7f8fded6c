import Glibc
import LorikeetDevices

/// Rotary positions.
enum RoPEKernels {
    /// cos, sin [rows, pairs] of position * frequency, computed in float32 as transformers does, times the attention scale.
    ///
    /// - Parameter lengths: see `RoPEAngles`.
    static func table(
        _ table: RoPETable, positions: UnsafePointer<Int32>, lengths: UnsafePointer<Int32>? = nil, cos: UnsafeMutablePointer<Float>,
        sin: UnsafeMutablePointer<Float>, rows: Int
    ) {
        let pairs = table.inverseFrequencies.count
        for row in 0..<rows {
            var frequencies = table.inverseFrequencies
            if let long = table.long, let lengths, Int(lengths[row]) > long.originalPositions { frequencies = long.inverseFrequencies }
            for i in 0..<pairs {
                let angle = Float(positions[row]) * frequencies[i]
                cos[row * pairs + i] = cosf(angle) * table.attentionScale
                sin[row * pairs + i] = sinf(angle) * table.attentionScale
            }
        }
    }

    /// Rotates the first `headCount` heads of each row of x (row stride `ld`), or back when `inverse`: pairs of the two halves of the rotated
    /// dimensions, or of neighbours when `interleaved`.
    static func applyInPlace(
        _ x: UnsafeMutablePointer<Float>, ld: Int, rows: Int, headCount: Int, headDimension: Int, rotaryDimension: Int,
        cos: UnsafePointer<Float>, sin: UnsafePointer<Float>, inverse: Bool, interleaved: Bool = false, cpu: CPU
    ) {
        let half = rotaryDimension / 2
        let sign: Float = inverse ? -1 : 1
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                let (c, s) = (cos + row * half, sin + row * half)
                for head in 0..<headCount {
                    let first = x + row * ld + head * headDimension
                    if interleaved {
                        rotateNeighbours(first, c, s, sign, pairs: half)
                        continue
                    }
                    let second = first + half
                    eachEight(half) { i in
                        let (a, b) = (load8(first + i), load8(second + i))
                        let (cosine, sine) = (load8(c + i), load8(s + i) * sign)
                        store8(a * cosine - b * sine, first + i)
                        store8(b * cosine + a * sine, second + i)
                    } rest: { i, n in
                        let (a, b) = (loadPartly(first + i, n), loadPartly(second + i, n))
                        let (cosine, sine) = (loadPartly(c + i, n), loadPartly(s + i, n) * sign)
                        storePartly(a * cosine - b * sine, first + i, n)
                        storePartly(b * cosine + a * sine, second + i, n)
                    }
                }
            }
        }
    }

    @inline(__always)
    private static func rotateNeighbours(
        _ x: UnsafeMutablePointer<Float>, _ cos: UnsafePointer<Float>, _ sin: UnsafePointer<Float>, _ sign: Float, pairs: Int
    ) {
        for i in 0..<pairs {
            let (a, b, cosine, sine) = (x[2 * i], x[2 * i + 1], cos[i], sin[i] * sign)
            x[2 * i] = a * cosine - b * sine
            x[2 * i + 1] = b * cosine + a * sine
        }
    }
}
