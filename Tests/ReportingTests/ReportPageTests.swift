import Foundation
import LorikeetJSON
import Testing

@testable import LorikeetReporting

struct ReportPageTests {
    private static let hostile = #"</script><img src=x onerror="window.pwned=1"><script>window.pwned=2</script>'&"#

    private func record(_ lines: [String], named name: String = "kinds") -> RunRecord {
        var record = RunRecord(name: name, log: RunLogTests.log(lines))
        record.summary = [
            "validation_loss_before": 7.798, "validation_loss_after": 0.2399, "answers_right_before": 0, "answers_right_after": 0.8583, "seconds": 61.5,
            "tokens_per_second": 1234.5, "peak_gpu_bytes": 8_000_000_000, "train_loss": 1.088, "stopped_early": false,
            "merged_matches_adapter": [
                "pass": true, "max_logit_difference": 0.0279, "mean_logit_difference": 0.001, "largest_logit": 39.4, "same_choice": 1, "rows": 36,
            ],
            "transfer": ["pass": false, "trained_form_loss": 0.24, "merged_loss": 0.39], "sidecar": ["pass": nil, "texts": 0, "difference": nil],
        ]
        record.plan = ["predicted_gpu_bytes": 8_200_000_000, "predicted_seconds": 55, "steps": 9]
        return record
    }

    /// Number of times a text stands in another.
    private func count(_ part: String, in text: String) -> Int { text.components(separatedBy: part).count - 1 }

    @Test func `key numbers stand in the page as text`() {
        let page = ReportPage(runs: [record([RunLogTests.step(1), RunLogTests.step(2, loss: "0.125")])]).html()
        let text = page.components(separatedBy: "<script")[0]
        for part in ["7.798", "0.2399", "85.8 %", "1,235", "7.45 GiB", "7.64 GiB", "1 min 02 s", "0.125", "logits differ by at most 0.0279", "merged 0.39"] {
            #expect(text.contains(part), "\(part)")
        }
        #expect(text.contains(#"<span class="pill fail">fail</span>"#) && text.contains(#"<span class="pill none">not tested</span>"#))
    }

    @Test func `text of files stays text, wherever it comes from`() {
        let quoted = JSON.string(Self.hostile).serialized()
        var hostile = record(
            [
                #"{"event":"environment","time":1,"version":\#(quoted),"goal":"run","cpu":\#(quoted),"gpu":\#(quoted),"compute_type":\#(quoted)}"#,
                #"{"event":"data","time":1,"report":{"train":{"rows":1,"lengths":{"histogram":[{"from":1,"to":15,"samples":1}]}}},"#
                    + #""first_sample":{"record":0,"token_count":1,"tokens":[{"id":1,"text":\#(quoted),"trained":true}]}}"#,
                #"{"event":"phase","time":1,"number":2,"of":10,"name":\#(quoted)}"#, RunLogTests.step(1),
                #"{"event":"warning","time":2,"text":\#(quoted),"step":1}"#,
                #"{"event":"result","time":3,"answers":[{"question":\#(quoted),"before":\#(quoted),"after":\#(quoted),"right":\#(quoted),"after_is_right":false}]}"#,
            ], named: Self.hostile)
        hostile.settings = [.init(key: Self.hostile, value: Self.hostile), .init(key: "model", value: Self.hostile)]
        hostile.presets = [.init(name: Self.hostile, values: [Self.hostile, Self.hostile, Self.hostile])]
        (hostile.recipe, hostile.command) = (Self.hostile, Self.hostile)
        hostile.plan = ["limit": ["ops": [["op": .string(Self.hostile), "count": 1, "seconds": 1]]], "choices": ["base_storage": .string(Self.hostile)]]
        hostile.summary = ["sidecar": ["pass": false, "difference": .string(Self.hostile)], "failed_proof": ["what": .string(Self.hostile)]]
        var other = hostile
        other.name += "2"
        for page in [ReportPage(runs: [hostile]).html(), ReportPage(runs: [hostile, other]).html()] {
            #expect(!page.contains("<img") && count("<script", in: page) == 2 && count("</script", in: page) == 2)
            #expect(page.contains("&lt;/script&gt;&lt;img src=x onerror=&quot;window.pwned=1&quot;&gt;"))
            // Elements have no style and no handler of their own: the policy would refuse them.
            #expect(!page.contains(" style=") && !page.contains("javascript:"))
        }
        // Direction marks and escape characters are shown as what they are.
        #expect(("\("a\u{202E}b\u{1B}[1m")" as HTML).text == "a\\u{202E}b\\u{1B}[1m")
    }

