import Glibc
import LorikeetGround

/// Compiles kernels with NVRTC.
struct KernelCompiler {
    private typealias Program = OpaquePointer
    private let create:
        @convention(c) (
            UnsafeMutablePointer<Program?>, UnsafePointer<CChar>, UnsafePointer<CChar>, Int32, UnsafePointer<UnsafePointer<CChar>?>?,
            UnsafePointer<UnsafePointer<CChar>?>?
        ) -> Int32
    private let compile: @convention(c) (Program?, Int32, UnsafePointer<UnsafePointer<CChar>?>?) -> Int32
    private let destroy: @convention(c) (UnsafeMutablePointer<Program?>) -> Int32
    private let logSize, codeSize, cubinSize: @convention(c) (Program?, UnsafeMutablePointer<Int>) -> Int32
    private let logText, code, cubin: @convention(c) (Program?, UnsafeMutablePointer<CChar>) -> Int32
    private let version: @convention(c) (UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>) -> Int32
    let versionText: String
    let path: String

    /// - Parameter major: CUDA's major version: the library's has to be the driver's or lower.
    init(major: Int, folders: LibraryFolders) throws {
        let library = try folders.toolkit("libnvrtc", major: major, package: "nvidia-cuda-nvrtc")
        path = library.path
        create = try library.function("nvrtcCreateProgram")
        compile = try library.function("nvrtcCompileProgram")
        logSize = try library.function("nvrtcGetProgramLogSize")
        logText = try library.function("nvrtcGetProgramLog")
        codeSize = try library.function("nvrtcGetPTXSize")
        code = try library.function("nvrtcGetPTX")
        cubinSize = try library.function("nvrtcGetCUBINSize")
        cubin = try library.function("nvrtcGetCUBIN")
        destroy = try library.function("nvrtcDestroyProgram")
        version = try library.function("nvrtcVersion")
        var (a, b): (Int32, Int32) = (0, 0)
        _ = version(&a, &b)
        versionText = "\(a).\(b)"
    }

    /// What a module is compiled with.
    static func options(_ module: KernelModule, architecture: Int, native: Bool) -> [String] {
        [
            // With 9.0's own features, which no other capability runs.
            native ? "-arch=sm_\(architecture)\(architecture == 90 ? "a" : "")" : "-arch=compute_\(architecture)",
            "-DTYPE=\(module.element.rawValue)", "-DARCH=\(architecture)", "-std=c++17",
        ] + module.defines.map { "-D" + $0 }
    }

    /// Machine code for `architecture` when that is the card's own, else PTX that the driver compiles.
    ///
    /// - Parameter warningsFail: a warning is an error, as where archives are made: whoever builds them can mend the source.
    func binary(_ module: KernelModule, _ text: KernelText, architecture: Int, native: Bool, warningsFail: Bool = false) throws -> [UInt8] {
        let (name, headers) = (module.source + ".cu", text.headers)
        let options = Self.options(module, architecture: architecture, native: native)
        var program: Program?
        let (headerTexts, headerNames) = (headers.map { strdup($0.text) }, headers.map { strdup($0.name) })
        defer { (headerTexts + headerNames).forEach { free($0) } }
        var included = headerTexts.map { $0.map { UnsafePointer($0) } }
        var names = headerNames.map { $0.map { UnsafePointer($0) } }
        let status = create(&program, text.source, name, Int32(headers.count), &included, &names)
        guard status == 0 else { throw LorikeetError.machine("NVRTC refused \(name) with status \(status)") }
        defer { _ = destroy(&program) }
        let texts = options.map { strdup($0) }
        defer { texts.forEach { free($0) } }
        var pointers = texts.map { $0.map { UnsafePointer($0) } }
        func log() -> String {
            let bytes = output(program, logSize, logText) ?? []
            return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self).split(separator: "\n").joined(separator: " | ")
        }
        guard compile(program, Int32(options.count), &pointers) == 0 else {
            throw LorikeetError.machine(
                "NVRTC \(versionText) could not compile \(name): \(log().prefix(2000))", fix: "report this with lorikeet doctor's output")
        }
        if warningsFail, case let words = log(), words.contains("warning") {
            throw LorikeetError.machine("NVRTC \(versionText) warns of \(name) (\(architecture)): \(words.prefix(2000))", fix: "mend the kernel's source")
        }
        guard let binary = native ? output(program, cubinSize, cubin) : output(program, codeSize, code), !binary.isEmpty else {
            throw LorikeetError.machine("NVRTC \(versionText) gave no code of \(name)", fix: "report this with lorikeet doctor's output")
        }
        return binary
    }

    /// What NVRTC holds for a program; nil where it does not say how much that is: it must not be asked to write then.
    private func output(
        _ program: Program?, _ size: (Program?, UnsafeMutablePointer<Int>) -> Int32, _ write: (Program?, UnsafeMutablePointer<CChar>) -> Int32
    ) -> [UInt8]? {
        var count = 0
        guard size(program, &count) == 0, count >= 0, count < 1 << 30 else { return nil }
        guard count > 0 else { return [] }
        var bytes = [CChar](repeating: 0, count: count)
        guard write(program, &bytes) == 0 else { return nil }
        return bytes.map { UInt8(bitPattern: $0) }
    }
}

/// NVRTC, opened when something has to be compiled: with an archive of this program's kernels a card needs none.
final class CompilerAtNeed {
    private let open: () throws -> KernelCompiler
    private var opened: Result<KernelCompiler, any Error>?

    init(major: Int, folders: LibraryFolders) { open = { try KernelCompiler(major: major, folders: folders) } }

    /// - Throws: exit 4 naming libnvrtc and the command that installs it.
    func compiler() throws -> KernelCompiler {
        let result = opened ?? Result { try open() }
        opened = result
        return try result.get()
    }
}
