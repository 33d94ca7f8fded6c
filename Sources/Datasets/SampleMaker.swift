import LorikeetGround
import LorikeetTokenizers

/// Turns records into token samples. The chat template's text is cut at the beginning and end of every assistant's answer, and each piece is
/// encoded by itself: when the model generates, the prompt is encoded alone too, so training must see the same token boundary there.
struct SampleMaker: Sendable {
    /// A sample, and what the data report counts about it.
    struct Result: Sendable {
        let sample: TokenSample
        let heldOut: HeldOutRow?
        /// The last answer ends with a token that ends an answer, before truncation.
        let endIsTrained: Bool
        /// Assistant's turns without text: shown, not trained.
        let emptyAnswers: Int
    }

    /// A part of a record's text whose tokens are all trained or all not.
    private struct Piece {
        let text: String
        let trained: Bool
    }

    private let tokenizer: Tokenizer
    private let template: ChatTemplate?
    private let maxLength: Int
    /// Rows of the model's embedding table; nil where no model will read the samples.
    private let embeddingRows: Int?
    private let endTexts: [[UInt8]]

    init(tokenizer: Tokenizer, template: ChatTemplate?, maxLength: Int, embeddingRows: Int?) {
        self.embeddingRows = embeddingRows
        self.tokenizer = tokenizer
        self.template = template
        self.maxLength = maxLength
        endTexts = tokenizer.endTokens.map { Array(tokenizer.decode([$0]).utf8) }.filter { !$0.isEmpty }
    }

    /// - Parameter heldOut: also return the prompt and the expected answer, for the test at the end of a run.
    func make(_ record: Record, row: Int, heldOut: Bool) throws(Unusable) -> Result {
        switch record {
        case .chat(let messages):
            let (pieces, hasEnd) = try pieces(of: messages)
            let answer = messages.last { $0.role == "assistant" && !isBlank($0.content) }?.content ?? ""
            let empty = messages.count { $0.role == "assistant" && isBlank($0.content) }
            return try made(pieces, row: row, endsWithEOS: false, endIsTrained: hasEnd, emptyAnswers: empty, answer: heldOut ? answer : nil)
        case .completion(let prompt, let completion):
            return try made(
                [Piece(text: prompt, trained: false), Piece(text: completion, trained: true)], row: row, endsWithEOS: true,
                endIsTrained: tokenizer.eos != nil, emptyAnswers: 0, answer: heldOut ? completion : nil)
        case .text(let text):
            return try made(
                [Piece(text: text, trained: true)], row: row, endsWithEOS: true, endIsTrained: tokenizer.eos != nil, emptyAnswers: 0,
                answer: nil)
        }
    }

    /// Holds a sample's ids to the model's embedding table.
    ///
    /// - Throws: exit 2 at `place`: tokenizer and model do not belong together, so the record is not merely left out.
    func requireRows(_ made: Result, at place: String) throws {
        guard let embeddingRows else { return }
        try tokenizer.requireRows(for: made.sample.ids, rows: embeddingRows, at: place)
        try tokenizer.requireRows(for: made.heldOut?.promptIDs ?? [], rows: embeddingRows, at: place)
    }

    // MARK: - Text to tokens

    private func made(
        _ pieces: [Piece], row: Int, endsWithEOS: Bool, endIsTrained: Bool, emptyAnswers: Int, answer: String?
    ) throws(Unusable) -> Result {
        var ids: [Int32] = []
        var trained: [Bool] = []
        // Raw text gets the BOS that the tokenizer's file asks for; templates write their own.
        if endsWithEOS, tokenizer.addsBOS, let bos = tokenizer.bos {
            ids.append(bos)
            trained.append(false)
        }
        var promptCount = 0
        for (index, piece) in pieces.enumerated() {
            if index == pieces.count - 1 { promptCount = ids.count }
            let tokens: [Int32]
            do { tokens = try tokenizer.encode(piece.text) } catch { throw Unusable(error.what, fix: error.fix) }
            // A text that writes the BOS itself must not begin with two.
            let doubled = endsWithEOS && index == 0 && ids.count == 1 && tokens.first == tokenizer.bos
            ids += doubled ? tokens.dropFirst() : tokens[...]
            trained += repeatElement(piece.trained, count: ids.count - trained.count)
        }
        if endsWithEOS, let eos = tokenizer.eos, ids.last != eos {
            ids.append(eos)
            trained.append(true)
        }
        if !trained.isEmpty { trained[0] = false }
        let promptIDs = Array(ids.prefix(promptCount))
        let whole = ids.count
        if whole > maxLength {
            ids.removeLast(whole - maxLength)
            trained.removeLast(whole - maxLength)
        }
        // Nothing behind the last trained token matters to the loss.
        let used = (trained.lastIndex(of: true) ?? -1) + 1
        guard used > 0 else {
            guard whole > maxLength else { throw Unusable("nothing to train") }
            throw Unusable(
                "the prompt alone is longer than max_length (\(promptCount) tokens, \(maxLength) allowed)", fix: "raise max_length")
        }
        ids.removeLast(ids.count - used)
        trained.removeLast(trained.count - used)
        var question: HeldOutRow?
        if let answer, whole <= maxLength, promptCount > 0 {
            let text = pieces.dropLast().map(\.text).joined()
            question = HeldOutRow(record: row, promptIDs: promptIDs, promptText: text, answer: answer)
        }
        return Result(
            sample: TokenSample(record: row, ids: ids, trained: trained, truncated: whole > maxLength), heldOut: question,
            endIsTrained: endIsTrained, emptyAnswers: emptyAnswers)
    }

