import LorikeetGround
import LorikeetJSON

/// What was trained on: counts, lengths, and the first record's tokens with its mask.
struct DataSections {
    let run: RunRecord

    var body: HTML {
        guard let report = run.log.data?["report"], let train = report["train"] else { return "" }
        let validation = report["validation"]
        func count(_ split: JSON?, _ key: String) -> HTML { "\(split?[key]?.int.map(Figures.count) ?? "-")" }
        func length(_ split: JSON?, _ key: String) -> HTML { "\(split?["lengths"]?[key]?.double.map { Figures.number($0) } ?? "-")" }
        let counts: [(String, String)] = [
            ("Records", "rows"), ("Samples", "samples"), ("Cannot be used", "unusable"), ("Truncated to max_length", "truncated"),
            ("Repeat an earlier one", "duplicates"), ("Tokens", "tokens"), ("Tokens with a loss", "trained_tokens"),
        ]
        let lengths = [("Tokens of a sample, mean", "mean"), ("half have at most", "p50"), ("95 % have at most", "p95"), ("the longest", "max")]
        let rows =
            counts.map { name, key -> [HTML] in ["\(name)", count(train, key), count(validation, key)] }
            + lengths.map { name, key -> [HTML] in ["\(name)", length(train, key), length(validation, key)] }
        let overlap = report["overlap"]?.int ?? 0
        let both: [[HTML]] = overlap > 0 ? [["In both", "", "\(Figures.count(overlap))"]] : []
        let table = HTML.table(["", "training", "validation"], rows + both, numbers: [1, 2])
        return .section("Data", "<div class=\"grid2\">\(HTML.card("\(table)"))\(histogram(train["lengths"]?["histogram"]?.array ?? []))</div>\(first)")
    }

    private func histogram(_ bins: [JSON]) -> HTML {
        let counts = bins.map { max(0, $0["samples"]?.int ?? 0) }
        guard let most = counts.max(), most > 0 else { return "" }
        let rows = zip(bins, counts).map { bin, count -> HTML in
            let range = "\(bin["from"]?.int ?? 0) to \(bin["to"]?.int ?? 0)"
            return "<span class=\"soft\">\(range)</span>\(PageTools.bar(Double(count) / Double(most)))<span>\(Figures.count(count))</span>\n"
        }
        return .card("<h3>Tokens of the training samples</h3><div class=\"hist\">\(rows)</div>")
    }

    /// Tokens of the first record; what is learnt is marked.
    private var first: HTML {
        guard let sample = run.log.data?["first_sample"], let tokens = sample["tokens"]?.array, !tokens.isEmpty else { return "" }
        let shown = tokens.map { token -> HTML in
            let text = token["text"]?.string ?? ""
            let visible = text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "⏎")
            let end: HTML = text.hasSuffix("\n") ? "<br>" : ""
            let learnt: HTML = token["trained"]?.bool == true ? " class=\"l\"" : ""
            return "<span\(learnt) title=\"\(token["id"]?.int ?? 0)\">\(visible)</span>\(end)"
        }
        let all = sample["token_count"]?.int ?? tokens.count
        let learnt = tokens.count { $0["trained"]?.bool == true }
        let rest: HTML = all > tokens.count ? "<p class=\"soft\">… \(Figures.count(all - tokens.count)) more tokens</p>" : ""
        return """
            <div class="card"><h3>The first record, token by token</h3>
            <p class="soft">\(Figures.count(all)) tokens; the \(Figures.count(learnt)) marked ones are learnt</p><div class="tokens">\(shown)</div>\(rest)</div>

            """
    }
}
