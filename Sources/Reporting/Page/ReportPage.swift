import CReport
import LorikeetGround
import LorikeetHub
import LorikeetJSON

/// `report.html`: one file without any other, for one run or several.
///
/// Everything in it that comes from files (records, answers, names) is escaped, and the page's content security policy lets only its own script
/// run, so text of a record cannot become markup or code. The key numbers stand as text; the script adds the charts.
package struct ReportPage: Sendable {
    package let runs: [RunRecord]

    /// - Parameter runs: one, or several to compare.
    package init(runs: [RunRecord]) { self.runs = runs }

    private static let beginning = "<!doctype html>\n<html lang=\"en\">\n"
    private static let titleEnd = " - Lorikeet</title>\n"

    /// Whether a file's bytes are a page that this type made, which may be written again.
    package static func isPage(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: beginning.utf8) && String(decoding: bytes.prefix(1 << 16), as: UTF8.self).contains(titleEnd)
    }

    /// Buckets a curve is downsampled to when the page shows one run; each keeps up to three points.
    static let buckets = 500

    private static func asset(_ text: (UnsafeMutablePointer<Int>) -> UnsafePointer<CChar>?) -> String {
        var count = 0
        guard let start = text(&count) else { return "" }
        return String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    }

    /// `sha256-…` of a style sheet or script, as a content security policy names it.
    static func source(of text: String) -> String {
        var digest = ContentDigest(.sha256)
        digest.add(text)
        let hex = Array(digest.finish().utf8)
        func value(_ digit: UInt8) -> UInt8 { digit < UInt8(ascii: "a") ? digit - UInt8(ascii: "0") : digit - UInt8(ascii: "a") + 10 }
        let bytes = stride(from: 0, to: hex.count - 1, by: 2).map { value(hex[$0]) << 4 | value(hex[$0 + 1]) }
        return "sha256-" + Base64.encode(bytes)
    }

    /// The whole page.
    package func html() -> String {
        let (style, script) = (Self.asset(lorikeet_report_style), Self.asset(lorikeet_report_script))
        let policy = "default-src 'none'; script-src '\(Self.source(of: script))'; style-src '\(Self.source(of: style))'; base-uri 'none'; form-action 'none'"
        let title = runs.count == 1 ? (runs.first?.name ?? "") : runs.map(\.name).joined(separator: ", ")
        let content = runs.count == 1 ? RunSections(run: runs[0]).body : ComparisonSections(runs: runs).body
        let page: HTML = """
            \(HTML.trusted(Self.beginning))<head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="\(HTML.trusted(policy))">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="referrer" content="no-referrer">
            <title>\(title)\(HTML.trusted(Self.titleEnd))<style>\(HTML.trusted(style))</style>
            </head>
            <body>
            <main>
            \(content)<noscript><p class="soft">The charts need JavaScript; every number of the tables does not.</p></noscript>
            <footer>\(footer)</footer>
            </main>
            <script type="application/json" id="data">\(HTML.data(data))</script>
            <script>\(HTML.trusted(script))</script>
            </body>
            </html>

            """
        return page.text
    }

    private var footer: HTML {
        let version = runs.compactMap { $0.log.environment?["version"]?.string }.last
        let time = runs.map(\.log.lastTime).max() ?? 0
        let damaged = runs.reduce(0) { $0 + $1.log.damagedLines }
        let skipped: HTML = damaged > 0 ? " \(damaged) damaged line\(damaged == 1 ? "" : "s") of events.jsonl left out." : ""
        let written = time > 0 ? "Last event \(UTCTime.text(time))." : ""
        return
            "Made by Lorikeet\(version.map { " " + $0 } ?? "") from the files of the run. \(written)\(skipped) Each curve keeps the lowest and the highest value of every stretch."
    }

    private var data: HTML.JSONText {
        let buckets = runs.count == 1 ? Self.buckets : max(60, 900 / max(1, runs.count))
        let charts = RunCharts(runs).charts.map { $0.json(buckets: buckets) }.joined(separator: ",")
        let longest = runs.map(\.log.steps.count).max() ?? 0
        let smoothing = longest > 2000 ? "0.97" : longest > 300 ? "0.9" : "0.6"
        return .init(text: #"{"running":\#(runs.contains { $0.status == .running }),"smoothing":\#(smoothing),"charts":[\#(charts)]}"#)
    }
}

/// Seconds since 1970 as a date and time of UTC.
enum UTCTime {
    static func text(_ seconds: Double) -> String {
        guard seconds >= 0, seconds < 253_402_300_800 else { return "-" }
        let whole = Int(seconds)
        let (days, rest) = (whole / 86400, whole % 86400)
        // Days to a civil date in eras of 400 years that begin on 1 March.
        let shifted = days + 719_468
        let (era, day) = (shifted / 146_097, shifted % 146_097)
        let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let date = dayOfYear - (153 * month + 2) / 5 + 1
        let civil = month < 10 ? month + 3 : month - 9
        func two(_ value: Int) -> String { value.zeroPadded(to: 2) }
        return "\(year + era * 400 + (civil <= 2 ? 1 : 0))-\(two(civil))-\(two(date)) \(two(rest / 3600)):\(two(rest / 60 % 60)) UTC"
    }
}
