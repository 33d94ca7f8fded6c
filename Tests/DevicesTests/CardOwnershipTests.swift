import LorikeetDevices
import LorikeetGround
import StubCard
import Testing

/// A card gives back everything it took, and every call of the driver is made with its own context current.
struct CardOwnershipTests {
    private static func launch(_ source: String, _ kernel: String) -> KernelLaunch {
        KernelLaunch(source, kernel, .bf16, grid: (1, 1, 1), threads: 128, arguments: KernelArguments())
    }

    /// Opens a card and has it do one of everything.
    private static func work(_ options: CUDADevice.Options) throws {
        let card = try CUDADevice(options)
        card.gemmChoices?.begin(measuring: true)
        card.prepare([launch("rmsnorm", "rmsnorm_forward"), launch("rope", "rope_apply")].map(\.module))
        try card.withMemory(bytes: 4096) { memory in
            try use(card, memory)
            let product = MatrixProduct(m: 4, n: 8, k: 16, inputs: .bf16, output: .f32, lda: 16, ldb: 8, ldc: 8, beta: 1)
            for _ in 0..<2 { try card.multiply(product, a: memory, b: memory, c: memory) }
            for _ in 0..<3 { try card.mark() }
            #expect(try card.marks().count == 2)
            let work = try card.record { try card.launch(launch("rmsnorm", "rmsnorm_forward")) }
            try work?.run()
        }
        _ = card.readings()
        try card.mark()
        // Still travelling from pinned memory when the card goes.
        let last = try DeviceAllocation(on: card, bytes: 64)
        try [UInt8](repeating: 1, count: 64).withUnsafeBytes { try card.upload($0, to: last.address) }
    }

    /// Writes, launches and reads.
    private static func use(_ card: CUDADevice, _ memory: DeviceAddress) throws {
        var bytes = (0..<64).map { UInt8($0) }
        try bytes.withUnsafeBytes { try card.upload($0, to: memory) }
        try card.launch(launch("rmsnorm", "rmsnorm_forward"))
        try card.launch(launch("rope", "rope_apply"))
        try card.copy(memory, to: memory + 128, bytes: 64)
        try card.zero(memory, bytes: 64)
        bytes = Array(repeating: 0, count: 64)
        try bytes.withUnsafeMutableBytes { try card.download(memory + 128, into: $0) }
        #expect(bytes == (0..<64).map { UInt8($0) })
        #expect(try card.usedBytes() > 0)
        try card.synchronize()
    }

    @Test func `a card that is opened again and again leaves nothing behind`() throws {
        let stub = try StubCard(["algorithms 3"])
        for _ in 0..<200 { try Self.work(stub.options) }
        let (live, faults) = stub.books()
        #expect(live.isEmpty && faults.isEmpty, "\(live) \(faults.prefix(5))")
        // Something of every kind was there.
        for kind in ["context", "stream", "memory", "pinned memory", "nvml", "cublasLt handle", "product description", "graph", "executable graph"] {
            #expect(stub.made(kind) >= 200, "\(kind)")
        }
        #expect(stub.made("module") == 400 && stub.made("matrix layout") >= 600 && stub.made("event") >= 1200)
        // One block for uploads and one for the download.
        #expect(stub.made("pinned memory") == 400 && stub.made("context") == 200)
    }

    @Test func `whatever call fails while a card is opened and works, everything made before goes back`() throws {
        let plain = try StubCard(["algorithms 3"])
        try Self.work(plain.options)
        var times: [String: Int] = [:]
        for call in plain.calls() { times[String(call.prefix { $0 != " " }), default: 0] += 1 }
        // Giving back may fail only where the card is lost; NVML is asked for readings alone, and each may be missing.
        let excused = ["Destroy", "Free", "Release", "Unload", "SetCurrent", "Shutdown", "Version", "GetErrorName", "nvml", "GetProgramLog"]
        let calls = times.filter { call in !excused.contains { call.key.contains($0) } }
        #expect(calls.count > 30, "\(calls.keys)")
        var errors = 0
        for (name, count) in calls.sorted(by: { $0.key < $1.key }) {
            for number in Set([1, 2, (count + 1) / 2, count]) where number <= count {
                let stub = try StubCard(["algorithms 3", "fail \(name) 999 \(number) 1"])
                do { try Self.work(stub.options) } catch is LorikeetError { errors += 1 }
                let (live, faults) = stub.books()
                #expect(live.isEmpty && faults.isEmpty, "\(name), call \(number): \(live) \(faults.prefix(3))")
            }
        }
        #expect(errors > calls.count / 2)
    }

