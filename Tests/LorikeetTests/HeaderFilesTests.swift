import FailingFiles
import Foundation
import HubServer
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetModelFiles
import LorikeetRecipe
import Testing

@testable import Lorikeet

/// Models opened by the headers of their files, while the weights are somewhere else.
struct HeaderFilesTests {
    private static let references = TinyRun.testsFolder.appending(path: "Reference").path
    private let files = RealFiles()

    /// The model at `path` with the weights of its directory, or the GGUF itself, replaced by what `FileHeader` reads of them.
    ///
    /// - Returns: the path to open, the files, and the bytes that were read of those of the weights.
    private func headers(_ path: String) throws -> (path: String, files: HeaderFiles, read: Int, all: Int) {
        let folder = FileManager.default.temporaryDirectory.appending(path: "lorikeet-headers-" + UUID().uuidString).path
        try files.createDirectory(folder)
        let isFolder = files.isDirectory(path)
        let names = isFolder ? try files.list(path) : [String(path.split(separator: "/").last ?? "")]
        var (read, all) = (0, 0)
        var found: [MappedFile] = []
        for name in names {
            let place = isFolder ? path + "/" + name : path
            guard name.hasSuffix(".safetensors") || name.hasSuffix(".gguf") else {
                if !files.isDirectory(place) { try FileManager.default.copyItem(atPath: place, toPath: folder + "/" + name) }
                continue
            }
            guard !name.hasPrefix("expected") else { continue }
            let bytes = try files.read(place)
            all += bytes.count
            found.append(
                try FileHeader.file(path: folder + "/" + name, count: bytes.count, pieceBytes: 64) { range in
                    read += range.count
                    return Array(bytes[range])
                })
        }
        return (isFolder ? folder : folder + "/" + names[0], HeaderFiles(files, headers: found), read, all)
    }

