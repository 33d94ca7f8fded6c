import Foundation
import HubServer
import LorikeetGround
import Synchronization

@testable import LorikeetHub

/// A hub on this machine, an empty cache, and a record of what was reported.
final class Scene {
    let local: LocalHub
    let cache: String
    var variables: [String: String] = [:]
    var files: any Files = RealFiles()
    var shouldStop: () -> Bool = { false }
    var answerSeconds = 600
    var stalledSeconds = 2
    private(set) var events: [HubEvent] = []
    private(set) var slept = 0.0

    static let commit = "0123456789abcdef0123456789abcdef01234567"

    init(
        _ repositories: [String: LocalHub.Repository], listsNamesOnly: Bool = false,
        change: @escaping @Sendable (LocalHub.Request, LocalHub.Response) -> LocalHub.Response = { $1 }
    ) throws {
        local = try LocalHub(repositories, listsNamesOnly: listsNamesOnly, change: change)
        cache = FileManager.default.temporaryDirectory.appending(path: "lorikeet-hub-" + UUID().uuidString).path
    }

    deinit { try? FileManager.default.removeItem(atPath: cache) }

    func hub(_ more: [String: String] = [:]) throws -> Hub {
        let settings = try HubSettings(environment: ["HF_HUB_CACHE": cache, "HF_ENDPOINT": local.endpoint].merging(variables) { $1 }.merging(more) { $1 })
        var environment = HubEnvironment(files: files, sleep: { [weak self] in self?.slept += $0 }, shouldStop: shouldStop) { [weak self] in
            self?.events.append($0)
        }
        (environment.connectSeconds, environment.stalledSeconds, environment.answerSeconds) = (2, stalledSeconds, answerSeconds)
        return Hub(settings, environment)
    }

    func pull(_ name: String, _ kind: HubName.Kind = .model) throws -> HubSnapshot { try hub().pull(HubName(name, kind: kind)) }

    var warnings: [String] { events.compactMap { if case .warning(let text) = $0 { text } else { nil } } }
    var waits: Int { events.count { if case .waiting = $0 { true } else { false } } }

    /// Every file and link of the cache, but for locks.
    func tree() -> [String] {
        ((FileManager.default.enumerator(atPath: cache)?.allObjects ?? []) as? [String] ?? []).filter { !$0.hasPrefix(".locks") }.filter {
            var isFolder: ObjCBool = false
            return !FileManager.default.fileExists(atPath: cache + "/" + $0, isDirectory: &isFolder) || !isFolder.boolValue
        }.sorted()
    }

    func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

    static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    /// Bytes that no part of repeats.
    static func bytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: mix64(UInt64($0) &+ seed << 32)) } }

    /// A model of two shards with all that such repositories hold beside it.
    static let model: LocalHub.Repository = {
        let index =
            #"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}"#
        let texts = [
            "config.json": "{}", "merges.txt": "", "generation_config.json": "{}", "tokenizer.json": "{\"a\": 1}", "tokenizer_config.json": "{}",
            "README.md": "# model",
            ".gitattributes": "x", "model.safetensors.index.json": index, "additional_chat_templates/tools.jinja": "{{ x }}", "LICENSE": "l",
            "pytorch_model.bin.index.json": "{}", "modeling_x.py": "import os",
        ]
        var files = texts.mapValues { bytes($0) }
        files["model-00001-of-00002.safetensors"] = bytes(3_000_000)
        files["model-00002-of-00002.safetensors"] = bytes(1_200_000, seed: 2)
        for (number, name) in [
            "pytorch_model.bin", "original/consolidated.00.pth", "onnx/model.onnx", "flax_model.msgpack", "tf_model.h5", "consolidated.safetensors",
            "model.Q4_0.gguf",
        ].enumerated() { files[name] = bytes(900, seed: UInt64(number + 9)) }
        return LocalHub.Repository(commit: commit, files: files, large: Set(files.keys.filter { !texts.keys.contains($0) }))
    }()

    static let neededOfModel = [
        "README.md",
        "additional_chat_templates/tools.jinja", "config.json", "generation_config.json", "merges.txt", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    ]
}
