import LorikeetGround

/// One NVIDIA card through libcuda, NVRTC and cuBLASLt, all opened at run time. Everything it took goes back with it.
package final class CUDADevice: Accelerator {
    /// What a user may say about a card.
    package struct Options: Sendable {
        package var ordinal = 0
        /// Compute capability times ten to compile for; nil is the card's own.
        package var architecture: Int?
        /// Folders to look for NVIDIA's libraries in first.
        package var libraryFolders: [String] = []
        /// Where Pythons are installed (a virtual environment's folder): pip's NVIDIA packages below them come next.
        package var pythons: [String] = []
        /// false looks for them nowhere else.
        package var searchesSystem = true
        /// A prefix of the system's folders (`/usr/local/cuda` and so on); tests set it to a folder of their own.
        package var systemRoot = ""
        /// Folders that may hold archives of compiled kernels (`KernelArchive`): those that came with the program.
        package var kernelFolders: [String] = []
        /// Where compiled kernels are kept.
        package var cacheFolder: String?
        /// Processor threads that compile kernels; 0 takes as many as this process may use.
        package var threads = 0
        package init() {}

        var folders: LibraryFolders { LibraryFolders(extra: libraryFolders, pythons: pythons, system: searchesSystem ? systemRoot : nil) }
    }

    /// Whether there is a driver that shows a card: what `--device auto` asks. A card that is there but cannot be used is an error of `init`.
    package static func isPresent(_ options: Options = Options()) -> Bool {
        guard options.folders.ofDriver(Driver.names) != nil else { return false }
        guard let driver = try? Driver(options.folders), let count = try? Card.count(driver) else { return true }
        return count > 0
    }

    package private(set) var properties: AcceleratorProperties
    /// Cards of this machine beside this one.
    package let otherCards: Int
    /// Where its kernels come from; nil where they are compiled at first use.
    package let archive: KernelArchive?
    private let atNeed: CompilerAtNeed
    private let driver: Driver
    private let context: CardContext
    private let stream: CardHandle
    private let kernels: KernelLibrary
    private let matrices: MatrixLibrary
    private let memory: CardMemory
    /// What is asked for is recorded, not run.
    private var recording = false
    /// Of `mark`, until `marks`.
    private var events: [CardHandle] = []
    private let pinned: PinnedPool
    /// Pinned memory that uploads go through.
    private let staging: PinnedPool.Block
    private static let stagingBytes = 16 << 20
    /// Half of the staging memory is being copied while the other half is filled; `filled` bytes of that are.
    private let stagingEvents: [CardHandle]
    private var (half, filled) = (0, 0)
    /// The most bytes that a copy from the card has in pinned memory.
    private static let downloadBytes = 4 << 20
    /// Of `allocateOnHost`, by address.
    private var onHost: [UInt64: (block: PinnedPool.Block, bytes: Int)] = [:]
    private var copies: CopyStream?

    package init(_ options: Options) throws {
        let folders = options.folders
        let driver = try Driver(folders)
        let card = try Card(driver, ordinal: options.ordinal)
        let (title, capability) = (card.name, card.capability)
        let architecture = options.architecture ?? capability
        guard [75, 80, 86, 87, 89, 90, 100, 103, 120].contains(architecture) || architecture == capability, architecture <= capability else {
            throw LorikeetError.input(
                "\(title) cannot run code for compute capability \(architecture)", at: "--gpu-arch", fix: "take 75, 80 or 90, \(capability) at most")
        }
        properties = AcceleratorProperties(
            name: title, architecture: architecture, multiprocessors: card.multiprocessors, totalBytes: card.totalBytes,
            driver: "CUDA \(driver.versionText)")
        let native = architecture == capability
        properties.capability = capability
        properties.multipliesByWarpgroup = native && architecture == 90
        properties.bytesToRun = AcceleratorProperties.bytesToRunCUDA
        otherCards = try Card.count(driver) - 1
        // Before anything is made on the card: what is missing is said at once.
        let major = driver.version / 1000
        let atNeed = CompilerAtNeed(major: major, folders: folders)
        archive = try Self.archive(native ? architecture : nil, options, atNeed)
        let management = ManagementLibrary(folders: folders, bus: card.bus)
        let context = try CardContext(driver, card, management)
        memory = try CardMemory(context, card, management)
        stream = try CardHandle(in: context, release: driver.streamDestroy) {
            try driver.made("cuStreamCreateWithPriority") { driver.streamCreate($0, 1, 0) }
        }
        pinned = PinnedPool(context)
        staging = try pinned.take(Self.stagingBytes)
        stagingEvents = [try context.event(flags: 2), try context.event(flags: 2)]
        let cache = KernelCache(folder: options.cacheFolder)
        matrices = try MatrixLibrary(major: major, folders: folders, memory, cache)
        let kernels = KernelLibrary(context, atNeed, archive: archive, cache, architecture: architecture, native: native)
        kernels.threads = options.threads
        properties.hasCompiledKernels = archive != nil || kernels.isKept
        self.kernels = kernels
        (self.driver, self.context, self.atNeed) = (driver, context, atNeed)
    }

    /// The archive of this program's kernels for `architecture`; nil where there is none, and NVRTC can be opened.
    ///
    /// - Throws: where NVRTC is missing and everything would have to be compiled.
    private static func archive(_ architecture: Int?, _ options: Options, _ atNeed: CompilerAtNeed) throws -> KernelArchive? {
        let found = Result { try architecture.flatMap { try KernelArchive.find(architecture: $0, in: options.kernelFolders) } }
        if let archive = try? found.get(), archive.isCurrent { return archive }
        guard (try? atNeed.compiler()) == nil else { return nil }
        // A damaged archive is why a compiler is needed.
        _ = try found.get()
        _ = try atNeed.compiler()
        return nil
    }

    /// NVRTC's version and the libraries' paths, for `doctor`. Without NVRTC only what the archive holds can run.
    package var libraries: [(name: String, path: String)] {
        let compiler = try? atNeed.compiler()
        return (compiler.map { [("nvrtc \($0.versionText)", $0.path)] } ?? []) + [("cublasLt", matrices.path)]
    }

    deinit {
        // What was asked for may still read the staging memory, and run kernels whose modules are about to go.
        if (try? context.makeCurrent()) != nil {
            _ = driver.streamSynchronize(stream.handle)
            copies?.synchronize()
        }
    }

    // MARK: memory

    package func allocate(bytes: Int) throws -> DeviceAddress {
        try context.makeCurrent()
        return DeviceAddress(raw: try memory.allocate(bytes: max(256, bytes)))
    }

    package func free(_ address: DeviceAddress) { if (try? context.makeCurrent()) != nil { _ = driver.free(address.raw) } }

    package func upload(count: Int, to address: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
        let size = Self.stagingBytes / 2
        var done = 0
        while done < count {
            try context.makeCurrent()
            if filled == size { try beginOtherHalf() }
            let part = min(size - filled, count - done)
            let to = staging.handle + half * size + filled
            try fill(done, UnsafeMutableRawBufferPointer(start: to, count: part))
            // `fill` may have called another device.
            try context.makeCurrent()
            let place = address.raw + UInt64(done)
            if isOnHost(place) {
                try driver.check(driver.copyAnywhere(place, UInt64(UInt(bitPattern: to)), part, stream.handle), "cuMemcpyAsync")
            } else {
                try driver.check(driver.copyToDevice(place, to, part, stream.handle), "cuMemcpyHtoDAsync")
            }
            filled = min(size, (filled + part).roundedUp(toMultipleOf: 256))
            done += part
        }
    }

    /// Goes on in the other half of the staging memory, once what was copied from there has arrived.
    private func beginOtherHalf() throws {
        try driver.check(driver.eventRecord(stagingEvents[half].handle, stream.handle), "cuEventRecord")
        (half, filled) = (1 - half, 0)
        try driver.check(driver.eventSynchronize(stagingEvents[half].handle), "cuEventSynchronize")
    }

    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws {
        for first in stride(from: 0, to: into.count, by: Self.downloadBytes) {
            let part = min(Self.downloadBytes, into.count - first)
            try fetch(from + first, count: part).read(into: UnsafeMutableRawBufferPointer(rebasing: into[first..<first + part]))
        }
    }

    /// Bytes on their way to pinned memory. The block goes back to the pool when they are read; one that nobody reads is freed with its owner,
    /// after the copy.
    private final class Fetched: FetchedBytes {
        let device: CUDADevice
        let block: PinnedPool.Block
        let count: Int
        let event: CardHandle
        private var isRead = false

        init(_ device: CUDADevice, _ block: PinnedPool.Block, count: Int, _ event: CardHandle) {
            (self.device, self.block, self.count, self.event) = (device, block, count, event)
        }

        func read<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
            try device.context.makeCurrent()
            try device.driver.check(device.driver.eventSynchronize(event.handle), "cuEventSynchronize")
            defer {
                if !isRead {
                    isRead = true
                    device.pinned.giveBack(block, bytes: count)
                }
            }
            return try body(UnsafeRawBufferPointer(start: block.handle, count: count))
        }

        deinit { if !isRead, (try? device.context.makeCurrent()) != nil { _ = device.driver.eventSynchronize(event.handle) } }
    }

    package func fetch(_ from: DeviceAddress, count: Int) throws -> any FetchedBytes {
        try context.makeCurrent()
        let block = try pinned.take(count)
        if count > 0 { try driver.check(driver.copyFromDevice(block.handle, from.raw, count, stream.handle), "cuMemcpyDtoHAsync") }
        let event = try context.event(flags: 2)
        try driver.check(driver.eventRecord(event.handle, stream.handle), "cuEventRecord")
        return Fetched(self, block, count: count, event)
    }

    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws {
        try context.makeCurrent()
        guard !isOnHost(to.raw), !isOnHost(from.raw) else {
            return try driver.check(driver.copyAnywhere(to.raw, from.raw, bytes, stream.handle), "cuMemcpyAsync")
        }
        try driver.check(driver.copyOnDevice(to.raw, from.raw, bytes, stream.handle), "cuMemcpyDtoDAsync")
    }

    /// Every card that has one address space with the host, and so every one since 2010, reads pinned memory at the host's address.
    package func allocateOnHost(bytes: Int) throws -> DeviceAddress {
        try context.makeCurrent()
        let block = try pinned.make(max(256, bytes))
        let address = UInt64(UInt(bitPattern: block.handle))
        onHost[address] = (block, max(256, bytes))
        return DeviceAddress(raw: address)
    }

    package func freeOnHost(_ address: DeviceAddress) {
        if (try? synchronize()) != nil { copies?.synchronize() }
        onHost[address.raw] = nil
    }

    private func isOnHost(_ address: UInt64) -> Bool { onHost.contains { address >= $0.key && address - $0.key < UInt64($0.value.bytes) } }

    package func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws {
        try context.makeCurrent()
        let copies = try self.copies ?? CopyStream(context)
        self.copies = copies
        try copies.begin(from.raw, to: to.raw, bytes: bytes, number: number, beside: stream)
    }

    package func awaitCopy(number: Int) throws {
        try context.makeCurrent()
        try copies?.await(number: number, before: stream)
    }

    package func zero(_ address: DeviceAddress, bytes: Int) throws {
        try context.makeCurrent()
        try driver.check(driver.fill(address.raw, 0, bytes, stream.handle), "cuMemsetD8Async")
    }

    package func usedBytes() throws -> Int {
        try context.makeCurrent()
        return try memory.used()
    }

    /// What NVML says of the card now; nil without NVML.
    package func readings() -> CardReadings? { memory.management?.readings() }

    // MARK: work

    package func prepare(_ modules: [KernelModule]) { kernels.prepare(modules) }

    package func launch(_ launch: KernelLaunch) throws {
        try context.makeCurrent()
        let function = try kernels.function(launch)
        // More than 48 KB has to be asked for: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES 8.
        if launch.sharedBytes > 48 << 10 {
            try driver.check(driver.functionSetAttribute(function, 8, Int32(launch.sharedBytes)), "cuFuncSetAttribute (\(launch.kernel))")
        }
        var bytes = launch.arguments.bytes
        let status = bytes.withUnsafeMutableBytes { bytes -> Int32 in
            var parameters: [UnsafeMutableRawPointer?] = [bytes.baseAddress]
            return driver.launchKernel(
                function, UInt32(launch.grid.x), UInt32(launch.grid.y), UInt32(launch.grid.z), UInt32(launch.threads), 1, 1,
                UInt32(launch.sharedBytes), stream.handle, &parameters, nil)
        }
        try driver.check(status, "cuLaunchKernel (\(launch.kernel))")
    }

    package var gemmChoices: GEMMChoices? { matrices.choices }

    package func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
        try context.makeCurrent()
        try matrices.multiply(product, a: a.raw, b: b.raw, c: c.raw, stream: stream.handle, measurable: !recording)
    }

    package func synchronize() throws {
        try context.makeCurrent()
        try driver.check(driver.streamSynchronize(stream.handle), "cuStreamSynchronize")
    }

    /// Holds its device: the graph's kernels are those of the device's modules.
    private final class Graph: RecordedWork {
        let device: CUDADevice
        let executable: CardHandle
        init(_ device: CUDADevice, _ executable: CardHandle) { (self.device, self.executable) = (device, executable) }
        func run() throws { try device.run(executable) }
    }

    private func run(_ graph: CardHandle) throws {
        try context.makeCurrent()
        try driver.check(driver.graphLaunch(graph.handle, stream.handle), "cuGraphLaunch")
    }

    package func record(_ body: () throws -> Void) throws -> (any RecordedWork)? {
        // CU_STREAM_CAPTURE_MODE_RELAXED 2: other calls of this thread stay allowed.
        try context.makeCurrent()
        try driver.check(driver.captureBegin(stream.handle, 2), "cuStreamBeginCapture")
        recording = true
        let outcome = Result { try body() }
        recording = false
        // Whatever the body made current: the capture has to end.
        try context.makeCurrent()
        let graph = Result { try CardHandle(in: context, release: driver.graphDestroy) { try endCapture() } }
        try outcome.get()
        let captured = try graph.get()
        return Graph(
            self,
            try CardHandle(in: context, release: driver.graphExecDestroy) {
                try driver.made("cuGraphInstantiate") { driver.graphInstantiate($0, captured.handle, 0) }
            })
    }

    /// What was captured. The driver may give no graph with an error.
    private func endCapture() throws -> OpaquePointer? {
        try driver.made("cuStreamEndCapture") { driver.captureEnd(stream.handle, $0) }
    }

    // MARK: time

    package func mark() throws {
        try context.makeCurrent()
        let event = try context.event()
        try driver.check(driver.eventRecord(event.handle, stream.handle), "cuEventRecord")
        events.append(event)
    }

    package func marks() throws -> [Double] {
        defer { events = [] }
        try synchronize()
        return try zip(events, events.dropFirst()).map { from, to in
            var milliseconds: Float = 0
            try driver.check(driver.eventElapsed(&milliseconds, from.handle, to.handle), "cuEventElapsedTime")
            return Double(milliseconds) / 1000
        }
    }
}
