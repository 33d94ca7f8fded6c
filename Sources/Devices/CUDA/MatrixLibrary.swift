import LorikeetGround

/// cuBLASLt: matrix products on tensor cores, one plan a shape.
final class MatrixLibrary {
    private typealias Handle = OpaquePointer
    private typealias Setter = @convention(c) (Handle?, Int32, UnsafeRawPointer, Int) -> Int32
    private let layoutCreate: @convention(c) (UnsafeMutablePointer<Handle?>, Int32, UInt64, UInt64, Int64) -> Int32
    private let descriptionCreate: @convention(c) (UnsafeMutablePointer<Handle?>, Int32, Int32) -> Int32
    private let descriptionSet: Setter
    private let preferenceCreate: @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32
    private let preferenceSet: Setter
    private let heuristic:
        @convention(c) (
            Handle?, Handle?, Handle?, Handle?, Handle?, Handle?, Handle?, Int32, UnsafeMutableRawPointer, UnsafeMutablePointer<Int32>
        ) -> Int32
    private let matmul:
        @convention(c) (
            Handle?, Handle?, UnsafeRawPointer, UInt64, Handle?, UInt64, Handle?, UnsafeRawPointer, UInt64, Handle?, UInt64, Handle?,
            UnsafeRawPointer, UInt64, Int, Handle?
        ) -> Int32
    private var handle: Handle?
    private var plans: [Key: Plan] = [:]
    private let workspace: UInt64
    private let workspaceBytes: Int
    private let timer: ProductTimer
    let choices = ProductChoices()
    /// cublasLtGetVersion: ways of one version say nothing of another's.
    private let version: Int
    let path: String

    /// A product, and what its addresses are multiples of (2...256 bytes): kernels differ in what they can load at once.
    private struct Key: Hashable {
        let product: MatrixProduct
        let a, b, c: UInt32

        init(_ product: MatrixProduct, _ a: UInt64, _ b: UInt64, _ c: UInt64) {
            func alignment(_ address: UInt64) -> UInt32 { UInt32(1) << min(8, address.trailingZeroBitCount) }
            self.product = product
            (self.a, self.b, self.c) = (alignment(a), alignment(b), alignment(c))
        }

        /// What a choice is kept under: alpha and beta change nothing about it.
        func text(_ version: Int) -> String {
            let p = product
            let turned = (p.transposeA ? "t" : "n") + (p.transposeB ? "t" : "n")
            return "\(version): \(p) \(turned), leading \(p.lda) \(p.ldb) \(p.ldc), aligned \(a) \(b) \(c)"
        }
    }

    private struct Plan {
        let description: Handle?
        let a, b, c: Handle?
        /// cublasLtMatmulAlgo_t: eight 64-bit words.
        let algorithm: [UInt64]
    }

    /// Where a product is, and in what stream.
    private struct Place {
        let a, b, c: UInt64
        let stream: OpaquePointer?
    }

    /// - Parameter workspace: device memory for split sums.
    init(major: Int, folders: LibraryFolders, workspace: UInt64, workspaceBytes: Int, timer: ProductTimer) throws {
        let library = try folders.toolkit("libcublasLt", major: major, package: "nvidia-cublas")
        path = library.path
        self.timer = timer
        let version: @convention(c) () -> Int = try library.function("cublasLtGetVersion")
        self.version = version()
        self.workspace = workspace
        self.workspaceBytes = workspaceBytes
        layoutCreate = try library.function("cublasLtMatrixLayoutCreate")
        descriptionCreate = try library.function("cublasLtMatmulDescCreate")
        descriptionSet = try library.function("cublasLtMatmulDescSetAttribute")
        preferenceCreate = try library.function("cublasLtMatmulPreferenceCreate")
        preferenceSet = try library.function("cublasLtMatmulPreferenceSetAttribute")
        heuristic = try library.function("cublasLtMatmulAlgoGetHeuristic")
        matmul = try library.function("cublasLtMatmul")
        let create: @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32 = try library.function("cublasLtCreate")
        try check(create(&handle), "cublasLtCreate")
    }

    private func check(_ status: Int32, _ call: String) throws {
        guard status != 0 else { return }
        let names: [Int32: String] = [
            1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH", 11: "MAPPING_ERROR", 13: "EXECUTION_FAILED",
            14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED",
        ]
        throw LorikeetError.machine(
            "the card failed: \(call) returned \(names[status].map { "CUBLAS_STATUS_\($0)" } ?? "status \(status)")",
            // The first two are what a card without free memory gives.
            mend: status == 1 || status == 3 ? "free memory of the card" : "run the same command again: the last checkpoint is kept")
    }

