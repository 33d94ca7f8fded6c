import LorikeetGround
import LorikeetJSON

/// Full against free, the recipe, versions, and the command that repeats the run.
struct RecipeSections {
    let run: RunRecord

    var body: HTML { presets + recipe }

    private var presets: HTML {
        guard !run.presets.isEmpty else { return "" }
        let rows = run.presets.map { row -> [HTML] in
            ["\(row.name)"] + row.values.map { "\($0)" as HTML }
        }
        let memory = MeasuredMemory(run: run)
        let seconds = run.plan?["predicted_seconds"]?.double
        func both(_ predicted: String, _ measured: String?) -> HTML { measured.map { "\(predicted) predicted, \($0) measured" } ?? "\(predicted) predicted" }
        let time = run.status == .finished ? run.summary?["seconds"]?.double.map { Figures.seconds($0) } : nil
        let gpu = run.plan?["predicted_gpu_bytes"]?.double ?? 0
        let aims: [[HTML]] = [
            [
                "GPU memory", "aims at about 12 GB", "aims at about 8 GB of 16",
                gpu > 0 ? both(Figures.bytes(gpu), memory.gpu.map { Figures.bytes($0) }) : "no card",
            ],
            ["Time", "aims at 4 to 6 h", "aims at 3 to 4 h in all", both(Figures.seconds(seconds), time)],
        ]
        let own = (rows + aims).map { row in row.dropLast() + [row.last.map { "<b>\($0)</b>" as HTML } ?? ""] }
        return .section(
            "Full against free", .card(HTML.table(["", "full", "kaggle-free", "this run"], own.map { Array($0) }, wide: true)))
    }

    private var recipe: HTML {
        let environment = run.log.environment
        var versions: [[HTML]] = []
        func add(_ name: String, _ value: String?) { if let value, !value.isEmpty { versions.append(["\(name)", "\(value)"]) } }
        add("Lorikeet", environment?["version"]?.string)
        add("Card", environment?["gpu"]?.string)
        add("Driver", environment?["gpu_driver"]?.string)
        add("Kernels for", environment?["gpu_arch"]?.int.map { "compute capability \($0 / 10).\($0 % 10)" })
        add("Processor", environment?["cpu"]?.string)
        add("Threads", environment?["threads"]?.int.map { "\($0)" })
        add("OpenBLAS kernels", environment?["blas_kernels"]?.string)
        add("Compute type", environment?["compute_type"]?.string ?? run.plan?["choices"]?["compute_type"]?.string)
        add("Base stored as", run.plan?["choices"]?["base_storage"]?.string)
        add("Trained parameters", run.plan?["trainable_parameters"]?.int.map(Figures.count))
        add("Micro-batches", run.plan?["choices"]?["training_rows"]?.int.map { "at most \(Figures.count($0)) tokens" })
        add("Began", run.log.firstTime.map { UTCTime.text($0) })
        let command: HTML = """
            <h3>To repeat it</h3><pre class="wrap" id="command">\(run.command)</pre><p><button type="button" id="copy">Copy</button></p>
            """
        let card: HTML = versions.isEmpty ? command : command + "<h3>Versions</h3>" + HTML.table([], versions)
        let yaml: HTML = run.recipe.isEmpty ? "" : .card("<h3>run.yaml</h3><pre class=\"long\">\(run.recipe)</pre>")
        return .section("Recipe", "<div class=\"grid2\">\(HTML.card(card))\(yaml)</div>")
    }
}
