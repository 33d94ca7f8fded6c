import ArgumentParser
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetModelFiles

struct PushVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "push", abstract: "Uploads a model, an adapter or GGUF files to a Hugging Face-compatible hub.",
        discussion: """
            Example: lorikeet push out --part merged ORG/NAME
            HF_TOKEN is an access token with the right to write, HF_ENDPOINT names the hub. A push that was stopped goes on where it stopped. Folders with
            links, checkpoints, half-written or other files are refused.
            With --json the result is one object on standard output, and progress one object a line on standard error.
            """)
    @Argument(help: "The folder: a run's merged/, adapter/, gguf/ or bnb-4bit/, or its output with --part.") var folder: String
    @Argument(help: "ORG/NAME, or ORG/NAME@BRANCH.") var name: String
    @Option(help: "Which part of a run's output: \(PushVerb.parts.joined(separator: ", ")).") var part: String?
    @Option(help: "The commit's first line.") var message: String?
    @Flag(name: .customLong("private"), help: "Make the repository private; an existing public one is refused.") var isPrivate = false
    @Flag(help: "List the files and their sizes, and upload nothing; the other options of the upload may stay.") var dryRun = false
    @Flag(help: "Print JSON.") var json = false

    private static let parts = ["merged", "adapter", "gguf", "bnb-4bit"]

    func validate() throws {
        guard part.map(Self.parts.contains) ?? true else {
            throw ValidationError("--part has to be one of \(Self.parts.joined(separator: ", ")), not '\(part ?? "")'")
        }
        guard message.map({ !$0.isEmpty && !$0.contains(where: \.isNewline) && $0.utf8.count <= 200 }) ?? true else {
            throw ValidationError("--message has to be one line of at most 200 bytes")
        }
    }

    func run() throws {
        let settings = try HubSettings(environment: HubInputs.variables)
        let name = try HubName(name, kind: .model, endpoint: settings.endpoint)
        guard name.kind == .model, name.part == nil, name.id.holdsSlash else {
            throw LorikeetError.input("'\(self.name)' is no name of a model to upload to", fix: "write it like ORG/NAME or ORG/NAME@BRANCH")
        }
        let folder = try PushFolder(Self.place(self.folder, part), disk: RealFiles())
        try requireReadable(folder)
        if dryRun { return show(folder, name, settings) }
        StopSignal.startCatching()
        let start = SystemClock().uptime
        let hub = Hub(settings, HubInputs.client(PullProgress(form: json ? .json : .text)))
        let result = try hub.push(folder, to: name, isPrivate: isPrivate, summary: message ?? "Upload with Lorikeet \(lorikeetVersion)")
        show(result, seconds: SystemClock().uptime - start)
    }

    /// The folder to upload.
    ///
    /// - Throws: exit 2 where a part of a run is asked for that is not there.
    private static func place(_ folder: String, _ part: String?) throws -> String {
        let files = RealFiles()
        let place = part.map { RealFiles.trimmed(folder) + "/" + $0 } ?? folder
        if let error = MissingPart.error(at: place, files: files) { throw error }
        guard let part, !files.exists(place) else { return place }
        let what = files.isDirectory(folder) ? "it has no \(part)/, and is no run's output" : files.exists(folder) ? "not a folder" : "no such folder"
        throw LorikeetError.input(what, at: folder, fix: "with --part name the --output directory of a run")
    }

    /// Refuses to upload a model, an adapter or a GGUF that this program cannot open.
    private func requireReadable(_ folder: PushFolder) throws {
        let paths = Set(folder.files.map(\.path))
        if paths.contains("config.json") { _ = try ModelFiles.open(folder.folder, files: RealFiles()) }
        if paths.contains("adapter_config.json") { _ = try AdapterFile.read(directory: folder.folder) }
        for file in folder.files where file.path.lowercased().hasSuffix(".gguf") { _ = try GGUFFile(path: file.place) }
    }

    private func show(_ folder: PushFolder, _ name: HubName, _ settings: HubSettings) {
        if json {
            let files = folder.files.map { file -> JSON in ["path": .string(file.path), "bytes": .integer(file.bytes)] }
            let object: JSON = [
                "name": .string(name.id), "endpoint": .string(settings.endpoint.origin), "dry_run": true, "files": .array(files),
                "bytes": .integer(folder.bytes),
            ]
            return Screen.out(object.serialized() + "\n")
        }
        for file in folder.files { Screen.out("\(Units.formatBytes(file.bytes).leftPadded(to: 10))  \(file.path)\n") }
        let count = "\(folder.files.count) \(folder.files.count == 1 ? "file" : "files"), \(Units.formatBytes(folder.bytes))"
        Screen.out("\(count) would go to \(name.id) on \(settings.endpoint.origin); nothing was uploaded\n")
    }

    private func show(_ result: PushResult, seconds: Double) {
        if json {
            let object: JSON = [
                "name": .string(result.name.id), "commit": result.commit.map { .string($0) } ?? .null, "page": .string(result.page),
                "files": JSON(result.files), "bytes": .integer(result.bytes), "sent_bytes": .integer(result.sentBytes), "changed": JSON(result.changed),
                "removed": JSON(result.removed), "seconds": .number(seconds),
            ]
            return Screen.out(object.serialized() + "\n")
        }
        for path in result.removed { Screen.note(["\(path) of the earlier model was taken out of the repository"]) }
        let count = "\(result.files) \(result.files == 1 ? "file" : "files"), \(Units.formatBytes(result.bytes))"
        let what =
            result.changed.isEmpty && result.removed.isEmpty
            ? "all there already"
            : (result.sentBytes > 0 ? "\(Units.formatBytes(result.sentBytes)) of large files " : "") + "sent in \(Units.formatSeconds(seconds))"
        Screen.out("\(result.name.id)\(result.commit.map { " at \($0.prefix(12))" } ?? ""): \(count) (\(what))\n\(result.page)\n")
    }
}

extension String {
    fileprivate func leftPadded(to width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
