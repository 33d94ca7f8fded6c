import Glibc
import LorikeetGround

/// Compiled kernels on disk, by the hash of everything they were made from.
///
/// A file is eight bytes of check sum, little-endian, then the binary. What is damaged, cut or cannot be written counts as not there:
/// a cache costs time at worst.
struct KernelCache {
    /// nil keeps nothing.
    let folder: String?

    private func path(_ key: String) -> String? { folder.map { $0 + "/" + Self.name(key) + ".bin" } }

    /// Whether something is kept under `key`.
    func holds(_ key: String) -> Bool { path(key).map { access($0, R_OK) == 0 } ?? false }

    /// What was kept under `key`, whole.
    func read(_ key: String) -> [UInt8]? {
        guard let path = path(key), let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        fseek(file, 0, SEEK_END)
        let size = ftell(file)
        guard size > 8, size < 1 << 28 else { return nil }
        rewind(file)
        var bytes = [UInt8](repeating: 0, count: size)
        guard fread(&bytes, 1, size, file) == size else { return nil }
        let binary = Array(bytes[8...])
        return Array(bytes[..<8]) == Self.sum(binary) ? binary : nil
    }

    func write(_ key: String, _ binary: [UInt8]) {
        guard let folder, let path = path(key) else { return }
        _ = mkdir(folder, 0o755)
        // The rename keeps readers from halves.
        let beside = path + ".\(getpid())"
        guard let file = fopen(beside, "wb") else { return }
        let bytes = Self.sum(binary) + binary
        let written = fwrite(bytes, 1, bytes.count, file)
        if fclose(file) == 0, written == bytes.count { rename(beside, path) } else { unlink(beside) }
    }

    private static func sum(_ bytes: [UInt8]) -> [UInt8] {
        let value = FNV1a(of: bytes).value
        return (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// Two hashes of the key: from the front, and from the back with another start.
    static func name(_ key: String) -> String {
        var back = FNV1a(from: 0x8422_2325_CBF2_9CE4)
        for byte in key.utf8.reversed() { back.add(UInt64(byte)) }
        return String(FNV1a(of: key.utf8).value, radix: 16) + String(back.value, radix: 16)
    }
}
