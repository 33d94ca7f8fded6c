/// What the control groups of this process leave it (cgroup v2 and v1), its own group and those above it.
///
/// Source: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
struct ControlGroup {
    /// A file's text, empty where there is none: tests give their own tree.
    let read: (_ path: String) -> String

    /// Bytes that the tightest group allows; nil where none does.
    func memoryLimitBytes() -> Int64? { memory().map(\.limit).min() }

    /// Bytes left below the tightest limit. Cached file pages that the kernel can drop count as free: a mapped model is in them.
    func availableMemoryBytes() -> Int64? { memory().map { max(0, $0.limit - $0.used) }.min() }

    /// Processors' worth of time that the tightest group allows, e.g. 1.5; nil where none does.
    func processors() -> Double? {
        let unified = folders("", "").compactMap { folder -> Double? in
            // "quota period" in microseconds, or "max period".
            let words = read(folder + "/cpu.max").split { $0 == " " || $0 == "\n" }.map { Double($0) }
            return share(words.first ?? nil, words.count > 1 ? words[1] : nil)
        }
        let first = folders("cpu", "/cpu").compactMap { share(number($0 + "/cpu.cfs_quota_us"), number($0 + "/cpu.cfs_period_us")) }
        return (unified + first).min()
    }

    private func share(_ quota: Double?, _ period: Double?) -> Double? {
        // Version 1 says "no limit" with -1.
        guard let quota, let period, quota > 0, period > 0 else { return nil }
        return quota / period
    }

    private func memory() -> [(limit: Int64, used: Int64)] {
        let unified = folders("", "").compactMap { level($0, limit: "/memory.max", used: "/memory.current", cached: "inactive_file") }
        let first = folders("memory", "/memory").compactMap {
            level($0, limit: "/memory.limit_in_bytes", used: "/memory.usage_in_bytes", cached: "total_inactive_file")
        }
        return unified + first
    }

    private func level(_ folder: String, limit: String, used: String, cached: String) -> (limit: Int64, used: Int64)? {
        // "max" is no number; version 1 says "no limit" with one close to 2^63.
        guard let limit = number(folder + limit), limit >= 0, limit < 0x1p60 else { return nil }
        let statistics = read(folder + "/memory.stat").split(separator: "\n").map { $0.split(separator: " ") }
        let droppable = statistics.first { $0.first.map(String.init) == cached }.flatMap { $0.last }.flatMap { Double($0) } ?? 0
        return (Int64(limit), Int64(max(0, min(0x1p60, (number(folder + used) ?? 0) - droppable))))
    }

    private func number(_ path: String) -> Double? { read(path).split(separator: "\n").first.flatMap { Double($0) } }

    /// Folders of the process's group and all above it, the mounted root last.
    ///
    /// Inside a container the path may be one of the host that is not mounted here: its files are missing and only the root counts.
    private func folders(_ controller: String, _ mount: String) -> [String] {
        let root = "/sys/fs/cgroup" + mount
        // Lines are "number:controllers:path"; version 2 has no controllers.
        for line in read("/proc/self/cgroup").split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, fields[1].split(separator: ",").contains(Substring(controller)) || (controller.isEmpty && fields[1].isEmpty)
            else { continue }
            let names = fields[2].pathParts
            guard !names.contains("..") else { break }
            return (0...names.count).reversed().map { ([root] + names.prefix($0)).joined(separator: "/") }
        }
        return [root]
    }
}
