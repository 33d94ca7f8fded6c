import LorikeetGround

/// cuBLASLt: matrix products on tensor cores, one plan a shape.
final class MatrixLibrary {
    private typealias Handle = OpaquePointer
    private typealias Setter = @convention(c) (Handle?, Int32, UnsafeRawPointer, Int) -> Int32
    private typealias Destroy = @convention(c) (Handle?) -> Int32
    private let layoutCreate: @convention(c) (UnsafeMutablePointer<Handle?>, Int32, UInt64, UInt64, Int64) -> Int32
    private let descriptionCreate: @convention(c) (UnsafeMutablePointer<Handle?>, Int32, Int32) -> Int32
    private let descriptionSet: Setter
    private let preferenceCreate: @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32
    private let preferenceSet: Setter
    private let layoutDestroy, descriptionDestroy, preferenceDestroy: Destroy
    private let heuristic:
        @convention(c) (
            Handle?, Handle?, Handle?, Handle?, Handle?, Handle?, Handle?, Int32, UnsafeMutableRawPointer, UnsafeMutablePointer<Int32>
        ) -> Int32
    private let matmul:
        @convention(c) (
            Handle?, Handle?, UnsafeRawPointer, UInt64, Handle?, UInt64, Handle?, UnsafeRawPointer, UInt64, Handle?, UInt64, Handle?,
            UnsafeRawPointer, UInt64, Int, Handle?
        ) -> Int32
    private let context: CardContext
    private let handle: CardHandle
    private var plans: [Key: Plan] = [:]
    /// Device memory for split sums.
    private let workspace: CardResource<UInt64>
    private static let workspaceBytes = 32 << 20
    private let timer: GEMMTimer
    let choices = GEMMChoices()
    /// cublasLtGetVersion: an index in one version's list of algorithms means nothing in another's.
    private let version: Int
    let path: String

    /// A product, and the alignment of its addresses (2...256 bytes), which decides the algorithms that can load them.
    private struct Key: Hashable {
        let product: MatrixProduct
        let a, b, c: UInt32

        init(_ product: MatrixProduct, _ a: UInt64, _ b: UInt64, _ c: UInt64) {
            func alignment(_ address: UInt64) -> UInt32 { UInt32(1) << min(8, address.trailingZeroBitCount) }
            self.product = product
            (self.a, self.b, self.c) = (alignment(a), alignment(b), alignment(c))
        }

        /// The key under which a choice is saved; alpha and beta are left out because they do not affect it.
        func text(_ version: Int) -> String {
            let p = product
            let transposes = (p.transposeA ? "t" : "n") + (p.transposeB ? "t" : "n")
            return "\(version): \(p) \(transposes), leading \(p.lda) \(p.ldb) \(p.ldc), aligned \(a) \(b) \(c)"
        }
    }

    private struct Plan {
        let description: CardHandle
        let a, b, c: CardHandle
        /// cublasLtMatmulAlgo_t: eight 64-bit words.
        let algorithm: [UInt64]
    }

    /// Addresses of the matrices, and the stream.
    private struct Operands {
        let a, b, c: UInt64
        let stream: OpaquePointer?
    }

    /// - Parameter cache: keeps measured choices.
    init(major: Int, folders: LibraryFolders, _ memory: CardMemory, _ cache: KernelCache) throws {
        let library = try folders.toolkit("libcublasLt", major: major, package: "nvidia-cublas")
        path = library.path
        context = memory.context
        timer = GEMMTimer(memory, cache)
        workspace = try memory.block(bytes: Self.workspaceBytes)
        let version: @convention(c) () -> Int = try library.function("cublasLtGetVersion")
        self.version = version()
        layoutCreate = try library.function("cublasLtMatrixLayoutCreate")
        descriptionCreate = try library.function("cublasLtMatmulDescCreate")
        descriptionSet = try library.function("cublasLtMatmulDescSetAttribute")
        preferenceCreate = try library.function("cublasLtMatmulPreferenceCreate")
        preferenceSet = try library.function("cublasLtMatmulPreferenceSetAttribute")
        layoutDestroy = try library.function("cublasLtMatrixLayoutDestroy")
        descriptionDestroy = try library.function("cublasLtMatmulDescDestroy")
        preferenceDestroy = try library.function("cublasLtMatmulPreferenceDestroy")
        heuristic = try library.function("cublasLtMatmulAlgoGetHeuristic")
        matmul = try library.function("cublasLtMatmul")
        let create: @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32 = try library.function("cublasLtCreate")
        let destroy: Destroy = try library.function("cublasLtDestroy")
        handle = try Self.made("cublasLtCreate", in: context, destroy, create)
    }

    /// The object that `create` makes, with an owner that destroys it.
    private static func made(
        _ call: String, in context: CardContext, _ destroy: @escaping Destroy, _ create: (UnsafeMutablePointer<Handle?>) -> Int32
    ) throws -> CardHandle {
        try CardHandle(in: context, release: destroy) {
            var made: Handle?
            try check(create(&made), call)
            return made
        }
    }

    private static func check(_ status: Int32, _ call: String) throws {
        guard status != 0 else { return }
        let names: [Int32: String] = [
            1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH", 11: "MAPPING_ERROR", 13: "EXECUTION_FAILED",
            14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED",
        ]
        throw LorikeetError.machine(
            "the card failed: \(call) returned \(names[status].map { "CUBLAS_STATUS_\($0)" } ?? "status \(status)")",
            // The first two are what a card without free memory gives.
            fix: status == 1 || status == 3 ? "free memory of the card" : "run the same command again: the last checkpoint is kept")
    }

