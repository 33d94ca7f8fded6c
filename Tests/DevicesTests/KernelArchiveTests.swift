import CCompression
import Foundation
import LorikeetGround
import StubCard
import Testing

@testable import LorikeetDevices

/// Kernels compiled ahead: found beside the program, used by the same sources only, and no compiler needed with them.
struct KernelArchiveTests {
    private static let modules = [KernelModule("rmsnorm", .f32), KernelModule("decode", .f16, defines: ["FORMAT=3"])]
    private static let launch = KernelLaunch("rmsnorm", "rmsnorm_forward", .f32, grid: (3, 2, 1), threads: 128, arguments: KernelArguments())

    /// Stub libraries, an archive that the stub's NVRTC made, and options that find it.
    private struct Setup {
        let stub: StubCard
        var options: CUDADevice.Options
        var archive: String { stub.folder + "/kernels/kernels-75.zst" }

        init(_ configuration: [String] = [], modules: [KernelModule] = KernelArchiveTests.modules, architecture: Int = 75) throws {
            stub = try StubCard(configuration)
            options = stub.options
            options.kernelFolders = [stub.folder + "/nothing", stub.folder + "/kernels"]
            _ = try KernelArchiveWriter(options).write(modules, architecture: architecture, to: stub.folder + "/kernels", threads: 2)
        }

        func removeCompiler() throws { try FileManager.default.removeItem(atPath: stub.folder + "/libnvrtc.so.12") }

        /// What was compiled since the archive was made.
        func compiled() -> [String] { Array(stub.calls("nvrtcCompileProgram").dropFirst(KernelArchiveTests.modules.count)) }

        /// Replaces the archive by one of this text and these binaries.
        func replace(_ text: String, _ binaries: [UInt8] = []) throws {
            let plain = Array(text.utf8) + binaries
            var packed = [UInt8](repeating: 0, count: lorikeet_zstd_room(plain.count))
            let count = lorikeet_zstd_pack(plain, plain.count, &packed, packed.count)
            try Data(packed[..<count]).write(to: URL(fileURLWithPath: archive))
        }
    }

