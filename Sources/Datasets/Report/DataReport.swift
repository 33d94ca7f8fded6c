import LorikeetGround
import LorikeetJSON

/// Lengths of a set of samples, in tokens. Percentiles are those of the nearest rank.
package struct TokenLengths: Sendable, Equatable {
    package var total = 0
    /// To a tenth.
    package var mean = 0.0
    package var p50 = 0
    package var p95 = 0
    package var p99 = 0
    package var max = 0
    /// Samples by length, in steps that double: 1 to 15 tokens, 16 to 31, 32 to 63, …
    package var histogram: [Bin] = []

    /// Samples of `from` to `to` tokens, both included.
    package struct Bin: Sendable, Equatable {
        package var from: Int
        package var to: Int
        package var count: Int
    }

    package init(_ lengths: [Int]) {
        let sorted = lengths.sorted()
        guard let longest = sorted.last else { return }
        func percentile(_ share: Double) -> Int { sorted[min(sorted.count - 1, Int((share * Double(sorted.count)).rounded(.up)) - 1)] }
        total = sorted.reduce(0, +)
        mean = (Double(total) / Double(sorted.count) * 10).rounded() / 10
        p50 = percentile(0.5)
        p95 = percentile(0.95)
        p99 = percentile(0.99)
        max = longest
        var (from, to, at) = (1, 15, 0)
        while at < sorted.count {
            var end = at
            while end < sorted.count, sorted[end] <= to { end += 1 }
            histogram.append(Bin(from: from, to: to, count: end - at))
            (from, to, at) = (to + 1, to * 2 + 1, end)
        }
        while let first = histogram.first, first.count == 0 { histogram.removeFirst() }
    }

    var json: JSON {
        [
            "mean": JSON(mean), "p50": JSON(p50), "p95": JSON(p95), "p99": JSON(p99), "max": JSON(max), "total": JSON(total),
            "histogram": .array(histogram.map { ["from": JSON($0.from), "to": JSON($0.to), "samples": JSON($0.count)] }),
        ]
    }
}

/// A record that was passed over.
package struct BadRecord: Sendable, Equatable {
    /// `file:line`.
    package let place: String
    package let reason: String
    package let fix: String?

    package var description: String { "\(place): \(reason)" }
}

