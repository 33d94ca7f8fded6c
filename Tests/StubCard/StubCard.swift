import Foundation
import LorikeetDevices
import Synchronization

/// A folder with stub copies of NVIDIA's libraries, their configuration and the list of calls that they received.
///
/// Each has copies of its own, so tests that run at the same time do not meet. Folders go when the process ends: a card may outlive what made it.
package struct StubCard {
    package static let libraries = ["libcuda.so.1", "libnvrtc.so.12", "libcublasLt.so.12", "libnvidia-ml.so.1"]
    package let folder: String

    /// - Parameters:
    ///   - configuration: lines of `stub.conf`, e.g. `capability 60` or `fail cuInit 100` (`fail NAME STATUS [FIRST [TIMES]]`).
    ///   - missing: libraries left out.
    package init(_ configuration: [String] = [], missing: [String] = []) throws {
        let url = FileManager.default.temporaryDirectory.appending(path: "lorikeet-card-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        let path = url.path
        folder = path
        Self.made.withLock { $0.append(path) }
        // Stands beside the test bundle.
        let built = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "libStubDriver.so")
        for name in Self.libraries where !missing.contains(name) {
            try FileManager.default.copyItem(at: built, to: url.appending(path: name))
        }
        try configure(configuration)
    }

    private static let made: Mutex<[String]> = {
        atexit { StubCard.made.withLock { for folder in $0 { try? FileManager.default.removeItem(atPath: folder) } } }
        return Mutex([])
    }()

    /// Replaces the configuration; the next call reads it.
    package func configure(_ lines: [String]) throws {
        try (lines.joined(separator: "\n") + "\n").write(toFile: folder + "/stub.conf", atomically: true, encoding: .utf8)
    }

    /// The calls so far as `name arguments`, in order; of one function where it is named.
    package func calls(_ name: String? = nil) -> [String] {
        let text = (try? String(contentsOfFile: folder + "/calls.txt", encoding: .utf8)) ?? ""
        return text.split(separator: "\n").map(String.init).filter { name == nil || $0.hasPrefix((name ?? "") + " ") }
    }

    /// What the libraries were asked to make and was not given back yet, by kind, and what a driver would have refused.
    package func books() -> (live: [String: Int], faults: [String]) {
        var (live, faults): ([String: Int], [String]) = ([:], [])
        for line in ((try? String(contentsOfFile: folder + "/books.txt", encoding: .utf8)) ?? "").split(separator: "\n") {
            switch line.prefix(2) {
            case "+ ": live[String(line.dropFirst(2)), default: 0] += 1
            case "- ": live[String(line.dropFirst(2)), default: 0] -= 1
            default: faults.append(String(line))
            }
        }
        return (live.filter { $0.value != 0 }, faults)
    }

    /// How many of `kind` were made so far.
    package func made(_ kind: String) -> Int {
        ((try? String(contentsOfFile: folder + "/books.txt", encoding: .utf8)) ?? "").split(separator: "\n").count { $0 == "+ " + kind }
    }

    /// Options that find these libraries and no others, and keep kernels in this folder.
    package var options: CUDADevice.Options {
        var options = CUDADevice.Options()
        options.libraryFolders = [folder]
        options.searchesSystem = false
        options.cacheFolder = folder + "/cache"
        return options
    }
}
