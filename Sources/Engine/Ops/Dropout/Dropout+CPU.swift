import CVector
import LorikeetDevices

/// Dropout by a stateless generator: the mask of an element is a function of (token key, module, column).
///
/// A 32-bit hash (lowbias32, Wellons 2018) gives two 16-bit numbers: of sixteen columns, eight hashes' low halves decide the
/// first eight and their high halves the last eight. An element is kept when its number reaches round(p * 65536).
enum DropoutKernels {
    /// out = mask * x / (1 - p). Overwrites out; may work in place.
    static func apply(
        x: UnsafePointer<Float>, keys: UnsafePointer<Int32>, module: Int, probability: Float, out: UnsafeMutablePointer<Float>, rows: Int,
        columns: Int, cpu: CPU
    ) {
        run(keys, module, probability, rows, columns, cpu) { index, mask in
            store8(load8(x + index) * mask, out + index)
        } rest: { index, lanes, mask in
            storePartly(loadPartly(x + index, lanes) * mask, out + index, lanes)
        }
    }

    /// out += mask * x / (1 - p).
    static func applyAdd(
        x: UnsafePointer<Float>, keys: UnsafePointer<Int32>, module: Int, probability: Float, out: UnsafeMutablePointer<Float>, rows: Int,
        columns: Int, cpu: CPU
    ) {
        run(keys, module, probability, rows, columns, cpu) { index, mask in
            store8(load8(out + index).addingProduct(load8(x + index), mask), out + index)
        } rest: { index, lanes, mask in
            storePartly(loadPartly(out + index, lanes).addingProduct(loadPartly(x + index, lanes), mask), out + index, lanes)
        }
    }

    /// The probability that sixteen bits can express.
    static func threshold(_ probability: Float) -> UInt32 { UInt32(max(0, min(65535, (probability * 65536).rounded()))) }

    @inline(__always)
    private static func run(
        _ keys: UnsafePointer<Int32>, _ module: Int, _ probability: Float, _ rows: Int, _ columns: Int, _ cpu: CPU,
        _ whole: (_ index: Int, _ mask: SIMD8<Float>) -> Void, rest: (_ index: Int, _ lanes: Int, _ mask: SIMD8<Float>) -> Void
    ) {
        let threshold = threshold(probability)
        let scale = 65536 / Float(65536 - threshold)
        let lanes = SIMD8<UInt32>(0, 1, 2, 3, 4, 5, 6, 7) &* 0x9E37_79B9
        withoutActuallyEscaping(whole) { whole in
            withoutActuallyEscaping(rest) { rest in
                cpu.parallelRanges(over: rows) { range, _ in
                    for row in range {
                        let seed = hash(SIMD8(repeating: UInt32(bitPattern: keys[row]) &+ UInt32(truncatingIfNeeded: module) &* 0x85EB_CA6B))[0]
                        var column = 0
                        // Full sixteens without a branch, then what is left.
                        while column + 16 <= columns {
                            let bits = hash(lanes &+ (seed &+ UInt32(truncatingIfNeeded: column / 2) &* 0x9E37_79B9))
                            whole(row * columns + column, keep(bits & 0xFFFF, threshold, scale))
                            whole(row * columns + column + 8, keep(bits &>> 16, threshold, scale))
                            column += 16
                        }
                        guard column < columns else { continue }
                        let bits = hash(lanes &+ (seed &+ UInt32(truncatingIfNeeded: column / 2) &* 0x9E37_79B9))
                        let left = columns - column
                        rest(row * columns + column, min(8, left), keep(bits & 0xFFFF, threshold, scale))
                        if left > 8 { rest(row * columns + column + 8, left - 8, keep(bits &>> 16, threshold, scale)) }
                    }
                }
            }
        }
    }

    /// scale where a number reaches the threshold, else 0.
    @inline(__always)
    private static func keep(_ numbers: SIMD8<UInt32>, _ threshold: UInt32, _ scale: Float) -> SIMD8<Float> {
        lorikeet_keep8(unsafeBitCast(numbers, to: SIMD8<Int32>.self), Int32(threshold), scale)
    }

    /// lowbias32 of each lane.
    @inline(__always)
    private static func hash(_ value: SIMD8<UInt32>) -> SIMD8<UInt32> {
        var x = value
        x ^= x &>> 16
        x = x &* 0x21F0_AAAD
        x ^= x &>> 15
        x = x &* 0x735A_2D97
        return x ^ (x &>> 15)
    }
}