/// What the data is: counts, lengths, and what would go wrong silently.
package struct DataReport: Sendable, Equatable {
    /// The training or the validation split.
    package struct Split: Sendable, Equatable {
        /// The file, or the first of several.
        package var source: String
        package var layout: RecordLayout
        /// Records in the files.
        package var rowsInFile = 0
        /// Records chosen (`max_train_samples`, the split).
        package var rows = 0
        /// Records that became samples.
        package var samples = 0
        /// Records that could not be used.
        package var unusable = 0
        /// The first five of them.
        package var firstUnusable: [BadRecord] = []
        /// Samples that lost their end, and with it the end token of the answer.
        package var truncated = 0
        /// Samples equal to an earlier one.
        package var duplicates = 0
        /// Assistant's turns without text, not trained.
        package var emptyAnswers = 0
        /// Conversations that begin with the assistant's message, which is not trained.
        package var opensWithAnswer = 0
        /// Samples whose last answer has no end token to train, truncation apart.
        package var withoutEnd = 0
        /// Samples that begin with two BOS tokens.
        package var doubleBOS = 0
        /// Tokens with a loss.
        package var trainedTokens = 0
        package var lengths = TokenLengths([])
        /// Samples with two learnt end tokens behind each other.
        package var endsTwice = 0
        /// Records with a special token's text inside a message, and the first of them.
        package var specialInContent = 0
        package var firstSpecial: String?
        /// Records whose prompt has other tokens alone than before its completion.
        package var splitsDiffer = 0
        /// Keys of records that are not read, each once.
        package var ignoredKeys: [String] = []
    }

    /// Something that would train the wrong thing without a word.
    package struct Mistake: Sendable, Equatable {
        package let what: String
        package let fix: String
    }

    package var train: Split
    package var validation: Split?
    /// Validation samples that are training samples too.
    package var overlap = 0
    /// These stop a run.
    package var mistakes: [Mistake] = []
    /// One sentence each; these do not.
    package var warnings: [String] = []
    /// How files were read where that was found out: the delimiter and columns of CSV.
    package var notes: [String] = []

    /// The first mistake as an error: exit 1 for `check`, exit 2 for a run.
    package func error(_ exit: LorikeetError.ExitClass) -> LorikeetError? {
        mistakes.first.map { LorikeetError(exit, $0.what, at: train.source, fix: $0.fix) }
    }

    package var json: JSON {
        var object: JSONObject = ["train": train.json]
        if let validation { object["validation"] = validation.json }
        object["overlap"] = JSON(overlap)
        object["mistakes"] = .array(mistakes.map { ["what": JSON($0.what), "fix": JSON($0.fix)] })
        object["warnings"] = JSON(warnings)
        object["notes"] = JSON(notes)
        return .object(object)
    }

    /// The largest share of truncated training samples that is only a warning: long tails are normal, but where more
    /// lose their end the model learns not to stop.
    package static let truncationLimit = 0.05

    /// Fills `mistakes` and `warnings` from the counts.
    mutating func findMistakes(maxLength: Int) {
        for (name, split) in [("training", train)] + (validation.map { [("validation", $0)] } ?? []) where split.samples > 0 {
            findMistakes(in: split, name, maxLength)
        }
        if overlap > 0 {
            warnings.append("\(overlap) of \(validation?.samples ?? 0) validation samples are training samples too: their loss says little")
        }
    }

    private mutating func findMistakes(in split: Split, _ name: String, _ maxLength: Int) {
        if split.doubleBOS > 0 {
            mistakes.append(
                Mistake(
                    what: "\(split.doubleBOS) of \(split.samples) \(name) samples begin with two BOS tokens",
                    fix: "leave the BOS out of the text: the template or the tokenizer writes it"))
        }
        if split.withoutEnd > 0 {
            mistakes.append(
                Mistake(
                    what: "\(split.withoutEnd) of \(split.samples) \(name) samples have no end token behind the answer: the model would not learn to stop",
                    fix: "give a model whose chat template ends the assistant's turn with one of its end tokens"))
        }
        if split.truncated > 0 {
            let words = "\(split.truncated) of \(split.samples) \(name) samples are longer than max_length \(maxLength) and lose the end of their answer"
            if Double(split.truncated) > Self.truncationLimit * Double(split.samples), name == "training" {
                mistakes.append(Mistake(what: words, fix: "raise max_length (the longest may need more than \(split.lengths.max)) or shorten the records"))
            } else {
                warnings.append(words)
            }
        }
        if split.unusable > 0 {
            let first = split.firstUnusable.map(\.description).joined(separator: "; ")
            warnings.append("\(split.unusable) of \(split.rows) \(name) records cannot be used and are left out: \(first)")
        }
        if split.duplicates > 0 { warnings.append("\(split.duplicates) of \(split.samples) \(name) samples repeat an earlier one") }
        if split.endsTwice > 0 {
            warnings.append(
                "\(split.endsTwice) of \(split.samples) \(name) samples train two end tokens in a row: the text has one, and the chat template adds another")
        }
        if let first = split.firstSpecial {
            warnings.append(
                "\(split.specialInContent) \(name) records have the text of a special token inside a message, where it is read as that token (first: \(first))")
        }
        if split.splitsDiffer > 0 {
            warnings.append(
                "in \(split.splitsDiffer) \(name) records the prompt has other tokens by itself than together with its completion, and the loss begins behind as many tokens as "
                    + "the prompt has by itself; put the space or line break between them at the beginning of the completion")
        }
        if split.emptyAnswers > 0 { warnings.append("\(split.emptyAnswers) empty answers in the \(name) records are not trained") }
        if split.opensWithAnswer > 0 {
            warnings.append(
                "\(split.opensWithAnswer) conversations of the \(name) records begin with the assistant's message, which is not trained: it answers nothing")
        }
        if !split.ignoredKeys.isEmpty {
            warnings.append("keys of the \(name) records that are not used: \(split.ignoredKeys.joined(separator: ", "))")
        }
    }
}

extension DataReport.Split {
    package var json: JSON {
        [
            "source": JSON(source), "layout": JSON(layout.rawValue), "rows_in_file": JSON(rowsInFile), "rows": JSON(rows),
            "samples": JSON(samples), "unusable": JSON(unusable), "first_unusable": JSON(firstUnusable.map(\.description)),
            "unusable_records": .array(
                firstUnusable.map { ["place": .string($0.place), "reason": .string($0.reason), "fix": $0.fix.map(JSON.string) ?? .null] }),
            "truncated": JSON(truncated), "duplicates": JSON(duplicates), "empty_answers": JSON(emptyAnswers), "opens_with_answer": JSON(opensWithAnswer),
            "without_end": JSON(withoutEnd), "double_bos": JSON(doubleBOS), "ends_twice": JSON(endsTwice),
            "special_in_content": JSON(specialInContent), "first_special": firstSpecial.map(JSON.string) ?? .null, "splits_differ": JSON(splitsDiffer),
            "tokens": JSON(lengths.total),
            "trained_tokens": JSON(trainedTokens), "lengths": lengths.json, "ignored_keys": JSON(ignoredKeys),
        ]
    }
}
