import LorikeetGround
import LorikeetJSON

/// A page for several runs: curves over the same axes, results side by side, the settings in which they differ.
struct ComparisonSections {
    let runs: [RunRecord]

    var body: HTML { header + results + charts + settings + commands }

    private var header: HTML {
        let names = runs.indices.map { index -> HTML in PageTools.swatch(index) + "\(runs[index].name)&nbsp; " }
        return """
            <div class="head"><div class="names"><div class="brand">Lorikeet QLoRA</div><h1>\(runs.count) runs compared</h1><div class="sub">\(names)</div></div>
            \(PageTools.buttons)</div>

            """
    }

    private var heads: [HTML] { [""] + runs.indices.map { PageTools.swatch($0) + "\(runs[$0].name)" } }

    /// Results by name, a value for each run; rows that no run has are left out.
    static func results(of runs: [RunRecord]) -> [(name: String, values: [String])] {
        func speed(_ run: RunRecord) -> String { Figures.number(run.summary?["tokens_per_second"]?.double ?? run.log.progress?["tokens_per_second"]?.double) }
        let rows: [(String, (RunRecord) -> String)] = [
            ("Status", { $0.status.rawValue }),
            ("Steps", { run in run.stepsDone.map { "\(Figures.count($0.step)) of \(Figures.count($0.of))" } ?? "-" }),
            ("Validation loss before", { Figures.number($0.validation.before) }), ("Validation loss", { Figures.number($0.validation.after) }),
            ("Right answers before", { Figures.percent($0.summary?["answers_right_before"]?.double) }),
            ("Right answers", { Figures.percent($0.summary?["answers_right_after"]?.double) }),
            ("Training loss, mean", { Figures.number($0.summary?["train_loss"]?.double) }), ("Tokens a second", speed),
            ("Time", { Figures.seconds($0.summary?["seconds"]?.double ?? $0.log.seconds) }),
            ("Time predicted", { Figures.seconds($0.plan?["predicted_seconds"]?.double) }),
            ("GPU memory, peak", { Figures.bytes(MeasuredMemory(run: $0).gpu) }), ("Memory, peak", { Figures.bytes(MeasuredMemory(run: $0).process) }),
            ("Device", { $0.log.environment.flatMap { $0["gpu"]?.string ?? $0["cpu"]?.string } ?? "-" }),
            ("Compute type", { $0.log.environment?["compute_type"]?.string ?? $0.plan?["choices"]?["compute_type"]?.string ?? "-" }),
            ("Version", { $0.log.environment?["version"]?.string ?? "-" }),
        ]
        let proofs = ["merged_matches_adapter", "transfer", "sidecar"].map { key -> (String, (RunRecord) -> String) in
            ("Proof " + key, { run in run.summary?[key].map { $0["pass"]?.bool.map { $0 ? "pass" : "fail" } ?? "not tested" } ?? "-" })
        }
        return (rows + proofs).map { row in (row.0, runs.map(row.1)) }.filter { $0.1.contains { $0 != "-" } }
    }

    /// Keys of the recipe in which the runs differ, in the recipe's order, with each run's value; `-` where a run does not have the key.
    static func differences(of runs: [RunRecord]) -> [(key: String, values: [String])] {
        var keys: [String] = []
        for run in runs { for setting in run.settings where !keys.contains(setting.key) { keys.append(setting.key) } }
        return keys.map { key in (key, runs.map { $0.setting(key) ?? "-" }) }.filter { Set($0.1).count > 1 }
    }

    private func table(_ rows: [(name: String, values: [String])]) -> HTML {
        .card(HTML.table(heads, rows.map { row in ["\(row.name)"] + row.values.map { "\($0)" as HTML } }, wide: runs.count > 2))
    }

    private var results: HTML { .section("Results", table(Self.results(of: runs))) }

    private var charts: HTML {
        let figures = RunCharts(runs).charts.map(\.figure)
        return figures.isEmpty ? "" : .section("Curves", "<div class=\"charts\">\n\(figures)</div>\n")
    }

    private var settings: HTML {
        let rows = Self.differences(of: runs).map { (name: $0.key, values: $0.values) }
        return .section("Settings that differ", rows.isEmpty ? .card("<p>None.</p>") : table(rows))
    }

    private var commands: HTML {
        .section("To repeat them", .card("<pre class=\"wrap\">\(runs.map(\.command).joined(separator: "\n"))</pre>"))
    }
}

extension ReportPage {
    /// The runs' results, and the settings in which they differ, for `lorikeet report --json`.
    package var json: JSON {
        func object(_ values: [(name: String, values: [String])], _ index: Int) -> JSON {
            .object(JSONObject(values.map { ($0.name, .string($0.values[index])) }))
        }
        let differences = ComparisonSections.differences(of: runs).map { (name: $0.key, values: $0.values) }
        return .array(
            runs.enumerated().map { index, run in
                [
                    "name": .string(run.name), "status": .string(run.status.rawValue), "steps": JSON(run.stepsDone?.step ?? 0),
                    "points": JSON(run.log.steps.count), "evaluations": JSON(run.log.evaluations.count), "starts": JSON(run.log.starts),
                    "damaged_lines": JSON(run.log.damagedLines), "summary": run.summary ?? .null, "differing_settings": object(differences, index),
                ]
            })
    }
}
