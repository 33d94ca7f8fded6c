import LorikeetGround
import LorikeetTokenizers

/// A sample as a person reads it: token by token, with those that are learnt marked.
package struct SamplePreview: Sendable, Equatable {
    package struct Token: Sendable, Equatable {
        package let id: Int32
        /// The token's own text, spaces included; a part of a character shows as U+FFFD.
        package let text: String
        package let trained: Bool
    }

    package let record: Int
    package let tokens: [Token]

    /// How a preview shows what is learnt.
    package enum Style: Sendable {
        /// `[…]`.
        case brackets
        /// `[…]`, and spaces as `·`, tabs as `→`.
        case visibleSpaces
        /// The same in colours of a terminal: learnt tokens green and underlined, other ones dim, in turns so that neighbours can be told apart.
        case colours
    }

    /// Tokens divided by `|`, learnt ones in `[…]`, a newline as `⏎` and a line end behind it.
    ///
    ///     <|im_start|>|assistant|⏎
    ///     [animal][<|im_end|>]
    package var text: String { text(.brackets) }

    package func text(_ style: Style) -> String {
        var text = ""
        var previousTrained = true
        for (index, token) in tokens.enumerated() {
            let shown = Self.shown(token.text, style)
            if style == .colours {
                let colour = token.trained ? (index % 2 == 0 ? "\u{1B}[4;32m" : "\u{1B}[4;92m") : index % 2 == 0 ? "\u{1B}[2m" : "\u{1B}[0m"
                text += colour + shown + "\u{1B}[0m"
            } else if token.trained {
                text += "[\(shown)]"
            } else {
                text += (previousTrained || text.hasSuffix("\n") ? "" : "|") + shown
            }
            if token.text.hasSuffix("\n") { text += "\n" }
            previousTrained = token.trained
        }
        return text
    }

    private static func shown(_ text: String, _ style: Style) -> String {
        var shown = text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "⏎")
        if style != .brackets {
            shown = shown.split(separator: " ", omittingEmptySubsequences: false).joined(separator: "·")
            shown = shown.split(separator: "\t", omittingEmptySubsequences: false).joined(separator: "→")
        }
        // Text of records must not reach a terminal as control characters.
        return shown.printable(lines: false)
    }
}

/// Rows that a preview shows.
package enum PreviewRows: Sendable, Equatable {
    /// So many from the beginning.
    case first(Int)
    /// These records, by their row from 0.
    case records([ClosedRange<Int>])

    /// `2`: the first two; `0,5-7`: these rows.
    ///
    /// - Throws: exit 2 for other texts.
    package init(_ text: String) throws {
        func wrong() -> LorikeetError { .input("--rows cannot be '\(text)'", fix: "write a number of rows (2), or which ones, counted from 0 (0,5-7)") }
        if let count = Int(text) {
            guard count >= 0 else { throw wrong() }
            self = .first(count)
            return
        }
        let ranges = try text.split(separator: ",").map { part in
            let bounds = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0.filter { $0 != " " }) }
            guard let low = bounds.first ?? nil, let high = bounds.last ?? nil, bounds.count < 3, 0 <= low, low <= high else { throw wrong() }
            return low...high
        }
        guard !ranges.isEmpty else { throw wrong() }
        self = .records(ranges)
    }
}

extension PreviewRows {
    /// Rows that were asked for by number and are not among `shown`; at most 20.
    package func missing(in shown: [Int]) -> [Int] {
        guard case .records(let ranges) = self else { return [] }
        let shown = Set(shown)
        return Array(ranges.lazy.flatMap { $0 }.filter { !shown.contains($0) }.prefix(20))
    }
}

extension Dataset {
    /// Training samples, for `check` and the run's own look at its data.
    ///
    /// - Throws: exit 4 where stored samples cannot be read.
    package func preview(_ rows: PreviewRows, tokenizer: Tokenizer) throws -> [SamplePreview] {
        let samples: [TokenSample]
        switch rows {
        case .first(let count): samples = try train.first(count)
        case .records(let ranges):
            samples = try train.samples(at: train.records.indices.filter { index in ranges.contains { $0.contains(train.records[index]) } })
        }
        let texts = TokenTexts(tokenizer)
        return samples.map { sample in
            SamplePreview(
                record: sample.record,
                tokens: zip(sample.ids, sample.trained).map { SamplePreview.Token(id: $0, text: texts.text(of: $0), trained: $1) })
        }
    }
}

/// The text of single tokens as they stand inside a text: SentencePiece drops a space at the beginning of one.
private struct TokenTexts {
    private let tokenizer: Tokenizer
    private let before: Int32?
    private let prefix: String

    init(_ tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
        before = (0..<Int32(clamping: tokenizer.vocabularySize)).first { id in
            let text = tokenizer.decode([id]).utf8
            return text.count == 1 && text.first.map { UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 } ?? false && !tokenizer.isSpecial(id)
        }
        prefix = before.map { tokenizer.decode([$0]) } ?? ""
    }

    func text(of id: Int32) -> String {
        guard let before else { return tokenizer.decode([id]) }
        return String(String.UnicodeScalarView(tokenizer.decode([before, id]).unicodeScalars.dropFirst(prefix.unicodeScalars.count)))
    }
}
