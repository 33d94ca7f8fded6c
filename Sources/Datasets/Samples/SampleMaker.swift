import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers

/// Turns records into token samples. A record's text is tokenised as a whole; a token is learnt when it holds a byte of what is learnt, so one that
/// holds characters of both sides of a cut is.
final class SampleMaker: Sendable {
    /// A sample, and what the data report counts about it.
    struct Result: Sendable {
        var sample: TokenSample
        var heldOut: HeldOutRow?
        /// The last answer ends with a token that ends an answer, before truncation.
        var endIsTrained: Bool
        /// Two end tokens follow each other with nothing but white space between them, and both are learnt.
        var endsTwice = false
        /// Assistant's turns without text: shown, not trained.
        var emptyAnswers = 0
        /// The conversation begins with the assistant's turn: shown, not trained.
        var opensWithAnswer = false
        /// A special token's text inside a message.
        var specialInContent: String?
        /// The prompt's own tokens are not the first ones of prompt and completion together.
        var splitsDiffer = false
        /// Keys of messages that the template does not read.
        var unread: [String] = []
    }

    private let tokenizer: Tokenizer
    private let template: ChatTemplate?
    private let check: TemplateCheck?
    private let settings: DatasetSettings
    /// Rows of the model's embedding table; nil where no model will read the samples.
    private let embeddingRows: Int?
    private let endTexts: [String]
    /// A few: looking through them is faster than hashing.
    private let ends: [Int32]
    private let special: SpecialTexts

    init(tokenizer: Tokenizer, template: ChatTemplate?, endOfTurn: String? = nil, settings: DatasetSettings, embeddingRows: Int?) {
        self.embeddingRows = embeddingRows
        self.tokenizer = tokenizer
        self.template = template
        self.settings = settings
        check = template.map { TemplateCheck($0) }
        ends = tokenizer.endTokens
        endTexts = tokenizer.endTokens.map { tokenizer.text(of: $0) }.filter { !$0.isEmpty } + [endOfTurn].compactMap { $0 }
        special = SpecialTexts(tokenizer)
    }

    /// The same for the work of one thread: with a tokenizer and a template of its own, so that threads share only what none of them writes.
    func forOneThread() -> SampleMaker { SampleMaker(sharing: self) }

    private init(sharing other: SampleMaker) {
        tokenizer = other.tokenizer.forOneThread()
        let template = other.template?.forOneThread()
        self.template = template
        check = template.flatMap { template in other.check.map { TemplateCheck(sharing: $0, template) } }
        (settings, embeddingRows, special) = (other.settings, other.embeddingRows, other.special)
        endTexts = other.endTexts.map { String(decoding: Array($0.utf8), as: UTF8.self) }
        ends = other.ends.map { $0 }
    }

    /// - Parameter heldOut: also return the prompt and the expected answer, for the test at the end of a run.
    func make(_ record: Record, layout: RecordLayout, row: Int, heldOut: Bool) throws -> Result {
        switch record {
        case .chat(let chat): return try made(chat, layout: layout, row: row, heldOut: heldOut)
        case .completion(let prompt, let completion): return try made(prompt: prompt, completion: completion, row: row, heldOut: heldOut)
        case .text(let text):
            let ids = try tokens(raw: text)
            return try finished(ids, trained: [Bool](repeating: true, count: ids.count), row: row, endIsTrained: endIsTrained(text), question: nil)
        }
    }

    /// Holds a sample's ids to the model's embedding table.
    ///
    /// - Throws: exit 2 at `place`: tokenizer and model do not belong together, so the record is not merely left out.
    func requireRows(_ made: Result, at place: @autoclosure () -> String) throws {
        guard let embeddingRows else { return }
        for ids in [made.sample.ids, made.heldOut?.promptIDs ?? []] where ids.contains(where: { $0 < 0 || Int($0) >= embeddingRows }) {
            try tokenizer.requireRows(for: ids, rows: embeddingRows, at: place())
        }
    }

    // MARK: - Conversations

