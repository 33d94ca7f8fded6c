import LorikeetDevices

/// The small products of an adapter of rank r: A [r, C], B [N, r], x [T, C]; y [T, N] and product [T, r] with row strides.
enum LoRAKernels {
    /// product [T, r] = x Aᵀ.
    static func project(
        x: UnsafePointer<Float>, a: UnsafePointer<Float>, product: UnsafeMutablePointer<Float>, ldp: Int, rows: Int, columns: Int, rank: Int, cpu: CPU
    ) {
        cpu.gemm(transposeB: true, m: rows, n: rank, k: columns, a: x, lda: columns, b: a, ldb: columns, c: product, ldc: ldp)
    }

    /// y += scale * product Bᵀ.
    static func addUp(
        product: UnsafePointer<Float>, ldp: Int, b: UnsafePointer<Float>, scale: Float, y: UnsafeMutablePointer<Float>, ldy: Int, rows: Int,
        outputs: Int, rank: Int, cpu: CPU
    ) {
        cpu.gemm(
            transposeB: true, m: rows, n: outputs, k: rank, alpha: scale, a: product, lda: ldp, b: b, ldb: rank, beta: 1, c: y, ldc: ldy)
    }

    /// dB += scale * dyᵀ product;  dProduct = scale * dy B.
    static func backwardUp(
        dy: UnsafePointer<Float>, ldy: Int, product: UnsafePointer<Float>, ldp: Int, b: UnsafePointer<Float>, scale: Float,
        dB: UnsafeMutablePointer<Float>, dProduct: UnsafeMutablePointer<Float>, rows: Int, outputs: Int, rank: Int, cpu: CPU
    ) {
        cpu.gemm(
            transposeA: true, m: outputs, n: rank, k: rows, alpha: scale, a: dy, lda: ldy, b: product, ldb: ldp, beta: 1, c: dB, ldc: rank)
        cpu.gemm(m: rows, n: rank, k: outputs, alpha: scale, a: dy, lda: ldy, b: b, ldb: rank, c: dProduct, ldc: ldp)
    }

    /// dA += dProductᵀ x.
    static func backwardA(
        dProduct: UnsafePointer<Float>, ldp: Int, x: UnsafePointer<Float>, dA: UnsafeMutablePointer<Float>, rows: Int, columns: Int, rank: Int, cpu: CPU
    ) {
        cpu.gemm(transposeA: true, m: rank, n: columns, k: rows, a: dProduct, lda: ldp, b: x, ldb: columns, beta: 1, c: dA, ldc: columns)
    }

    /// dx = dProduct A, or dx += dProduct A.
    static func down(
        dProduct: UnsafePointer<Float>, ldp: Int, a: UnsafePointer<Float>, dx: UnsafeMutablePointer<Float>, adding: Bool, rows: Int, columns: Int,
        rank: Int, cpu: CPU
    ) {
        cpu.gemm(
            m: rows, n: columns, k: rank, a: dProduct, lda: ldp, b: a, ldb: columns, beta: adding ? 1 : 0, c: dx, ldc: columns)
    }
}
