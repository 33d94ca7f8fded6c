/// The charts of one run, or of several over the same axes.
struct RunCharts {
    let charts: [Chart]

    init(_ runs: [RunRecord]) {
        let names = runs.count > 1
        func curve(_ run: Int, _ name: String, _ color: Int, _ value: (RunLog.Step) -> Double) -> Series {
            let steps = runs[run].log.steps
            return Series(name: names ? runs[run].name : name, color: names ? run : color, points: steps.map { Point(Double($0.step), value($0)) })
        }
        func steps(_ id: String, _ title: String, _ value: (RunLog.Step) -> Double) -> Chart {
            let series = runs.indices.map { curve($0, title, 0, value) }
            return Chart(id: id, title: title, series: series.filter { $0.points.contains(where: \.y.isFinite) })
        }
        var loss = steps("loss", names ? "Training loss" : "Loss", \.loss)
        (loss.wide, loss.canBeLog, loss.smooth) = (true, true, true)
        if !names, !loss.series.isEmpty { loss.series[0].name = "training" }
        var validation = Chart(id: "validation", title: "Validation loss", canBeLog: true, series: [])
        for (index, run) in runs.enumerated() where !run.log.evaluations.isEmpty {
            let points = run.log.evaluations.map { Point(Double($0.step), $0.loss) }
            validation.series.append(Series(name: names ? run.name : "validation", color: names ? index : 1, style: .dots, points: points))
        }
        if !names {
            loss.marks = runs.flatMap { run in run.log.skippedSteps.map { ($0, "step \($0) changed nothing: its gradients were not finite") } }
            loss.series += validation.series
            validation.series = []
        }
        validation.wide = names
        var rate = steps("learning_rate", "Learning rate", \.learningRate)
        rate.fromZero = true
        var norm = steps("grad_norm", "Gradient norm", \.gradientNorm)
        (norm.canBeLog, norm.smooth) = (true, true)
        var scale = steps("loss_scale", "Loss scale", \.lossScale)
        (scale.canBeLog, scale.log, scale.format) = (true, true, .whole)
        var speed = steps("tokens_per_second", "Tokens a second", \.tokensPerSecond)
        (speed.format, speed.fromZero, speed.smooth) = (.whole, true, true)
        var share = steps("share_of_limit", "Share of the device's limit", \.shareOfLimit)
        (share.format, share.fromZero, share.smooth) = (.percent, true, true)
        charts = ([loss, validation, rate, norm, scale, speed, share] + Self.machine(runs)).filter { !$0.series.isEmpty }
    }

    /// Memory and processor over the minutes of work.
    private static func machine(_ runs: [RunRecord]) -> [Chart] {
        let names = runs.count > 1
        func series(_ run: Int, _ name: String, _ color: Int, _ value: (RunLog.State) -> Double) -> Series {
            let points = runs[run].log.states.map { Point($0.seconds / 60, value($0)) }
            return Series(name: names ? runs[run].name : name, color: names ? run : color, points: points)
        }
        func chart(_ id: String, _ title: String, _ format: Chart.Format, _ series: [Series]) -> Chart {
            let shown = series.filter { $0.points.contains { $0.y > 0 } }
            return Chart(id: id, title: title, axis: .minutes, format: format, fromZero: true, series: shown)
        }
        let gpu = runs.indices.map { series($0, "in use", 2, \.gpuBytes) }
        var card = chart("gpu_memory", "GPU memory", .bytes, gpu)
        var ram = chart("memory", "Memory", .bytes, runs.indices.map { series($0, "this process", 3, \.processBytes) })
        if !names, let log = runs.first?.log {
            ram.series += chart("", "", .bytes, [series(0, "the machine", 5, \.ramBytes)]).series
            func line(_ name: String, _ bytes: Double, color: Int = 1) -> [Series] {
                guard bytes > 0, let first = log.states.first, let last = log.states.last else { return [] }
                return [Series(name: name, color: color, style: .dashed, points: [Point(first.seconds / 60, bytes), Point(last.seconds / 60, bytes)])]
            }
            // Readings miss what happens between them.
            let peak = runs[0].summary == nil ? nil : MeasuredMemory(run: runs[0])
            if !card.series.isEmpty { card.series += line("peak", peak?.gpu ?? 0, color: 4) }
            if !ram.series.isEmpty { ram.series += line("peak", peak?.process ?? 0, color: 4) }
            if !card.series.isEmpty { card.series += line("predicted", runs[0].plan?["predicted_gpu_bytes"]?.double ?? 0) }
            if !ram.series.isEmpty { ram.series += line("predicted", runs[0].plan?["predicted_rss_bytes"]?.double ?? 0) }
        }
        let cpu = chart("cpu", "Processor", .percent, runs.indices.map { series($0, "in use", 4) { $0.cpuPercent / 100 } })
        return [card, ram, cpu]
    }
}
