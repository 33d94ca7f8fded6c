import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet

/// Records in, records with answers out.
struct AnswerFileTests {
    private let files = RealFiles()
    private let run: TinyRun
    private let generator: AnsweringModel

    init() throws {
        run = try TinyRun()
        generator = try AnsweringModel(model: run.folder + "/model", adapter: nil, baseStorage: "f32", compute: Compute(cpu: CPU(threads: 2)))
    }

    private static let warm: SamplingOptions = {
        var options = SamplingOptions()
        (options.temperature, options.topP, options.seed) = (1.5, 0.95, 3)
        return options
    }()

    private func records(_ lines: [String], system: String? = nil, field: String = "answer") throws -> AskedRecords {
        try AskedRecords(Array(lines.joined(separator: "\n").utf8), source: "in.jsonl", system: system, fields: AnswerFields(answer: field))
    }

    private func refusal(_ lines: [String]) -> String {
        do {
            let records = try records(lines)
            _ = try generator.answer(records, done: 0, maxNewTokens: 2, sampling: SamplingOptions(), atATime: 4, fields: AnswerFields()) { _, _ in
                Issue.record("answered")
                return true
            }
        } catch let error as LorikeetError {
            #expect(error.exit == .unusableInput)
            return error.description
        } catch {}
        return ""
    }

    private func answers(_ lines: [String], atATime: Int = 4, done: Int = 0, sampling: SamplingOptions = warm) throws -> [String] {
        var written: [String] = []
        let count = try generator.answer(
            records(lines), done: done, maxNewTokens: 6, sampling: sampling, atATime: atATime, fields: AnswerFields()
        ) { line, _ in
            written.append(line)
            return true
        }
        #expect(count == lines.count)
        return written
    }