    private func made(_ chat: ChatRecord, layout: RecordLayout, row: Int, heldOut: Bool) throws -> Result {
        guard let template, let check else { throw Unusable("there is no chat template") }
        let all = trainsAll(layout)
        var conversation = try check.prepared(chat.conversation)
        // What follows the last answer is no part of what is learnt, but templates may write that answer otherwise before it.
        if !all { conversation.messages.removeLast(conversation.messages.count - 1 - chat.lastAnswer) }
        let unread: [String]
        let rendered: RenderedConversation
        do {
            unread = try check.requireWritten(conversation)
            rendered = try template.renderWithAnswers(conversation, trained: chat.trained, endTexts: endTexts)
        } catch let error as LorikeetError {
            throw check.refusal(error)
        }
        guard let last = rendered.answers.last else { throw Unusable("nothing to train") }
        let tokens = try tokenizer.encodeWithRanges(rendered.text)
        var question: (() throws -> HeldOutRow?)?
        if heldOut {
            let bytes = Array(rendered.text.utf8)
            let prompt = String(decoding: bytes[..<last.range.lowerBound], as: UTF8.self)
            let message = conversation.messages[last.message]
            let content = message["tool_calls"] == nil ? message["content"]?.string : nil
            let answer = content.flatMap { isBlank($0) ? nil : $0 } ?? String(decoding: bytes[withoutEnd(bytes, last.range)], as: UTF8.self)
            question = { [self] in HeldOutRow(record: row, promptIDs: try tokenizer.encode(prompt), promptText: prompt, answer: answer) }
        }
        let ranges = all ? [0..<rendered.text.utf8.count] : rendered.answers.map(\.range)
        var result = try finished(
            tokens.ids, trained: Self.overlapping(tokens.ranges, ranges), row: row, endIsTrained: last.endsWithEndToken, question: question)
        result.emptyAnswers = chat.emptyAnswers
        result.opensWithAnswer = chat.opensWithAnswer
        result.unread = unread
        result.specialInContent = special.first(in: conversation)
        return result
    }

    /// Whether every token of a conversation of this layout is learnt.
    private func trainsAll(_ layout: RecordLayout) -> Bool {
        switch layout {
        case .messages, .conversations: settings.assistantOnlyLoss == false
        default: settings.completionOnlyLoss == false && settings.assistantOnlyLoss != true
        }
    }

    /// The range without the end token's text at its end.
    private func withoutEnd(_ bytes: [UInt8], _ range: Range<Int>) -> Range<Int> {
        let answer = bytes[range]
        let end = endTexts.map { Array($0.utf8) }.filter { answer.count >= $0.count && answer.suffix($0.count).elementsEqual($0) }.map(\.count).max() ?? 0
        return range.lowerBound..<(range.upperBound - end)
    }

    /// For each token's range whether it shares a byte with one of `ranges`; both ascend. The reference library leaves white space out of its ranges,
    /// so that a token of nothing else has an empty one at its end: it belongs to the range that it stands inside.
    static func overlapping(_ tokens: [Range<Int>], _ ranges: [Range<Int>]) -> [Bool] {
        var next = 0
        return tokens.map { token in
            while next < ranges.count, ranges[next].upperBound <= token.lowerBound { next += 1 }
            guard next < ranges.count else { return false }
            return token.isEmpty ? ranges[next].lowerBound < token.lowerBound : ranges[next].overlaps(token)
        }
    }

    // MARK: - Raw text

    /// The tokens of raw text: what the tokenizer's file puts before a text (a BOS; once, also where the text writes it), the text, and an EOS
    /// where the text has no end token of its own at its end.
    private func tokens(raw text: String) throws -> [Int32] {
        var ids = try withPrefix(text)
        if let eos = tokenizer.eos, !endsItself(text) { ids.append(eos) }
        return ids
    }

    private func withPrefix(_ text: String) throws -> [Int32] {
        let ids = try tokenizer.encode(text)
        return ids.starts(with: tokenizer.prefix) ? ids : tokenizer.prefix + ids
    }

    /// Whether a text ends with an end token, white space behind it apart.
    private func endsItself(_ text: String) -> Bool {
        var rest = text.unicodeScalars[...]
        while rest.last?.properties.isWhitespace == true { rest.removeLast() }
        return endTexts.contains { String(rest).hasSuffix($0) }
    }

