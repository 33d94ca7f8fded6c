import Testing

@testable import LorikeetDevices

@Suite struct ProductGridTests {
    /// Results, depth and threads of products of a step of SmolLM2 with 512 tokens: the grid, or nil for ranges of columns.
    @Test(
        arguments: [
            (512, 576, 576, 16, ProductGrid(rows: 4, columns: 4)), (512, 576, 1536, 16, ProductGrid(rows: 4, columns: 4)),
            (512, 960, 576, 16, ProductGrid(rows: 4, columns: 4)), (512, 576, 576, 8, ProductGrid(rows: 2, columns: 4)),
            // Columns for all threads: a thread's share of B is as large as A.
            (512, 3072, 576, 4, nil),
            // A block of 1 row, or of 1 column, is a small product, which kernels for AVX-512 compute in another way.
            (41, 17, 20_000, 5, nil),
            // Two threads, and too little work.
            (512, 576, 576, 2, nil), (512, 576, 576, 1, nil), (512, 8, 576, 16, nil), (8, 576, 512, 16, nil), (512, 0, 576, 16, nil),
        ] as [(Int, Int, Int, Int, ProductGrid?)])
    func grid(m: Int, n: Int, k: Int, threads: Int, expected: ProductGrid?) {
        #expect(ProductGrid.best(m: m, n: n, k: k, threads: threads) == expected)
    }

    @Test(arguments: [(512, 576), (513, 577), (1030, 100), (40, 3000)], [3, 5, 7, 16, 64])
    func `blocks of a grid cover every result once, no more of them than threads`(size: (m: Int, n: Int), threads: Int) {
        let grid = ProductGrid.best(m: size.m, n: size.n, k: 1 << 20, threads: threads) ?? ProductGrid(rows: threads, columns: 1)
        #expect(grid.count <= threads)
        var times = [Int](repeating: 0, count: size.m * size.n)
        for number in 0..<grid.count {
            let block = grid.block(number, m: size.m, n: size.n)
            for row in block.rows { for column in block.columns { times[row * size.n + column] += 1 } }
        }
        #expect(times.allSatisfy { $0 == 1 })
    }

    @Test(arguments: [4, 5, 8, 16, 64]) func `no block of a grid is a small product`(threads: Int) {
        var grids = 0
        for m in stride(from: 1, through: 601, by: 40) {
            for n in [17, 33, 49, 97, 576, 577, 1025] {
                for k in [576, 4096, 20_000] {
                    guard let grid = ProductGrid.best(m: m, n: n, k: k, threads: threads) else { continue }
                    grids += 1
                    for number in 0..<grid.count {
                        let block = grid.block(number, m: m, n: n)
                        #expect(block.rows.count * block.columns.count * k > ProductGrid.smallProduct, "\(m) \(n) \(k) \(grid)")
                    }
                }
            }
        }
        #expect(grids > 0)
    }

    /// Numbers whose sums of products are rounded.
    private static func values(_ count: Int, _ factor: Int) -> [Float] { (0..<count).map { Float(($0 &* factor) % 1009) / 1009 - 0.5 } }

    /// C = 2 op(A) op(B) + C.
    private static func product(_ cpu: CPU, _ m: Int, _ n: Int, _ k: Int, transposed: Bool) -> [Float] {
        let (a, b) = (values(m * k, 7919), values(n * k, 104_729))
        var c = values(m * n, 31)
        cpu.gemm(
            transposeA: transposed, transposeB: !transposed, m: m, n: n, k: k, alpha: 2, a: a, lda: transposed ? m : k, b: b,
            ldb: transposed ? n : k, beta: 1, c: &c, ldc: n)
        return c
    }

    @Test(arguments: [7, 16], [false, true]) func `a product in a grid is the product`(threads: Int, transposed: Bool) {
        let (m, n, k) = (500, 561, 200)
        let cpu = CPU(threads: threads, cutsAnywhere: true)
        #expect(cpu.grid(m: m, n: n, k: k) != nil)
        let (inGrid, whole) = (Self.product(cpu, m, n, k, transposed: transposed), Self.product(CPU(threads: 1), m, n, k, transposed: transposed))
        // 400 terms of up to 0.25 in float32.
        #expect(zip(inGrid, whole).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    @Test(arguments: [(512, 576, 576), (512, 960, 576), (500, 576, 1536), (512, 576, 2048)], [false, true])
    func `kernels that sum alike everywhere give the same bits on any number of threads`(size: (m: Int, n: Int, k: Int), transposed: Bool) {
        let kernels = CPU.blasKernels
        guard BLASKernels.sumAlikeEverywhere(kernels) else { return print("skipped: OpenBLAS's kernels for \(kernels) do not sum alike everywhere") }
        let two = Self.product(CPU(threads: 2), size.m, size.n, size.k, transposed: transposed)
        for threads in [1, 3, 5, 8, 16] {
            #expect(Self.product(CPU(threads: threads), size.m, size.n, size.k, transposed: transposed) == two, "\(threads) threads")
        }
    }
}