    /// Row-major products through a column-major library: C' = op(B)' op(A)'.
    ///
    /// - Parameter measurable: the card runs what it is asked for now.
    private func plan(_ key: Key, _ place: Place, measurable: Bool) throws -> Plan {
        if let known = plans[key] { return known }
        let p = key.product
        // cudaDataType and cublasComputeType_t: CUDA_R_32F 0, CUDA_R_16F 2, CUDA_R_16BF 14; CUBLAS_COMPUTE_32F 68 (no TF32).
        func type(_ element: DeviceElement) -> Int32 { [0, 2, 14][Int(element.rawValue)] }
        var (description, a, b, c, preference): (Handle?, Handle?, Handle?, Handle?, Handle?)
        try check(descriptionCreate(&description, 68, 0), "cublasLtMatmulDescCreate")
        // CUBLASLT_MATMUL_DESC_TRANSA 3, _TRANSB 4; CUBLAS_OP_N 0, CUBLAS_OP_T 1.
        var (first, second): (Int32, Int32) = (p.transposeB ? 1 : 0, p.transposeA ? 1 : 0)
        try check(descriptionSet(description, 3, &first, 4), "cublasLtMatmulDescSetAttribute")
        try check(descriptionSet(description, 4, &second, 4), "cublasLtMatmulDescSetAttribute")
        let (m, n, k) = (UInt64(p.m), UInt64(p.n), UInt64(p.k))
        try check(layoutCreate(&b, type(p.inputs), p.transposeB ? k : n, p.transposeB ? n : k, Int64(p.ldb)), "cublasLtMatrixLayoutCreate")
        try check(layoutCreate(&a, type(p.inputs), p.transposeA ? m : k, p.transposeA ? k : m, Int64(p.lda)), "cublasLtMatrixLayoutCreate")
        try check(layoutCreate(&c, type(p.output), n, m, Int64(p.ldc)), "cublasLtMatrixLayoutCreate")
        try check(preferenceCreate(&preference), "cublasLtMatmulPreferenceCreate")
        var bytes = UInt64(workspaceBytes)
        try check(preferenceSet(preference, 1, &bytes, 8), "cublasLtMatmulPreferenceSetAttribute")
        // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES 5, B 6, C 7, D 8; the library's A is our B.
        for (attribute, alignment) in [(5, key.b), (6, key.a), (7, key.c), (8, key.c)] as [(Int32, UInt32)] {
            var bytes = alignment
            try check(preferenceSet(preference, attribute, &bytes, 4), "cublasLtMatmulPreferenceSetAttribute")
        }
        // cublasLtMatmulHeuristicResult_t: algorithm (64 bytes), workspace size, status, waves, four reserved words.
        let known = choices.indices[key.text(version)]
        let wanted = choices.measures || known != nil ? ProductTimer.mostWays : 1
        var results = [UInt64](repeating: 0, count: 12 * wanted)
        var count: Int32 = 0
        try check(heuristic(handle, description, b, a, c, c, preference, Int32(wanted), &results, &count), "cublasLtMatmulAlgoGetHeuristic (\(p))")
        guard count > 0 else { throw LorikeetError.machine("cuBLASLt has no way to multiply \(p)") }
        func way(_ index: Int) -> Plan { Plan(description: description, a: a, b: b, c: c, algorithm: Array(results[12 * index..<12 * index + 8])) }
        var index = known ?? 0
        if known == nil, choices.measures, measurable {
            // What is added to would grow with every trial.
            let extra = p.beta == 0 ? nil : p.m * p.ldc * p.output.bytes
            index = try timer.fastest(key.text(version), ways: Int(count), extra: extra, stream: place.stream) { candidate, scratch in
                run(p, way(candidate), Place(a: place.a, b: place.b, c: scratch ?? place.c, stream: place.stream))
            }
            choices.keep(index, for: key.text(version))
        }
        // A choice that is none of this library's is as good as none.
        let plan = way(index < Int(count) ? index : 0)
        plans[key] = plan
        return plan
    }

    private func run(_ p: MatrixProduct, _ plan: Plan, _ place: Place) -> Int32 {
        var (alpha, beta) = (p.alpha, p.beta)
        return plan.algorithm.withUnsafeBytes { algorithm -> Int32 in
            guard let base = algorithm.baseAddress else { return -1 }
            return matmul(
                handle, plan.description, &alpha, place.b, plan.b, place.a, plan.a, &beta, place.c, plan.c, place.c, plan.c, base, workspace,
                workspaceBytes, place.stream)
        }
    }

    /// - Parameter measurable: not while work is recorded, for nothing runs then.
    func multiply(_ p: MatrixProduct, a: UInt64, b: UInt64, c: UInt64, stream: OpaquePointer?, measurable: Bool) throws {
        let place = Place(a: a, b: b, c: c, stream: stream)
        try check(run(p, plan(Key(p, a, b, c), place, measurable: measurable), place), "cublasLtMatmul (\(p))")
    }
}
