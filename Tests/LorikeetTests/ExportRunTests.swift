import Foundation
import LorikeetDatasets
import LorikeetDelivery
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning
@testable import LorikeetReporting

/// A run whose recipe exports GGUF files.
struct ExportRunTests {
    private let files = RealFiles()

    private func bytes(_ run: TinyRun, _ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: run.output + "/" + name)) }

    @Test func `exports are planned, written, recorded and tested`() throws {
        var run = try TinyRun()
        run.options["export"] = "f32,f16,lora-gguf"
        run.options["merge-dtype"] = "float32"
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let names = try files.list(run.output + "/gguf")
        #expect(names == ["Modelfile", "Modelfile-F16", "README.md", "chat_template.jinja", "model-F16.gguf", "model-F32.gguf", "model-LoRA-F32.gguf"])
        #expect(try files.readText(run.output + "/gguf/chat_template.jinja") == files.readText(run.output + "/adapter/chat_template.jinja"))
        // What a run writes can be uploaded: every part, with every file in it.
        for part in ["gguf", "adapter", "merged"] {
            #expect(try PushFolder(run.output + "/" + part, disk: files).files.map(\.path) == files.list(run.output + "/" + part).sorted(), "\(part)")
        }
        let card = try files.readText(run.output + "/gguf/README.md")
        for part in [
            "library_name: gguf", "- gguf", "| `model-F16.gguf` | F16 |", "| `model-LoRA-F32.gguf` | adapter |", "loss on held-out records",
            "The smallest whose loss is at most 0.01 above the merged model's is `model-F16.gguf`.", "llama-cli -m model-F32.gguf",
            "ollama create model:f16 -f Modelfile-F16\nollama create model:f32 -f Modelfile\nollama run model:f32",
            "--lora model-LoRA-F32.gguf --jinja --chat-template-file chat_template.jinja",
            "| GGUF F16 = base + adapter | pass | loss ",
            "lorikeet run", "| merged model |",
        ] { #expect(card.contains(part), "\(part)\n\(card)") }
        let exports = try #require(outcome.summary?["exports"]?.array)
        #expect(exports.compactMap { $0["form"]?.string } == ["f32", "f16"] && exports.allSatisfy { $0["pass"] == true && $0["sidecar"]?["pass"] == true })
        // From merged float32 weights nothing is rounded; float16 rounds them.
        #expect(exports[0]["max_logit_difference"]?.double ?? 1 < exports[1]["max_logit_difference"]?.double ?? 0)
        #expect(abs((exports[0]["loss"]?.double ?? 0) - (exports[0]["merged_loss"]?.double ?? 1)) < 1e-5)
        let planned = try run.json("plan.json")["disk"]?["GGUF files"]?.int ?? 0
        let written = try ["model-F16.gguf", "model-F32.gguf"].reduce(0) { try $0 + files.byteCount(of: run.output + "/gguf/" + $1) }
        #expect(planned == written)
        #expect(outcome.texts.contains { $0.contains("GGUF F32          pass") }, "\(outcome.texts.last ?? "")")
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
    }

    @Test func `the plan's memory of a test is that of its largest form, exports included`() throws {
        var run = try TinyRun()
        // In float32 an export is twice as large as the model's files and the merged model.
        let model = try RandomModel(
            [
                ("hidden_size", 64), ("intermediate_size", 256), ("num_hidden_layers", 3), ("num_attention_heads", 4), ("num_key_value_heads", 2),
                ("head_dim", 16), ("vocab_size", 160),
            ], type: .bf16)
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try files.writeDurably(files.read(run.folder + "/model/" + name), to: model.directory + "/" + name)
        }
        run.options["model"] = model.directory
        (run.options["test-samples"], run.options["merge-dtype"]) = ("0", "float16")
        func parts(_ export: String?) throws -> [String: Int64] {
            run.options["export"] = export
            var preparation = try Preparation(recipe: run.recipe(), files: files)
            let cpu = CPU(threads: 1)
            let dataset = try preparation.loadData(files: files, cpu: cpu)
            let plan = try preparation.plan(dataset, merges: true, compute: Compute(cpu: cpu))
            return Dictionary(plan.testMemory.map { ($0.name, $0.bytes) }) { $1 }
        }
        // Without an export the form that is compared with its adapter takes most; the merged one has as large weights and no adapter.
        let without = try parts(nil)
        #expect(without["weights (stored)"] != nil && without["merged weights"] == nil, "\(without)")
        let with = try parts("f16,f32")
        #expect(try run.run(on: nil).error == nil)
        let written = try files.byteCount(of: run.output + "/gguf/" + ModelName.of(model.directory, files: files) + "-F32.gguf")
        #expect(with["weights (GGUF F32)"] == Int64(written) && with["weights (GGUF F16)"] == nil && with["weights (stored)"] == nil, "\(with)")
        // Trained tokens of the six held-out records, at most 16 a record, of a vocabulary of float32.
        #expect(with["logits to compare"].map { $0 > 0 && $0 % 4 == 0 } == true)
    }

    @Test func `none beside a form is refused by name, and alone exports nothing`() throws {
        var run = try TinyRun()
        run.options["export"] = "q8_0,none"
        let error = #expect(throws: LorikeetError.self) { try ExportForms(run.recipe()) }
        #expect(error?.description == "export: 'none' stands beside q8_0; leave none out, or write it alone" && error?.exit == .unusableInput)
        // Before anything is trained.
        let outcome = try run.run(on: nil)
        #expect(outcome.error?.description == error?.description && outcome.count(.step) == 0)
        run.options["export"] = "None"
        #expect(try ExportForms(run.recipe()).hasNoGGUF)
    }

    @Test func `after its test no page of a form is in memory`() throws {
        var run = try TinyRun()
        run.options["export"] = "f16"
        #expect(try run.run(on: nil).error == nil)
        var preparation = try Preparation(recipe: run.recipe(), files: files)
        let compute = Compute(cpu: CPU(threads: 1))
        let dataset = try preparation.loadData(files: files, cpu: compute.cpu)
        let plan = try preparation.plan(dataset, merges: true, compute: compute)
        let merged = try ModelSource.open(run.output + "/merged")
        let test = FormsTest(
            preparation: preparation, dataset: dataset, choices: plan.choices, compute: compute, lora: preparation.recipe.loraSettings, merged: merged,
            adapter: run.output + "/adapter", files: files, record: TestRecord(files: files))
        #expect(try test.run(trained: nil).identityVerdict == .pass)
        for source in [preparation.source, merged] {
            let file = try #require(source.files.tensors.values.first).file
            let page = Int(sysconf(Int32(_SC_PAGESIZE)))
            var entries = [UInt64](repeating: 0, count: (file.count + page - 1) / page)
            let table = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
            defer { close(table) }
            let got = entries.withUnsafeMutableBytes { pread(table, $0.baseAddress, $0.count, Int(bitPattern: file.bytes.baseAddress) / page * 8) }
            #expect(got == entries.count * 8 && entries.count > 4 && !entries.contains { $0 >> 63 == 1 }, "\(source.path)")
        }
    }

    @Test func `after a later export plan, summary and page say the same, and the peak is the run's`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        let first = try run.json("plan.json")
        // An earlier process had more memory.
        let events = try String(contentsOfFile: run.output + "/events.jsonl", encoding: .utf8)
        let most = 900_000_000_000
        let changed = events.replacingOccurrences(of: #""rss_bytes":[0-9]+"#, with: #""rss_bytes":\#(most)"#, options: .regularExpression)
        try changed.write(toFile: run.output + "/events.jsonl", atomically: true, encoding: .utf8)
        run.options["export"] = "f32"
        #expect(try run.run(on: nil).error == nil)
        let (plan, summary) = (try run.json("plan.json"), try run.json("summary.json"))
        #expect(plan["disk"]?["GGUF files"] != nil && first["disk"]?["GGUF files"] == nil && plan["choices"] == first["choices"])
        for key in ["predicted_rss_bytes", "predicted_disk_bytes", "predicted_seconds", "predicted_gpu_bytes"] { #expect(plan[key] == summary[key], "\(key)") }
        #expect(summary["peak_rss_bytes"]?.int == most)
        let record = try RunFolder(path: run.output).record()
        #expect(record.plan == plan && PredictedMeasured(record).rows.first { $0.name == "memory" }?.measured == Double(most))
        let chart = try #require(RunCharts([record]).charts.first { $0.id == "memory" })
        #expect(chart.series.first { $0.name == "peak" }?.points.map(\.y) == [Double(most), Double(most)])
    }

    @Test func `a damaged or missing export is made again with the same bytes, and another list of forms makes those`() throws {
        var run = try TinyRun()
        run.options["export"] = "f16"
        #expect(try run.run(on: nil).error == nil)
        let (whole, merged) = (try bytes(run, "gguf/model-F16.gguf"), try bytes(run, "merged/model.safetensors"))
        var damaged = whole
        damaged[damaged.count - 40] ^= 1
        try damaged.write(to: URL(fileURLWithPath: run.output + "/gguf/model-F16.gguf"))
        let again = try run.run(on: nil)
        #expect(again.error == nil && again.count(.step) == 0 && again.texts.contains { $0.contains("/gguf is missing, or not as this recipe makes it") })
        #expect(try bytes(run, "gguf/model-F16.gguf") == whole)
        try files.remove(run.output + "/gguf/Modelfile")
        #expect(try run.run(on: nil).error == nil && files.exists(run.output + "/gguf/Modelfile"))
        run.options["export"] = "bf16"
        let other = try run.run(on: nil)
        #expect(other.error == nil && other.count(.step) == 0, "\(String(describing: other.error))")
        #expect(try files.list(run.output + "/gguf").contains("model-BF16.gguf") && !files.list(run.output + "/gguf").contains("model-F16.gguf"))
        #expect(try bytes(run, "merged/model.safetensors") == merged)
        // No forms: what is there stays, and the run is finished.
        run.options["export"] = nil
        #expect(try run.run(on: nil).error == nil && files.exists(run.output + "/gguf/model-BF16.gguf"))
    }

    @Test func `a form that is not known, or a model that a GGUF cannot hold, ends the run before it trains`() throws {
        var run = try TinyRun()
        run.options["export"] = "f17"
        let unknown = try run.run(on: nil)
        #expect(unknown.error?.exit == .unusableInput && unknown.error?.description.contains("did you mean f1") == true, "\(String(describing: unknown.error))")
        #expect(unknown.count(.step) == 0)
        run.options["export"] = "f16"
        let path = run.folder + "/model/tokenizer.json"
        var tokenizer = try JSON.parse(files.read(path), source: path).object ?? [:]
        tokenizer["pre_tokenizer"] = [
            "type": "Sequence",
            "pretokenizers": [
                ["type": "Split", "pattern": ["Regex": "[0-9]"], "behavior": "Isolated", "invert": false],
                ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
            ],
        ]
        try files.writeDurably(JSON.object(tokenizer).serialized(), to: path)
        let refused = try run.run(on: nil)
        #expect(refused.error?.exit == .unusableInput && refused.error?.description.contains("pre-tokenizer") == true, "\(String(describing: refused.error))")
        #expect(refused.count(.step) == 0 && !files.exists(run.output + "/checkpoints"))
    }

    @Test func `what gguf stands for, and that a loss above the tolerance fails`() throws {
        var run = try TinyRun()
        run.options["export"] = "gguf,F16,f16"
        #expect(try ExportForms(run.recipe()).gguf == [ExportForms.standard] + (ExportForms.standard == .f16 ? [] : [.f16]))
        #expect(ExportedForm.verdict(loss: 1.05, merged: 1, tolerance: 0.1) == .pass && ExportedForm.verdict(loss: 1.2, merged: 1, tolerance: 0.1) == .fail)
        #expect(ExportedForm.verdict(loss: .nan, merged: 1, tolerance: 0.1) == .fail)
        #expect(ExportedForm.verdict(loss: nil, merged: 1, tolerance: 0.1) == .notTested)
    }

    @Test func `a form that fails is named by card, sentence and the finished run, with advice that can help`() throws {
        var run = try TinyRun()
        run.options["export"] = "q8_0,q4_0,f16"
        // No loss is that much better: both quantised forms fail, the exact one is held to logits.
        run.options["export-tolerance"] = "0"
        let first = try run.run(on: nil)
        let exports = try #require(run.json("summary.json")["exports"]?.array)
        let failed = exports.filter { $0["pass"] == false }
        let worse = exports.filter { $0["form"]?.string != "f16" && $0["loss"]?.double ?? 0 > $0["merged_loss"]?.double ?? 0 }
        #expect(!worse.isEmpty && failed == worse)
        let form = try #require(failed.first?["form"]?.string.flatMap(TestedForm.init(name:)))
        let (loss, merged) = (failed[0]["loss"]?.double, failed[0]["merged_loss"]?.double)
        #expect(first.error?.exit == .checkFailed && first.error?.place == failed[0]["file"]?.string, "\(String(describing: first.error))")
        #expect(
            first.error?.what
                == "the loss of \(form.title) (\(Figures.loss(loss))) exceeds the merged model's (\(Figures.loss(merged))) by more than export_tolerance")
        let card = try files.readText(run.output + "/gguf/README.md")
        for entry in failed {
            let (title, name) = (TestedForm(name: entry["form"]?.string ?? "")?.title ?? "?", BaseOrigin.lastPart(entry["file"]?.string ?? ""))
            #expect(card.contains("| \(title) as good as the merged model | **fail** | loss "), "\(card)")
            #expect(card.contains("**`\(name)` failed the test**: loss ") && card.contains(" (**fail**) |"))
        }
        #expect(card.contains("| GGUF F16 = base + adapter | pass |"))
        // Again: the same sentence, and the lines of the forms.
        let again = try run.run(on: nil)
        #expect(again.error == first.error && again.count(.step) == 0)
        let text = try #require(again.texts.first { $0.hasPrefix("this run is finished") })
        #expect(text.contains("\(form.title.padded(to: 18))FAIL (loss \(Figures.loss(loss)), merged \(Figures.loss(merged)))"), "\(text)")
        #expect(text.contains("GGUF F16          pass (loss "))
        // The sentence of an older version is recognised: a higher tolerance decides anew.
        var summary = try run.json("summary.json").object ?? [:]
        summary["failed_proof"] = ["what": "the exported form's loss exceeds the merged model's by more than export_tolerance", "fix": "x"]
        try files.writeDurably(JSON.object(summary).serialized(), to: run.output + "/summary.json")
        run.options["export-tolerance"] = "10"
        #expect(try run.run(on: nil).error == nil)
        #expect(try !files.readText(run.output + "/gguf/README.md").contains("fail"))
    }

    @Test func `the advice for a form names those with more bits alone`() {
        func advice(_ form: TestedForm, loss: Double = 2) -> String? { ExportedForm.aboveTolerance(form, loss: loss, merged: 1.5, at: "x").fix }
        #expect(
            advice(.gguf(.q8_0)) == "export a form with more bits (f16), or set export_tolerance to 0.5 or more where that loss is acceptable"
                && advice(.gguf(.q5_1))?.contains("(q6_k, q8_0, f16)") == true && advice(.bitsAndBytes)?.contains("(q5_k_m, q6_k, q8_0, f16)") == true)
        #expect(advice(.gguf(.q4_0), loss: .nan) == "export a form with more bits (q5_k_m, q6_k, q8_0, f16)")
    }

    @Test func `bnb-4bit is planned, written, recorded and tested beside the other forms`() throws {
        var run = try TinyRun()
        run.options["export"] = "f16,bnb-4bit"
        run.options["export-tolerance"] = "10"
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let folder = run.output + "/bnb-4bit"
        let names = try files.list(folder).filter { $0 != "README.md" }
        #expect(names.contains("config.json") && names.contains("model.safetensors") && names.contains("tokenizer.json"), "\(names)")
        let configuration = try JSON.parse(files.read(folder + "/config.json"), source: "config.json")
        #expect(configuration["quantization_config"]?["bnb_4bit_quant_type"] == "nf4")
        let exports = try #require(outcome.summary?["exports"]?.array)
        #expect(exports.compactMap { $0["form"]?.string } == ["f16", "bnb-4bit"] && exports[1]["file"]?.string == folder)
        #expect(exports.allSatisfy { $0["pass"] == true && $0["sidecar"]?["pass"] == true }, "\(exports)")
        // Rounded to four bits, so it has a loss of its own.
        let (loss, merged) = (exports[1]["loss"]?.double ?? .nan, exports[1]["merged_loss"]?.double ?? .nan)
        #expect(loss.isFinite && abs(loss - merged) > 1e-6 && abs(loss - merged) < 1)
        #expect(exports[1]["max_logit_difference"] == nil)
        #expect(outcome.texts.contains { $0.contains("bnb-4bit          pass") && $0.contains("export            \(folder)") }, "\(outcome.texts.last ?? "")")
        let planned = try run.json("plan.json")["disk"]?["bnb-4bit directory"]?.int ?? 0
        let written = try names.reduce(0) { try $0 + files.byteCount(of: folder + "/" + $1) }
        #expect(planned >= written && planned < written + 200_000, "\(planned) \(written)")
        let card = try files.readText(folder + "/README.md")
        #expect(card.contains("- bitsandbytes") && card.contains("vllm serve") && card.contains("NF4"))
        #expect(try ReportPage(runs: [RunFolder(path: run.output).record()]).html().contains("Exported as bnb-4bit"))
        #expect(try run.run(on: nil).texts.contains { $0.hasPrefix("this run is finished") })
        // What is damaged is made again with the same bytes, and gguf/ stays.
        let whole = try bytes(run, "bnb-4bit/model.safetensors")
        var damaged = whole
        damaged[damaged.count - 40] ^= 1
        try damaged.write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
        let again = try run.run(on: nil)
        #expect(again.error == nil && again.count(.step) == 0 && again.texts.contains { $0.contains("/bnb-4bit is missing, or not as this recipe makes it") })
        #expect(try bytes(run, "bnb-4bit/model.safetensors") == whole)
        // A tolerance that it does not meet is decided anew without making it again.
        run.options["export-tolerance"] = "0"
        let strict = try run.run(on: nil)
        #expect(strict.error?.exit == (loss > merged ? .checkFailed : nil), "\(loss) \(merged) \(String(describing: strict.error))")
    }
}