    private func endIsTrained(_ text: String) -> Bool { tokenizer.eos != nil || endsItself(text) }

    /// TRL's rule: the completion begins at the length of the prompt's own tokens.
    private func made(prompt: String, completion: String, row: Int, heldOut: Bool) throws -> Result {
        guard settings.assistantOnlyLoss != true else { throw Unusable("assistant_only_loss has no meaning for raw text", fix: "remove the key") }
        let promptIDs = try withPrefix(prompt)
        let ids = try tokens(raw: prompt + completion)
        let trainsPrompt = settings.completionOnlyLoss == false
        var question: (() throws -> HeldOutRow?)?
        if heldOut, !promptIDs.isEmpty { question = { HeldOutRow(record: row, promptIDs: promptIDs, promptText: prompt, answer: completion) } }
        var result = try finished(
            ids, trained: ids.indices.map { trainsPrompt || $0 >= promptIDs.count }, row: row, endIsTrained: endIsTrained(completion), question: question)
        result.splitsDiffer = !ids.starts(with: promptIDs)
        return result
    }

    // MARK: - Samples

    /// - Parameters:
    ///   - trained: as many as `ids`.
    ///   - question: makes the held-out row; not asked where the sample is truncated.
    private func finished(_ ids: [Int32], trained: [Bool], row: Int, endIsTrained: Bool, question: (() throws -> HeldOutRow?)?) throws -> Result {
        var all = trained
        // Nothing stands before the first token.
        if !all.isEmpty { all[0] = false }
        guard let first = all.firstIndex(of: true), let last = all.lastIndex(of: true) else { throw Unusable("nothing to train") }
        guard first < settings.maxLength else {
            throw Unusable("the prompt alone is longer than max_length (\(first) tokens, \(settings.maxLength) allowed)", fix: "raise max_length")
        }
        // Nothing behind the last trained token matters to the loss: of the whole sample, and of what truncation leaves.
        let truncated = last >= settings.maxLength
        let used = truncated ? (all[..<settings.maxLength].lastIndex(of: true) ?? first) + 1 : last + 1
        return Result(
            sample: TokenSample(
                record: row, ids: used == ids.count ? ids : Array(ids[..<used]), trained: used == ids.count ? all : Array(all[..<used]), truncated: truncated),
            heldOut: truncated ? nil : try question?(), endIsTrained: endIsTrained, endsTwice: endsTwice(ids, all))
    }

    private func endsTwice(_ ids: [Int32], _ trained: [Bool]) -> Bool {
        guard ids.count(where: { ends.contains($0) }) > 1 else { return false }
        var open = false
        for (id, trained) in zip(ids, trained) {
            if ends.contains(id) {
                if open && trained { return true }
                open = trained
            } else if open {
                open = trained && isBlank(tokenizer.decode([id]))
            }
        }
        return false
    }
}

/// Finds the texts of special tokens inside messages: they become tokens of their own, and may end a turn in its middle.
struct SpecialTexts: Sendable {
    /// By their first byte, for each of the 256.
    private let texts: [[[UInt8]]]

    init(_ tokenizer: Tokenizer) {
        var texts = [[[UInt8]]](repeating: [], count: 256)
        for id in 0..<Int32(clamping: tokenizer.vocabularySize) where tokenizer.isSpecial(id) {
            let text = Array(tokenizer.text(of: id).utf8)
            // `<unk>`, `<s>` and their like are short; a single character is ordinary text.
            if let first = text.first, text.count > 2 { texts[Int(first)].append(text) }
        }
        self.texts = texts
    }

    /// The first one in a conversation's messages.
    func first(in conversation: Conversation) -> String? {
        for message in conversation.messages { if let text = message["content"]?.string, let found = first(in: text) { return found } }
        return nil
    }

    private func first(in text: String) -> String? {
        var text = text
        return text.withUTF8 { bytes in
            for at in bytes.indices where !texts[Int(bytes[at])].isEmpty {
                for candidate in texts[Int(bytes[at])] where bytes.count - at >= candidate.count && bytes[at..<at + candidate.count].elementsEqual(candidate) {
                    return String(decoding: candidate, as: UTF8.self)
                }
            }
            return nil
        }
    }
}
