import Glibc
import LorikeetGround

/// A process that computes on a card.
package struct CardProcess: Sendable, CustomStringConvertible {
    /// As the driver counts: inside a container it may be another process, or none.
    package let pid: Int
    /// From `/proc`; nil where that cannot be read.
    package let name: String?
    /// nil where the driver does not say.
    package let bytes: Int?

    package var description: String { name.map { "\($0) (pid \(pid))" } ?? "process \(pid)" }
}

/// What NVML says of a card now; what it does not say is nil.
package struct CardReadings: Sendable {
    /// The driver's own version, `550.54.15`.
    package var driver: String?
    package var totalBytes, usedBytes: Int?
    package var processes: [CardProcess] = []
    package var celsius: Int?
    package var watts, wattsLimit: Double?
    package var megahertz, megahertzLimit: Int?
    /// Per cent of the last moment in which a kernel ran.
    package var utilisation: Int?
}

/// NVML of one card: readings for `doctor` and errors. Everything works without it.
struct ManagementLibrary {
    private typealias Device = OpaquePointer
    private typealias Reading = @convention(c) (Device?, UnsafeMutablePointer<UInt32>) -> Int32
    private typealias ReadingOfKind = @convention(c) (Device?, Int32, UnsafeMutablePointer<UInt32>) -> Int32
    private let library: DynamicLibrary
    private let device: Device?
    private let initialisation: Initialisation

    /// Holds NVML open: the library counts calls of nvmlInit and has to be shut down as often.
    private final class Initialisation {
        private let stop: @convention(c) () -> Int32
        init?(_ library: DynamicLibrary) {
            guard let start: @convention(c) () -> Int32 = try? library.function("nvmlInit_v2"),
                let stop: @convention(c) () -> Int32 = try? library.function("nvmlShutdown"), start() == 0
            else { return nil }
            self.stop = stop
        }
        deinit { _ = stop() }
    }

    /// nil where NVML is not found or does not know the card.
    init?(folders: LibraryFolders, bus: String) {
        guard let library = folders.ofDriver(["libnvidia-ml.so.1"]) else { return nil }
        guard let initialisation = Initialisation(library),
            let find: @convention(c) (UnsafePointer<CChar>, UnsafeMutablePointer<Device?>) -> Int32 = try? library.function(
                "nvmlDeviceGetHandleByPciBusId_v2")
        else { return nil }
        var device: Device?
        guard find(bus, &device) == 0 else { return nil }
        (self.library, self.device, self.initialisation) = (library, device, initialisation)
    }

    func readings() -> CardReadings {
        var readings = CardReadings()
        readings.driver = driverVersion()
        if let memory: @convention(c) (Device?, UnsafeMutablePointer<UInt64>) -> Int32 = try? library.function("nvmlDeviceGetMemoryInfo") {
            // nvmlMemory_t: total, free, used.
            var values = [UInt64](repeating: 0, count: 3)
            if memory(device, &values) == 0 { (readings.totalBytes, readings.usedBytes) = (Int(clamping: values[0]), Int(clamping: values[2])) }
        }
        readings.processes = processes()
        // NVML_TEMPERATURE_GPU 0; NVML_CLOCK_SM 1.
        readings.celsius = reading("nvmlDeviceGetTemperature", of: 0)
        readings.watts = reading("nvmlDeviceGetPowerUsage").map { Double($0) / 1000 }
        readings.wattsLimit = reading("nvmlDeviceGetEnforcedPowerLimit").map { Double($0) / 1000 }
        readings.megahertz = reading("nvmlDeviceGetClockInfo", of: 1)
        readings.megahertzLimit = reading("nvmlDeviceGetMaxClockInfo", of: 1)
        // nvmlUtilization_t: gpu, memory.
        if let utilisation: Reading = try? library.function("nvmlDeviceGetUtilizationRates") {
            var values: [UInt32] = [0, 0]
            if utilisation(device, &values) == 0 { readings.utilisation = Int(values[0]) }
        }
        return readings
    }

    /// Who computes on the card; empty where the driver does not say, as often in containers.
    func processes() -> [CardProcess] {
        typealias List = @convention(c) (Device?, UnsafeMutablePointer<UInt32>, UnsafeMutableRawPointer) -> Int32
        let (room, stride) = (256, 24)
        for name in ["nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"] {
            guard let list: List = try? library.function(name) else { continue }
            // nvmlProcessInfo_t: pid (32 bits), bytes (64 bits, aligned), two instances (32 bits each).
            var table = [UInt64](repeating: 0, count: room * stride / 8)
            var count = UInt32(room)
            guard list(device, &count, &table) == 0 else { return [] }
            return (0..<min(room, Int(count))).map { i in
                let (pid, bytes) = (Int(UInt32(truncatingIfNeeded: table[3 * i])), table[3 * i + 1])
                // All ones is "not available".
                return CardProcess(pid: pid, name: Self.processName(pid), bytes: bytes == .max ? nil : Int(clamping: bytes))
            }
        }
        return []
    }

    private func driverVersion() -> String? {
        guard let ask: @convention(c) (UnsafeMutablePointer<CChar>, UInt32) -> Int32 = try? library.function("nvmlSystemGetDriverVersion") else { return nil }
        var text = [CChar](repeating: 0, count: 96)
        guard ask(&text, 96) == 0 else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private func reading(_ name: String) -> Int? {
        guard let ask: Reading = try? library.function(name) else { return nil }
        var value: UInt32 = 0
        return ask(device, &value) == 0 ? Int(value) : nil
    }

    private func reading(_ name: String, of which: Int32) -> Int? {
        guard let ask: ReadingOfKind = try? library.function(name) else { return nil }
        var value: UInt32 = 0
        return ask(device, which, &value) == 0 ? Int(value) : nil
    }

    private static func processName(_ pid: Int) -> String? {
        guard let file = fopen("/proc/\(pid)/comm", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 64)
        guard fgets(&line, 64, file) != nil else { return nil }
        // A process may call itself anything: what does not print stays out of a sentence.
        let name = line.prefix { $0 != 0 && $0 != 10 }.filter { (32..<127).contains($0) }.map { UInt8(bitPattern: $0) }
        return name.isEmpty ? nil : String(decoding: name, as: UTF8.self)
    }
}
