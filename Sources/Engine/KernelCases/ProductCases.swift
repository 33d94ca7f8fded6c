import LorikeetDevices

extension KernelCase {
    private struct Size: Sendable {
        var m, n, k: Int
        var large = false
    }

    /// Every way in which ops ask for a product, on odd sizes and addresses, against sums in double precision.
    static let productCases: [KernelCase] = [
        Size(m: 1, n: 1, k: 1), Size(m: 3, n: 5, k: 7), Size(m: 17, n: 33, k: 65), Size(m: 64, n: 128, k: 32), Size(m: 127, n: 8, k: 192),
        Size(m: 512, n: 576, k: 576, large: true), Size(m: 301, n: 999, k: 515, large: true), Size(m: 128, n: 16, k: 4096, large: true),
    ].map { size in
        KernelCase(name: "product", detail: "\(size.m) x \(size.n) x \(size.k)", large: size.large) { comparison in
            try [(false, false), (false, true), (true, false), (true, true)].flatMap { a, b in
                try [DeviceElement.f32, comparison.element].flatMap { output in
                    // First contiguous rows at aligned addresses, overwritten; then padded rows at addresses aligned to one element, added to.
                    try [(0, Float(1), Float(0)), (3, 0.5, 1)].map { padding, alpha, beta in
                        try product(size, transposeA: a, transposeB: b, output: output, padding: padding, alpha: alpha, beta: beta, comparison)
                    }
                }
            }
        }
    }

    private static func product(
        _ size: Size, transposeA: Bool, transposeB: Bool, output: DeviceElement, padding: Int, alpha: Float, beta: Float, _ comparison: KernelComparison
    ) throws -> Deviation {
        let (m, n, k) = (size.m, size.n, size.k)
        let element = comparison.element
        let (lda, ldb, ldc) = ((transposeA ? m : k) + padding, (transposeB ? k : n) + padding, n + padding)
        var builder = CaseBuilder(target: .device(element), element: element)
        func numbers(_ count: Int, _ type: DeviceElement) -> [Float] { type.decode(type.encode(builder.numbers(count))) }
        let a = numbers((transposeA ? k : m) * lda, element)
        let b = numbers((transposeB ? n : k) * ldb, element)
        let before = numbers(m * ldc, output)
        let product = MatrixProduct(
            m: m, n: n, k: k, transposeA: transposeA, transposeB: transposeB, inputs: element, output: output, lda: lda, ldb: ldb, ldc: ldc,
            alpha: alpha, beta: beta)
        // One number beyond an aligned address where rows have a rest.
        let shift = padding > 0 ? element.bytes : 0
        let got = try comparison.withMemory((a.count + b.count) * 4 + m * ldc * 4 + 4096) { memory in
            func up(_ bytes: Int) -> Int { (bytes + 511) / 256 * 256 }
            let (atA, atB) = (memory + shift, memory + up(a.count * element.bytes) + shift)
            let atC = memory + up(a.count * element.bytes) + up(b.count * element.bytes)
            try comparison.upload(element.encode(a), to: atA)
            try comparison.upload(element.encode(b), to: atB)
            // Without beta what is there is not read: NaN stays out.
            try comparison.upload(output.encode(beta == 0 ? before.map { _ in .nan } : before), to: atC)
            try comparison.device.multiply(product, a: atA, b: atB, c: atC)
            return output.decode(try comparison.download(atC, m * ldc * output.bytes))
        }
        var wanted = [Double](repeating: 0, count: m * n)
        wanted.withUnsafeMutableBufferPointer { wanted in
            comparison.cpu.parallel(over: m) { row in
                for column in 0..<n {
                    var sum = 0.0
                    for i in 0..<k {
                        sum += Double(a[transposeA ? i * lda + row : row * lda + i]) * Double(b[transposeB ? column * ldb + i : i * ldb + column])
                    }
                    wanted[row * n + column] = Double(alpha) * sum + Double(beta) * Double(before[row * ldc + column])
                }
            }
        }
        var (worst, largest) = (0.0, 0.0)
        for (index, number) in wanted.enumerated() {
            let difference = abs(Double(got[index / n * ldc + index % n]) - number)
            worst = difference.isFinite ? max(worst, difference) : .infinity
            largest = max(largest, abs(number))
        }
        let name = "\(transposeA ? "At" : "A") \(transposeB ? "Bt" : "B") to \(output.suffix)\(padding > 0 ? ", added, odd rows and addresses" : "")"
        // Tensor cores cut float32 sums off where others round them.
        return Deviation(name: name, measured: worst / max(largest, .leastNormalMagnitude), tolerance: (output == .f32 ? 8 : 2) * output.unit)
    }
}