    private func error(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) throws -> LorikeetError {
        do { try body() } catch { return try #require(error as? LorikeetError, sourceLocation: sourceLocation) }
        return try #require(nil, "nothing was thrown", sourceLocation: sourceLocation)
    }

    @Test func `a warning of the compiler fails where an archive is made`() throws {
        let said = try error { _ = try Setup(["nvrtc-log rmsnorm.cu(7): warning #177-D: variable was declared but never referenced"]) }
        #expect(said.exit == .machineFailed, "\(said)")
        for word in ["warns of", ".cu (75)", "#177-D"] { #expect(said.description.contains(word), "\(said)") }
    }

    @Test func `an archive gives back what was compiled, by source and options`() throws {
        let setup = try Setup()
        let archive = try #require(try KernelArchive.find(architecture: 75, in: setup.options.kernelFolders))
        #expect(archive.isCurrent && archive.compiler == "12.6" && archive.count == 2 && archive.path == setup.archive)
        let binary = try #require(archive.binary(Self.modules[1]))
        let said = String(decoding: binary.prefix { $0 != 0 }, as: UTF8.self)
        #expect(said == "stub binary of decode.cu -arch=sm_75 -DTYPE=1 -DARCH=75 -std=c++17 -DFORMAT=3")
        #expect(archive.holds(Self.modules[0]) && !archive.holds(KernelModule("rmsnorm", .f16)))
        #expect(!archive.holds(KernelModule("decode", .f16, defines: ["FORMAT=4"])))
        #expect(try KernelArchive.find(architecture: 80, in: setup.options.kernelFolders) == nil)
        let first = try Data(contentsOf: URL(fileURLWithPath: setup.archive))
        _ = try KernelArchiveWriter(setup.options).write(Self.modules, architecture: 75, to: setup.stub.folder + "/kernels", threads: 1)
        #expect(try Data(contentsOf: URL(fileURLWithPath: setup.archive)) == first)
    }

    @Test func `with an archive nothing is compiled, and no NVRTC is needed`() throws {
        let setup = try Setup()
        try setup.removeCompiler()
        let card = try CUDADevice(setup.options)
        #expect(card.archive?.path == setup.archive && card.libraries.map(\.name) == ["cublasLt"])
        card.prepare(Self.modules)
        for _ in 0..<2 { try card.launch(Self.launch) }
        #expect(setup.compiled().isEmpty && setup.stub.calls("cuLaunchKernel").count == 2)
        #expect(setup.stub.calls("cuModuleLoadData").count == 1)
        // Nothing is kept twice.
        #expect(!FileManager.default.fileExists(atPath: setup.stub.folder + "/cache"))
    }

    @Test func `what an archive does not hold is compiled, or named with the command that installs NVRTC`() throws {
        let setup = try Setup()
        var other = Self.launch
        other.element = .f16
        try CUDADevice(setup.options).launch(other)
        #expect(setup.compiled() == ["nvrtcCompileProgram rmsnorm.cu -arch=sm_75 -DTYPE=1 -DARCH=75 -std=c++17"])
        try setup.removeCompiler()
        try FileManager.default.removeItem(atPath: setup.stub.folder + "/cache")
        let card = try CUDADevice(setup.options)
        card.prepare([other.module])
        let refusal = try error { try card.launch(other) }
        #expect(refusal.exit == .machineFailed)
        #expect(refusal.description.contains("libnvrtc.so.12 is not found") && refusal.description.contains("pip install nvidia-cuda-nvrtc-cu12"), "\(refusal)")
        try card.launch(Self.launch)
    }

    @Test func `an archive of other sources is not used, nor one of another capability`() throws {
        let setup = try Setup()
        let binary = Array("other".utf8)
        try setup.replace(
            "lorikeet kernels 1\nsources 123\ncompiler 12.6\nkernel 5 rmsnorm.cu -arch=sm_75 -DTYPE=0 -DARCH=75 -std=c++17\n\n", binary)
        let found = try #require(try KernelArchive.find(architecture: 75, in: setup.options.kernelFolders))
        #expect(!found.isCurrent && !found.holds(Self.modules[0]) && found.binary(Self.modules[0]) == nil)
        let card = try CUDADevice(setup.options)
        try card.launch(Self.launch)
        #expect(card.archive == nil && setup.compiled().count == 1)
        try setup.removeCompiler()
        #expect(try error { _ = try CUDADevice(setup.options) }.description.contains("pip install nvidia-cuda-nvrtc-cu12"))
        // A card of 9.0 has none; and code for 7.5 is PTX on it, which the archive of 7.5 does not hold.
        let newer = try Setup(["capability 90"])
        for architecture in [nil, 75] {
            var options = newer.options
            options.architecture = architecture
            let card = try CUDADevice(options)
            try card.launch(Self.launch)
            #expect(card.archive == nil)
        }
        #expect(newer.compiled().count == 2)
    }

    @Test func `a binary that the driver refuses is compiled here`() throws {
        let setup = try Setup(["fail cuModuleLoadData 209 1 1"])
        let card = try CUDADevice(setup.options)
        try card.launch(Self.launch)
        #expect(setup.compiled().count == 1 && setup.stub.calls("cuModuleLoadData").count == 2)
    }

    @Test func `a damaged archive is not used, and is named where its kernels cannot be compiled`() throws {
        let setup = try Setup()
        let whole = try Data(contentsOf: URL(fileURLWithPath: setup.archive))
        var damaged: [Data] = [Data(), Data("not an archive".utf8), whole.prefix(9), whole.prefix(whole.count - 1)]
        for place in stride(from: 0, to: whole.count, by: 7) {
            var bytes = whole
            bytes[place] ^= 0x10
            damaged.append(bytes)
        }
        let head = "lorikeet kernels 1\nsources \(KernelSources.fingerprint)\ncompiler 12.6\n"
        func kernel(_ count: String, _ name: String = "rmsnorm.cu -arch=sm_75 -DTYPE=0 -DARCH=75 -std=c++17") -> String { "kernel \(count) \(name)\n" }
        let texts = [
            "\n", head, head + "\n", head + "\n\n", head + kernel("4"), head + kernel("4") + "\nabc", head + kernel("4") + "\nabcde", head + kernel("0") + "\n",
            head + kernel("-4") + "\nabcd", head + kernel("9223372036854775807") + "\nabcd", head + kernel("2") + kernel("2") + "\nabcd",
            head + "kernel 4\n\nabcd", "lorikeet kernels 2" + head.dropFirst(18) + kernel("4") + "\nabcd", head + "word\n\n",
        ]
        func isRefused() throws -> Bool {
            do {
                _ = try KernelArchive.find(architecture: 75, in: setup.options.kernelFolders)
                return false
            } catch let error as LorikeetError {
                return error.description.contains("the compiled kernels are damaged") && error.description.contains(setup.archive)
            }
        }
        for bytes in damaged {
            try bytes.write(to: URL(fileURLWithPath: setup.archive))
            #expect(try isRefused(), "\(bytes.count) bytes")
        }
        for text in texts {
            try setup.replace(text)
            #expect(try isRefused(), "\(text)")
        }
        try CUDADevice(setup.options).launch(Self.launch)
        #expect(setup.compiled().count == 1)
        try setup.removeCompiler()
        let refusal = try error { _ = try CUDADevice(setup.options) }
        #expect(refusal.description.contains("the compiled kernels are damaged; install Lorikeet again"), "\(refusal)")
    }
}
