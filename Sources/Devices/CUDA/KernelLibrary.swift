import LorikeetGround
import Synchronization

/// A card's kernels: compiled at first use or ahead of it, kept on disk, loaded.
final class KernelLibrary {
    private let context: CardContext
    private var driver: Driver { context.driver }
    private let compiler: KernelCompiler
    private let cache: KernelCache
    private let architecture: Int
    /// For the card's own architecture: machine code, else PTX that the driver compiles.
    private let native: Bool
    private var loaded: [KernelModule: CardHandle] = [:]
    /// Parts of the loaded modules.
    private var functions: [String: OpaquePointer] = [:]
    /// What `prepare` compiled, until it is loaded.
    private var compiled: [KernelModule: Result<[UInt8], any Error>] = [:]

    init(_ context: CardContext, _ compiler: KernelCompiler, _ cache: KernelCache, architecture: Int, native: Bool) {
        (self.context, self.compiler, self.cache) = (context, compiler, cache)
        (self.architecture, self.native) = (architecture, native)
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

    /// The compiled source: from `prepare`, from the cache, else compiled now.
    private func module(_ wanted: KernelModule) throws -> CardHandle {
        if let known = loaded[wanted] { return known }
        func load(_ binary: [UInt8]) throws -> CardHandle {
            try CardHandle(in: context, release: driver.moduleUnload) {
                try driver.made("cuModuleLoadData (\(wanted))") { module in binary.withUnsafeBytes { driver.moduleLoad(module, $0.baseAddress) } }
            }
        }
        let text = try Text(wanted)
        let ahead = compiled.removeValue(forKey: wanted)
        // A driver may refuse a binary that was cached under another driver: then it is compiled again.
        if ahead == nil, let kept = cache.read(name(wanted, text)), let module = try? load(kept) {
            loaded[wanted] = module
            return module
        }
        let module = try load(try ahead?.get() ?? compile(wanted, text))
        loaded[wanted] = module
        return module
    }

    /// Compiles the modules that are not in the cache, on all threads, the longest source first. An error is thrown at the launch that needs
    /// the module.
    func prepare(_ modules: [KernelModule]) {
        let missing = Set(modules).compactMap { module -> (module: KernelModule, text: Text)? in
            guard loaded[module] == nil, compiled[module] == nil, let text = try? Text(module), cache.read(name(module, text)) == nil else { return nil }
            return (module, text)
        }.sorted { ($0.text.source.utf8.count, "\($0.module)") > ($1.text.source.utf8.count, "\($1.module)") }
        // A single module may as well be compiled at its launch.
        guard missing.count > 1 else { return }
        let threads = min(missing.count, Machine.coreCount())
        let next = Mutex(0)
        let results = Mutex<[Int: Result<[UInt8], any Error>]>([:])
        CPU(threads: threads).parallel(over: threads) { _ in
            while true {
                let index = next.withLock { next in
                    defer { next += 1 }
                    return next
                }
                guard index < missing.count else { return }
                let result = Result { try compile(missing[index].module, missing[index].text) }
                results.withLock { $0[index] = result }
            }
        }
        results.withLock { for (index, result) in $0 { compiled[missing[index].module] = result } }
    }

    /// A source with what it may include.
    private struct Text {
        let source: String
        let headers: [(name: String, text: String)]

        init(_ module: KernelModule) throws {
            guard let source = KernelSources.text(module.source + ".cu") else {
                throw LorikeetError.machine("there is no kernel source \(module.source).cu")
            }
            (self.source, headers) = (source, KernelSources.headers)
        }
    }

    /// Everything that a binary is made from.
    private func name(_ module: KernelModule, _ text: Text) -> String {
        let how = "\(architecture) \(native) \(module.element.rawValue) \(module.defines)"
        return ([compiler.versionText, how] + text.headers.map(\.text) + [text.source]).joined(separator: "\u{0}")
    }

    private func compile(_ module: KernelModule, _ text: Text) throws -> [UInt8] {
        let binary = try compiler.binary(
            name: module.source + ".cu", source: text.source, headers: text.headers, element: module.element, defines: module.defines,
            architecture: architecture, native: native)
        cache.write(name(module, text), binary)
        return binary
    }
}
