import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Measures how fast the matrix products of a training step run by themselves: the limit that a step is compared with.
protocol GEMMRate {
    /// FLOP a second of the fastest product so far.
    var best: Double { get }
    /// Runs each of the forward and backward products a few times.
    mutating func measure() throws
}

/// Outputs and inputs of a step's products. A slice of the head serves for all of it: 8,192 outputs reach the same speed.
private func productSizes(_ configuration: ModelConfiguration) -> [(n: Int, k: Int)] {
    func size(_ key: String) -> Int { configuration.values[key]?.int ?? 1 }
    let (hidden, intermediate) = (configuration.hiddenSize, size("intermediate_size"))
    let (heads, headDimension) = (size("num_attention_heads"), size("head_dim"))
    let joint = (heads + 2 * size("num_key_value_heads")) * headDimension
    return [
        (joint, hidden), (hidden, heads * headDimension), (2 * intermediate, hidden), (hidden, intermediate),
        (min(8192, configuration.vocabularySize), hidden),
    ]
}

/// The matrix products of a step on the processor, alone.
struct ProcessorGEMMRate: GEMMRate {
    let sizes: [(n: Int, k: Int)]
    let tokens: Int
    let cpu: CPU
    let clock: any Clock
    let a, b, c: Buffer

    init(configuration: ModelConfiguration, tokens: Int, cpu: CPU, clock: any Clock) throws {
        sizes = productSizes(configuration)
        self.tokens = tokens
        self.cpu = cpu
        self.clock = clock
        a = try Buffer(bytes: 4 * tokens * (sizes.map { max($0.k, $0.n) }.max() ?? 1))
        b = try Buffer(bytes: 4 * (sizes.map { $0.n * $0.k }.max() ?? 1))
        c = try Buffer(bytes: 4 * tokens * (sizes.map { max($0.k, $0.n) }.max() ?? 1))
        for buffer in [a, b] {
            let values = buffer.pointer(as: Float.self)
            for i in 0..<buffer.byteCount / 4 { values[i] = Float(i % 17) * 0.1 - 0.8 }
        }
    }

    /// FLOP a second of the fastest product so far.
    private(set) var best = 0.0

    /// Runs each of the forward and backward products three times.
    mutating func measure() {
        for (n, k) in sizes {
            for backward in [false, true] {
                for _ in 0..<3 {
                    let start = clock.uptime
                    cpu.gemm(
                        transposeB: !backward, m: tokens, n: backward ? k : n, k: backward ? n : k, a: a.pointer(as: Float.self),
                        lda: backward ? n : k, b: b.pointer(as: Float.self), ldb: k, c: c.pointer(as: Float.self), ldc: backward ? k : n)
                    best = max(best, 2 * Double(tokens * n * k) / (clock.uptime - start))
                }
            }
        }
    }
}

/// The same on a card: each product in a row of ten, timed by the card's own events.
struct DeviceGEMMRate: GEMMRate {
    private(set) var best = 0.0
    private let sizes: [(n: Int, k: Int)]
    private let tokens: Int
    private let device: any Accelerator
    private let element: DeviceElement

    init(configuration: ModelConfiguration, tokens: Int, device: any Accelerator, element: DeviceElement) throws {
        sizes = productSizes(configuration)
        self.tokens = tokens
        self.device = device
        self.element = element
    }

    mutating func measure() throws {
        let widest = sizes.map { max($0.n, $0.k) }.max() ?? 1
        let activationBytes = tokens * widest * element.bytes
        let weightBytes = (sizes.map { $0.n * $0.k }.max() ?? 1) * element.bytes
        best = max(
            best,
            try device.withMemory(bytes: activationBytes) { a in
                try device.withMemory(bytes: weightBytes) { b in
                    try device.withMemory(bytes: activationBytes) { c in
                        try fill([(a, activationBytes), (b, weightBytes)])
                        return try rate(a: a, b: b, c: c)
                    }
                }
            })
    }

    private func fill(_ memory: [(address: DeviceAddress, bytes: Int)]) throws {
        // Random bits below 2: zeros would draw less power and run faster.
        let noise = (0..<(1 << 20)).map { UInt16(truncatingIfNeeded: mix64(UInt64($0))) & 0xBFFF }
        for (address, bytes) in memory {
            try noise.withUnsafeBytes { noise in
                for offset in stride(from: 0, to: bytes, by: noise.count) {
                    try device.upload(UnsafeRawBufferPointer(rebasing: noise[..<min(noise.count, bytes - offset)]), to: address + offset)
                }
            }
        }
    }

    /// Operations a second of the fastest product.
    private func rate(a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws -> Double {
        var best = 0.0
        for (n, k) in sizes {
            for backward in [false, true] {
                let product = MatrixProduct(
                    m: tokens, n: backward ? k : n, k: backward ? n : k, transposeB: !backward, inputs: element, output: element,
                    lda: backward ? n : k, ldb: k, ldc: backward ? k : n)
                for _ in 0..<3 { try device.multiply(product, a: a, b: b, c: c) }
                try device.mark()
                for _ in 0..<10 { try device.multiply(product, a: a, b: b, c: c) }
                try device.mark()
                let seconds = try device.marks().reduce(0, +) / 10
                best = max(best, 2 * Double(tokens) * Double(n * k) / seconds)
            }
        }
        return best
    }
}
