import LorikeetDatasets
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

@testable import Lorikeet
import MemoryFiles

extension FuzzTarget {
    private static let runRecipe = try? Recipe.resolve(
        file: "run.yaml", options: [], home: "/home/me", files: MemoryFiles("run.yaml", Array("model: m\ndata: d.jsonl\noutput: s\n".utf8))
    ).recipe

    /// What a run's directory and the cache folder hold beside what `report`, `checkpoint` and `store` read: the plan that is replayed, inputs, sessions,
    /// what was tested, times that were measured; and the records that `generate` answers, with the answers that are there.
    static let state = FuzzTarget(name: "state") { bytes in
        guard let recipe = runRecipe else { return }
        let disk = MemoryFiles(folder: "s", bytes)
        let output = OutputDirectory(path: "s", files: disk, recipe: recipe)
        do { _ = try (output.keptChoices()?.products, output.keptGPUBytes(), output.keptInputs()?.json, output.sessions().json) } catch {
            try Texts.expectSentence(error)
        }
        do { _ = try output.check(for: recipe, accepting: true) } catch { try Texts.expectSentence(error) }
        do { _ = try (output.faults(merged: true), output.keptBytes(), output.recordedChanges()) } catch { try Texts.expectSentence(error) }
        _ = try PastWork(events: output.events, files: disk).phases(with: [])
        _ = try TestRecord(path: "s/test.json", key: "k", files: disk).known("merged")
        let measured = Measurements.read(from: "s", files: disk)
        _ = measured.measurements.ratio("train", Measurements.Subject(device: "cpu", model: "m"))
        guard let asked = disk.contents["s/asked.jsonl"] else { return }
        let fields = AnswerFields()
        let records = try AskedRecords(asked, source: "asked.jsonl", system: "Be brief.", fields: fields)
        for (index, line) in (disk.contents["s/answers.jsonl"] ?? []).split(separator: UInt8(ascii: "\n")).enumerated() {
            _ = records.isAnswered(index, by: line, fields)
        }
    }
}
