import LorikeetGround
import LorikeetJSON

/// The parts of one run's page, top to bottom.
struct RunSections {
    let run: RunRecord

    private var summary: JSON? { run.summary }
    private var plan: JSON? { run.plan }

    var body: HTML {
        header + tiles + charts + time + answers + proofsAndPrediction + DataSections(run: run).body + RecipeSections(run: run).body + warnings
    }

    // MARK: head

    private var header: HTML {
        let model = run.setting("model").map { Self.short($0) } ?? ""
        let data = run.setting("data").map { " on \(Self.short($0))" } ?? ""
        let device = run.log.environment.flatMap { $0["gpu"]?.string ?? $0["cpu"]?.string } ?? plan?["choices"]?["device"]?.string
        let place = device.map { ", \($0)" } ?? ""
        return """
            <div class="head"><div class="names"><div class="brand">Lorikeet QLoRA</div><h1>\(run.name) <span class="pill \(run.status.rawValue)">\(run.status.rawValue)</span></h1>
            <div class="sub">\(model + data + place)</div></div>
            \(PageTools.buttons)</div>
            \(progress)

            """
    }

    /// The last part of a path; names on a hub as they are.
    private static func short(_ name: String) -> String {
        guard name.isAbsolutePath || name.hasPrefix(".") || name.hasPrefix("\"") else { return name }
        return name.lastPathPart.map { String($0.filter { $0 != "\"" }) } ?? name
    }

    private var progress: HTML {
        guard run.status == .running, let (step, of) = run.stepsDone, of > 0 else { return "" }
        let share = 100 * Double(step) / Double(of)
        let left = run.log.progress?["run_seconds_left"]?.double.map { ", about \(Figures.seconds($0)) left of the run" } ?? ""
        let phase = run.log.openPhase.map { "\($0): " } ?? ""
        return """
            <div class="progress"><svg aria-hidden="true"><rect width="\(Figures.compact(share, digits: 4))%" height="8"/></svg>
            <p>\(phase)step \(Figures.count(step)) of \(Figures.count(of))\(left)</p></div>
            """
    }

    private func tile(_ name: String, _ value: HTML, _ more: String) -> HTML {
        "<div class=\"tile\"><div class=\"name\">\(name)</div><div class=\"value\">\(value)</div><div class=\"more\">\(more)</div></div>\n"
    }

    private var tiles: HTML {
        var all: [HTML] = []
        let (before, after) = run.validation
        if after != nil || before != nil {
            let value: HTML = before == nil ? "\(Figures.number(after))" : "\(Figures.number(before)) <i>&rarr;</i> \(Figures.number(after))"
            all.append(tile("Validation loss", value, before == nil ? "at the last evaluation" : "before and after, held-out records"))
        }
        if let right = summary?["answers_right_after"]?.double {
            let before = summary?["answers_right_before"]?.double
            all.append(tile("Right answers", "\(Figures.percent(before)) <i>&rarr;</i> \(Figures.percent(right))", "held-out records, answered exactly"))
        }
        if let loss = run.log.steps.last(where: { $0.loss.isFinite })?.loss {
            let mean = summary?["train_loss"]?.double.map { "mean of the run \(Figures.number($0))" } ?? "last step"
            all.append(tile("Training loss", "\(Figures.number(loss))", mean))
        }
        if let speed = summary?["tokens_per_second"]?.double ?? run.log.progress?["tokens_per_second"]?.double {
            let shares = run.log.steps.suffix(200).map(\.shareOfLimit).filter(\.isFinite).sorted()
            let share = shares.isEmpty ? "" : "\(Figures.percent(shares[shares.count / 2])) of the device's limit"
            all.append(tile("Tokens a second", "\(speed >= 1000 ? Figures.count(Int(clamping: speed)) : Figures.number(speed))", share))
        }
        let predicted = plan?["predicted_seconds"]?.double.map { "predicted \(Figures.seconds($0))" } ?? ""
        all.append(
            tile(
                "Time", "\(Figures.seconds(summary?["seconds"]?.double ?? run.log.seconds))",
                run.log.starts > 1 ? "\(run.log.starts) starts; \(predicted)" : predicted))
        let memory = MeasuredMemory(run: run)
        if let gpu = memory.gpu {
            all.append(tile("GPU memory, peak", "\(Figures.bytes(gpu))", "predicted \(Figures.bytes(plan?["predicted_gpu_bytes"]?.double))"))
        } else if let rss = memory.process {
            all.append(tile("Memory, peak", "\(Figures.bytes(rss))", "predicted \(Figures.bytes(plan?["predicted_rss_bytes"]?.double))"))
        }
        let proofs = Proof.all(of: summary)
        if !proofs.isEmpty {
            let passed = proofs.filter { $0.pass == true }.count
            let state: HTML = proofs.contains { $0.pass == false } ? "fail" : passed == proofs.count ? "pass" : "none"
            let word = proofs.contains { $0.pass == false } ? "failed" : passed == proofs.count ? "all pass" : "\(passed) of \(proofs.count) tested"
            all.append(tile("Proofs", "<span class=\"pill \(state)\">\(word)</span>", proofs.map(\.short).joined(separator: ", ")))
        }
        return "<div class=\"tiles\">\n\(all)</div>\n"
    }

    // MARK: curves and time

    private var charts: HTML {
        let figures = RunCharts([run]).charts.map(\.figure)
        guard !figures.isEmpty else { return "" }
        return .section("Training", "<div class=\"charts\">\n\(figures)</div>\n")
    }

