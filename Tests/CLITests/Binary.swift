import Foundation
import LorikeetJSON

/// Runs the built `lorikeet` as a person would.
enum Binary {
    struct Outcome {
        let status: Int32
        let out: String
        let error: String
    }

    /// Stands beside the test bundle.
    static var path: String {
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "lorikeet").path
    }

    static func run(_ arguments: String...) throws -> Outcome { try run(arguments) }

    /// - Parameters:
    ///   - environment: added to this process's.
    ///   - input: standard input.
    ///   - path: of a copy of the program.
    static func run(_ arguments: [String], environment: [String: String] = [:], input: String = "", path: String = path) throws -> Outcome {
        try run(path, arguments, in: nil, environment: environment, input: input)
    }

    /// Runs lines of a shell, which end at the first command that fails.
    static func shell(_ script: String, in folder: String, environment: [String: String]) throws -> Outcome {
        try run("/bin/bash", ["-euo", "pipefail", "-c", script], in: folder, environment: environment, input: "")
    }

    private static func run(
        _ program: String, _ arguments: [String], in directory: String?, environment: [String: String], input: String
    ) throws -> Outcome {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        // Files rather than pipes: a pipe that nobody reads would block the process.
        let folder = try scratch()
        let (out, error) = (folder + "/out", folder + "/error")
        for file in [out, error] { _ = FileManager.default.createFile(atPath: file, contents: nil) }
        process.standardOutput = FileHandle(forWritingAtPath: out)
        process.standardError = FileHandle(forWritingAtPath: error)
        try input.write(toFile: folder + "/in", atomically: true, encoding: .utf8)
        process.standardInput = FileHandle(forReadingAtPath: folder + "/in")
        try process.run()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus, out: try String(contentsOfFile: out, encoding: .utf8),
            error: try String(contentsOfFile: error, encoding: .utf8))
    }

    /// A new folder.
    static func scratch() throws -> String {
        let url = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        return url.path
    }

    static func file(_ text: String, _ name: String = "train.jsonl") throws -> String {
        let path = try scratch() + "/" + name
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// The real model: LORIKEET_SMOLLM2, or where `make model` puts it.
    static let smollm2: String? = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let places: [String?] = [ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"], root.appending(path: ".work/SmolLM2-135M-Instruct.Q4_1.gguf").path]
        let found = places.compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0) }
        if found == nil { print("skipped: no SmolLM2 model; `make model` fetches it") }
        return found
    }()

    /// Records of the demo's layout.
    static func records(_ count: Int) -> String {
        let kinds = ["animal", "plant", "food"]
        return (0..<count).map {
            #"{"instruction": "What kind of thing is this? Answer with one word.", "input": "thing \#($0): some words about it", "output": "\#(kinds[$0 % 3])"}"#
        }.joined(separator: "\n") + "\n"
    }
}
