import LorikeetDevices
import LorikeetGround
import LorikeetJSON

/// The machine's state for events: CPU %, RAM used and total, the card's memory, disk free.
final class MachineState {
    /// Opened after the first events.
    var device: (any Accelerator)?
    /// The largest number of bytes in use on the card over all calls of `deviceBytes`.
    private(set) var peakDeviceBytes = 0
    private var last: (busy: Double, total: Double)
    private var percent: Double?
    private static let leastTicks = 20.0
    private let directory: String
    private let files: any Files

    init(directory: String, files: any Files, times: (busy: Double, total: Double) = Machine.cpuTimes()) {
        last = times
        self.directory = directory
        self.files = files
    }

    /// Looks at the card's memory; 0 without a card. A card that fails is reported by the work that runs on it, not here.
    @discardableResult func deviceBytes() -> Int {
        let used = (try? device?.usedBytes()) ?? 0
        peakDeviceBytes = max(peakDeviceBytes, used)
        return used
    }

    /// The use of all processors, 0 to 100, since it was measured last; nil before the first measurement.
    ///
    /// - Parameter now: times since the machine's start, in hundredths of a second. Less than `leastTicks` after the last measurement that one counts
    ///   on: so few ticks would give any number.
    func cpuPercent(_ now: (busy: Double, total: Double)) -> Double? {
        let total = now.total - last.total
        if total >= Self.leastTicks {
            percent = 100 * (now.busy - last.busy) / total
            last = now
        }
        return percent
    }

    /// The state now; without `cpu_percent` until enough processor time has passed since the start.
    func fields() -> JSONObject {
        let memory = Machine.totalMemoryBytes()
        var fields: JSONObject = [:]
        if let percent = cpuPercent(Machine.cpuTimes()) { fields["cpu_percent"] = .number((percent * 10).rounded() / 10) }
        fields["ram_used_bytes"] = .integer(memory - Machine.availableMemoryBytes())
        fields["ram_total_bytes"] = .integer(memory)
        fields["rss_bytes"] = .integer(Machine.residentBytes())
        fields["gpu_used_bytes"] = JSON(deviceBytes())
        fields["gpu_total_bytes"] = JSON(device?.properties.totalBytes ?? 0)
        if let free = try? files.freeBytes(at: directory) { fields["disk_free_bytes"] = .integer(free) }
        return fields
    }
}
