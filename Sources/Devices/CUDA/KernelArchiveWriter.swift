import CCompression
import LorikeetGround
import Synchronization

/// Makes a `KernelArchive` with NVRTC, without a card.
package struct KernelArchiveWriter {
    /// What was written.
    package struct Report: Sendable {
        package let path: String
        package let kernels: Int
        /// Bytes of all machine code, and of the compressed file.
        package let bytes, packedBytes: Int
    }

    private let compiler: KernelCompiler
    package var compilerVersion: String { compiler.versionText }
    package var compilerText: String { "NVRTC \(compiler.versionText), \(compiler.path)" }

    /// - Throws: exit 4 where there is no NVRTC of CUDA 12, whose code every supported driver runs.
    package init(_ options: CUDADevice.Options) throws { compiler = try KernelCompiler(major: 12, folders: options.folders) }

    /// Compiles the modules on all threads and writes the archive of `architecture` into a folder.
    ///
    /// - Throws: exit 4 where a module does not compile, the compiler warns of one, or the file cannot be written.
    package func write(_ modules: [KernelModule], architecture: Int, to folder: String, threads: Int, files: any Files = RealFiles()) throws -> Report {
        let binaries = try compile(modules, architecture: architecture, threads: max(1, min(threads, modules.count)))
        var head = [KernelArchive.firstLine, "sources " + KernelSources.fingerprint, "compiler " + compiler.versionText]
        for (module, binary) in zip(modules, binaries) { head.append("kernel \(binary.count) \(KernelArchive.key(module, architecture: architecture))") }
        let plain = Array((head.joined(separator: "\n") + "\n\n").utf8) + binaries.joined()
        var packed = [UInt8](repeating: 0, count: lorikeet_zstd_room(plain.count))
        let size = lorikeet_zstd_pack(plain, plain.count, &packed, packed.count)
        guard size > 0 else { throw LorikeetError.machine("the kernels cannot be packed", at: folder, fix: "free some RAM") }
        let path = folder + "/" + KernelArchive.name(architecture: architecture)
        try files.createDirectory(folder)
        try files.writeDurably(Array(packed[..<size]), to: path)
        return Report(path: path, kernels: modules.count, bytes: binaries.reduce(0) { $0 + $1.count }, packedBytes: size)
    }

    private func compile(_ modules: [KernelModule], architecture: Int, threads: Int) throws -> [[UInt8]] {
        let texts = try modules.map(KernelText.init)
        let next = Mutex(0)
        let results = Mutex([Result<[UInt8], any Error>?](repeating: nil, count: modules.count))
        CPU(threads: threads).parallel(over: threads) { _ in
            while true {
                let index = next.withLock { next in
                    defer { next += 1 }
                    return next
                }
                guard index < modules.count else { return }
                let result = Result { try compiler.binary(modules[index], texts[index], architecture: architecture, native: true, warningsFail: true) }
                results.withLock { $0[index] = result }
            }
        }
        return try results.withLock { try $0.map { try $0?.get() ?? [] } }
    }
}
