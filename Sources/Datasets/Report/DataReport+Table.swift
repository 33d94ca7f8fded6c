import LorikeetGround

extension DataReport {
    /// The report for a person: counts of both splits side by side, and the lengths of the training samples as bars.
    package func table() -> String {
        var lines: [String] = []
        lines.append("".padded(to: 34) + "training".padded(to: 14) + (validation == nil ? "" : "validation"))
        let rows: [(String, (Split) -> String)] = [
            ("layout", { $0.layout.rawValue }), ("records in the files", { "\($0.rowsInFile)" }), ("records chosen", { "\($0.rows)" }),
            ("samples", { "\($0.samples)" }), ("records that cannot be used", { "\($0.unusable)" }), ("longer than max_length", { "\($0.truncated)" }),
            ("repeat an earlier one", { "\($0.duplicates)" }), ("empty answers", { "\($0.emptyAnswers)" }), ("without an end token", { "\($0.withoutEnd)" }),
            ("with two end tokens", { "\($0.endsTwice)" }), ("special tokens in messages", { "\($0.specialInContent)" }),
            ("tokens", { "\($0.lengths.total)" }), ("tokens with a loss", { "\($0.trainedTokens)" }), ("tokens of a sample, mean", { "\($0.lengths.mean)" }),
            ("  half have at most", { "\($0.lengths.p50)" }), ("  95 % have at most", { "\($0.lengths.p95)" }),
            ("  99 % have at most", { "\($0.lengths.p99)" }),
            ("  the longest", { "\($0.lengths.max)" }),
        ]
        for (name, value) in rows { lines.append(name.padded(to: 34) + value(train).padded(to: 14) + (validation.map(value) ?? "")) }
        if validation != nil { lines.append("training samples in the validation".padded(to: 35) + "\(overlap)") }
        let most = train.lengths.histogram.map(\.count).max() ?? 0
        if most > 0 {
            lines += ["", "tokens of the training samples"]
            for bin in train.lengths.histogram {
                let bar = String(repeating: "#", count: (bin.count * 40 + most - 1) / most)
                lines.append("  \(bin.from) to \(bin.to)".padded(to: 20) + "\(bin.count)".padded(to: 10) + bar)
            }
        }
        return lines.map { line in String(line.reversed().drop { $0 == " " }.reversed()) }.joined(separator: "\n") + "\n"
    }
}
