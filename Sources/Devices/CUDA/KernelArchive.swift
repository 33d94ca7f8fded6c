import CCompression
import LorikeetGround

/// Machine code of every kernel for one compute capability, compiled when the program was packed, so that a card neither waits for a compiler
/// nor needs one.
///
/// A file is one Zstandard frame with a check sum. Unpacked, lines of text come first, then an empty line, then the binaries one
/// after the other in the order of their lines:
///
///     lorikeet kernels 1
///     sources 6b0c9d8e...                                   the hash of all sources and headers
///     compiler 12.6                                         NVRTC's version
///     kernel 18392 rmsnorm.cu -arch=sm_75 -DTYPE=1 ...      bytes, source, options of the compiler
///
/// Binaries are used by a program with the same sources only, and for the same options only.
package struct KernelArchive: Sendable {
    /// The compute capabilities, times ten, that a wheel has archives for.
    package static let architectures = [75, 80, 86, 89, 90]

    package let path: String
    /// Compute capability times ten.
    package let architecture: Int
    /// NVRTC's version, `12.6`.
    package let compiler: String
    /// Whether its binaries come from this program's own sources.
    package let isCurrent: Bool
    /// The range of each binary in `bytes`, by source and options.
    private let places: [String: Range<Int>]
    private let bytes: [UInt8]

    package var count: Int { places.count }

    static let firstLine = "lorikeet kernels 1"
    /// The largest unpacked size that is accepted, in bytes: far more than all kernels take.
    private static let mostBytes = 1 << 28

    package static func name(architecture: Int) -> String { "kernels-\(architecture).zst" }

    /// Source and options, by which a binary is found.
    static func key(_ module: KernelModule, architecture: Int) -> String {
        ([module.source + ".cu"] + KernelCompiler.options(module, architecture: architecture, native: true)).joined(separator: " ")
    }

    /// The archive for `architecture` in the first of `folders` that has one.
    ///
    /// - Throws: exit 2 naming a file that is damaged.
    package static func find(architecture: Int, in folders: [String], files: any Files = RealFiles()) throws -> KernelArchive? {
        let paths = folders.map { $0 + "/" + name(architecture: architecture) }
        return try paths.first(where: files.exists).map { try KernelArchive(path: $0, architecture: architecture, files: files) }
    }

    /// - Throws: exit 2 where the file is not what `KernelArchiveWriter` writes, whole.
    init(path: String, architecture: Int, files: any Files = RealFiles()) throws {
        let damaged = LorikeetError.input("the compiled kernels are damaged", at: path, fix: "install Lorikeet again")
        let packed = try files.read(path)
        let size = lorikeet_zstd_size(packed, packed.count)
        guard size > 0, size <= Self.mostBytes else { throw damaged }
        var unpacked = [UInt8](repeating: 0, count: size)
        guard lorikeet_zstd_unpack(packed, packed.count, &unpacked, size) == size else { throw damaged }
        var (position, lines) = (0, [Substring]())
        while true {
            guard let end = unpacked[position...].firstIndex(of: UInt8(ascii: "\n")) else { throw damaged }
            let line = String(decoding: unpacked[position..<end], as: UTF8.self)
            position = end + 1
            if line.isEmpty { break }
            lines.append(Substring(line))
        }
        func value(_ index: Int, _ name: String) throws -> String {
            guard lines.count > index, lines[index].hasPrefix(name + " ") else { throw damaged }
            return String(lines[index].dropFirst(name.count + 1))
        }
        guard lines.first == Substring(Self.firstLine) else { throw damaged }
        isCurrent = try value(1, "sources") == KernelSources.fingerprint
        compiler = try value(2, "compiler")
        var places: [String: Range<Int>] = [:]
        for index in 3..<max(3, lines.count) {
            let parts = try value(index, "kernel").split(separator: " ", maxSplits: 1)
            guard parts.count == 2, let count = Int(parts[0]), count > 0, count <= size - position else { throw damaged }
            places[String(parts[1])] = position..<position + count
            position += count
        }
        guard position == size, !places.isEmpty, places.count == lines.count - 3 else { throw damaged }
        (self.path, self.architecture, self.places, bytes) = (path, architecture, places, unpacked)
    }

    package func holds(_ module: KernelModule) -> Bool { isCurrent && places[Self.key(module, architecture: architecture)] != nil }

    /// The machine code of a module; nil where it is not here, or belongs to other sources.
    func binary(_ module: KernelModule) -> ArraySlice<UInt8>? {
        isCurrent ? places[Self.key(module, architecture: architecture)].map { bytes[$0] } : nil
    }
}