    @Test func `the policy names the page's own script and style, and nothing else is loaded`() {
        // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
        #expect(ReportPage.source(of: "abc") == "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
        let page = ReportPage(runs: [record([RunLogTests.step(1)])]).html()
        for (open, close, directive) in [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")] {
            let text = page.components(separatedBy: open)[1].components(separatedBy: close)[0]
            #expect(text.count > 1000 && page.contains("\(directive) '\(ReportPage.source(of: text))'"), "\(directive)")
        }
        #expect(page.contains("default-src 'none'") && !page.contains("https://") && !page.contains("http://www.w3.org/1999"))
    }

    @Test func `a hundred thousand steps are under a megabyte and lose no spike`() throws {
        var lines: [String] = []
        var state: UInt64 = 7
        for step in 1...100_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let noise = Double(state >> 40) / Double(1 << 24)
            let loss = step == 54_321 ? 97.53 : step == 4_242 ? 0.00123 : 1 + noise
            lines.append(
                #"{"event":"step","time":\#(step),"step":\#(step),"of":100000,"loss":\#(loss),"learning_rate":\#(noise * 1e-5),"grad_norm":\#(noise * 3),"#
                    + #""loss_scale":\#(1024 << (step / 20_000)),"tokens_per_second":\#(6000 + noise),"share_of_limit":\#(noise)}"#)
            if step % 25 == 0 {
                lines.append(
                    #"{"event":"log","time":\#(step),"step":\#(step),"cpu_percent":\#(noise * 100),"ram_used_bytes":\#(1 << 30 + step),"ram_total_bytes":9000000000,"#
                        + #""rss_bytes":\#(1 << 29 + step),"gpu_used_bytes":\#(1 << 33 + step),"gpu_total_bytes":16000000000}"#)
            }
            if step % 200 == 0 { lines.append(#"{"event":"evaluation","time":\#(step),"step":\#(step),"eval_loss":\#(1.5 + noise),"rows":512}"#) }
        }
        let page = ReportPage(runs: [record(lines)]).html()
        #expect(page.utf8.count < 1_000_000, "\(page.utf8.count)")
        let data = page.components(separatedBy: #"id="data">"#)[1].components(separatedBy: "</script>")[0]
        let charts = try JSON.parse(data, source: "data")["charts"]?.array ?? []
        #expect(
            charts.map { $0["id"]?.string } == [
                "loss", "learning_rate", "grad_norm", "loss_scale", "tokens_per_second", "share_of_limit", "gpu_memory", "memory", "cpu",
            ])
        let loss = try #require(charts[0]["series"]?.array?[0])
        let points: [[Double?]] = zip(loss["x"]?.array ?? [], loss["y"]?.array ?? []).map { [$0.double, $1.double] }
        #expect(points.contains([54_321, 97.53]) && points.contains([4_242, 0.00123]) && points.count > 900)
    }

    @Test func `several runs share charts, and the settings that differ stand in a table`() throws {
        var (a, b) = (record([RunLogTests.step(1), RunLogTests.step(2)], named: "first"), record([RunLogTests.step(1)], named: "second"))
        a.settings = [.init(key: "seed", value: "1"), .init(key: "lora.r", value: "8")]
        b.settings = [.init(key: "seed", value: "2"), .init(key: "lora.r", value: "8"), .init(key: "learning_rate", value: "1e-4")]
        #expect(ComparisonSections.differences(of: [a, b]).map(\.key) == ["seed", "learning_rate"])
        #expect(ComparisonSections.differences(of: [a, b]).map(\.values) == [["1", "2"], ["-", "1e-4"]])
        let page = ReportPage(runs: [a, b])
        let charts = RunCharts(page.runs).charts
        #expect(charts.first?.id == "loss" && charts[0].series.map(\.name) == ["first", "second"] && charts[0].series.map(\.points.count) == [2, 1])
        #expect(page.html().contains("2 runs compared") && page.json.array?[1]["differing_settings"]?["seed"]?.string == "2")
    }

    @Test func `a directory of which little is there gives a page all the same`() {
        let page = ReportPage(runs: [RunRecord(name: "empty", log: RunLog())]).html()
        #expect(page.contains("<h1>empty") && page.hasSuffix("</html>\n"))
    }

    @Test(arguments: [(0.0, "1970-01-01 00:00 UTC"), (951_782_400, "2000-02-29 00:00 UTC"), (1_795_727_154, "2026-11-26 21:05 UTC"), (-1, "-")])
    func `times are written in UTC`(seconds: Double, text: String) { #expect(UTCTime.text(seconds) == text) }
}