    @Test func `records keep their keys and their order, alone or together`() throws {
        let lines = (0..<11).map { #"{"id": \#($0), "prompt": "say \#(String(repeating: "x", count: 17 * $0 % 23)):", "more": [1, {"a": null}]}"# }
        let written = try answers(lines)
        let parsed = try written.map { try JSON.parse($0, source: "out") }
        #expect(parsed.map { $0["id"]?.int } == (0..<11).map { $0 })
        for (line, record) in try zip(lines.map { try JSON.parse($0, source: "in") }, parsed) {
            #expect(Array((record.object?.keys ?? []).prefix(3)) == ["id", "prompt", "more"] && record["more"] == line["more"])
            #expect(record.object?.keys.dropFirst(3) == ["answer", "answer_finish_reason", "answer_tokens"])
            #expect(record["answer"]?.string != nil && ["end", "length"].contains(record["answer_finish_reason"]?.string))
        }
        for atATime in [1, 3, 16] { #expect(try answers(lines, atATime: atATime) == written) }
        for (line, answer) in zip(lines, written) { #expect(try answers([line]) == [answer]) }
        #expect(try answers(lines, done: 7) == Array(written.dropFirst(7)))
        let public1 = try generator.answers([.messages([("user", "say :")]), .text("say :")], maxNewTokens: 6, sampling: Self.warm)
        #expect(public1[0].text == parsed[0]["answer"]?.string)
        #expect(try generator.answer(.messages([("user", "say :")]), maxNewTokens: 6, sampling: Self.warm) == public1[0].text)
    }

    @Test func `the same record twice is drawn twice, and a run that goes on knows it`() throws {
        let lines = Array(repeating: #"{"prompt": "say 3:"}"#, count: 4)
        let written = try answers(lines)
        #expect(Set(written).count > 1)
        #expect(try answers(lines, done: 2) == Array(written.dropFirst(2)))
        let greedy = try answers(lines, sampling: SamplingOptions())
        #expect(Set(greedy).count == 1)
    }

    @Test func `messages, prompts and texts are asked as they are meant`() throws {
        let records = try records(
            [
                #"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "q"}]}"#, #"{"prompt": "q"}"#, "",
                #"{"prompt": [{"from": "human", "value": "q"}], "system": "T"}"#, #"{"text": "q"}"#,
            ], system: "D")
        #expect(records.entries.map(\.place) == ["in.jsonl:1", "in.jsonl:2", "in.jsonl:4", "in.jsonl:5"])
        // The template writes contents one behind the other.
        let texts = try records.entries.map { try generator.tokenizer.decode(generator.prompt($0.asked)) }
        #expect(texts == ["Sq", "Dq", "Tq", "q"])
    }

    @Test func `a line that cannot be asked is refused with its number before anything is answered`() throws {
        let good = #"{"prompt": "say"}"#
        for (line, words) in [
            ("[1]", "no JSON object"), ("{broken", "broken JSON"), (#"{"id": 1}"#, "none of 'messages', 'prompt', 'text'"),
            (#"{"prompt": "a", "text": "b"}"#, "not clear what is asked"), (#"{"prompt": ""}"#, "empty"), (#"{"prompt": 3}"#, "neither a text"),
            (#"{"text": ""}"#, "empty"), (#"{"text": 3}"#, "not a text"), (#"{"messages": []}"#, "no message"), (#"{"messages": "a"}"#, "not a list"),
            (#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#, "nothing to answer"),
            (#"{"messages": [{"role": "king", "content": "a"}]}"#, "unknown role"),
            (#"{"prompt": "a", "answer": "b"}"#, "already has the key 'answer'"),
            (#"{"question": "a", "answer": "b"}"#, "none of 'messages', 'prompt', 'text', and no other key is read; rename 'question' to 'prompt'"),
            (#"{"prompt": "\#(String(repeating: "long ", count: 200))"}"#, "context holds"),
        ] {
            let error = refusal([good, good, line, good])
            #expect(error.contains("in.jsonl:3") && error.contains(words), "\(line.prefix(60)): \(error)")
        }
        #expect(refusal([]).contains("no record") && refusal(["", " "]).contains("no record"))
        #expect(try records([#"{"prompt": "a", "answer": "b"}"#], field: "reply").entries.count == 1)
    }

    @Test func `a file gets its name when it is whole, and the same command goes on`() throws {
        let path = run.folder + "/answers.jsonl"
        let identity: JSONObject = ["model": "a", "seed": 1]
        func open(_ identity: JSONObject) throws -> AnswerFile {
            let file = try AnswerFile(path: path, identity: identity)
            try file.open()
            return file
        }
        var first: AnswerFile? = try open(identity)
        try first?.append(#"{"a":1}"#)
        try first?.append(#"{"a":2}"#)
        #expect(!files.exists(path))
        // As long as it is written, no other process may go on with it.
        let taken = #expect(throws: LorikeetError.self) { try open(identity) }
        #expect(taken?.exit == .unusableInput && taken?.what.contains("another process") == true)
        first = nil
        // The process was killed inside a line.
        let partial = path + RealFiles.partialSuffix
        let torn = try files.openAppending(partial)
        try Array(#"{"a":"#.utf8).withUnsafeBytes { try torn.write($0) }
        try torn.close()
        let second = try open(identity)
        #expect(second.done == 2)
        try second.append(#"{"a":3}"#)
        try second.finish()
        #expect(try files.readText(path) == "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n")
        #expect(!files.exists(partial) && !files.exists(partial + ".json"))
        // A file that is there is not written over.
        let error = #expect(throws: LorikeetError.self) { try AnswerFile(path: path, identity: identity) }
        #expect(error?.exit == .unusableInput)
        try files.remove(path)
    }

    @Test func `a command that was not the one that began a file leaves its answers`() throws {
        let path = run.folder + "/answers.jsonl"
        let partial = path + RealFiles.partialSuffix
        for seed in [1, 2] as [JSON] {
            // As long as nothing is answered, nothing can be lost.
            let file = try AnswerFile(path: path, identity: ["model": "a", "seed": seed])
            try file.open()
            let bytes = try withExtendedLifetime(file) { try files.byteCount(of: partial) }
            #expect(bytes == 0)
        }
        let begun = try AnswerFile(path: path, identity: ["model": "a", "seed": 2])
        try begun.open()
        try begun.append("{}")
        func refusal(_ identity: JSONObject) -> String {
            let error = #expect(throws: LorikeetError.self) { try AnswerFile(path: path, identity: identity) }
            #expect(error?.exit == .unusableInput && error?.place == partial && error?.fix?.contains("--output") == true)
            #expect((try? files.readText(partial)) == "{}\n")
            return error?.what ?? ""
        }
        #expect(refusal(["model": "a", "seed": 3]).contains("(other seed)"))
        #expect(refusal(["model": "b", "seed": 2, "top_p": 1]).contains("(other model, top_p)"))
        #expect(refusal(["seed": 2]).contains("(other model)"))
        #expect(try AnswerFile.begun(path) == ["model": "a", "seed": 2])
        try files.writeDurably("{", to: partial + ".json")
        #expect(refusal(["model": "a", "seed": 2]).contains("missing or damaged"))
        try files.remove(partial + ".json")
        #expect(refusal(["model": "a", "seed": 2]).contains("missing or damaged"))
        #expect(try AnswerFile.begun(path) == nil)
    }

    @Test func `numbers of a record keep every digit, and what a terminal would obey is escaped`() throws {
        let line = #" { "id": 12345678901234567890, "x":-1.50e0, "prompt":"say 3:", "b": "\#u{7F}\#u{202E}é\u0041" , "z": 1E5\#t} "#
        let written = try answers([line])[0]
        let start = #"{ "id": 12345678901234567890, "x":-1.50e0, "prompt":"say 3:", "b": "\u007f\u202eé\u0041" , "z": 1E5,"answer":"#
        #expect(written.hasPrefix(start) && !written.unicodeScalars.contains(where: \.isUnprintable), "\(written)")
        #expect(try JSON.parse(written, source: "out").object?.keys == ["id", "x", "prompt", "b", "z", "answer", "answer_finish_reason", "answer_tokens"])
    }

    @Test func `kept lines are those that answer the records, up to the first that does not`() throws {
        let lines = (0..<4).map { #"{"prompt": "say \#($0):"}"# }
        let records = try records(lines)
        let whole = try answers(lines)
        let path = run.folder + "/checked.jsonl"
        let partial = path + RealFiles.partialSuffix
        func kept(_ written: [String]) throws -> (done: Int, damaged: Int, text: String) {
            try files.writeDurably("{}\n", to: partial + ".json")
            try files.writeDurably(written.map { $0 + "\n" }.joined(), to: partial)
            let file = try AnswerFile(path: path, identity: [:])
            try file.open { records.isAnswered($0, by: $1, AnswerFields()) }
            return try withExtendedLifetime(file) { (file.done, file.damagedLines, try files.readText(partial)) }
        }
        let all = try kept(whole)
        #expect(all == (4, 0, whole.map { $0 + "\n" }.joined()))
        let torn = try kept([whole[0], whole[1], String(whole[2].dropLast())])
        #expect(torn == (2, 1, whole[0] + "\n" + whole[1] + "\n"))
        for damaged in ["", "\0\0\0", "garbage", whole[0] + "\r", whole[2], #"{"prompt": "say 1:","answer":"x"}"#, whole[1] + whole[1]] {
            let found = try kept([whole[0], damaged, whole[2]])
            #expect(found == (1, 2, whole[0] + "\n"), "\(damaged)")
        }
        // More lines than records.
        let more = try kept(whole + whole)
        #expect(more.done == 4 && more.damaged == 4)
    }

    @Test func `a file that another program makes meanwhile stays`() throws {
        let path = run.folder + "/new/folder/answers.jsonl"
        let file = try AnswerFile(path: path, identity: [:])
        try file.open()
        try file.append("{}")
        let other = try files.create(path)
        try Array("mine".utf8).withUnsafeBytes { try other.write($0) }
        try other.close()
        let error = #expect(throws: LorikeetError.self) { try file.finish() }
        #expect(try error?.exit == .unusableInput && files.readText(path) == "mine" && files.readText(path + RealFiles.partialSuffix) == "{}\n")
    }

    @Test func `a model in a hub's cache is told by its commit, another one by its files`() throws {
        let snapshot = run.folder + "/hub/models--org--tiny/snapshots/" + String(repeating: "e", count: 40)
        try files.createDirectory(snapshot)
        try files.writeDurably("{}", to: snapshot + "/config.json")
        #expect(try FileStamps.of(snapshot) == .string(snapshot))
        #expect(try FileStamps.of(snapshot + "/model.gguf") == .string(snapshot + "/model.gguf"))
        let folder = run.folder + "/model"
        let stamps = try FileStamps.of(folder).array?.compactMap(\.string) ?? []
        #expect(try stamps.count == files.list(folder).count && stamps.allSatisfy { $0.hasPrefix(folder + "/") })
    }

    @Test func `what is not answered after a stop is said`() throws {
        let lines = (0..<9).map { #"{"prompt": "say \#($0):"}"# }
        var written = 0
        let count = try generator.answer(
            records(lines), done: 0, maxNewTokens: 3, sampling: SamplingOptions(), atATime: 2, fields: AnswerFields()
        ) { _, _ in
            written += 1
            return written < 4
        }
        #expect(count == 4 && written == 4)
        struct DiskFull: Error {}
        #expect(throws: DiskFull.self) {
            try generator.answer(records(lines), done: 0, maxNewTokens: 3, sampling: SamplingOptions(), atATime: 2, fields: AnswerFields()) { _, _ in
                throw DiskFull()
            }
        }
    }

    @Test func `an answer ends by a stop word, by a special token given as one, by its length, or with the context`() throws {
        let whole = try generator.answers([.text("say 3:")], maxNewTokens: 12)[0]
        #expect(whole.ending == .length && whole.newTokens == 12 && whole.promptTokens == 6 + (generator.tokenizer.addsBOS ? 1 : 0))
        // A word that spans two tokens: each is one character.
        let word = String(whole.text.dropFirst(3).prefix(2))
        var options = SamplingOptions()
        options.stop = [word]
        let stopped = try generator.answers([.text("say 3:")], maxNewTokens: 12, sampling: options)[0]
        let expected = whole.text.ranges(of: word).first.map { whole.text[..<$0.lowerBound] }
        #expect(stopped.ending == .stop && stopped.text == expected.map(String.init))
        var streamed = ""
        #expect(
            try generator.answer(.text("say 3:"), maxNewTokens: 12, sampling: options) {
                streamed += $0
                return true
            } == streamed)
        let long = try generator.answers([.text(String(repeating: "x", count: generator.contextLength - 5))], maxNewTokens: 40)[0]
        #expect(long.ending == .context || long.ending == .end)
        #expect(long.promptTokens + long.newTokens <= generator.contextLength)
        options.stop = ["<s>"]
        let rules = try AnswerRules(options, generator.tokenizer)
        #expect(rules.stopTokens == [1] && rules.stop.isEmpty && rules.allEnds.contains(1))
        var text = AnswerText(rules, generator.tokenizer, promptTokens: 1, limit: 9, atLimit: .length)
        #expect(text.append(40).count == 1 && text.append(1).isEmpty && text.ending == .stop)
    }

    @Test func `a chat goes on from its cache, and can be reset`() throws {
        let chat = try Chat(generator, system: "S", maxNewTokens: 5, sampling: SamplingOptions())
        func say(_ text: String) throws -> String { try chat.answer(text) { _ in true }.text }
        let first = try say("say 1:")
        #expect(try first == generator.answer(.messages([("system", "S"), ("user", "say 1:")]), maxNewTokens: 5))
        let read = chat.tokensRead
        let second = try say("say 2:")
        #expect(chat.tokensRead < read + 6)
        let said: [(role: String, content: String)] = [("system", "S"), ("user", "say 1:"), ("assistant", first), ("user", "say 2:")]
        #expect(try second == generator.answer(.messages(said), maxNewTokens: 5))
        chat.reset()
        #expect(try say("say 1:") == first)
        try chat.setSystem(nil)
        #expect(try say("say 1:") == generator.answer(.messages([("user", "say 1:")]), maxNewTokens: 5))
        #expect(!chat.hasAdapter)
        let error = #expect(throws: LorikeetError.self) { try say(String(repeating: "x", count: generator.contextLength)) }
        #expect(error?.description.contains("/reset") == true)
    }
}

/// The calls of `Generator`, without its actor.
extension AnsweringModel {
    fileprivate func answer(
        _ question: Generator.Question, maxNewTokens: Int, sampling: SamplingOptions = SamplingOptions(), onText: (String) -> Bool = { _ in true }
    ) throws -> String {
        try answer(to: question, maxNewTokens: maxNewTokens, sampling: sampling, onText: onText).text
    }

    fileprivate func answers(
        _ questions: [Generator.Question], maxNewTokens: Int, sampling: SamplingOptions = SamplingOptions(), atATime: Int = 16
    ) throws -> [Answer] {
        try answers(to: questions, maxNewTokens: maxNewTokens, sampling: sampling, atATime: atATime, goesOn: { true })
    }
}
