import Glibc
import LorikeetGround

/// A shared library opened at run time. Never closed: its functions live as long as the process.
struct DynamicLibrary {
    let path: String
    private let handle: UInt

    /// The first of `names` that opens, or nil: in `folders`, then where the system looks if `system`.
    init?(_ names: [String], folders: [String], system: Bool) {
        for name in folders.flatMap({ folder in names.map { folder + "/" + $0 } }) + (system ? names : []) {
            if name.contains("/"), access(name, R_OK) != 0 { continue }
            guard let opened = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { continue }
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
            throw LorikeetError.machine("\(path) has no function \(name)", mend: "update the NVIDIA driver and libraries")
        }
        return unsafeBitCast(symbol, to: type)
    }
}

/// Where NVIDIA's libraries are looked for: the folders that were named, pip's and the toolkit's, then the system's own search.
struct LibraryFolders {
    var extra: [String]
    /// false looks in `extra` alone.
    var system: Bool

    /// `libcuda`, which comes with the driver.
    func driver() -> DynamicLibrary? {
        DynamicLibrary(
            ["libcuda.so.1", "libcuda.so"], folders: extra + (system ? ["/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"] : []), system: system)
    }

    /// NVML, which comes with the driver.
    func management() -> DynamicLibrary? {
        DynamicLibrary(["libnvidia-ml.so.1"], folders: extra + (system ? ["/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"] : []), system: system)
    }

    /// A library of the toolkit by its name without ending, for a driver of CUDA `major`: its own version first, then older ones down to 12,
    /// which newer drivers run too.
    ///
    /// - Throws: exit 4 naming the library and `package`, pip's name of it.
    func toolkit(_ name: String, major: Int, package: String) throws -> DynamicLibrary {
        for version in stride(from: max(12, major), through: 12, by: -1) {
            let folders = extra + (system ? Self.patterns(version).flatMap(Self.expand) : [])
            let names = ["\(name).so.\(version)"] + (version == 12 ? ["\(name).so"] : [])
            if let library = DynamicLibrary(names, folders: folders, system: system) { return library }
        }
        throw LorikeetError.machine(
            "\(name).so.\(major) is not found", mend: "pip install \(package)\(major == 12 ? "-cu12" : ""), or name its folder in LORIKEET_CUDA_LIBRARIES")
    }

    private static func patterns(_ major: Int) -> [String] {
        let site = [
            "/usr/lib/python3*/site-packages", "/usr/lib/python3*/dist-packages", "/usr/local/lib/python3*/site-packages",
            "/usr/local/lib/python3*/dist-packages", "/opt/conda/lib/python3*/site-packages", "/opt/*/lib/python3*/site-packages",
            "/opt/*/.venv/lib/python3*/site-packages",
        ]
        return site.flatMap { [$0 + "/nvidia/cu\(major)/lib", $0 + "/nvidia/cuda_nvrtc/lib", $0 + "/nvidia/cublas/lib"] } + [
            "/usr/local/cuda-\(major)*/lib64", "/usr/local/cuda-\(major)*/targets/x86_64-linux/lib", "/usr/local/cuda/lib64", "/usr/local/nvidia/lib64",
        ]
    }

    private static func expand(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard glob(pattern, 0, nil, &found) == 0, let paths = found.gl_pathv else { return [] }
        return (0..<Int(found.gl_pathc)).compactMap { paths[$0].map { String(cString: $0) } }
    }
}
