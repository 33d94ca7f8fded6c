import LorikeetGround

/// The driver's functions (libcuda): names and types of CUDA's driver API.
struct Driver {
    typealias Pointer = UnsafeMutableRawPointer
    typealias Handle = OpaquePointer

    static let names = ["libcuda.so.1", "libcuda.so"]
    /// CUDA's version that the driver supports, as 12040 for 12.4.
    let version: Int
    var versionText: String { Self.text(version) }
    let initialise: @convention(c) (UInt32) -> Int32
    let deviceCount: @convention(c) (UnsafeMutablePointer<Int32>) -> Int32
    let deviceGet: @convention(c) (UnsafeMutablePointer<Int32>, Int32) -> Int32
    let deviceName: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Int32) -> Int32
    let deviceAttribute: @convention(c) (UnsafeMutablePointer<Int32>, Int32, Int32) -> Int32
    let deviceBus: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Int32) -> Int32
    let deviceTotalMemory: @convention(c) (UnsafeMutablePointer<Int>, Int32) -> Int32
    let retainContext: @convention(c) (UnsafeMutablePointer<Handle?>, Int32) -> Int32
    let releaseContext: @convention(c) (Int32) -> Int32
    let setContext: @convention(c) (Handle?) -> Int32
    let memoryInfo: @convention(c) (UnsafeMutablePointer<Int>, UnsafeMutablePointer<Int>) -> Int32
    let allocate: @convention(c) (UnsafeMutablePointer<UInt64>, Int) -> Int32
    let free: @convention(c) (UInt64) -> Int32
    let allocateHost: @convention(c) (UnsafeMutablePointer<Pointer?>, Int, UInt32) -> Int32
    let freeHost: @convention(c) (Pointer?) -> Int32
    let streamCreate: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32, Int32) -> Int32
    let streamDestroy: @convention(c) (Handle?) -> Int32
    let streamSynchronize: @convention(c) (Handle?) -> Int32
    let streamWait: @convention(c) (Handle?, Handle?, UInt32) -> Int32
    let copyToDevice: @convention(c) (UInt64, UnsafeRawPointer?, Int, Handle?) -> Int32
    let copyFromDevice: @convention(c) (Pointer?, UInt64, Int, Handle?) -> Int32
    let copyOnDevice: @convention(c) (UInt64, UInt64, Int, Handle?) -> Int32
    /// Between any two of the card's and the host's addresses.
    let copyAnywhere: @convention(c) (UInt64, UInt64, Int, Handle?) -> Int32
    let fill: @convention(c) (UInt64, UInt8, Int, Handle?) -> Int32
    let moduleLoad: @convention(c) (UnsafeMutablePointer<Handle?>, UnsafeRawPointer?) -> Int32
    let moduleUnload: @convention(c) (Handle?) -> Int32
    let moduleFunction: @convention(c) (UnsafeMutablePointer<Handle?>, Handle?, UnsafePointer<CChar>) -> Int32
    let functionSetAttribute: @convention(c) (Handle?, Int32, Int32) -> Int32
    let launchKernel:
        @convention(c) (
            Handle?, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, Handle?, UnsafeMutablePointer<Pointer?>?,
            UnsafeMutablePointer<Pointer?>?
        ) -> Int32
    let eventCreate: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Int32
    let eventDestroy: @convention(c) (Handle?) -> Int32
    let eventRecord: @convention(c) (Handle?, Handle?) -> Int32
    let eventSynchronize: @convention(c) (Handle?) -> Int32
    let eventElapsed: @convention(c) (UnsafeMutablePointer<Float>, Handle?, Handle?) -> Int32
    let captureBegin: @convention(c) (Handle?, Int32) -> Int32
    let captureEnd: @convention(c) (Handle?, UnsafeMutablePointer<Handle?>) -> Int32
    let graphInstantiate: @convention(c) (UnsafeMutablePointer<Handle?>, Handle?, UInt64) -> Int32
    let graphLaunch: @convention(c) (Handle?, Handle?) -> Int32
    let graphDestroy: @convention(c) (Handle?) -> Int32
    let graphExecDestroy: @convention(c) (Handle?) -> Int32
    private let errorName: @convention(c) (Int32, UnsafeMutablePointer<UnsafePointer<CChar>?>) -> Int32

    /// - Throws: exit 4 where there is no driver, or one older than CUDA 12.
    init(_ folders: LibraryFolders) throws {
        guard let library = folders.ofDriver(Self.names) else {
            throw LorikeetError.machine(
                "this machine has no NVIDIA driver (libcuda.so.1 cannot be opened)",
                fix: "install the driver, start the container with its GPU, or say --device cpu")
        }
        // First of all: an old driver may lack functions, and its age is what has to be said.
        let ask: @convention(c) (UnsafeMutablePointer<Int32>) -> Int32 = try library.function("cuDriverGetVersion")
        var number: Int32 = 0
        guard ask(&number) == 0, number >= 12000 else {
            throw LorikeetError.machine(
                "the NVIDIA driver is too old: it supports CUDA \(Self.text(Int(number)))",
                fix: "install driver 525 or newer (CUDA 12), or say --device cpu")
        }
        version = Int(number)
        initialise = try library.function("cuInit")
        deviceCount = try library.function("cuDeviceGetCount")
        deviceGet = try library.function("cuDeviceGet")
        deviceName = try library.function("cuDeviceGetName")
        deviceAttribute = try library.function("cuDeviceGetAttribute")
        deviceBus = try library.function("cuDeviceGetPCIBusId")
        deviceTotalMemory = try library.function("cuDeviceTotalMem_v2")
        retainContext = try library.function("cuDevicePrimaryCtxRetain")
        releaseContext = try library.function("cuDevicePrimaryCtxRelease_v2")
        setContext = try library.function("cuCtxSetCurrent")
        memoryInfo = try library.function("cuMemGetInfo_v2")
        allocate = try library.function("cuMemAlloc_v2")
        free = try library.function("cuMemFree_v2")
        allocateHost = try library.function("cuMemHostAlloc")
        freeHost = try library.function("cuMemFreeHost")
        streamCreate = try library.function("cuStreamCreateWithPriority")
        streamDestroy = try library.function("cuStreamDestroy_v2")
        streamSynchronize = try library.function("cuStreamSynchronize")
        streamWait = try library.function("cuStreamWaitEvent")
        copyAnywhere = try library.function("cuMemcpyAsync")
        copyToDevice = try library.function("cuMemcpyHtoDAsync_v2")
        copyFromDevice = try library.function("cuMemcpyDtoHAsync_v2")
        copyOnDevice = try library.function("cuMemcpyDtoDAsync_v2")
        fill = try library.function("cuMemsetD8Async")
        moduleLoad = try library.function("cuModuleLoadData")
        moduleUnload = try library.function("cuModuleUnload")
        moduleFunction = try library.function("cuModuleGetFunction")
        functionSetAttribute = try library.function("cuFuncSetAttribute")
        launchKernel = try library.function("cuLaunchKernel")
        eventCreate = try library.function("cuEventCreate")
        eventDestroy = try library.function("cuEventDestroy_v2")
        eventRecord = try library.function("cuEventRecord")
        eventSynchronize = try library.function("cuEventSynchronize")
        eventElapsed = try library.function("cuEventElapsedTime")
        captureBegin = try library.function("cuStreamBeginCapture_v2")
        captureEnd = try library.function("cuStreamEndCapture")
        graphInstantiate = try library.function("cuGraphInstantiateWithFlags")
        graphLaunch = try library.function("cuGraphLaunch")
        graphDestroy = try library.function("cuGraphDestroy")
        graphExecDestroy = try library.function("cuGraphExecDestroy")
        errorName = try library.function("cuGetErrorName")
    }

    private static func text(_ version: Int) -> String { "\(version / 1000).\(version % 1000 / 10)" }

    /// What `create` makes; `call` names it in an error.
    func made(_ call: String, _ create: (UnsafeMutablePointer<Handle?>) -> Int32) throws -> Handle? {
        var made: Handle?
        try check(create(&made), call)
        return made
    }

    /// Turns a status into an error that carries the call and the code's name.
    func check(_ status: Int32, _ call: String) throws {
        guard status != 0 else { return }
        var text: UnsafePointer<CChar>?
        _ = errorName(status, &text)
        let name = text.map { String(cString: $0) } ?? "error \(status)"
        let fix =
            switch status {
            case 2: "free memory of the card, lower --gpu-memory, or use a smaller max_length"
            case 35, 803, 804: "update the NVIDIA driver, or reboot if it was updated just now"
            case 46: "another process holds the card for itself: end it or choose another card"
            case 100: "check that the container was given a GPU, or say --device cpu"
            case 222: "the driver supports CUDA \(versionText): install an NVRTC that is not newer, or update the driver"
            case 214, 220: "the card's memory or link is damaged: choose another card, then run the same command again"
            case 700, 716, 719: "run the same command again; if it repeats, run lorikeet doctor --kernels"
            default: "run the same command again: the last checkpoint is kept"
            }
        throw LorikeetError.machine("the card failed: \(call) returned \(name)", fix: fix).of(.device)
    }
}
