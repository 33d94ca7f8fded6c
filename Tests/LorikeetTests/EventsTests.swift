import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetReporting
import Testing

@testable import Lorikeet

/// docs/events.md against the events of tiny runs.
struct EventsTests {
    /// Fields by kind as the page has them; those of every event under the empty name.
    private static func documented() throws -> [String: Set<String>] {
        let page = try String(contentsOf: TinyRun.testsFolder.deletingLastPathComponent().appending(path: "docs/events.md"), encoding: .utf8)
        var fields: [String: Set<String>] = [:]
        var kinds = [""]
        for line in page.split(separator: "\n") {
            if line.hasPrefix("## ") { kinds = line.dropFirst(3).split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } }
            guard line.hasPrefix("| `") else { continue }
            let names = line.split(separator: "|")[0].split(separator: ",").map { $0.trimmingCharacters(in: CharacterSet(charactersIn: " `")) }
            for kind in kinds { fields[kind, default: []].formUnion(names) }
        }
        return fields
    }

    private func lines(_ run: TinyRun) throws -> [JSON] {
        try String(contentsOfFile: run.output + "/events.jsonl", encoding: .utf8).split(separator: "\n").map { try JSON.parse(String($0), source: "line") }
    }

    @Test func `every kind and field of a run stands in the page, and the page has no other kind`() throws {
        let documented = try Self.documented()
        #expect(Set(documented.keys) == Set(Event.Kind.allCases.map(\.rawValue)).union([""]))
        var seen: [String: Set<String>] = [:]
        var runs = [(try TinyRun(), nil as EmulatedDevice?), (try TinyRun(), EmulatedDevice())]
        runs[1].0.options["compute-type"] = "float16"
        for (run, device) in runs {
            #expect(try run.run(on: device, stopAfter: 3).error?.exit == .stoppedEarly)
            #expect(try run.run(on: device).error == nil)
            for line in try lines(run) { seen[line["event"]?.string ?? "?", default: []].formUnion(line.object?.keys ?? []) }
        }
        for (kind, fields) in seen {
            let known = (documented[kind] ?? []).union(documented[""] ?? [])
            #expect(fields.subtracting(known).isEmpty, "\(kind): \(fields.subtracting(known))")
        }
        // And what the page promises for a run on a card is there.
        for kind in ["environment", "data", "step", "log", "evaluation", "phase_end", "checkpoint", "result", "end"] {
            #expect(documented[kind]?.subtracting(seen[kind] ?? []).isEmpty == true, "\(kind): \(documented[kind]?.subtracting(seen[kind] ?? []) ?? [])")
        }
    }

    @Test func `a step's numbers belong together`() throws {
        let run = try TinyRun()
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil)
        let plan = try run.json("plan.json")
        let flops = try #require(plan["limit"]?["product_flops_per_second"]?.double)
        let matrix = try #require(plan["limit"]?["matrix_parameters"]?.double)
        let head = try #require(plan["limit"]?["head_parameters"]?.double)
        // The head of the reference model: 160 rows of 64.
        #expect(head == 160 * 64 && matrix > head)
        let steps = outcome.events.filter { $0.kind == .step }.map { JSON.object($0.fields) }
        // 18 training records, 3 a step.
        #expect(steps.count == 6 && steps.map { $0["step"]?.int } == Array(1...6) && steps.allSatisfy { $0["of"]?.int == 6 && $0["loss_scale"] == nil })
        for (index, step) in steps.enumerated() {
            #expect(step["epoch"]?.double == Double(index + 1) / 6)
            let (tokens, trained, seconds) = (step["tokens"]?.double ?? 0, step["trained_tokens"]?.double ?? 0, step["seconds"]?.double ?? 0)
            #expect(tokens > trained && trained > 0 && seconds > 0)
            #expect(abs((step["tokens_per_second"]?.double ?? 0) - tokens / seconds) < 1e-6 * tokens / seconds)
            let share = 4 * (matrix * tokens + head * trained) / seconds / flops
            #expect(abs((step["share_of_limit"]?.double ?? 0) - share) < 1e-9 * share)
            // What is left of the run: the steps, the evaluations and checkpoints that are left, and all that follows training.
            let phases = try #require(plan["phases"])
            func planned(_ names: String...) -> Double { names.reduce(0) { $0 + (phases[$1]?.double ?? 0) } }
            let later =
                planned("evaluation", "checkpoints") * Double(5 - index) / 6 + planned("merging", "testing", "answering", "comparing", "report")
            let left = step["seconds_left"]?.double ?? -1
            #expect(abs((step["run_seconds_left"]?.double ?? 0) - left - later) < 1e-9 && later > 0)
        }
        #expect(steps.last?["seconds_left"]?.double == 0)
        let ops = plan["limit"]?["ops"]?.array ?? []
        #expect(ops.count > 5 && zip(ops, ops.dropFirst()).allSatisfy { ($0["seconds"]?.double ?? 0) >= ($1["seconds"]?.double ?? 0) })
    }

    @Test func `the end says how a run ended`() throws {
        let run = try TinyRun()
        let stopped = try run.run(on: nil, stopAfter: 1).events.last
        #expect(stopped?.kind == .end && stopped?.fields["exit"]?.int == 75 && stopped?.fields["text"]?.string?.contains("stopped at step 1") == true)
        let done = try run.run(on: nil).events.last
        #expect(done?.kind == .end && done?.fields["exit"]?.int == 0 && done?.fields["text"] == nil)
        let answers = try run.run(on: nil).events
        // A finished run does nothing and adds nothing.
        #expect(answers.allSatisfy { $0.kind != .end })
    }
}
