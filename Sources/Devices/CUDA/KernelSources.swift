import CUDAKernels
import LorikeetGround

/// The kernels' sources, as they were embedded when the program was built.
package enum KernelSources {
    /// File names, headers (`.cuh`) included.
    package static var names: [String] { (0..<lorikeet_kernel_source_count()).compactMap { lorikeet_kernel_source_name($0).map { String(cString: $0) } } }

    /// What every source may include.
    static var headers: [(name: String, text: String)] { names.filter { $0.hasSuffix(".cuh") }.compactMap { name in text(name).map { (name, $0) } } }

    package static func text(_ name: String) -> String? {
        for i in 0..<lorikeet_kernel_source_count() where lorikeet_kernel_source_name(i).map({ String(cString: $0) }) == name {
            var length = 0
            guard let bytes = lorikeet_kernel_source_text(i, &length) else { return nil }
            return String(decoding: UnsafeBufferPointer(start: bytes, count: length), as: UTF8.self)
        }
        return nil
    }

    /// A hash of every name and text: binaries made from other sources have another one.
    static let fingerprint = KernelCache.name(names.map { $0 + "\u{0}" + (text($0) ?? "") }.joined(separator: "\u{0}"))

    /// The kernels of all sources, by their name without the type's suffix: what `KERNEL` and `KERNEL_OF_MANY` define. Those that exist in code for
    /// warpgroups (`#if HOPPER`) alone are not among them.
    package static var kernels: [(source: String, name: String)] { defined(forWarpgroups: false) }

    /// The kernels that exist in code for warpgroups alone.
    package static var warpgroupKernels: [(source: String, name: String)] {
        let others = Set(kernels.map(\.name))
        return defined(forWarpgroups: true).filter { !others.contains($0.name) }
    }

    private static func defined(forWarpgroups: Bool) -> [(source: String, name: String)] {
        names.filter { $0.hasSuffix(".cu") }.flatMap { source in
            var inWarpgroups = false
            return (text(source) ?? "").split(separator: "\n").compactMap { line -> (source: String, name: String)? in
                if line.hasPrefix("#") { inWarpgroups = line == "#if HOPPER" }
                guard inWarpgroups == forWarpgroups else { return nil }
                if let plain = line.firstMatch(of: /^KERNEL\(\d+, (\w+),/) { return (source, String(plain.1)) }
                if let attention = line.firstMatch(of: /^KERNEL_OF_MANY\(.*ATTENTION\((\w+)\)/) { return (source, "attention_" + attention.1) }
                return line.firstMatch(of: /^KERNEL_OF_MANY\(\d+, \d+, (\w+),/).map { (source, String($0.1)) }
            }
        }
    }
}

/// A source with what it may include.
struct KernelText: Sendable {
    let source: String
    let headers: [(name: String, text: String)]

    init(_ module: KernelModule) throws {
        guard let source = KernelSources.text(module.source + ".cu") else { throw LorikeetError.machine("there is no kernel source \(module.source).cu") }
        (self.source, headers) = (source, KernelSources.headers)
    }
}