    @Test func `recorded work runs after its card was let go of, and both go with it`() throws {
        let stub = try StubCard()
        var work: (any RecordedWork)?
        do {
            let card = try CUDADevice(stub.options)
            work = try card.record { try card.launch(Self.launch("rmsnorm", "rmsnorm_forward")) }
        }
        try work?.run()
        #expect(stub.calls("cuGraphLaunch").count == 1 && stub.books().live["stream"] == 1)
        work = nil
        #expect(stub.books() == ([:], []))
    }

    // MARK: two cards

    private func two(_ stub: StubCard) throws -> [CUDADevice] {
        try (0..<2).map { ordinal in
            var options = stub.options
            options.ordinal = ordinal
            return try CUDADevice(options)
        }
    }

    @Test func `calls that take turns between two cards are made in their own contexts`() throws {
        let stub = try StubCard(["devices 2"])
        do {
            let cards = try two(stub)
            let memory = try cards.map { try DeviceAllocation(on: $0, bytes: 4096) }
            for _ in 0..<3 { for (card, memory) in zip(cards, memory) { try Self.use(card, memory.address) } }
            // Each call of the one between two of the other.
            let product = MatrixProduct(m: 4, n: 8, k: 16, inputs: .bf16, output: .f32, lda: 16, ldb: 8, ldc: 8)
            var bytes = [UInt8](repeating: 0, count: 64)
            let calls: [(CUDADevice, DeviceAddress) throws -> Void] = [
                { card, at in try card.upload(count: 64, to: at) { _, part in part.initializeMemory(as: UInt8.self, repeating: 7) } },
                { card, _ in try card.launch(Self.launch("rmsnorm", "rmsnorm_forward")) },
                { card, at in try card.multiply(product, a: at, b: at, c: at) },
                { card, at in try card.copy(at, to: at + 128, bytes: 64) },
                { card, at in try card.zero(at, bytes: 64) },
                { card, at in try bytes.withUnsafeMutableBytes { try card.download(at + 128, into: $0) } },
                { card, _ in try card.mark() },
                { card, _ in _ = try card.marks() },
                { card, _ in _ = try card.usedBytes() },
                { card, _ in try card.synchronize() },
                { card, _ in _ = try card.record { try card.launch(Self.launch("rmsnorm", "rmsnorm_forward")) } },
                { card, _ in try card.withMemory(bytes: 64) { _ in } },
            ]
            for call in calls { for (card, memory) in zip(cards, memory) { try call(card, memory.address) } }
            #expect(bytes == Array(repeating: 7, count: 64))
            // One inside the other.
            try cards[0].upload(count: 64, to: memory[0].address) { _, part in
                part.initializeMemory(as: UInt8.self, repeating: 9)
                try Self.use(cards[1], memory[1].address)
            }
            let work = try cards[0].record {
                try cards[0].launch(Self.launch("rope", "rope_apply"))
                try Self.use(cards[1], memory[1].address)
            }
            try cards[1].synchronize()
            try work?.run()
            #expect(stub.books().faults.isEmpty, "\(stub.books().faults)")
        }
        #expect(stub.books() == ([:], []))
    }

    @Test func `two cards work at the same time, each on a thread of its own, and on one after the other`() throws {
        let stub = try StubCard(["devices 2"])
        do {
            let cards = try two(stub)
            let memory = try cards.map { try DeviceAllocation(on: $0, bytes: 4096) }
            let threads = CPU(threads: 2)
            // In even rounds a card is on its own thread, in odd ones on the other's.
            for round in 0..<20 {
                threads.parallel(over: 2) { thread in
                    let number = (thread + round) % 2
                    do {
                        for _ in 0..<5 { try Self.use(cards[number], memory[number].address) }
                    } catch { Issue.record("\(error)") }
                }
            }
        }
        #expect(stub.books() == ([:], []))
    }

    @Test func `two devices of one card share its context, and the one that stays works on`() throws {
        let stub = try StubCard()
        do {
            let first = try CUDADevice(stub.options)
            let memory = try DeviceAllocation(on: first, bytes: 4096)
            try Self.work(stub.options)
            try Self.use(first, memory.address)
        }
        #expect(stub.books() == ([:], []))
    }
}
