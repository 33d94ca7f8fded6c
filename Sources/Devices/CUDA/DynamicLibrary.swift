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
            if name.contains("/"), access(name, R_OK) != 0 { continue }
            guard let opened = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
                if name.contains("/"), refused == nil { refused = dlerror().map { String(cString: $0) } ?? name }
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

/// Where NVIDIA's libraries are looked for: the folders that were named, pip's and the toolkit's, then the system's own search.
struct LibraryFolders {
    var extra: [String]
    /// Where Pythons are installed (`/home/me/venv`): pip's packages stand below.
    var pythons: [String]
    /// false looks in `extra` and `pythons` alone.
    var system: Bool

    /// `libcuda` or `libnvidia-ml`, which come with the driver, by their file names.
    func ofDriver(_ names: [String]) -> DynamicLibrary? {
        var refused: String?
        return DynamicLibrary(
            names, folders: extra + (system ? ["/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"] : []), system: system, refused: &refused)
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
            if let library = DynamicLibrary(["\(name).so.\(version)"], folders: folders, system: system, refused: &refused) { return library }
        }
        throw LorikeetError.machine(
            "\(name).so.\(major) is not found\(refused.map { " (\($0))" } ?? "")",
            fix: "pip install \(package)\(major == 12 ? "-cu12" : ""), or name its folder in LORIKEET_CUDA_LIBRARIES")
    }

    private func patterns(_ major: Int) -> [String] {
        let own = pythons.map { $0 + "/lib/python3*/site-packages" }
        let site = [
            "/usr/lib/python3*/site-packages", "/usr/lib/python3*/dist-packages", "/usr/local/lib/python3*/site-packages",
            "/usr/local/lib/python3*/dist-packages", "/opt/conda/lib/python3*/site-packages", "/opt/*/lib/python3*/site-packages",
            "/opt/*/.venv/lib/python3*/site-packages",
        ]
        let toolkit = [
            "/usr/local/cuda-\(major)*/lib64", "/usr/local/cuda-\(major)*/targets/x86_64-linux/lib", "/usr/local/cuda/lib64", "/usr/local/nvidia/lib64",
        ]
        return (own + (system ? site : [])).flatMap { [$0 + "/nvidia/cu\(major)/lib", $0 + "/nvidia/cuda_nvrtc/lib", $0 + "/nvidia/cublas/lib"] }
            + (system ? toolkit : [])
    }

    private static func expand(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard glob(pattern, 0, nil, &found) == 0, let paths = found.gl_pathv else { return [] }
        return (0..<Int(found.gl_pathc)).compactMap { paths[$0].map { String(cString: $0) } }
    }
}