    /// Row-major products through a column-major library: C' = op(B)' op(A)'.
    ///
    /// - Parameter measurable: whether the card executes calls now, so that algorithms can be timed; not while a graph is recorded.
    private func plan(_ key: Key, _ operands: Operands, measurable: Bool) throws -> Plan {
        if let known = plans[key] { return known }
        let p = key.product
        // cudaDataType and cublasComputeType_t: CUDA_R_32F 0, CUDA_R_16F 2, CUDA_R_16BF 14; CUBLAS_COMPUTE_32F 68 (no TF32).
        func type(_ element: DeviceElement) -> Int32 { [0, 2, 14][Int(element.rawValue)] }
        let description = try Self.made("cublasLtMatmulDescCreate", in: context, descriptionDestroy) { descriptionCreate($0, 68, 0) }
        // CUBLASLT_MATMUL_DESC_TRANSA 3, _TRANSB 4; CUBLAS_OP_N 0, CUBLAS_OP_T 1.
        for (attribute, transposed) in [(3, p.transposeB), (4, p.transposeA)] as [(Int32, Bool)] {
            var operation: Int32 = transposed ? 1 : 0
            try Self.check(descriptionSet(description.handle, attribute, &operation, 4), "cublasLtMatmulDescSetAttribute")
        }
        func layout(_ element: DeviceElement, _ rows: Int, _ columns: Int, _ leading: Int) throws -> CardHandle {
            try Self.made("cublasLtMatrixLayoutCreate", in: context, layoutDestroy) {
                layoutCreate($0, type(element), UInt64(rows), UInt64(columns), Int64(leading))
            }
        }
        let b = try layout(p.inputs, p.transposeB ? p.k : p.n, p.transposeB ? p.n : p.k, p.ldb)
        let a = try layout(p.inputs, p.transposeA ? p.m : p.k, p.transposeA ? p.k : p.m, p.lda)
        let c = try layout(p.output, p.n, p.m, p.ldc)
        let preference = try preference(key)
        defer { withExtendedLifetime(preference) {} }
        // cublasLtMatmulHeuristicResult_t: algorithm (64 bytes), workspace size, status, waves, four reserved words.
        let known = choices.algorithms[key.text(version)]
        let wanted = choices.measures || known != nil ? GEMMTimer.maximumCandidates : 1
        var results = [UInt64](repeating: 0, count: 12 * wanted)
        var count: Int32 = 0
        try Self.check(
            heuristic(
                handle.handle, description.handle, b.handle, a.handle, c.handle, c.handle, preference.handle, Int32(wanted), &results, &count),
            "cublasLtMatmulAlgoGetHeuristic (\(p))")
        guard count > 0 else { throw LorikeetError.machine("cuBLASLt has no algorithm for the product \(p)") }
        func candidate(_ index: Int) -> Plan { Plan(description: description, a: a, b: b, c: c, algorithm: Array(results[12 * index..<12 * index + 8])) }
        var index = known ?? 0
        if known == nil, choices.measures, measurable {
            // Where the product adds to C, every measured run would add again.
            let extra = p.beta == 0 ? nil : p.m * p.ldc * p.output.bytes
            index = try timer.fastest(key.text(version), candidates: Int(count), extra: extra, stream: operands.stream) { number, scratch in
                run(p, candidate(number), Operands(a: operands.a, b: operands.b, c: scratch ?? operands.c, stream: operands.stream))
            }
            choices.keep(index, for: key.text(version))
        }
        // An index beyond the library's proposals is ignored.
        let plan = candidate(index < Int(count) ? index : 0)
        plans[key] = plan
        return plan
    }

    /// The limits that proposals have to keep: bytes of workspace, and the addresses' alignments.
    private func preference(_ key: Key) throws -> CardHandle {
        let preference = try Self.made("cublasLtMatmulPreferenceCreate", in: context, preferenceDestroy) { preferenceCreate($0) }
        var bytes = UInt64(Self.workspaceBytes)
        try Self.check(preferenceSet(preference.handle, 1, &bytes, 8), "cublasLtMatmulPreferenceSetAttribute")
        // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES 5, B 6, C 7, D 8; the library's A is our B.
        for (attribute, alignment) in [(5, key.b), (6, key.a), (7, key.c), (8, key.c)] as [(Int32, UInt32)] {
            var bytes = alignment
            try Self.check(preferenceSet(preference.handle, attribute, &bytes, 4), "cublasLtMatmulPreferenceSetAttribute")
        }
        return preference
    }

    private func run(_ p: MatrixProduct, _ plan: Plan, _ operands: Operands) -> Int32 {
        var (alpha, beta) = (p.alpha, p.beta)
        return plan.algorithm.withUnsafeBytes { algorithm -> Int32 in
            guard let base = algorithm.baseAddress else { return -1 }
            return matmul(
                handle.handle, plan.description.handle, &alpha, operands.b, plan.b.handle, operands.a, plan.a.handle, &beta, operands.c, plan.c.handle,
                operands.c,
                plan.c.handle, base, workspace.handle, Self.workspaceBytes, operands.stream)
        }
    }

    /// - Parameter measurable: see `plan`.
    func multiply(_ p: MatrixProduct, a: UInt64, b: UInt64, c: UInt64, stream: OpaquePointer?, measurable: Bool) throws {
        let operands = Operands(a: a, b: b, c: c, stream: stream)
        try Self.check(run(p, plan(Key(p, a, b, c), operands, measurable: measurable), operands), "cublasLtMatmul (\(p))")
    }
}
