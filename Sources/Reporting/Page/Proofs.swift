import LorikeetGround
import LorikeetJSON

/// A proof of the test with its numbers.
struct Proof {
    let name: String
    let short: String
    /// nil where it was not tested.
    let pass: Bool?
    let numbers: String

    var pill: HTML {
        switch pass {
        case true?: "<span class=\"pill pass\">pass</span>"
        case false?: "<span class=\"pill fail\">fail</span>"
        case nil: "<span class=\"pill none\">not tested</span>"
        }
    }

    /// The proofs that a summary holds; none where nothing was tested.
    static func all(of summary: JSON?) -> [Proof] {
        guard let summary else { return [] }
        var proofs: [Proof] = []
        if let identity = summary["merged_matches_adapter"] {
            let (most, mean) = (Figures.number(identity["max_logit_difference"]?.double), Figures.number(identity["mean_logit_difference"]?.double))
            let numbers =
                "logits differ by at most \(most) (mean \(mean)) of \(Figures.number(identity["largest_logit"]?.double)); "
                + "same choice on \(Figures.percent(identity["same_choice"]?.double)) of \(identity["rows"]?.int ?? 0) rows"
            proofs.append(Proof(name: "Merged model = base + adapter", short: "identity", pass: identity["pass"]?.bool, numbers: numbers))
        }
        if let transfer = summary["transfer"] {
            let numbers =
                "loss as trained \(Figures.number(transfer["trained_form_loss"]?.double)), merged \(Figures.number(transfer["merged_loss"]?.double))"
            proofs.append(Proof(name: "Transfer to the merged weights", short: "transfer", pass: transfer["pass"]?.bool, numbers: numbers))
        }
        if let sidecar = summary["sidecar"] {
            let texts = sidecar["texts"]?.int.map { "same tokens on \($0) texts, " } ?? ""
            proofs.append(
                Proof(
                    name: "Tokenizer and template beside it", short: "sidecar", pass: sidecar["pass"]?.bool,
                    numbers: sidecar["difference"]?.string ?? "\(texts)same ends, same template"))
        }
        for export in summary["exports"]?.array ?? [] {
            let form = export["form"]?.string ?? "?"
            var numbers = "loss \(Figures.number(export["loss"]?.double)), merged \(Figures.number(export["merged_loss"]?.double))"
            if let most = export["max_logit_difference"]?.double { numbers += "; logits differ by at most \(Figures.number(most))" }
            proofs.append(Proof(name: "Exported as \(form)", short: form, pass: export["pass"]?.bool, numbers: numbers))
        }
        return proofs
    }
}

/// Peaks of memory: the summary's, else the largest that the events have.
struct MeasuredMemory {
    /// Bytes; nil without a card, or without a measurement.
    let gpu: Double?
    let process: Double?

    init(run: RunRecord) {
        func positive(_ value: Double?) -> Double? { value.flatMap { $0 > 0 ? $0 : nil } }
        let states = run.log.states
        gpu = positive(run.summary?["peak_gpu_bytes"]?.double) ?? positive(states.map(\.gpuBytes).filter(\.isFinite).max())
        process = positive(run.summary?["peak_rss_bytes"]?.double) ?? positive(states.map(\.processBytes).filter(\.isFinite).max())
    }
}
