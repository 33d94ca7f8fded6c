import LorikeetGround
import LorikeetJSON

extension JSON {
    /// A number of rows or tokens: of a size that sums and products of a few of them still are whole numbers of 64 bits.
    fileprivate var count: Int? { int.flatMap { (0...1 << 40).contains($0) ? $0 : nil } }
}

/// The report as the store keeps it.
extension DataReport {
    /// nil where `json` is not what `json` of a report writes.
    init?(json: JSON) {
        guard let train = json["train"].flatMap({ Split(json: $0) }), let overlap = json["overlap"]?.count else { return nil }
        self.init(train: train, validation: json["validation"].flatMap { Split(json: $0) })
        guard (json["validation"] == nil) == (validation == nil) else { return nil }
        self.overlap = overlap
        for mistake in json["mistakes"]?.array ?? [] {
            guard let what = mistake["what"]?.string, let fix = mistake["fix"]?.string else { return nil }
            mistakes.append(Mistake(what: what, fix: fix))
        }
        warnings = json["warnings"]?.array?.compactMap(\.string) ?? []
        notes = json["notes"]?.array?.compactMap(\.string) ?? []
    }
}

extension DataReport.Split {
    fileprivate init?(json: JSON) {
        guard let source = json["source"]?.string, let layout = json["layout"]?.string.flatMap({ RecordLayout(rawValue: $0) }),
            let lengths = json["lengths"].flatMap({ TokenLengths(json: $0) })
        else { return nil }
        self.init(source: source, layout: layout)
        self.lengths = lengths
        let fields: [(String, WritableKeyPath<Self, Int>)] = [
            ("rows_in_file", \.rowsInFile), ("rows", \.rows), ("samples", \.samples), ("unusable", \.unusable), ("truncated", \.truncated),
            ("duplicates", \.duplicates), ("empty_answers", \.emptyAnswers), ("opens_with_answer", \.opensWithAnswer), ("without_end", \.withoutEnd),
            ("double_bos", \.doubleBOS),
            ("ends_twice", \.endsTwice), ("special_in_content", \.specialInContent), ("splits_differ", \.splitsDiffer), ("trained_tokens", \.trainedTokens),
        ]
        for (name, path) in fields {
            guard let number = json[name]?.count else { return nil }
            self[keyPath: path] = number
        }
        firstSpecial = json["first_special"]?.string
        ignoredKeys = json["ignored_keys"]?.array?.compactMap(\.string) ?? []
        for bad in json["unusable_records"]?.array ?? [] {
            guard let place = bad["place"]?.string, let reason = bad["reason"]?.string else { return nil }
            firstUnusable.append(BadRecord(place: place, reason: reason, fix: bad["fix"]?.string))
        }
    }
}

extension TokenLengths {
    fileprivate init?(json: JSON) {
        self.init([])
        guard let mean = json["mean"]?.double, let bins = json["histogram"]?.array else { return nil }
        self.mean = mean
        for (name, path) in [("p50", \Self.p50), ("p95", \Self.p95), ("p99", \Self.p99), ("max", \Self.max), ("total", \Self.total)] {
            guard let number = json[name]?.count else { return nil }
            self[keyPath: path] = number
        }
        for bin in bins {
            guard let from = bin["from"]?.count, let to = bin["to"]?.count, let count = bin["samples"]?.count else { return nil }
            histogram.append(Bin(from: from, to: to, count: count))
        }
    }
}
