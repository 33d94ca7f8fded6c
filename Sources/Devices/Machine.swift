import CThreads
import Glibc
import LorikeetGround

/// The resources that this process may use on the machine (cores, memory, disk) and how busy they are. The limits of control groups count.
package enum Machine {
    /// AVX2 and FMA, which the engine's code is compiled for.
    package static func cpuSupportsAVX2() -> Bool { lorikeet_cpu_has_avx2() != 0 }

    /// What `requireVectorInstructions` goes by: the processor's own answer. Tests set another one.
    @TaskLocal package static var hasVectorInstructions = cpuSupportsAVX2()

    /// Has to come before any code of the engine.
    ///
    /// - Throws: exit 2 on a processor without AVX2 and FMA.
    package static func requireVectorInstructions() throws {
        guard !hasVectorInstructions else { return }
        throw LorikeetError.input(
            "this processor has no AVX2 and FMA, which Lorikeet's arithmetic needs", fix: "use a machine from 2013 or later"
        ).of(.processor)
    }

    /// Processors this process may run on.
    package static func coreCount() -> Int {
        // Counts the affinity mask.
        var count = max(1, Int(lorikeet_processor_count()))
        if let quota = group.processors(), quota < Double(count) { count = max(1, Int(quota.rounded(.up))) }
        return count
    }

    /// Bytes of memory that this process could ever have.
    package static func totalMemoryBytes() -> Int64 {
        min(memoryInformation("MemTotal"), group.memoryLimitBytes() ?? .max)
    }

    /// Bytes of memory that can be had now without pushing others out.
    package static func availableMemoryBytes() -> Int64 {
        min(memoryInformation("MemAvailable"), group.availableMemoryBytes() ?? .max)
    }

    /// Bytes of this process in memory now, and at most so far.
    package static func residentBytes() -> Int64 { status("VmRSS") }
    package static func peakResidentBytes() -> Int64 { status("VmHWM") }
    /// The part of them that is no file's: what only swapping could take away.
    package static func anonymousBytes() -> Int64 { status("RssAnon") }

    /// Gives the pages of freed memory, which the allocator keeps for later, back to the system: until then they count as this process's.
    package static func returnFreeMemory() { lorikeet_return_free_memory() }

    /// The processor's name, e.g. `AMD EPYC 7763 64-Core Processor`.
    package static func cpuModel() -> String {
        for line in text(of: "/proc/cpuinfo").split(separator: "\n") where line.hasPrefix("model name") {
            return line.split(separator: ":", maxSplits: 1).last.map { String($0.drop { $0 == " " }) } ?? "unknown"
        }
        return "unknown"
    }

    /// Busy and total time of all processors since the machine started, in the kernel's ticks; the difference of two readings gives CPU %.
    package static func cpuTimes() -> (busy: Double, total: Double) {
        // The ninth and tenth number, of guests, are counted among the first two.
        let fields = line(of: "/proc/stat").split(separator: " ").dropFirst().prefix(8).compactMap { Double($0) }
        guard fields.count >= 4 else { return (0, 0) }
        let total = fields.reduce(0, +)
        let idle = fields[3] + (fields.count > 4 ? fields[4] : 0)
        return (total - idle, total)
    }

    private static var group: ControlGroup { ControlGroup(read: { text(of: $0) }) }

    /// Bytes that programs have written and that are not on a disk yet.
    package static func unwrittenBytes() -> Int64 { memoryInformation("Dirty") + memoryInformation("Writeback") }

    private static func memoryInformation(_ key: String) -> Int64 { kilobytes(key, in: "/proc/meminfo") }
    private static func status(_ key: String) -> Int64 { kilobytes(key, in: "/proc/self/status") }

    /// `Key:   123 kB` in a file of such lines, as bytes.
    private static func kilobytes(_ key: String, in path: String) -> Int64 {
        for line in text(of: path).split(separator: "\n") where line.hasPrefix(key + ":") {
            return (Int64(line.filter(\.isNumber)) ?? 0) * 1024
        }
        return 0
    }

    static func line(of path: String) -> String { text(of: path).split(separator: "\n").first.map(String.init) ?? "" }

    /// Files of /proc and /sys say they are empty: read until the end.
    static func text(of path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let got = piece.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if got <= 0 { break }
            bytes += piece[..<got]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// SIGINT and SIGTERM as a question that long work asks between its steps.
package enum StopSignal {
    /// From now on the first such signal only sets a mark; a second one ends the process.
    ///
    /// - Parameter patience: seconds after the first in which others change nothing, while the process saves what it has.
    package static func startCatching(patience: Int32 = 0) { lorikeet_catch_signals(patience) }
    /// From now on such a signal ends the process again, and none counts as caught.
    package static func stopCatching() { lorikeet_release_signals() }
    package static var isCaught: Bool { lorikeet_caught_signal() != 0 }
}

extension Machine {
    /// Seconds since this process was started, by the kernel's own count.
    package static func processAge() -> Double {
        // Field 22 of /proc/self/stat, counted behind the command's closing parenthesis: start in clock ticks after boot.
        let fields = line(of: "/proc/self/stat").split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 19, let ticks = Double(fields[19]), let uptime = line(of: "/proc/uptime").split(separator: " ").first.flatMap({ Double($0) })
        else { return 0 }
        return max(0, uptime - ticks / Double(sysconf(Int32(_SC_CLK_TCK))))
    }
}

extension Machine {
    /// The folder of this process's program; nil where /proc does not say.
    package static var executableFolder: String? {
        var bytes = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &bytes, bytes.count)
        guard count > 0, count < bytes.count else { return nil }
        return RealFiles.parent(of: String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
}