    private var time: HTML {
        let phases = run.log.phasesSoFar
        let total = phases.reduce(0) { $0 + $1.seconds }
        var parts: [HTML] = []
        if total > 0 {
            let rows = phases.enumerated().map { index, phase -> [HTML] in
                let predicted = PredictedMeasured.predictedSeconds(of: phase.name, plan)
                return [
                    PageTools.swatch(index) + "\(phase.name)", "\(Figures.seconds(phase.seconds))", "\(Figures.percent(phase.seconds / total))",
                    "\(predicted.map { Figures.seconds($0) } ?? "")",
                ]
            }
            parts.append(
                .card(
                    "<h3>Phases</h3>\(PageTools.stack(phases.map { $0.seconds / total }))"
                        + HTML.table(["", "took", "share", "predicted"], rows, numbers: [1, 2, 3])))
        }
        let ops = (plan?["limit"]?["ops"]?.array ?? []).compactMap { op -> (String, Int, Double)? in
            guard let name = op["op"]?.string, let count = op["count"]?.int, let seconds = op["seconds"]?.double, seconds.isFinite, seconds >= 0 else {
                return nil
            }
            return (name, count, seconds)
        }
        let all = ops.reduce(0) { $0 + $1.2 }
        if all > 0 {
            let rows = ops.prefix(10).map { op -> [HTML] in
                ["\(op.0)", "\(Figures.count(op.1))", PageTools.bar(op.2 / (ops.first?.2 ?? all)), "\(Figures.percent(op.2 / all))"]
            }
            let rest = ops.dropFirst(10).reduce(0) { $0 + $1.2 }
            let others: [[HTML]] = rest > 0 ? [["\(ops.count - 10) others", "", "", "\(Figures.percent(rest / all))"]] : []
            parts.append(
                .card(
                    "<h3>A training step by kind of operation, predicted from its program</h3>"
                        + HTML.table(["", "times", "", "share"], rows + others, numbers: [1, 3])))
        }
        return parts.isEmpty ? "" : .section("Where the time went", "<div class=\"grid2\">\(parts)</div>")
    }

    // MARK: results

    private var answers: HTML {
        let shown = run.log.result?["answers"]?.array ?? []
        guard !shown.isEmpty else { return "" }
        let entries = shown.map { answer -> HTML in
            func text(_ key: String) -> String { answer[key]?.string ?? "" }
            let isRight = answer["after_is_right"]?.bool
            let right: HTML = isRight == true ? " class=\"right\"" : isRight == false ? " class=\"wrong\"" : ""
            return """
                <div class="answer"><div class="q">\(text("question"))</div><dl><dt>before</dt><dd>\(text("before"))</dd>
                <dt>after</dt><dd\(right)>\(text("after"))</dd><dt>expected</dt><dd>\(text("right"))</dd></dl></div>

                """
        }
        let rest: HTML = entries.count > 4 ? "<details><summary>\(entries.count - 4) more</summary>\(Array(entries.dropFirst(4)))</details>" : ""
        return .section("Answers to held-out records, before and after", .card("\(Array(entries.prefix(4)))\(rest)"))
    }

    private var proofsAndPrediction: HTML {
        let proofs = Proof.all(of: summary)
        var parts: [HTML] = []
        if !proofs.isEmpty {
            let rows = proofs.map { proof -> [HTML] in [proof.pill, "\(proof.name)", "\(proof.numbers)"] }
            let failed = summary?["failed_proof"]?["what"]?.string.map { "<p>\($0)</p>" as HTML } ?? ""
            parts.append(.card("<h3>Proofs</h3>\(failed)\(HTML.table([], rows))"))
        }
        let rows = PredictedMeasured(run).rows.map { row in row.cells.map { "\($0)" as HTML } }
        if !rows.isEmpty {
            parts.append(.card("<h3>Predicted and measured</h3>" + HTML.table(["", "predicted", "measured", "ratio"], rows, numbers: [1, 2, 3])))
        }
        return parts.isEmpty ? "" : .section("Proofs and predictions", "<div class=\"grid2\">\(parts)</div>")
    }

    private var warnings: HTML {
        guard !run.log.warnings.isEmpty else { return "" }
        let items = run.log.warnings.map { "<li>\($0)</li>" as HTML }
        return .section("Warnings", .card("<ul class=\"warnings\">\(items)</ul>"))
    }
}

/// Small pieces that several sections use.
enum PageTools {
    static let buttons: HTML = """
        <div class="tools"><label>smoothing <input type="range" id="smoothing" min="0" max="0.99" step="0.01" value="0"></label>
        <button type="button" id="reset" hidden>Reset zoom</button><button type="button" id="theme">Theme</button></div>
        """

    static func swatch(_ color: Int) -> HTML {
        "<svg width=\"10\" height=\"10\" aria-hidden=\"true\"><rect width=\"10\" height=\"10\" rx=\"2\" class=\"f\(color % 8)\"/></svg> "
    }

    /// Shares of a whole, side by side.
    static func stack(_ shares: [Double]) -> HTML {
        var (at, parts) = (0.0, [HTML]())
        for (index, share) in shares.enumerated() {
            let (x, width) = (Figures.compact(at * 100, digits: 4), Figures.compact(share * 100, digits: 4))
            parts.append("<rect x=\"\(x)%\" width=\"\(width)%\" height=\"22\" class=\"f\(index % 8)\"/>")
            at += share
        }
        return "<svg class=\"bar\" aria-hidden=\"true\">\(parts)</svg>"
    }

    /// A bar of a share of the largest.
    static func bar(_ share: Double) -> HTML {
        "<svg class=\"small-bar\" aria-hidden=\"true\"><rect width=\"\(Figures.compact(min(1, max(0, share)) * 100, digits: 4))%\" height=\"10\" class=\"f0\"/></svg>"
    }
}
