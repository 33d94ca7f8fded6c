import Foundation
import Testing

/// What the surroundings of a process refuse it: a reader of its output, files of any size.
struct LimitTests {
    /// Runs `lorikeet` by a shell, which may limit it.
    private func shell(_ script: String) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", script, Binary.path]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus
    }

    @Test func `a limit of file sizes is an error of the contract, and a reader that goes away none; the same command goes on`() throws {
        let folder = try TinyFolder()
        let records = String(repeating: #"{"instruction": "Name a river.", "output": "The Danube."}"# + "\n", count: 8)
        try records.write(toFile: folder.path + "/d.jsonl", atomically: true, encoding: .utf8)
        let run =
            "XDG_CACHE_HOME=\(folder.path)/cache \"$0\" run --model \(folder.model) --data \(folder.path)/d.jsonl --validation-share 0.25 --device cpu"
            + " --max-steps 2 --output \(folder.path)/out"
        for kilobytes in [1, 16] { #expect(try shell("ulimit -f \(kilobytes); \(run)") == 4) }
        #expect(try shell("\(run) | true; exit ${PIPESTATUS[0]}") == 0)
        #expect(FileManager.default.fileExists(atPath: folder.path + "/out/merged/model.safetensors"))
        try FileManager.default.removeItem(atPath: folder.path)
    }
}
