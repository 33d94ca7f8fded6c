import LorikeetDevices
import LorikeetGround
import LorikeetJSON

/// What `doctor` prints of a card: the name of a field, its value as JSON, and as people read it.
enum CardFields {
    static func fields(_ card: CUDADevice) -> [(String, JSON, String)] {
        let properties = card.properties
        var fields: [(String, JSON, String)] = [
            ("gpu_architecture", JSON(properties.architecture), "compute capability \(properties.architecture / 10).\(properties.architecture % 10)"),
            ("gpu_multiprocessors", JSON(properties.multiprocessors), "\(properties.multiprocessors)"),
            KernelFields.field(card),
            ("gpu_libraries", .array(card.libraries.map { .string($0.path) }), card.libraries.map { "\($0.name): \($0.path)" }.joined(separator: ", ")),
        ]
        guard let now = card.readings() else { return fields + [("gpu_readings", .null, "none (NVML is missing or does not know the card)")] }
        if let driver = now.driver { fields.append(("gpu_driver", .string(driver), driver)) }
        let (total, used) = (now.totalBytes ?? properties.totalBytes, now.usedBytes)
        fields.append(("gpu_memory_total_bytes", JSON(total), Units.formatBytes(Int64(total))))
        if let used { fields.append(("gpu_memory_used_bytes", JSON(used), Units.formatBytes(Int64(used)))) }
        // An empty list may mean that the driver does not say, as in most containers.
        let processes = now.processes.map { "\($0)\($0.bytes.map { " " + Units.formatBytes(Int64($0)) } ?? "")" }
        fields.append(
            (
                "gpu_processes",
                .array(
                    now.processes.map {
                        ["pid": JSON($0.pid), "name": $0.name.map { .string($0) } ?? .null, "bytes": $0.bytes.map { JSON($0) } ?? .null] as JSON
                    }),
                processes.isEmpty ? "none named" : processes.joined(separator: ", ")
            ))
        if let celsius = now.celsius { fields.append(("gpu_celsius", JSON(celsius), "\(celsius)")) }
        if let watts = now.watts {
            fields.append(("gpu_watts", .number(watts), "\(watts)" + (now.wattsLimit.map { " of \($0)" } ?? "")))
        }
        if let clock = now.megahertz {
            fields.append(("gpu_megahertz", JSON(clock), "\(clock)" + (now.megahertzLimit.map { " of \($0)" } ?? "")))
        }
        if let busy = now.utilisation { fields.append(("gpu_utilisation_percent", JSON(busy), "\(busy)")) }
        return fields
    }
}
