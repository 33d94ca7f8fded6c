import Foundation
import LorikeetJSON
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

    @Test func `what does not fit is refused before anything is written, and each way out that is named is enough`() throws {
        let folder = try TinyFolder()
        let data = try Binary.file(
            (0..<300).map { #"{"prompt": "say \#($0):", "completion": "\#(String(repeating: "a", count: 1 + $0 % 9))"}"# }.joined(separator: "\n"))
        let base = [
            "--model", folder.model, "--data", data, "--output", folder.path + "/out", "--num-train-epochs", "200", "--warmup-steps", "1", "--validation-share",
            "0.1", "--save-steps", "2", "--eval-steps", "0", "--test-samples", "2",
        ]
        func plan(_ more: [String]) throws -> Binary.Outcome {
            try Binary.run(["plan", "--as", "t4"] + base + more, environment: ["XDG_CACHE_HOME": folder.path + "/cache"])
        }
        let short = ["--session", "28s"]
        let refused = try plan(short + ["--json"])
        let json = try JSON.parse(refused.out, source: "plan")
        let ways = json["ways"]?.array ?? []
        #expect(refused.status == 3 && refused.error.contains("--max-train-samples ") && refused.error.contains(" after the start)"), "\(refused.error)")
        #expect(ways.count >= 3 && json["misfit"]?.string?.isEmpty == false, "\(refused.out)")
        for way in ways {
            let options = (way["options"]?.object?.entries ?? []).flatMap { ["--" + $0.key, $0.value.string ?? ""] }
            let again = try plan(options.contains("--session") ? options : short + options)
            #expect(again.status == 0 && again.out.contains("by the clock: "), "\(options): \(again.error)")
        }
        let fitted = try plan(short + ["--fit"])
        #expect(fitted.status == 0 && fitted.out.contains("made to fit: max_train_samples: 270 -> 135"), "\(fitted.error)\(fitted.out)")
        // A limit of memory or disk that is named counts for a card that is not here too.
        for limit in [["--ram", "20MiB"], ["--disk", "1MB"]] { #expect(try plan(limit).status == 3) }
        let run = try Binary.run(["run", "--device", "cpu"] + base + ["--ram", "1MiB"], environment: ["XDG_CACHE_HOME": folder.path + "/cache"])
        #expect(run.status == 3 && run.error.contains("--ram ") && !FileManager.default.fileExists(atPath: folder.path + "/out"), "\(run.error)")
        let late = try plan(["--deadline", "25:00"])
        #expect(late.status == 2 && late.error.contains("a time of day such as 18:30"), "\(late.error)")
        try FileManager.default.removeItem(atPath: folder.path)
    }
}
