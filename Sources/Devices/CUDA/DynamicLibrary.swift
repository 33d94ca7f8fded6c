import Glibc
import LorikeetGround

/// A shared library opened at run time. Never closed: its functions live as long as the process.
struct DynamicLibrary {
    let path: String
    private let handle: UInt

    /// The first of `names` that opens, or nil: in `folders`, then where the system looks if `system`.
    ///
    /// - Parameter refused: gets what the loader says of a file that is there but does not open.
    init?(_ names: [String], folders: [String], system: Bool, refused: inout String?) {
        for name in folders.flatMap({ folder in names.map { folder + "/" + $0 } }) + (system ? names : []) {
            if name.holdsSlash, access(name, R_OK) != 0 { continue }
            guard let opened = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
                if name.holdsSlash, refused == nil { refused = dlerror().map { String(cString: $0) } ?? name }
                continue
            }
            (path, handle) = (name, UInt(bitPattern: opened))
            return
        }
        return nil
    }

    /// A function by its name, as the C function type `Function`.
    ///
    /// - Throws: exit 4 naming library and function.
    func function<Function>(_ name: String, as type: Function.Type = Function.self) throws -> Function {
        guard let symbol = dlsym(UnsafeMutableRawPointer(bitPattern: handle), name) else {
            throw LorikeetError.machine("\(path) has no function \(name)", fix: "update the NVIDIA driver and libraries")
        }
        return unsafeBitCast(symbol, to: type)
    }
}

/// Where NVIDIA's libraries are looked for: the folders that were named, those of pip, conda and the toolkit, then the system's own search.
struct LibraryFolders {
    var extra: [String]
    /// Where Pythons are installed (`/home/me/venv`): packages of pip and conda stand below.
    var pythons: [String]
    /// A prefix of the system's folders: empty for the running system. nil looks in `extra` and `pythons` alone.
    var system: String?

    /// The loader's own search knows the running system only.
    private var asksLoader: Bool { system?.isEmpty == true }

    /// `libcuda` or `libnvidia-ml`, which come with the driver, by their file names.
    func ofDriver(_ names: [String]) -> DynamicLibrary? {
        // In this order: containers (Kaggle's among them), Colab, the Windows Subsystem for Linux.
        let places = ["/usr/local/nvidia/lib64", "/usr/lib64-nvidia", "/usr/lib/wsl/lib"]
        var refused: String?
        return DynamicLibrary(names, folders: extra + ofSystem(places), system: asksLoader, refused: &refused)
    }

    /// A library of the toolkit by its name without ending, for a driver of CUDA `major`: its own version first, then older ones down to 12,
    /// which newer drivers run too.
    ///
    /// - Throws: exit 4 naming the library and `package`, pip's name of it.
    func toolkit(_ name: String, major: Int, package: String) throws -> DynamicLibrary {
        var refused: String?
        for version in stride(from: max(12, major), through: 12, by: -1) {
            let folders = extra + patterns(version).flatMap(Self.expand)
            // Never without its version: it may be too new for the driver.
            if let library = DynamicLibrary(["\(name).so.\(version)"], folders: folders, system: asksLoader, refused: &refused) { return library }
        }
        throw LorikeetError.machine(
            "\(name).so.\(major) is not found\(refused.map { " (\($0))" } ?? "")",
            fix: "pip install \(package)\(major == 12 ? "-cu12" : ""), or name its folder in LORIKEET_CUDA_LIBRARIES")
    }

    private func ofSystem(_ paths: [String]) -> [String] { system.map { root in paths.map { root + $0 } } ?? [] }

    private func patterns(_ major: Int) -> [String] {
        // Debian's Python has dist-packages, all others site-packages.
        func packages(_ prefix: String) -> [String] { ["site-packages", "dist-packages"].map { prefix + "/lib/python3*/" + $0 } }
        let prefixes = pythons + ofSystem(["/usr", "/usr/local", "/opt/conda", "/opt/*", "/opt/*/.venv"])
        let ofPip = prefixes.flatMap(packages).flatMap { [$0 + "/nvidia/cu\(major)/lib", $0 + "/nvidia/cuda_nvrtc/lib", $0 + "/nvidia/cublas/lib"] }
        // conda's own packages of the toolkit.
        let ofConda = (pythons + ofSystem(["/opt/conda"])).flatMap { [$0 + "/lib", $0 + "/targets/x86_64-linux/lib"] }
        let toolkits = ["/usr/local/cuda-\(major)*", "/usr/local/cuda", "/opt/cuda", "/opt/nvidia/hpc_sdk/Linux_x86_64/*/cuda/\(major)*"]
        let ofToolkits = ofSystem(
            toolkits.flatMap { [$0 + "/lib64", $0 + "/targets/x86_64-linux/lib"] }
                + ["/opt/nvidia/hpc_sdk/Linux_x86_64/*/math_libs/\(major)*/lib64", "/usr/local/nvidia/lib64"])
        return ofPip + ofConda + ofToolkits
    }

    private static func expand(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard glob(pattern, 0, nil, &found) == 0, let paths = found.gl_pathv else { return [] }
        return (0..<Int(found.gl_pathc)).compactMap { paths[$0].map { String(cString: $0) } }
    }
}
