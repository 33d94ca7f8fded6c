import ArgumentParser
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetJSON

struct PullVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull", abstract: "Fetches a model or data set from a Hugging Face-compatible hub into the cache that Python's huggingface_hub has.",
        discussion: """
            Example: lorikeet pull Qwen/Qwen3-0.6B
            HF_ENDPOINT names the hub, HF_HOME the cache, HF_TOKEN is an access token for gated and private names; HF_HUB_OFFLINE=1 only
            looks into the cache.
            With --json the result is one object on standard output, and progress one object a line on standard error.
            """)
    @Argument(help: "ORG/NAME, ORG/NAME@REVISION, ORG/NAME:Q4_K_M (one GGUF of several), or hf://[datasets/]ORG/NAME[@REVISION][/FILE].") var name: String
    @Flag(help: "The name is a data set's.") var dataset = false
    @Option(help: "A branch, tag or commit [main].") var revision: String?
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let settings = try HubSettings(environment: HubInputs.variables)
        var name = try HubName(name, kind: dataset ? .dataset : .model, endpoint: settings.endpoint)
        if let revision {
            guard name.revision == nil || name.revision == revision else {
                throw LorikeetError.input("the name '\(name)' and --revision '\(revision)' ask for different revisions", fix: "give one of them")
            }
            name = try name.at(revision)
        }
        StopSignal.startCatching()
        let start = SystemClock().uptime
        let snapshot = try Hub(settings, HubInputs.client(PullProgress(form: json ? .json : .text))).pull(name)
        let seconds = SystemClock().uptime - start
        if json {
            let object: JSON = [
                "name": .string(name.id), "kind": .string(name.kind.rawValue), "commit": .string(snapshot.commit), "path": .string(snapshot.path),
                "folder": .string(snapshot.folder), "files": .array(snapshot.files.map { .string($0) }), "bytes": .integer(snapshot.bytes),
                "fetched_bytes": .integer(snapshot.fetchedBytes), "train": .array(snapshot.train.map { .string($0) }),
                "validation": .array(snapshot.validation.map { .string($0) }), "seconds": .number(seconds),
            ]
            Screen.out(object.serialized() + "\n")
        } else {
            let count = "\(snapshot.files.count) \(snapshot.files.count == 1 ? "file" : "files"), \(Units.formatBytes(snapshot.bytes))"
            let came =
                snapshot.fetchedBytes == 0 ? "all there already" : "\(Units.formatBytes(snapshot.fetchedBytes)) fetched in \(Units.formatSeconds(seconds))"
            Screen.out("\(name.id) at \(snapshot.commit.prefix(12)): \(count) (\(came))\n\(snapshot.path)\n")
            for path in snapshot.train.dropFirst() + snapshot.validation { Screen.out("\(path)\n") }
        }
        warnIfUnusable(snapshot)
    }

    /// A model that is there and cannot be trained is said to be so at once.
    private func warnIfUnusable(_ snapshot: HubSnapshot) {
        guard snapshot.name.kind == .model, !snapshot.files.contains("adapter_config.json") || snapshot.files.contains("config.json") else { return }
        do {
            _ = try ModelSource.open(snapshot.path)
        } catch {
            Screen.warn(["it is fetched, and lorikeet cannot use it: \(error)"])
        }
    }
}
