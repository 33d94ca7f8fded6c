import LorikeetDevices
import LorikeetJSON

/// What `doctor` says of the compiled kernels that came with the program.
enum KernelFields {
    /// The name of the field, its value as JSON, and as people read it.
    static func field(_ folders: [String]) -> (String, JSON, String) {
        var (used, notUsed): ([KernelArchive], [(architecture: Int, reason: String)]) = ([], [])
        for architecture in KernelArchive.architectures {
            do {
                guard let archive = try KernelArchive.find(architecture: architecture, in: folders) else { continue }
                if archive.isCurrent { used.append(archive) } else { notUsed.append((architecture, "\(archive.path) is of another version")) }
            } catch { notUsed.append((architecture, "\(error)")) }
        }
        let name = "compiled_kernels"
        guard !used.isEmpty || !notUsed.isEmpty else {
            return (name, .null, "none beside this program: a card's kernels are compiled at first use, by libnvrtc")
        }
        let object: JSON = [
            "architectures": .array(used.map { JSON($0.architecture) }), "kernels": JSON(used.reduce(0) { $0 + $1.count }),
            "compiler": used.first.map { .string("NVRTC " + $0.compiler) } ?? .null, "paths": .array(used.map { .string($0.path) }),
            "not_used": .array(notUsed.map { ["architecture": JSON($0.architecture), "reason": .string($0.reason)] }),
        ]
        var words: [String] = []
        if let first = used.first {
            let (names, counts) = (used.map { text($0.architecture) }, used.map { "\($0.count)" })
            words.append("for compute capability \(list(names)) (\(list(counts)) by NVRTC \(first.compiler)), and match this program")
        }
        words += notUsed.map { "not used for \(text($0.architecture)): \($0.reason)" }
        return (name, object, words.joined(separator: "; "))
    }

    /// The same for the kernels of the card in use.
    static func field(_ card: CUDADevice) -> (String, JSON, String) {
        let name = "gpu_kernels"
        guard let archive = card.archive else { return (name, "compiled at first use", "compiled at first use by libnvrtc, and kept") }
        return (name, .string(archive.path), "\(archive.count) compiled ahead: \(archive.path)")
    }

    private static func list(_ words: [String]) -> String { words.joined(separator: ", ") }
    private static func text(_ architecture: Int) -> String { "\(architecture / 10).\(architecture % 10)" }
}
