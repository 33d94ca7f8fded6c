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
                        let seed = hash(UInt32(bitPattern: keys[row]) &+ UInt32(truncatingIfNeeded: module) &* 0x85EB_CA6B)
                        var column = 0
                        while column < columns {
                            let first = seed &+ UInt32(truncatingIfNeeded: column / 2) &* 0x9E37_79B9
                            let bits = hash(lanes &+ first)
                            for half in 0..<2 {
                                let at = column + 8 * half
                                guard at < columns else { break }
                                let numbers = half == 0 ? bits & 0xFFFF : bits &>> 16
                                let mask = lorikeet_keep8(unsafeBitCast(numbers, to: SIMD8<Int32>.self), Int32(threshold), scale)
                                if at + 8 <= columns { whole(row * columns + at, mask) } else { rest(row * columns + at, columns - at, mask) }
                            }
                            column += 16
                        }
                    }
                }
            }
        }
    }

    @inline(__always)
    private static func hash(_ value: SIMD8<UInt32>) -> SIMD8<UInt32> {
        var x = value
        x ^= x &>> 16
        x = x &* 0x21F0_AAAD
        x ^= x &>> 15
        x = x &* 0x735A_2D97
        return x ^ (x &>> 15)
    }

    private static func hash(_ value: UInt32) -> UInt32 {
        var x = value
        x ^= x >> 16
        x = x &* 0x21F0_AAAD
        x ^= x >> 15
        x = x &* 0x735A_2D97
        return x ^ (x >> 15)
    }
}
