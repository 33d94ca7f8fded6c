import Glibc
import LorikeetGround

/// How long the container of this process has run, told by the start of its process 1.
package struct ContainerClock: Sendable, Equatable {
    /// Seconds from the start of process 1 until now.
    package let age: Double
    /// The same for every process of the container, and another for every other container.
    package let identity: String

    /// - Parameters:
    ///   - status: `/proc/1/stat`.
    ///   - uptime: `/proc/uptime`.
    ///   - boot: `/proc/sys/kernel/random/boot_id`.
    /// - Returns: nil where the texts do not have the expected form.
    package init?(status: String, uptime: String, boot: String, ticksPerSecond: Double = Double(sysconf(Int32(_SC_CLK_TCK)))) {
        // The name in parentheses may hold anything; the 22nd field is the start, in ticks since the machine started.
        guard let end = status.lastIndex(of: ")"), ticksPerSecond > 0 else { return nil }
        let fields = status[status.index(after: end)...].split(whereSeparator: \.isWhitespace)
        guard fields.count > 19, let ticks = Double(fields[19]), let now = uptime.split(separator: " ").first.flatMap({ Double($0) }) else { return nil }
        let age = now - ticks / ticksPerSecond
        guard age.isFinite, age >= 0 else { return nil }
        self.age = age
        identity = boot.filter { !$0.isWhitespace } + "-" + fields[19]
    }

    /// The clock of this process's container; nil where /proc cannot be read.
    package static var current: ContainerClock? {
        ContainerClock(
            status: Machine.text(of: "/proc/1/stat"), uptime: Machine.text(of: "/proc/uptime"), boot: Machine.text(of: "/proc/sys/kernel/random/boot_id"))
    }
}
