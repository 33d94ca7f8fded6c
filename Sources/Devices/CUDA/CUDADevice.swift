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
        /// Where compiled kernels are kept.
        package var cacheFolder: String?
        package init() {}
    }

    package let properties: AcceleratorProperties
    /// NVRTC's version and the libraries' paths, for `doctor`.
    package let libraries: [(name: String, path: String)]
    private let driver: Driver
    private let stream: OpaquePointer?
    private let compiler: KernelCompiler
    private let matrices: MatrixLibrary
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
        driver = try Driver()
        try driver.check(driver.initialise(0), "cuInit")
        var version: Int32 = 0
        try driver.check(driver.driverVersion(&version), "cuDriverGetVersion")
        let major = Int(version) / 1000
        guard major >= 12 else {
            throw LorikeetError.machine(
                "the NVIDIA driver is too old: it supports CUDA \(major).\(version % 1000 / 10)", mend: "install driver 525 or newer (CUDA 12)")
        }
        var count: Int32 = 0
        try driver.check(driver.deviceCount(&count), "cuDeviceGetCount")
        guard options.ordinal < count else {
            throw LorikeetError.input("there is no card \(options.ordinal): this machine has \(count)", at: "--device", mend: "say cuda:0")
        }
        var device: Int32 = 0
        try driver.check(driver.deviceGet(&device, Int32(options.ordinal)), "cuDeviceGet")
        var name = [CChar](repeating: 0, count: 256)
        try driver.check(driver.deviceName(&name, 256, device), "cuDeviceGetName")
        func attribute(_ number: Int32, _ driver: Driver) throws -> Int {
            var value: Int32 = 0
            try driver.check(driver.deviceAttribute(&value, number, device), "cuDeviceGetAttribute")
            return Int(value)
        }
        // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR 75, _MINOR 76, MULTIPROCESSOR_COUNT 16.
        let capability = try attribute(75, driver) * 10 + attribute(76, driver)
        let title = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard capability >= 75 else {
            throw LorikeetError.input(
                "\(title) has compute capability \(capability / 10).\(capability % 10); 7.5 is needed", at: "--device",
                mend: "choose a T4 (on Kaggle: GPU T4 x2), or say --device cpu")
        }
        let architecture = options.architecture ?? capability
        guard [75, 80, 86, 87, 89, 90, 100, 103, 120].contains(architecture) || architecture == capability, architecture <= capability else {
            throw LorikeetError.input(
                "\(title) cannot run code for compute capability \(architecture)", at: "--gpu-arch", mend: "take 75, 80 or 90, \(capability) at most")
        }
        var total = 0
        try driver.check(driver.deviceTotalMemory(&total, device), "cuDeviceTotalMem")
        properties = AcceleratorProperties(
            name: title, architecture: architecture, multiprocessors: try attribute(16, driver), totalBytes: total,
            driver: "CUDA \(major).\(version % 1000 / 10)")
        native = architecture == capability
        var context: OpaquePointer?
        try driver.check(driver.retainContext(&context, device), "cuDevicePrimaryCtxRetain")
        try driver.check(driver.setContext(context), "cuCtxSetCurrent")
        var stream: OpaquePointer?
        try driver.check(driver.streamCreate(&stream, 1), "cuStreamCreate")
        self.stream = stream
        var pinned: UnsafeMutableRawPointer?
        try driver.check(driver.allocateHost(&pinned, Self.stagingBytes, 0), "cuMemHostAlloc")
        guard let pinned else { throw LorikeetError.machine("no pinned memory can be had") }
        staging = pinned
        let folders = LibraryFolders.all(major: major, extra: options.libraryFolders)
        compiler = try KernelCompiler(major: major, folders: folders)
        var workspace: UInt64 = 0
        let workspaceBytes = 32 << 20
        try driver.check(driver.allocate(&workspace, workspaceBytes), "cuMemAlloc")
        matrices = try MatrixLibrary(major: major, folders: folders, workspace: workspace, workspaceBytes: workspaceBytes)
        cache = KernelCache(folder: options.cacheFolder)
        libraries = [("nvrtc \(compiler.versionText)", compiler.path), ("cublasLt", matrices.path)]
        for i in 0..<2 { try driver.check(driver.eventCreate(&stagingEvents[i], 2), "cuEventCreate") }
    }

    // MARK: memory

    package func allocate(bytes: Int) throws -> DeviceAddress {
        var address: UInt64 = 0
        try driver.check(driver.allocate(&address, max(256, bytes)), "cuMemAlloc of \(Units.formatBytes(Int64(bytes)))")
        return DeviceAddress(raw: address)
    }

    package func free(_ address: DeviceAddress) { _ = driver.free(address.raw) }

    package func upload(_ bytes: UnsafeRawBufferPointer, to address: DeviceAddress) throws {
        let size = Self.stagingBytes / 2
        var done = 0
        while done < bytes.count, let base = bytes.baseAddress {
            let part = min(size, bytes.count - done)
            // The half was given to the card two pieces ago.
            try driver.check(driver.eventSynchronize(stagingEvents[half]), "cuEventSynchronize")
            let to = staging + half * size
            to.copyMemory(from: base + done, byteCount: part)
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
        var (free, total) = (0, 0)
        try driver.check(driver.memoryInfo(&free, &total), "cuMemGetInfo")
        return total - free
    }

    // MARK: work

    private func function(_ launch: KernelLaunch) throws -> OpaquePointer {
        let entry = launch.kernel + "_" + launch.element.suffix
        if let known = functions[entry] { return known }
        let key = launch.source + "/" + launch.element.suffix
        if modules[key] == nil {
            guard let source = KernelSources.text(launch.source + ".cu"), let header = KernelSources.text("device.cuh") else {
                throw LorikeetError.machine("there is no kernel source \(launch.source).cu")
            }
            let (element, architecture) = (launch.element, properties.architecture)
            let made = [compiler.versionText, "\(architecture) \(native) \(element.rawValue)", header, source].joined(separator: "\u{0}")
            let binary = try cache.binary(key: made) {
                try compiler.binary(name: launch.source + ".cu", source: source, header: header, element: element, architecture: architecture, native: native)
            }
            var module: OpaquePointer?
            try driver.check(binary.withUnsafeBytes { driver.moduleLoad(&module, $0.baseAddress) }, "cuModuleLoadData (\(key))")
            modules[key] = module
        }
        var found: OpaquePointer?
        try driver.check(driver.moduleFunction(&found, modules[key], entry), "cuModuleGetFunction (\(entry))")
        guard let found else { throw LorikeetError.machine("\(launch.source).cu has no kernel \(entry)") }
        functions[entry] = found
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
        try outcome.get()
        try driver.check(ended, "cuStreamEndCapture")
        defer { _ = driver.graphDestroy(graph) }
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
