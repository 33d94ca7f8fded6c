import Glibc
import LorikeetGround

/// A shared library opened at run time. Never closed: its functions live as long as the process.
struct DynamicLibrary {
    let path: String
    private let handle: UInt

    /// The first of `names` that opens, or nil. `folders` come before the system's own search.
    init?(_ names: [String], folders: [String] = []) {
        for name in folders.flatMap({ folder in names.map { folder + "/" + $0 } }) + names {
            if name.contains("/"), access(name, R_OK) != 0 { continue }
            guard let opened = dlopen(name, RTLD_NOW | RTLD_GLOBAL) else { continue }
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

/// Where pip and the toolkit put NVIDIA's libraries.
enum LibraryFolders {
    /// `extra`, then folders that hold `nvidia/<part>/lib` of pip packages, then the usual toolkit places, for CUDA `major`.
    static func all(major: Int, extra: [String]) -> [String] { extra + patterns(major).flatMap(expand) }

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
