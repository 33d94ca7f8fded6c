import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// A directory belongs to the bytes its run began with, not to their paths.
struct RunInputsTests {
    private let files = RealFiles()

    /// Changes one byte without changing what the files mean to a parser, where that is possible.
    private func change(_ path: String) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        if path.hasSuffix("safetensors") { bytes[bytes.count - 2] ^= 1 } else { bytes.append(UInt8(ascii: "\n")) }
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    private func run() throws -> TinyRun {
        var run = try TinyRun()
        run.options = ["validation": run.folder + "/held.jsonl", "validation-share": "0"]
        try files.writeDurably(
            #"{"prompt": "say 3:", "completion": "ab"}"# + "\n" + #"{"prompt": "say 4:", "completion": "abab"}"# + "\n", to: run.folder + "/held.jsonl")
        // An adapter to start from.
        var first = run
        first.output += "-first"
        first.options["max-steps"] = "1"
        #expect(try first.run(on: nil, goal: .adapter).error == nil)
        try files.createDirectory(run.folder + "/start")
        for name in ["adapter_model.safetensors", "adapter_config.json"] {
            try FileManager.default.copyItem(atPath: first.output + "/adapter/" + name, toPath: run.folder + "/start/" + name)
        }
        run.options["init-adapter"] = run.folder + "/start"
        return run
    }

    private static let inputs = [
        "model/model.safetensors", "model/config.json", "model/tokenizer.json", "model/tokenizer_config.json", "train.jsonl", "held.jsonl",
        "start/adapter_model.safetensors", "start/adapter_config.json",
    ]

    @Test func `a file that changed under its path is named, and nothing is written`() throws {
        let run = try run()
        #expect(try run.run(on: nil, goal: .adapter, stopAfter: 2).error?.exit == .stoppedEarly)
        func snapshot() throws -> [String: Data] {
            let names = try #require(FileManager.default.enumerator(atPath: run.output)).compactMap { $0 as? String }
            return try Dictionary(
                uniqueKeysWithValues: names.filter { !files.isDirectory(run.output + "/" + $0) }.map {
                    ($0, try Data(contentsOf: URL(fileURLWithPath: run.output + "/" + $0)))
                })
        }
        let before = try snapshot()
        for name in Self.inputs {
            let path = run.folder + "/" + name
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            try change(path)
            let outcome = try run.run(on: nil, goal: .adapter)
            #expect(outcome.error?.exit == .unusableInput && outcome.error?.place == path, "\(name): \(String(describing: outcome.error))")
            #expect(outcome.error?.what == "the file has changed since the run began: a run goes on with the same inputs only" && outcome.count(.step) == 0)
            #expect(try snapshot() == before, "\(name)")
            try bytes.write(to: URL(fileURLWithPath: path))
        }
        // A template that was not there decides the result as well.
        try files.writeDurably("{{ messages[0]['content'] }}</s>", to: run.folder + "/model/chat_template.jinja")
        let added = try run.run(on: nil, goal: .adapter).error
        #expect(added?.place == run.folder + "/model/chat_template.jinja" && added?.what.hasPrefix("the file was not there when the run began") == true)
        try files.remove(run.folder + "/model/chat_template.jinja")
        let tools = run.folder + "/model/additional_chat_templates/tool_use.jinja"
        try files.createDirectory(run.folder + "/model/additional_chat_templates")
        try files.writeDurably("{{ messages[0]['content'] }}</s>", to: tools)
        let more = try run.run(on: nil, goal: .adapter).error
        #expect(more?.place == tools && more?.what.hasPrefix("the file was not there when the run began") == true)
        try files.remove(tools)
        // What decides nothing may change; and with everything as it was the run goes on to the bits of one that never stopped.
        try files.writeDurably("# A model", to: run.folder + "/model/README.md")
        #expect(try run.run(on: nil, goal: .adapter).error == nil)
        var calm = run
        calm.output += "-calm"
        #expect(try calm.run(on: nil, goal: .adapter).error == nil && calm.adapter() == run.adapter())
    }

    @Test func `a finished run is not finished with other data, and needs what it was made of no more`() throws {
        let run = try run()
        #expect(try run.run(on: nil).error == nil)
        let data = run.folder + "/train.jsonl"
        let bytes = try Data(contentsOf: URL(fileURLWithPath: data))
        try change(data)
        #expect(try run.run(on: nil).error?.place == data)
        try FileManager.default.removeItem(atPath: data)
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
        try bytes.write(to: URL(fileURLWithPath: data))
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
    }

    @Test func `the same bytes at another place are the same run, finished or not; others there are not`() throws {
        var run = try run()
        #expect(try run.run(on: nil, goal: .adapter, stopAfter: 2).error?.exit == .stoppedEarly)
        let calm = run
        let elsewhere = run.folder + "/elsewhere"
        try files.createDirectory(elsewhere)
        for name in ["model", "train.jsonl", "held.jsonl", "start"] {
            try FileManager.default.copyItem(atPath: run.folder + "/" + name, toPath: elsewhere + "/" + name)
        }
        run.options.merge(
            ["model": elsewhere + "/model", "data": elsewhere + "/train.jsonl", "validation": elsewhere + "/held.jsonl", "init-adapter": elsewhere + "/start"]
        ) { $1 }
        let bytes = try Data(contentsOf: URL(fileURLWithPath: elsewhere + "/held.jsonl"))
        try change(elsewhere + "/held.jsonl")
        let refused = try run.run(on: nil)
        #expect(refused.error?.place == elsewhere + "/held.jsonl" && refused.count(.step) == 0, "\(String(describing: refused.error))")
        try bytes.write(to: URL(fileURLWithPath: elsewhere + "/held.jsonl"))
        #expect(try run.run(on: nil).error == nil)
        #expect(try run.json("inputs.json")["inputs"]?["data"]?["path"]?.string == elsewhere + "/train.jsonl")
        // Back at the first place the finished run is finished, unless something is another there.
        #expect(try calm.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
        try change(calm.folder + "/train.jsonl")
        #expect(try calm.run(on: nil).error?.place == calm.folder + "/train.jsonl")
        // Without an adapter to start from it is another run.
        run.options["init-adapter"] = nil
        #expect(try run.run(on: nil).error?.what.hasPrefix("the file is gone since the run began") == true)
    }

    @Test func `a run of an older version, or one whose record is damaged, goes on with a note`() throws {
        for damage in [{ try RealFiles().remove($0) }, { try RealFiles().writeDurably("{", to: $0) }] as [(String) throws -> Void] {
            let run = try run()
            #expect(try run.run(on: nil, goal: .adapter, stopAfter: 2).error?.exit == .stoppedEarly)
            let kept = try run.json("inputs.json")
            #expect(kept["inputs"]?.object?.entries.count == Self.inputs.count + 1, "\(kept.serialized())")
            try damage(run.output + "/inputs.json")
            // Where the inputs are not known, another path is another run.
            var moved = run
            moved.options["data"] = run.folder + "/held.jsonl"
            #expect(try moved.run(on: nil, goal: .adapter).error?.what.contains("another recipe (data: ") == true)
            let outcome = try run.run(on: nil, goal: .adapter, stopAfter: 1)
            #expect(outcome.texts.contains { $0.contains("this run began without check sums of its inputs") })
            #expect(try run.json("inputs.json") == kept)
            #expect(try !run.run(on: nil, goal: .adapter).texts.contains { $0.contains("this run began without check sums of its inputs") })
        }
    }
}
