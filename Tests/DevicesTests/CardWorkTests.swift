import Foundation
import LorikeetDevices
import LorikeetGround
import StubCard
import Testing

/// An open card: kernels compiled and kept, copies whole, captures ended, failures named.
struct CardWorkTests {
    private static let launch = KernelLaunch("rmsnorm", "rmsnorm_forward", .f32, grid: (3, 2, 1), threads: 128, arguments: KernelArguments())

    private func error(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) throws -> LorikeetError {
        do { try body() } catch { return try #require(error as? LorikeetError, sourceLocation: sourceLocation) }
        return try #require(nil, "nothing was thrown", sourceLocation: sourceLocation)
    }

    // MARK: kernels

    @Test func `a kernel is compiled once for its card and type, and launched as asked`() throws {
        let stub = try StubCard(["capability 80"])
        let card = try CUDADevice(stub.options)
        for _ in 0..<3 { try card.launch(Self.launch) }
        #expect(stub.calls("nvrtcCompileProgram") == ["nvrtcCompileProgram rmsnorm.cu -arch=sm_80 -DTYPE=0 -DARCH=80 -std=c++17"])
        #expect(stub.calls("cuLaunchKernel") == Array(repeating: "cuLaunchKernel rmsnorm_forward_f32 3,2,1 128,1,1 0 run", count: 3))
        var wide = Self.launch
        (wide.element, wide.sharedBytes) = (.bf16, 60 << 10)
        try card.launch(wide)
        #expect(stub.calls("nvrtcCompileProgram").last == "nvrtcCompileProgram rmsnorm.cu -arch=sm_80 -DTYPE=2 -DARCH=80 -std=c++17")
        #expect(stub.calls("cuFuncSetAttribute") == ["cuFuncSetAttribute rmsnorm_forward_bf16 8 61440"])
        // Another architecture than the card's goes through the driver's compiler.
        var options = stub.options
        options.architecture = 75
        try CUDADevice(options).launch(Self.launch)
        #expect(stub.calls("nvrtcCompileProgram").last == "nvrtcCompileProgram rmsnorm.cu -arch=compute_75 -DTYPE=0 -DARCH=75 -std=c++17")
        #expect(stub.calls("nvrtcGetPTX").count == 1)
    }

    @Test func `kernels count as kept where they are this program's for this architecture`() throws {
        let stub = try StubCard(["capability 80"])
        func kept(_ architecture: Int?) throws -> Bool {
            var options = stub.options
            options.architecture = architecture
            return try CUDADevice(options).properties.hasCompiledKernels
        }
        #expect(try !kept(nil))
        try CUDADevice(stub.options).launch(Self.launch)
        #expect(try kept(nil))
        #expect(try !kept(75))
        var other = stub.options
        other.architecture = 75
        try CUDADevice(other).launch(Self.launch)
        #expect(try kept(75))
    }

    @Test func `a kept kernel is not compiled again; a damaged, cut or refused one is, once`() throws {
        let stub = try StubCard()
        func compiled() throws -> Int {
            let before = stub.calls("nvrtcCompileProgram").count
            let card = try CUDADevice(stub.options)
            for _ in 0..<2 { try card.launch(Self.launch) }
            return stub.calls("nvrtcCompileProgram").count - before
        }
        #expect(try compiled() == 1)
        #expect(try compiled() == 0)
        let names = try FileManager.default.contentsOfDirectory(atPath: stub.folder + "/cache")
        let kept = URL(fileURLWithPath: stub.folder + "/cache/" + (try #require(names.first)))
        #expect(names.count == 1)
        let whole = try Data(contentsOf: kept)
        for damaged in [Data(), whole.prefix(5), whole.prefix(whole.count - 1), Data(whole.map { $0 ^ 1 }), whole + [0], Data(count: 100_000)] {
            try damaged.write(to: kept)
            #expect(try compiled() == 1, "\(damaged.count) bytes")
            #expect(try Data(contentsOf: kept) == whole)
        }
        // Whole, but not for this driver.
        let loads = stub.calls("cuModuleLoadData").count
        try stub.configure(["fail cuModuleLoadData 200 \(loads + 1) 1"])
        #expect(try compiled() == 1)
        #expect(try compiled() == 0)
        // What was compiled just now and is refused is an error.
        let stubborn = try StubCard(["fail cuModuleLoadData 222"])
        let card = try CUDADevice(stubborn.options)
        let refused = try error { try card.launch(Self.launch) }
        #expect(refused.exit == .machineFailed && refused.description.contains("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"))
        #expect(refused.description.contains("CUDA 12.4") && refused.description.contains("rmsnorm/f32"))
    }

    @Test func `a cache folder that cannot be written costs nothing but time`() throws {
        let stub = try StubCard()
        var options = stub.options
        // Under a file there is no folder.
        options.cacheFolder = stub.folder + "/stub.conf/cache"
        for _ in 0..<2 { try CUDADevice(options).launch(Self.launch) }
        options.cacheFolder = nil
        try CUDADevice(options).launch(Self.launch)
        #expect(stub.calls("nvrtcCompileProgram").count == 3)
    }

    @Test func `what NVRTC says of a kernel it cannot compile is in the error, on one line`() throws {
        let stub = try StubCard(["fail nvrtcCompileProgram 6"])
        let card = try CUDADevice(stub.options)
        let failed = try error { try card.launch(Self.launch) }
        #expect(failed.exit == .machineFailed)
        for word in ["NVRTC 12.6", "rmsnorm.cu(12)", #"identifier "oops" is undefined"#, "doctor"] { #expect(failed.description.contains(word), "\(failed)") }
        #expect(!failed.description.contains("\n"))
        #expect(stub.calls("nvrtcDestroyProgram").count == 1)
    }

    @Test func `a kernel that no source holds`() throws {
        let card = try CUDADevice(try StubCard().options)
        var unknown = Self.launch
        unknown.source = "nothing"
        #expect(try error { try card.launch(unknown) }.description.contains("nothing.cu"))
    }

    /// Launches of four sources in five modules.
    private static let several: [KernelLaunch] = [
        ("rmsnorm", "rmsnorm_forward", []), ("rope", "rope_apply", []), ("optimiser", "adamw", []), ("attention", "attention_forward_64", ["HEAD=64"]),
        ("attention", "attention_forward_128", ["HEAD=128"]),
    ].map { source, kernel, defines in
        KernelLaunch(source, kernel, .bf16, grid: (1, 1, 1), threads: 128, arguments: KernelArguments(), defines: defines)
    }

    @Test(arguments: [true, false]) func `what is prepared is compiled once, kept or not, and launched without compiling again`(kept: Bool) throws {
        let stub = try StubCard(["capability 90"])
        var options = stub.options
        if !kept { options.cacheFolder = nil }
        let card = try CUDADevice(options)
        let modules = Self.several.map(\.module)
        card.prepare(modules + modules.reversed())
        func compiled() -> [String] { stub.calls("nvrtcCompileProgram").sorted() }
        let all = compiled()
        #expect(all.count == 5 && Set(all).count == 5)
        #expect(all.count { $0.hasPrefix("nvrtcCompileProgram attention.cu") } == 2)
        card.prepare(modules)
        for launch in Self.several + Self.several { try card.launch(launch) }
        card.prepare(modules)
        #expect(compiled() == all)
        #expect(stub.calls("nvrtcDestroyProgram").count == 5 && stub.calls("cuModuleLoadData").count == 5)
        // The next process finds them, or compiles them again.
        let next = try CUDADevice(options)
        next.prepare(modules)
        for launch in Self.several { try next.launch(launch) }
        #expect(compiled().count == (kept ? 5 : 10))
    }

    @Test func `a kernel that cannot be compiled ahead is an error when it is launched, in the same words, and no other is`() throws {
        let alone = try StubCard(["fail nvrtcCompileProgram 6"])
        let words = try error { try CUDADevice(alone.options).launch(Self.launch) }.description
        let stub = try StubCard(["fail nvrtcCompileProgram 6 1 2"])
        let card = try CUDADevice(stub.options)
        let modules = Self.several.map { KernelModule($0.source, .f32, defines: $0.defines) } + [KernelModule("nothing", .f32)]
        card.prepare(modules)
        var failed: [String] = []
        for launch in Self.several {
            var launch = launch
            launch.element = .f32
            do { try card.launch(launch) } catch { failed.append("\(error)".replacingOccurrences(of: launch.source + ".cu:", with: "rmsnorm.cu:")) }
        }
        #expect(failed == [words, words])
        #expect(stub.calls("nvrtcCompileProgram").count == 5)
    }

    // MARK: memory

    @Test(arguments: [0, 1, 8 << 20, (8 << 20) + 1, 50_000_003])
    func `an upload of any size arrives whole, although the bytes change after the call`(count: Int) throws {
        let card = try CUDADevice(try StubCard().options)
        let address = try card.allocate(bytes: count + 64)
        try card.zero(address, bytes: count + 64)
        // No period that divides a piece of 8 MiB: a piece that overwrites another is seen.
        var bytes = (0..<count).map { UInt8($0 % 251) }
        let sent = bytes
        try bytes.withUnsafeBytes { try card.upload($0, to: address) }
        for i in bytes.indices { bytes[i] = 0xee }
        let copy = try card.allocate(bytes: count + 64)
        try card.copy(address, to: copy, bytes: count + 64)
        var back = [UInt8](repeating: 1, count: count + 64)
        try back.withUnsafeMutableBytes { try card.download(copy, into: $0) }
        // Compared outside #expect, which would look for the difference of two long arrays for minutes.
        let (same, beyond) = (back[..<count] == sent[...], back[count...].allSatisfy { $0 == 0 })
        #expect(same && beyond)
        card.free(address)
        card.free(copy)
    }

    @Test func `an upload asks for its parts in order, in pinned memory, and a part that cannot be made ends it`() throws {
        struct Stop: Error {}
        let stub = try StubCard()
        let card = try CUDADevice(stub.options)
        let count = 20_000_001
        let address = try card.allocate(bytes: count)
        var (ends, places): ([Int], Set<UInt>) = ([0], [])
        try card.upload(count: count, to: address) { first, part in
            #expect(first == ends.last)
            ends.append(first + part.count)
            places.insert(UInt(bitPattern: part.baseAddress))
            for i in part.indices { part[i] = UInt8((first + i) % 251) }
        }
        #expect(ends == [0, 8 << 20, 16 << 20, count] && places.count == 2)
        var back = [UInt8](repeating: 0, count: count)
        try back.withUnsafeMutableBytes { try card.download(address, into: $0) }
        let same = back.indices.allSatisfy { back[$0] == UInt8($0 % 251) }
        #expect(same)
        let sent = stub.calls("cuMemcpyHtoDAsync_v2").count
        #expect(throws: Stop.self) { try card.upload(count: count, to: address) { first, _ in if first > 0 { throw Stop() } } }
        #expect(stub.calls("cuMemcpyHtoDAsync_v2").count == sent + 1)
        try card.synchronize()
    }

    @Test func `freed memory is there again`() throws {
        let stub = try StubCard(["free 1073741824"])
        let card = try CUDADevice(stub.options)
        let used = try card.usedBytes()
        for _ in 0..<4 {
            let address = try card.allocate(bytes: 900 << 20)
            #expect(try card.usedBytes() == used + 900 << 20)
            card.free(address)
        }
        #expect(try card.usedBytes() == used)
    }

    // MARK: products

    @Test func `a product is planned once a shape`() throws {
        let stub = try StubCard()
        let card = try CUDADevice(stub.options)
        let product = MatrixProduct(m: 3, n: 5, k: 7, inputs: .f16, output: .f32, lda: 7, ldb: 5, ldc: 5, alpha: 2, beta: 1)
        let address = try card.allocate(bytes: 4096)
        for _ in 0..<3 { try card.multiply(product, a: address, b: address, c: address) }
        #expect(stub.calls("cublasLtMatmul") == Array(repeating: "cublasLtMatmul 2 1 33554432 way 0", count: 3))
        #expect(stub.calls("cublasLtMatmulAlgoGetHeuristic").count == 1)
    }

    @Test func `a product that cuBLASLt cannot do, or fails at`() throws {
        let product = MatrixProduct(m: 3, n: 5, k: 7, inputs: .f16, output: .f32, lda: 7, ldb: 5, ldc: 5)
        for (line, words) in [
            ("algorithms 0", ["no algorithm for the product", "3 x 5 x 7, f16 to f32"]),
            ("fail cublasLtMatmul 13", ["cublasLtMatmul", "CUBLAS_STATUS_EXECUTION_FAILED"]),
        ] {
            let card = try CUDADevice(try StubCard([line]).options)
            let address = try card.allocate(bytes: 4096)
            let failed = try error { try card.multiply(product, a: address, b: address, c: address) }
            #expect(failed.exit == .machineFailed)
            for word in words { #expect(failed.description.contains(word), "\(failed)") }
        }
    }

    /// Products of seven shapes, added to what is there or not.
    private static let products = (1...7).map {
        MatrixProduct(m: 16 * $0, n: 32, k: 64, inputs: .f16, output: .f32, lda: 64, ldb: 32, ldc: 40, beta: $0 % 2 == 0 ? 1 : 0)
    }

    @Test func `products are measured where that is asked for, once a card and library, and the fastest stays`() throws {
        // The stub's third way takes a quarter of the time.
        let stub = try StubCard(["algorithms 5", "fast_way 2"])
        func run(_ known: [String: Int]? = nil, measuring: Bool = true) throws -> (indices: [String: Int], trials: Int) {
            let before = stub.calls("cublasLtMatmul").count
            let card = try CUDADevice(stub.options)
            let used = try card.usedBytes()
            let choices = try #require(card.gemmChoices)
            if measuring || known != nil { choices.begin(measuring: measuring, known: known ?? [:]) }
            // Choices hang on what addresses are multiples of; nothing is read or written there.
            let address = DeviceAddress(raw: 4096)
            for _ in 0..<2 { for product in Self.products { try card.multiply(product, a: address, b: address, c: address) } }
            // What was taken to measure is given back.
            #expect(try card.usedBytes() == used)
            return (choices.algorithms, stub.calls("cublasLtMatmul").count - before - 2 * Self.products.count)
        }
        let plain = try run(measuring: false)
        #expect(plain.indices.isEmpty && plain.trials == 0)
        let (first, trials) = try run()
        #expect(first.count == 7 && first.values.allSatisfy { $0 == 2 }, "\(first)")
        #expect(trials == 7 * 5 * 6)
        #expect(first.keys.allSatisfy { $0.hasPrefix("120605: ") })
        // The next process finds them.
        let again = try run()
        #expect(again.indices == first && again.trials == 0)
        // What a run had chosen stands, measured or not, and wherever the cache is; an index that is no way is the first.
        let others = first.mapValues { _ in 4 }
        let replayed = try run(others)
        #expect(replayed.indices == others && replayed.trials == 0)
        #expect(stub.calls("cublasLtMatmul").suffix(14).allSatisfy { $0.hasSuffix("way 4") })
        _ = try run(first.mapValues { _ in 9 }, measuring: false)
        #expect(stub.calls("cublasLtMatmul").suffix(14).allSatisfy { $0.hasSuffix("way 0") })
    }

    @Test func `without room to measure and while work is recorded the first way stays; a way that fails is not taken`() throws {
        let product = Self.products[1]
        let tight = try StubCard(["algorithms 5", "fast_way 2", "free 34000000"])
        let card = try CUDADevice(tight.options)
        card.gemmChoices?.begin(measuring: true)
        let address = DeviceAddress(raw: 4096)
        var large = product
        (large.m, large.ldc) = (100_000, 1000)
        try card.multiply(large, a: address, b: address, c: address)
        #expect(card.gemmChoices?.algorithms.values.map(\.self) == [0])
        #expect(tight.calls("cublasLtMatmul").count == 1)
        let failing = try StubCard(["algorithms 5", "fast_way 2", "fail cublasLtMatmul 15 13 1"])
        let other = try CUDADevice(failing.options)
        other.gemmChoices?.begin(measuring: true)
        // The third way's warm-up fails, and the fourth is measured in its place.
        try other.multiply(product, a: address, b: address, c: address)
        #expect(other.gemmChoices?.algorithms.values.map(\.self) == [3])
        _ = try other.record { try other.multiply(Self.products[2], a: address, b: address, c: address) }
        #expect(other.gemmChoices?.algorithms.count == 1)
    }

    // MARK: recording

    @Test func `copies beside other work begin after it and are waited for, also where they are recorded`() throws {
        let stub = try StubCard()
        do {
            let card = try CUDADevice(stub.options)
            let bytes = (0..<4096).map { UInt8($0 % 251) }
            let (from, to) = (try card.allocate(bytes: 4096), try card.allocate(bytes: 4096))
            let host = try DeviceAllocation(on: card, bytes: 4096, onHost: true)
            try bytes.withUnsafeBytes { try card.upload($0, to: from) }
            func ordered() -> [Substring] {
                stub.calls().compactMap { call in call.split(separator: " ").first.flatMap { Self.ofCopies.contains($0) ? $0 : nil } }
            }
            let before = ordered().count
            try card.beginCopy(from, to: host.address, bytes: 4096, number: 7)
            try card.awaitCopy(number: 7)
            try card.beginCopy(host.address, to: to, bytes: 4096, number: 8)
            try card.awaitCopy(number: 8)
            #expect(Array(ordered().dropFirst(before)) == [0, 1, 2, 0, 1, 0, 1, 2, 0, 1].map { Self.ofCopies[$0] })
            var back = [UInt8](repeating: 0, count: 4096)
            try back.withUnsafeMutableBytes { try card.download(to, into: $0) }
            #expect(back == bytes)
            // The same copies in a graph.
            let work = try card.record {
                try card.beginCopy(from, to: host.address, bytes: 4096, number: 7)
                try card.awaitCopy(number: 7)
            }
            try work?.run()
            #expect(stub.calls("cuMemcpyAsync").map { $0.split(separator: " ").last } == ["run", "run", "captured"])
            // One that nobody waits for has no place in a graph.
            let failed = try error { _ = try card.record { try card.beginCopy(from, to: host.address, bytes: 4096, number: 9) } }
            #expect(failed.exit == .machineFailed && failed.description.contains("cuStreamEndCapture"))
            for address in [from, to] { card.free(address) }
            try withExtendedLifetime(host) { try card.synchronize() }
        }
        #expect(stub.books().live.isEmpty && stub.books().faults.isEmpty)
    }

    private static let ofCopies: [Substring] = ["cuEventRecord", "cuStreamWaitEvent", "cuMemcpyAsync"]

    @Test func `the host's memory takes tables, and is an error where there is none`() throws {
        let stub = try StubCard()
        let card = try CUDADevice(stub.options)
        let pinned = stub.calls("cuMemHostAlloc").count
        let host = try DeviceAllocation(on: card, bytes: 20_000_000, onHost: true)
        let bytes = (0..<20_000_000).map { UInt8($0 % 251) }
        try bytes[..<10_000_000].withUnsafeBytes { try card.upload($0, to: host.address) }
        try card.copy(host.address, to: host.address + 10_000_000, bytes: 10_000_000)
        try card.synchronize()
        let memory = try #require(UnsafePointer<UInt8>(bitPattern: UInt(host.address.raw)))
        #expect((0..<20_000_000).allSatisfy { memory[$0] == UInt8($0 % 10_000_000 % 251) })
        #expect(stub.calls("cuMemHostAlloc")[pinned] == "cuMemHostAlloc 20000000 0")
        try stub.configure(["fail cuMemHostAlloc 2 \(pinned + 2)"])
        let failed = try error { _ = try DeviceAllocation(on: card, bytes: 1 << 30, onHost: true) }
        #expect(failed.exit == .machineFailed && failed.description.contains("GiB of pinned memory"))
        withExtendedLifetime(host) {}
    }

    @Test func `recorded work is captured, then runs with one call, and its graph goes with it`() throws {
        let stub = try StubCard()
        let card = try CUDADevice(stub.options)
        try card.launch(Self.launch)
        do {
            let work = try card.record { for _ in 0..<2 { try card.launch(Self.launch) } }
            for _ in 0..<3 { try work?.run() }
        }
        #expect(stub.calls("cuLaunchKernel").map { $0.split(separator: " ").last } == ["run", "captured", "captured"])
        #expect(stub.calls("cuGraphLaunch").count == 3)
        #expect(stub.calls("cuGraphDestroy").count == 1 && stub.calls("cuGraphExecDestroy").count == 1)
    }

    @Test func `recording ends when its body throws: the error goes on, the card works`() throws {
        struct Stop: Error {}
        let stub = try StubCard()
        let card = try CUDADevice(stub.options)
        #expect(throws: Stop.self) {
            try card.record {
                try card.launch(Self.launch)
                throw Stop()
            }
        }
        #expect(stub.calls("cuStreamEndCapture").count == 1 && stub.calls("cuGraphDestroy").count == 1)
        #expect(stub.calls("cuGraphInstantiateWithFlags").isEmpty)
        try card.launch(Self.launch)
        #expect(stub.calls("cuLaunchKernel").last?.hasSuffix("run") == true)
        try card.synchronize()
        #expect(try card.record { try card.launch(Self.launch) } != nil)
    }

    @Test func `waiting while recording is an error that says so`() throws {
        let card = try CUDADevice(try StubCard().options)
        let failed = try error { _ = try card.record { try card.synchronize() } }
        #expect(failed.description.contains("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"))
    }

    // MARK: a card lost

    @Test(arguments: [
        ("cuLaunchKernel", 719, "CUDA_ERROR_LAUNCH_FAILED", "rmsnorm_forward"), ("cuEventSynchronize", 700, "CUDA_ERROR_ILLEGAL_ADDRESS", "same command"),
        ("cuGraphLaunch", 999, "CUDA_ERROR_UNKNOWN", "the last checkpoint is kept"), ("cuMemcpyHtoDAsync_v2", 46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "card"),
        ("cuMemcpyDtoHAsync_v2", 12345, "error 12345", "the last checkpoint is kept"),
    ])
    func `a card lost in the middle: the call, the code's name and the fix`(call: String, status: Int, name: String, word: String) throws {
        let stub = try StubCard(["fail \(call) \(status) 3"])
        let card = try CUDADevice(stub.options)
        let address = try card.allocate(bytes: 64)
        var rounds = 0
        let failed = try error {
            let work = try card.record { try card.zero(address, bytes: 64) }
            for _ in 0..<10 {
                rounds += 1
                try card.launch(Self.launch)
                try work?.run()
                var bytes = [UInt8](repeating: 0, count: 64)
                try bytes.withUnsafeBytes { try card.upload($0, to: address) }
                try bytes.withUnsafeMutableBytes { try card.download(address, into: $0) }
            }
        }
        #expect(rounds == 3)
        #expect(failed.exit == .machineFailed)
        for expected in [String(call.prefix { $0 != "_" }), name, word] { #expect(failed.description.contains(expected), "\(failed)") }
    }
}
