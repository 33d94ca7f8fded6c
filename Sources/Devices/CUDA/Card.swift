import Glibc
import LorikeetGround

/// One card as the driver describes it, before anything is created on it.
struct Card {
    let ordinal: Int
    let handle: Int32
    let name: String
    /// Compute capability times ten.
    let capability: Int
    let multiprocessors: Int
    let totalBytes: Int
    /// `0000:04:00.0`, by which NVML knows it.
    let bus: String

    /// CUDA_ERROR_NO_DEVICE.
    static let noDevice: Int32 = 100
    static let oldestCapability = 75

    /// How many cards the driver shows; the driver is initialised by this.
    static func count(_ driver: Driver) throws -> Int {
        let status = driver.initialise(0)
        if status == noDevice { return 0 }
        try driver.check(status, "cuInit")
        var count: Int32 = 0
        try driver.check(driver.deviceCount(&count), "cuDeviceGetCount")
        return Int(count)
    }

    /// - Throws: exit 2 for a card that is not there or too old, exit 4 where there is none or the driver fails.
    init(_ driver: Driver, ordinal: Int) throws {
        let count = try Self.count(driver)
        guard count > 0 else {
            throw LorikeetError.machine(
                "the NVIDIA driver shows no card (CUDA_ERROR_NO_DEVICE)",
                fix: "start the container with its GPU, look at CUDA_VISIBLE_DEVICES, or say --device cpu")
        }
        guard (0..<count).contains(ordinal) else {
            throw LorikeetError.input(
                "there is no card \(ordinal): this machine has \(count)", at: "--device",
                fix: count == 1 ? "say cuda:0" : "say cuda:0 to cuda:\(count - 1)")
        }
        var device: Int32 = 0
        try driver.check(driver.deviceGet(&device, Int32(ordinal)), "cuDeviceGet")
        (self.ordinal, handle) = (ordinal, device)
        func attribute(_ number: Int32) throws -> Int {
            var value: Int32 = 0
            try driver.check(driver.deviceAttribute(&value, number, device), "cuDeviceGetAttribute")
            return Int(value)
        }
        name = try Self.text("cuDeviceGetName", driver) { driver.deviceName($0, $1, device) }
        // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR 75, _MINOR 76, MULTIPROCESSOR_COUNT 16.
        capability = try attribute(75) * 10 + attribute(76)
        guard capability >= Self.oldestCapability else {
            throw Self.tooOld(name, capability)
        }
        multiprocessors = try attribute(16)
        var total = 0
        try driver.check(driver.deviceTotalMemory(&total, device), "cuDeviceTotalMem")
        totalBytes = total
        bus = try Self.text("cuDeviceGetPCIBusId", driver) { driver.deviceBus($0, $1, device) }
    }

    /// Only Kaggle still lends P100s, and lends T4s beside them.
    private static func tooOld(_ name: String, _ capability: Int) -> LorikeetError {
        let fix =
            name.contains("P100")
            ? "choose the accelerator \"GPU T4 x2\" in the notebook's settings, or say --device cpu"
            : "take a card of 2018 or later (Turing: T4, GTX 16, RTX 20 and all since), or say --device cpu"
        return LorikeetError.input(
            "\(name) has compute capability \(capability / 10).\(capability % 10); 7.5 is needed", at: "--device", fix: fix)
    }

    private static func text(_ call: String, _ driver: Driver, _ ask: (UnsafeMutablePointer<CChar>, Int32) -> Int32) throws -> String {
        var characters = [CChar](repeating: 0, count: 256)
        try driver.check(ask(&characters, 256), call)
        return String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The memory of a card, and what to say when it has no room.
struct CardMemory {
    let context: CardContext
    var driver: Driver { context.driver }
    let card: Card
    let management: ManagementLibrary?
    /// In use when the card was opened: other processes', and this one's context.
    let usedBytesAtOpening: Int

    /// - Parameter context: is current, here and in every call.
    init(_ context: CardContext, _ card: Card, _ management: ManagementLibrary?) throws {
        (self.context, self.card, self.management) = (context, card, management)
        usedBytesAtOpening = try Self.used(context.driver)
    }

    func used() throws -> Int { try Self.used(driver) }

    private static func used(_ driver: Driver) throws -> Int {
        var (free, total) = (0, 0)
        try driver.check(driver.memoryInfo(&free, &total), "cuMemGetInfo")
        return total - free
    }

    /// - Throws: exit 3 saying how much is free and who holds the rest.
    func allocate(bytes: Int) throws -> UInt64 {
        var address: UInt64 = 0
        let status = driver.allocate(&address, bytes)
        if status == Self.outOfMemory {
            let used = (try? used()) ?? card.totalBytes
            throw Self.shortage(card, wanted: Units.formatBytes(Int64(bytes)), free: card.totalBytes - used, held: usedBytesAtOpening, management)
        }
        try driver.check(status, "cuMemAlloc of \(Units.formatBytes(Int64(bytes)))")
        return address
    }

    /// The same with an owner that frees it.
    func block(bytes: Int) throws -> CardResource<UInt64> {
        try CardResource(in: context, release: driver.free) { try allocate(bytes: bytes) }
    }

    /// CUDA_ERROR_OUT_OF_MEMORY.
    static let outOfMemory: Int32 = 2
    /// More than any context takes: what is held beyond it belongs to somebody else.
    private static let contextBytes = 1 << 30

    /// - Parameters:
    ///   - free: bytes the driver gives as free; nil where it cannot say.
    ///   - held: bytes in use before this process allocated anything.
    static func shortage(_ card: Card, wanted: String, free: Int?, held: Int, _ management: ManagementLibrary?) -> LorikeetError {
        var what = "\(card.name) has no room for \(wanted)"
        if let free { what += ": \(Units.formatBytes(Int64(max(0, free)))) of \(Units.formatBytes(Int64(card.totalBytes))) are free" }
        let others = (management?.processes() ?? []).filter { $0.pid != Int(getpid()) }
        if !others.isEmpty {
            what += ", " + others.map { "\($0) holds \($0.bytes.map { Units.formatBytes(Int64($0)) } ?? "some")" }.joined(separator: ", ")
        } else if held > contextBytes {
            what += ", about \(Units.formatBytes(Int64(held))) are held by other processes, which the driver does not name"
        } else {
            return LorikeetError(.doesNotFit, what, at: "--device", fix: "lower --gpu-memory or max_length")
        }
        return LorikeetError(.doesNotFit, what, at: "--device", fix: "end that process, choose another card (cuda:N), or lower --gpu-memory")
    }
}
