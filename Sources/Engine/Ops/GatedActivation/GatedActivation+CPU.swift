import Glibc
import LorikeetDevices

/// f(gate) * up over the halves of joint rows of 2 * columns floats.
enum GatedActivationKernels {
    static func forward(
        gateUp: UnsafePointer<Float>, out: UnsafeMutablePointer<Float>, rows: Int, columns: Int, activation: Activation, cpu: CPU
    ) {
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                let gate = gateUp + row * 2 * columns
                let up = gate + columns
                let out = out + row * columns
                eachEight(columns) {
                    store8(value(load8(gate + $0), activation).f * load8(up + $0), out + $0)
                } rest: { i, n in
                    storePartly(value(loadPartly(gate + i, n), activation).f * loadPartly(up + i, n), out + i, n)
                }
            }
        }
    }

    /// dgate = dout * up * f', dup = dout * f. Overwrites dGateUp.
    static func backward(
        dOut: UnsafePointer<Float>, gateUp: UnsafePointer<Float>, dGateUp: UnsafeMutablePointer<Float>, rows: Int, columns: Int,
        activation: Activation, cpu: CPU
    ) {
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                let gate = gateUp + row * 2 * columns
                let up = gate + columns
                let dGate = dGateUp + row * 2 * columns
                let dUp = dGate + columns
                let dOut = dOut + row * columns
                eachEight(columns) { i in
                    let (f, slope) = value(load8(gate + i), activation)
                    let d = load8(dOut + i)
                    store8(d * load8(up + i) * slope, dGate + i)
                    store8(d * f, dUp + i)
                } rest: { i, n in
                    let (f, slope) = value(loadPartly(gate + i, n), activation)
                    let d = loadPartly(dOut + i, n)
                    storePartly(d * loadPartly(up + i, n) * slope, dGate + i, n)
                    storePartly(d * f, dUp + i, n)
                }
            }
        }
    }

    /// f(x) and f'(x). Unused results are dropped by the compiler where this is inlined.
    @inline(__always)
    private static func value(_ x: SIMD8<Float>, _ activation: Activation) -> (f: SIMD8<Float>, slope: SIMD8<Float>) {
        switch activation {
        case .silu:
            let s = 1 / (1 + exponential(-x))
            return (x * s, s * (1 + x * (1 - s)))
        case .geluTanh:
            // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))
            let k: Float = 0.797_884_56
            let cube = x * x * x
            let t = hyperbolicTangent(k * (x + 0.044_715 * cube))
            let half = 0.5 * (1 + t)
            let inner = k + (3 * 0.044_715 * k) * (x * x)
            let tanhSlope = 0.5 * x * (1 - t * t)
            return (x * half, half + tanhSlope * inner)
        case .gelu:
            // 0.5 x (1 + erf(x / sqrt 2)); no model of speed uses it, so the C library's erf will do.
            var e = SIMD8<Float>()
            for i in 0..<8 { e[i] = erff(x[i] * 0.707_106_77) }
            let density = 0.398_942_28 * exponential(-0.5 * x * x)
            let half = 0.5 * (1 + e)
            return (x * half, half + x * density)
        }
    }
}