    @Test(
        arguments: ["nf4_double", "nf4_plain", "nf4_half", "nf4_blocks", "fp8_blocks", "fp8_rows", "fp8_tensor"].map { "quantised/" + $0 } + [
            "small/qwen2", "small/gemma3", "small/phi3", "small/qwen2/model.gguf", "small/llama_llama3/model.gguf", "small/phi3/model.gguf",
            "small/gemma3/model.gguf",
        ])
    func `a model's headers say what its files say`(name: String) throws {
        let whole = try ModelSource.open(Self.references + "/" + name)
        let (path, overlay, read, all) = try headers(Self.references + "/" + name)
        let source = try ModelSource.open(path, files: overlay)
        #expect(read < all, "\(read) of \(all) bytes")
        func words(_ source: ModelSource) -> [String] {
            source.files.tensors.map { name, view in
                var words = "\(name) \(view.name) \(view.shape) \(view.type) \(view.offset) \(view.byteCount)"
                switch view.scaling {
                case .nf4(let state, _): words += " \(state.blockLength) \(state.map) \(state.rounding) \(String(describing: state.nested?.map))"
                case .blocks(let blocks, _): words += " \(blocks.rows) \(blocks.columns) \(String(describing: blocks.scales.floatValues()))"
                case nil: break
                }
                return words
            }.sorted()
        }
        #expect(words(source) == words(whole))
        #expect("\(source.configuration)" == "\(whole.configuration)")
        #expect(source.hasOwnCodes == whole.hasOwnCodes && source.warnings.count == whole.warnings.count)
        // Weights cannot be read as if they were there.
        let largest = try #require(source.files.tensors.values.max { $0.byteCount < $1.byteCount })
        #expect(!largest.isAtHand && overlay.exists(largest.file.path) && !files.exists(largest.file.path))
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)
        defer { memory.deallocate() }
        #expect(#expect(throws: LorikeetError.self) { try largest.read(0..<64, into: memory) }?.what == "only the header of the file has been fetched")
        #expect(throws: LorikeetError.self) { try overlay.read(largest.file.path) }
        #expect(throws: LorikeetError.self) { try overlay.open(largest.file.path) }
    }

    @Test func `a header that is no header, or does not fit its file, is refused`() throws {
        let good = try files.read(Self.references + "/llama/model.safetensors")
        func refusal(_ bytes: [UInt8], count: Int? = nil) -> LorikeetError? {
            #expect(throws: LorikeetError.self) {
                try FileHeader.file(path: "m", count: count ?? bytes.count, pieceBytes: 64) { Array(bytes[$0.clamped(to: 0..<bytes.count)]) }
            }
        }
        for (bytes, count, words) in [
            (Array("<html>".utf8) + good.dropFirst(6), nil, "web page"), (Array(good.prefix(20)), nil, "the header says it has"),
            (good, good.count - 1, "the tensor"), (good, good.count + 1, "the tensors take"),
            (Array("version https://git-lfs.github.com/spec/v1\n".utf8) + good, nil, "LFS"),
            (Array("GGUF".utf8) + good.dropFirst(4), nil, "a GGUF of a big-endian machine"),
            ([], nil, "empty"),
        ] as [([UInt8], Int?, String)] {
            let error = refusal(bytes, count: count)
            #expect(error?.exit == .unusableInput && error?.description.contains(words) == true, "\(String(describing: error))")
        }
        // A header of 300 MiB is no header.
        let long = withUnsafeBytes(of: UInt64(300 << 20).littleEndian) { Array($0) } + [UInt8](repeating: 0x20, count: 100)
        #expect(refusal(long, count: 1 << 40)?.what.contains("longer than") == true)
    }

    // MARK: - From a hub

    private struct Scene {
        let run: TinyRun
        let hub: LocalHub
        var variables: [String: String]

        init(_ change: @escaping @Sendable (LocalHub.Request, LocalHub.Response) -> LocalHub.Response = { $1 }) throws {
            run = try TinyRun()
            let folder = run.folder + "/model"
            let contents = try RealFiles().list(folder).map { ($0, try RealFiles().read(folder + "/" + $0)) }
            hub = try LocalHub(
                [
                    "models/org/tiny": .init(
                        commit: String(repeating: "c", count: 40), files: Dictionary(uniqueKeysWithValues: contents), large: ["model.safetensors"])
                ], change: change)
            variables = ["HF_ENDPOINT": hub.endpoint, "HF_HOME": run.folder + "/hf", "HOME": "/nowhere"]
        }

        var locator: InputLocator {
            var client = HubEnvironment(sleep: { _ in })
            client.connectSeconds = 2
            return InputLocator(variables: variables, client: client)
        }

        func recipe(_ model: String = "org/tiny") throws -> Recipe {
            var run = run
            run.options["model"] = model
            return try run.recipe()
        }

        /// Files and links of the cache, but for locks.
        func cached() throws -> [String] {
            let all = FileManager.default.enumerator(atPath: run.folder + "/hf/hub")?.compactMap { $0 as? String } ?? []
            return all.filter { !RealFiles().isDirectory(run.folder + "/hf/hub/" + $0) && !$0.contains(".locks") }
        }
    }

    private func plan(_ located: InputLocator.LocatedRecipe) throws -> String {
        let cpu = CPU(threads: 2)
        var preparation = try Preparation(recipe: located.recipe, files: located.files)
        let dataset = try preparation.loadData(files: located.files, cpu: cpu)
        let plan = try preparation.plan(dataset, merges: true, compute: Compute(cpu: cpu))
        // Times are measured, and this process's own memory is as it is.
        let memory = plan.trainingMemory.filter { $0.name != "program, tokenizer, data" }
        return "\(memory) \(plan.disk) \(plan.choices) \(plan.trainableParameters)"
    }

    @Test(arguments: [true, false]) func `a plan needs no weights of a hub, and is that of the whole model`(sendsParts: Bool) throws {
        let scene = try Scene { request, response in
            // A server without parts of files sends all, until the client has enough.
            guard !sendsParts, request.path.hasSuffix("model.safetensors"), response.status == 206 else { return response }
            return LocalHub.Response(404)
        }
        if !sendsParts {
            let whole = try files.read(scene.run.folder + "/model/model.safetensors")
            scene.hub.change { request, response in
                request.path.hasSuffix("model.safetensors") && response.status == 206 ? LocalHub.Response(200, whole) : response
            }
        }
        let located = try scene.locator.locate(scene.recipe(), weights: false)
        let bytes = try files.byteCount(of: scene.run.folder + "/model/model.safetensors")
        #expect(located.download?.bytes == Int64(bytes) && located.download?.files == 1)
        #expect(located.download?.words == "477 KiB in 1 file into \(scene.run.folder)/hf/hub")
        let ranges = scene.hub.storage.requests.compactMap { $0.headers["range"] }
        #expect(ranges.count == scene.hub.storage.requests.count && ranges.first == "bytes=0-65535")
        // The small files alone are in the cache; nothing says that the revision is there.
        let small = try scene.cached()
        #expect(!small.isEmpty && !small.contains { $0.contains("safetensors") || $0.contains("refs") || $0.contains("incomplete") }, "\(small)")
        let early = try plan(located)
        var offline = scene
        offline.variables["HF_HUB_OFFLINE"] = "1"
        let absent = #expect(throws: LorikeetError.self) { try offline.locator.locate(scene.recipe(), weights: false) }
        #expect(absent?.exit == .unusableInput)
        // The whole model, from the same hub, and then without it.
        scene.hub.change { $1 }
        #expect(try plan(scene.locator.locate(scene.recipe())) == early)
        let kept = try offline.locator.locate(scene.recipe(), weights: false)
        #expect(try kept.download == nil && plan(kept) == early)
        let before = scene.hub.storage.requests.count
        #expect(try scene.locator.locate(scene.recipe(), weights: false).download == nil && scene.hub.storage.requests.count == before)
    }

    @Test func `a newer commit that was only planned with leaves the older one usable offline`() throws {
        let scene = try Scene()
        let first = try scene.locator.model("org/tiny").path
        var contents: [String: [UInt8]] = [:]
        for name in try files.list(scene.run.folder + "/model") { contents[name] = try files.read(scene.run.folder + "/model/" + name) }
        contents["model.safetensors"]?[400_000] ^= 1
        let next = String(repeating: "d", count: 40)
        scene.hub.set("models/org/tiny", .init(commit: next, files: contents, large: ["model.safetensors"]))
        let located = try scene.locator.locate(scene.recipe(), weights: false)
        #expect(located.recipe.model?.hasSuffix(next) == true && located.download != nil)
        var offline = scene
        offline.variables["HF_HUB_OFFLINE"] = "1"
        #expect(try offline.locator.model("org/tiny").path == first)
        let absent = #expect(throws: LorikeetError.self) { try offline.locator.model("org/tiny@" + next) }
        #expect(absent?.what.contains("its weights are not in the cache") == true, "\(String(describing: absent))")
    }

    @Test func `a run that cannot be does not fetch its weights, and one that can is of the commit it was planned with`() throws {
        let scene = try Scene()
        func outcome(_ options: [String: String]) throws -> LorikeetError? {
            var run = scene.run
            run.options = ["model": "org/tiny"].merging(options) { $1 }
            do {
                let environment = PipelineEnvironment(locator: scene.locator)
                _ = try Pipeline(recipe: run.recipe(), notes: [], goal: .adapter, environment: environment).run()
                return nil
            } catch let error as LorikeetError { return error }
        }
        let bad = scene.run.folder + "/bad.jsonl"
        try files.writeDurably(#"{"prompt": "say", "answer": "ab"}"# + "\n", to: bad)
        for options in [["data": "/nowhere/train.jsonl"], ["data": bad], ["lora-target-modules": "no_proj"]] {
            #expect(try outcome(options)?.exit == .unusableInput, "\(options)")
        }
        #expect(scene.hub.storage.requests.allSatisfy { $0.headers["range"] == "bytes=0-65535" })
        #expect(try scene.cached().allSatisfy { !$0.contains("safetensors") } && !files.exists(scene.run.output))
        // The hub moves on while the run is planned.
        let next = String(repeating: "d", count: 40)
        var contents: [String: [UInt8]] = [:]
        for name in try files.list(scene.run.folder + "/model") { contents[name] = try files.read(scene.run.folder + "/model/" + name) }
        let now = contents
        scene.hub.change { [hub = scene.hub] request, response in
            if request.headers["range"] != nil {
                hub.set("models/org/tiny", .init(commit: next, files: now, large: ["model.safetensors"]))
            }
            return response
        }
        let error = try outcome(["max-steps": "1"])
        #expect(error?.exit == .machineFailed && error?.what.contains("newer commit") == true, "\(String(describing: error))")
        #expect(!files.exists(scene.run.output))
        scene.hub.change { $1 }
        #expect(try outcome(["max-steps": "1"]) == nil)
        #expect(try scene.cached().contains { $0.hasSuffix("snapshots/\(next)/model.safetensors") })
        #expect(try files.readText(scene.run.output + "/inputs.json").contains(next))
    }

    @Test func `configuration and tensors are held together before the weights are fetched`() throws {
        let scene = try Scene()
        var contents: [String: [UInt8]] = [:]
        for name in try files.list(scene.run.folder + "/model") { contents[name] = try files.read(scene.run.folder + "/model/" + name) }
        let text = String(decoding: contents["config.json"] ?? [], as: UTF8.self)
        contents["config.json"] = Array(text.replacing(/"intermediate_size": \d+/, with: "\"intermediate_size\": 96").utf8)
        scene.hub.set("models/org/other", .init(commit: String(repeating: "e", count: 40), files: contents, large: ["model.safetensors"]))
        let located = try scene.locator.locate(scene.recipe("org/other"), weights: false)
        let error = #expect(throws: LorikeetError.self) { try Preparation(recipe: located.recipe, files: located.files) }
        #expect(error?.exit == .unusableInput && error?.description.contains("shape") == true, "\(String(describing: error))")
    }

    @Test func `a download that the disk has no room for does not fit`() throws {
        let disk = FullDisk(bytes: 0, said: 1 << 30)
        func free(_ bytes: Int64) throws -> Int64 {
            try InputLocator.Download(model: "org/large", files: 2, bytes: bytes, folder: "/cache").freeBytes(for: "out", disk)
        }
        let error = #expect(throws: LorikeetError.self) { try free(1 << 31) }
        #expect(error?.exit == .doesNotFit && error?.what.contains("2.0 GiB") == true && error?.place == "/cache", "\(String(describing: error))")
        // The run and the cache are on one disk.
        #expect(try free(1 << 29) == 1 << 29)
    }
}