    // MARK: - Where the assistant speaks

    /// The conversation up to its last answer, cut into prompts (not trained) and answers (trained).
    ///
    /// An answer begins where the template's generation prompt for the messages before it ends, so that text must be a
    /// prefix of the whole; it ends with its end token. What the template writes after that (a newline) belongs to the next prompt.
    private func pieces(of messages: [ChatMessage]) throws(Unusable) -> (pieces: [Piece], hasEnd: Bool) {
        guard let last = messages.lastIndex(where: { $0.role == "assistant" && !isBlank($0.content) }) else {
            throw Unusable("the answer is empty")
        }
        guard last > 0 else { throw Unusable("nothing stands before the answer") }
        let whole = try render(messages[...last], prompting: false)
        var pieces: [Piece] = []
        var at = 0
        var hasEnd = false
        for turn in 1...last where messages[turn].role == "assistant" && !isBlank(messages[turn].content) {
            let prompt = try render(messages[..<turn], prompting: true)
            guard prompt.count >= at, whole.starts(with: prompt) else {
                throw Unusable(
                    "the chat template writes message \(turn + 1) otherwise than it asks for it",
                    fix: "give a model whose template writes an answer right behind its generation prompt, or prompt/completion records")
            }
            let start = prompt.count
            var bound = whole.count
            if turn < last {
                // Templates that write earlier turns otherwise (without their thoughts) have no such prefix.
                let upToTurn = try render(messages[...turn], prompting: false)
                if whole.starts(with: upToTurn) { bound = upToTurn.count }
            }
            let end = endOfAnswer(in: whole[start..<bound], content: messages[turn].content)
            hasEnd = end != nil
            pieces.append(Piece(text: String(decoding: whole[at..<start], as: UTF8.self), trained: false))
            pieces.append(Piece(text: String(decoding: whole[start..<(end ?? bound)], as: UTF8.self), trained: true))
            at = end ?? bound
        }
        return (pieces, hasEnd)
    }

    private func render(_ messages: ArraySlice<ChatMessage>, prompting: Bool) throws(Unusable) -> [UInt8] {
        guard let template else { throw Unusable("there is no chat template") }
        do {
            return Array(try template.render(Array(messages), addGenerationPrompt: prompting).utf8)
        } catch let error as LorikeetError {
            throw Unusable("the chat template refuses the conversation: \(error.what)", fix: error.fix)
        } catch {
            throw Unusable("the chat template refuses the conversation: \(error)")
        }
    }

    /// One past the first end token's text behind the content (which may hold such a text itself); nil where there is none.
    private func endOfAnswer(in turn: ArraySlice<UInt8>, content: String) -> Int? {
        // Templates may trim the content or write something before it.
        let content = Array(String(trimmed(content)).utf8)
        let behind = find(content, in: turn).map { $0 + content.count } ?? turn.startIndex
        return endTexts.compactMap { text in find(text, in: turn[behind...]).map { $0 + text.count } }.min()
    }

    private func find(_ needle: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
        guard let first = needle.first, bytes.count >= needle.count else { return nil }
        return (bytes.startIndex...bytes.endIndex - needle.count).first {
            bytes[$0] == first && bytes[$0..<$0 + needle.count].elementsEqual(needle)
        }
    }

    private func trimmed(_ text: String) -> Substring.UnicodeScalarView {
        var view = text.unicodeScalars[...]
        while view.first?.properties.isWhitespace == true { view.removeFirst() }
        while view.last?.properties.isWhitespace == true { view.removeLast() }
        return view
    }
}
