import LorikeetGround
import Synchronization

/// A card's kernels: from the archive that came with the program, else from the user's cache, else compiled now and kept there.
final class KernelLibrary {
    private let context: CardContext
    private var driver: Driver { context.driver }
    private let atNeed: CompilerAtNeed
    private let archive: KernelArchive?
    private let cache: KernelCache
    private let architecture: Int
    /// For the card's own architecture: machine code, else PTX that the driver compiles.
    private let native: Bool
    /// Processor threads that compile; 0 takes as many as this process may use.
    var threads = 0
    private var loaded: [KernelModule: CardHandle] = [:]
    /// Parts of the loaded modules.
    private var functions: [String: OpaquePointer] = [:]
    /// What `prepare` compiled, until it is loaded.
    private var compiled: [KernelModule: Result<[UInt8], any Error>] = [:]

    /// - Parameter archive: of `architecture` and of this program's sources.
    init(
        _ context: CardContext, _ atNeed: CompilerAtNeed, archive: KernelArchive?, _ cache: KernelCache, architecture: Int, native: Bool
    ) {
        (self.context, self.atNeed, self.archive, self.cache) = (context, atNeed, native ? archive : nil, cache)
        (self.architecture, self.native) = (architecture, native)
    }

    /// Whether the cache has kernels of this program for this architecture: those of the norms, which every model launches, in any type.
    var isKept: Bool {
        guard cache.folder != nil, let compiler = try? atNeed.compiler() else { return false }
        return DeviceElement.allCases.contains { element in
            let module = KernelModule("rmsnorm", element)
            return (try? KernelText(module)).map { cache.holds(name(module, $0, compiler)) } ?? false
        }
    }

    func function(_ launch: KernelLaunch) throws -> OpaquePointer {
        let entry = launch.kernel + "_" + launch.element.suffix
        let key = ([entry] + launch.defines).joined(separator: "/")
        if let known = functions[key] { return known }
        let module = try module(launch.module)
        let found = try driver.made("cuModuleGetFunction (\(entry))") { driver.moduleFunction($0, module.handle, entry) }
        guard let found else { throw LorikeetError.machine("\(launch.source).cu has no kernel \(entry)") }
        functions[key] = found
        return found
    }

    private func module(_ wanted: KernelModule) throws -> CardHandle {
        if let known = loaded[wanted] { return known }
        let module = try found(wanted)
        loaded[wanted] = module
        return module
    }

    private func found(_ wanted: KernelModule) throws -> CardHandle {
        func load(_ binary: some Collection<UInt8>) throws -> CardHandle {
            try CardHandle(in: context, release: driver.moduleUnload) {
                try driver.made("cuModuleLoadData (\(wanted))") { module in
                    Array(binary).withUnsafeBytes { driver.moduleLoad(module, $0.baseAddress) }
                }
            }
        }
        // A driver may refuse a binary that was made elsewhere, or cached under another driver: then it is compiled again.
        if let binary = archive?.binary(wanted), let module = try? load(binary) { return module }
        if let ahead = compiled.removeValue(forKey: wanted) { return try load(ahead.get()) }
        let (compiler, text) = (try atNeed.compiler(), try KernelText(wanted))
        if let kept = cache.read(name(wanted, text, compiler)), let module = try? load(kept) { return module }
        return try load(compile(wanted, text, compiler))
    }

    /// Compiles the modules that are neither in the archive nor in the cache, on several threads, the longest source first. An error is thrown at
    /// the launch that needs the module.
    func prepare(_ modules: [KernelModule]) {
        let unknown = Set(modules).filter { loaded[$0] == nil && compiled[$0] == nil && archive?.holds($0) != true }
        guard !unknown.isEmpty, let compiler = try? atNeed.compiler() else { return }
        let missing = unknown.compactMap { module -> (module: KernelModule, text: KernelText)? in
            guard let text = try? KernelText(module), cache.read(name(module, text, compiler)) == nil else { return nil }
            return (module, text)
        }.sorted { ($0.text.source.utf8.count, "\($0.module)") > ($1.text.source.utf8.count, "\($1.module)") }
        // A single module may as well be compiled at its launch.
        guard missing.count > 1 else { return }
        let threads = min(missing.count, threads > 0 ? threads : Machine.coreCount())
        let next = Mutex(0)
        let results = Mutex<[Int: Result<[UInt8], any Error>]>([:])
        CPU(threads: threads).parallel(over: threads) { _ in
            while true {
                let index = next.withLock { next in
                    defer { next += 1 }
                    return next
                }
                guard index < missing.count else { return }
                let result = Result { try compile(missing[index].module, missing[index].text, compiler) }
                results.withLock { $0[index] = result }
            }
        }
        results.withLock { for (index, result) in $0 { compiled[missing[index].module] = result } }
    }

    /// Everything that a binary is made from.
    private func name(_ module: KernelModule, _ text: KernelText, _ compiler: KernelCompiler) -> String {
        let options = KernelCompiler.options(module, architecture: architecture, native: native)
        return ([compiler.versionText, module.source] + options + text.headers.map(\.text) + [text.source]).joined(separator: "\u{0}")
    }

    private func compile(_ module: KernelModule, _ text: KernelText, _ compiler: KernelCompiler) throws -> [UInt8] {
        let binary = try compiler.binary(module, text, architecture: architecture, native: native)
        cache.write(name(module, text, compiler), binary)
        return binary
    }
}
