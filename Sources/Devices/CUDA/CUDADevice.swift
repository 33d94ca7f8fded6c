import CUDAKernels
import LorikeetGround

/// One NVIDIA card through libcuda, NVRTC and cuBLASLt, all opened at run time.
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
        /// Where compiled kernels are kept.
        package var cacheFolder: String?
        package init() {}

        fileprivate var folders: LibraryFolders { LibraryFolders(extra: libraryFolders, pythons: pythons, system: searchesSystem) }
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
    /// NVRTC's version and the libraries' paths, for `doctor`.
    package let libraries: [(name: String, path: String)]
    private let driver: Driver
    private let stream: OpaquePointer?
    private let compiler: KernelCompiler
    private let matrices: MatrixLibrary
    private let memory: CardMemory
    private let cache: KernelCache
    private let native: Bool
    private var modules: [String: OpaquePointer] = [:]
    private var functions: [String: OpaquePointer] = [:]
    private var events: [OpaquePointer?] = []
    /// Pinned memory that uploads go through.
    private let staging: UnsafeMutableRawPointer
    private static let stagingBytes = 16 << 20
    /// Half of the staging memory is being copied while the other half is filled.
    private var stagingEvents: [OpaquePointer?] = [nil, nil]
    private var half = 0

    package init(_ options: Options) throws {
        let folders = options.folders
        driver = try Driver(folders)
        let card = try Card(driver, ordinal: options.ordinal)
        let (title, capability) = (card.name, card.capability)
        let architecture = options.architecture ?? capability
        guard [75, 80, 86, 87, 89, 90, 100, 103, 120].contains(architecture) || architecture == capability, architecture <= capability else {
            throw LorikeetError.input(
                "\(title) cannot run code for compute capability \(architecture)", at: "--gpu-arch", mend: "take 75, 80 or 90, \(capability) at most")
        }
        properties = AcceleratorProperties(
            name: title, architecture: architecture, multiprocessors: card.multiprocessors, totalBytes: card.totalBytes,
            driver: "CUDA \(driver.versionText)")
        native = architecture == capability
        properties.multipliesByWarpgroup = native && architecture == 90
        // 8 to 40 MB on an H100, most where kernels of heads of 128 spill.
        properties.bytesToRun = 40 << 20
        otherCards = try Card.count(driver) - 1
        // Before anything is made on the card: what is missing is said at once.
        let major = driver.version / 1000
        compiler = try KernelCompiler(major: major, folders: folders)
        let management = ManagementLibrary(folders: folders, bus: card.bus)
        var context: OpaquePointer?
        let retained = driver.retainContext(&context, card.handle)
        if retained == CardMemory.outOfMemory { throw CardMemory.shortage(card, wanted: "a context", free: nil, held: 0, management) }
        try driver.check(retained, "cuDevicePrimaryCtxRetain")
        try driver.check(driver.setContext(context), "cuCtxSetCurrent")
        memory = try CardMemory(driver, card, management)
        var stream: OpaquePointer?
        try driver.check(driver.streamCreate(&stream, 1, 0), "cuStreamCreateWithPriority")
        self.stream = stream
        var pinned: UnsafeMutableRawPointer?
        guard driver.allocateHost(&pinned, Self.stagingBytes, 0) == 0, let pinned else {
            throw LorikeetError.machine(
                "this machine gives no \(Units.formatBytes(Int64(Self.stagingBytes))) of pinned memory (cuMemHostAlloc)", mend: "free some RAM")
        }
        staging = pinned
        let workspaceBytes = 32 << 20
        let workspace = try memory.allocate(bytes: workspaceBytes)
        matrices = try MatrixLibrary(major: major, folders: folders, workspace: workspace, workspaceBytes: workspaceBytes)
        cache = KernelCache(folder: options.cacheFolder)
        libraries = [("nvrtc \(compiler.versionText)", compiler.path), ("cublasLt", matrices.path)]
        for i in 0..<2 { try driver.check(driver.eventCreate(&stagingEvents[i], 2), "cuEventCreate") }
    }

    // MARK: memory

    package func allocate(bytes: Int) throws -> DeviceAddress {
        DeviceAddress(raw: try memory.allocate(bytes: max(256, bytes)))
    }

    package func free(_ address: DeviceAddress) { _ = driver.free(address.raw) }

    package func upload(count: Int, to address: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
        let size = Self.stagingBytes / 2
        var done = 0
        while done < count {
            let part = min(size, count - done)
            // The half was given to the card two pieces ago.
            try driver.check(driver.eventSynchronize(stagingEvents[half]), "cuEventSynchronize")
            let to = staging + half * size
            try fill(done, UnsafeMutableRawBufferPointer(start: to, count: part))
            try driver.check(driver.copyToDevice(address.raw + UInt64(done), to, part, stream), "cuMemcpyHtoDAsync")
            try driver.check(driver.eventRecord(stagingEvents[half], stream), "cuEventRecord")
            half = 1 - half
            done += part
        }
    }

    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws {
        guard into.count > 0 else { return }
        try driver.check(driver.copyFromDevice(into.baseAddress, from.raw, into.count, stream), "cuMemcpyDtoHAsync")
        try synchronize()
    }

    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws {
        try driver.check(driver.copyOnDevice(to.raw, from.raw, bytes, stream), "cuMemcpyDtoDAsync")
    }

    package func zero(_ address: DeviceAddress, bytes: Int) throws {
        try driver.check(driver.fill(address.raw, 0, bytes, stream), "cuMemsetD8Async")
    }

    package func usedBytes() throws -> Int {
        try CardMemory.used(driver)
    }

    /// What NVML says of the card now; nil without NVML.
    package func readings() -> CardReadings? { memory.management?.readings() }

    // MARK: work

    /// The compiled source `name.cu`: from the cache, else compiled now.
    private func module(_ name: String, _ element: DeviceElement, _ defines: [String]) throws -> OpaquePointer? {
        let key = ([name, element.suffix] + defines).joined(separator: "/")
        if let known = modules[key] { return known }
        guard let source = KernelSources.text(name + ".cu") else {
            throw LorikeetError.machine("there is no kernel source \(name).cu")
        }
        let architecture = properties.architecture
        let headers = KernelSources.headers
        let made = ([compiler.versionText, "\(architecture) \(native) \(element.rawValue) \(defines)"] + headers.map(\.text) + [source]).joined(
            separator: "\u{0}")
        var module: OpaquePointer?
        func load(_ binary: [UInt8]) -> Int32 { binary.withUnsafeBytes { driver.moduleLoad(&module, $0.baseAddress) } }
        // What another driver kept, this one may refuse: then it is compiled anew.
        if let kept = cache.read(made), load(kept) == 0 {
            modules[key] = module
            return module
        }
        let binary = try compiler.binary(
            name: name + ".cu", source: source, headers: headers, element: element, defines: defines, architecture: architecture,
            native: native)
        cache.write(made, binary)
        try driver.check(load(binary), "cuModuleLoadData (\(key))")
        modules[key] = module
        return module
    }

    private func function(_ launch: KernelLaunch) throws -> OpaquePointer {
        let entry = launch.kernel + "_" + launch.element.suffix
        let key = ([entry] + launch.defines).joined(separator: "/")
        if let known = functions[key] { return known }
        let module = try module(launch.source, launch.element, launch.defines)
        var found: OpaquePointer?
        try driver.check(driver.moduleFunction(&found, module, entry), "cuModuleGetFunction (\(entry))")
        guard let found else { throw LorikeetError.machine("\(launch.source).cu has no kernel \(entry)") }
        functions[key] = found
        return found
    }

    package func launch(_ launch: KernelLaunch) throws {
        let function = try function(launch)
        // More than 48 KB has to be asked for: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES 8.
        if launch.sharedBytes > 48 << 10 {
            try driver.check(driver.functionSetAttribute(function, 8, Int32(launch.sharedBytes)), "cuFuncSetAttribute (\(launch.kernel))")
        }
        var bytes = launch.arguments.bytes
        let status = bytes.withUnsafeMutableBytes { bytes -> Int32 in
            var parameters: [UnsafeMutableRawPointer?] = [bytes.baseAddress]
            return driver.launchKernel(
                function, UInt32(launch.grid.x), UInt32(launch.grid.y), UInt32(launch.grid.z), UInt32(launch.threads), 1, 1,
                UInt32(launch.sharedBytes), stream, &parameters, nil)
        }
        try driver.check(status, "cuLaunchKernel (\(launch.kernel))")
    }

    package func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
        try matrices.multiply(product, a: a.raw, b: b.raw, c: c.raw, stream: stream)
    }

    package func synchronize() throws { try driver.check(driver.streamSynchronize(stream), "cuStreamSynchronize") }

    private final class Graph: RecordedWork {
        let driver: Driver
        let executable: OpaquePointer?
        let stream: OpaquePointer?
        init(_ driver: Driver, _ executable: OpaquePointer?, _ stream: OpaquePointer?) {
            (self.driver, self.executable, self.stream) = (driver, executable, stream)
        }
        func run() throws { try driver.check(driver.graphLaunch(executable, stream), "cuGraphLaunch") }
        deinit { _ = driver.graphExecDestroy(executable) }
    }

    package func record(_ body: () throws -> Void) throws -> (any RecordedWork)? {
        // CU_STREAM_CAPTURE_MODE_RELAXED 2: other calls of this thread stay allowed.
        try driver.check(driver.captureBegin(stream, 2), "cuStreamBeginCapture")
        let outcome = Result { try body() }
        var graph: OpaquePointer?
        let ended = driver.captureEnd(stream, &graph)
        defer { if graph != nil { _ = driver.graphDestroy(graph) } }
        try outcome.get()
        try driver.check(ended, "cuStreamEndCapture")
        var executable: OpaquePointer?
        try driver.check(driver.graphInstantiate(&executable, graph, 0), "cuGraphInstantiate")
        return Graph(driver, executable, stream)
    }

    // MARK: time

    package func mark() throws {
        var event: OpaquePointer?
        try driver.check(driver.eventCreate(&event, 0), "cuEventCreate")
        try driver.check(driver.eventRecord(event, stream), "cuEventRecord")
        events.append(event)
    }

    package func marks() throws -> [Double] {
        defer { events = [] }
        try synchronize()
        return try zip(events, events.dropFirst()).map { from, to in
            var milliseconds: Float = 0
            try driver.check(driver.eventElapsed(&milliseconds, from, to), "cuEventElapsedTime")
            return Double(milliseconds) / 1000
        }
    }
}
