import LorikeetDevices
import LorikeetGround
import LorikeetJSON

/// The machine's state for events: CPU %, RAM used and total, the card's memory, disk free.
final class MachineState {
    /// Opened after the first events.
    var device: (any Accelerator)?
    /// The largest number of bytes in use on the card over all calls of `deviceBytes`.
    private(set) var peakDeviceBytes = 0
    private var last = Machine.cpuTimes()
    private let directory: String
    private let files: any Files

    init(directory: String, files: any Files) {
        self.directory = directory
        self.files = files
    }

    /// Looks at the card's memory; 0 without a card. A card that fails is reported by the work that runs on it, not here.
    @discardableResult func deviceBytes() -> Int {
        let used = (try? device?.usedBytes()) ?? 0
        peakDeviceBytes = max(peakDeviceBytes, used)
        return used
    }

    /// CPU % is that of all processors since the last call.
    func fields() -> JSONObject {
        let now = Machine.cpuTimes()
        let total = now.total - last.total
        let percent = total > 0 ? 100 * (now.busy - last.busy) / total : 0
        last = now
        let memory = Machine.totalMemoryBytes()
        var fields: JSONObject = [
            "cpu_percent": .number((percent * 10).rounded() / 10), "ram_used_bytes": .integer(memory - Machine.availableMemoryBytes()),
            "ram_total_bytes": .integer(memory), "rss_bytes": .integer(Machine.residentBytes()), "gpu_used_bytes": JSON(deviceBytes()),
            "gpu_total_bytes": JSON(device?.properties.totalBytes ?? 0),
        ]
        if let free = try? files.freeBytes(at: directory) { fields["disk_free_bytes"] = .integer(free) }
        return fields
    }
}
