import LorikeetGround

/// Finds the answers of a template that does not mark them, by rendering its generation prompts.
///
/// A message's turn is the stretch that the template's loop over the messages wrote for it. The generation prompt is rendered for the
/// messages before it; what the turn begins with of it is the prompt's, the rest is the answer. Templates that do not loop over the
/// messages are searched by prefixes: an answer begins where the prompt's whole text ends, if that is the beginning of the text.
struct AnswerFinder {
    /// Renderings of generation prompts that one conversation may cost: of every turn of a short one; of a long one, of each kind of turn.
    private static let mostRenderings = 48
    /// Turns whose generation prompt is always rendered.
    private static let alwaysRendered = 8

    /// What the generation prompt can depend on apart from the texts: the role and the keys of the message before.
    private typealias Kind = [String]

    private var renderer: ConversationRenderer
    private let places: RenderedPlaces
    private let ends: [[UInt8]]
    private(set) var renderings = 0
    private var prompts: [Kind: [UInt8]] = [:]

    init(_ renderer: ConversationRenderer, places: RenderedPlaces, ends: [[UInt8]]) {
        self.renderer = renderer
        self.places = places
        self.ends = ends
    }

    mutating func find(_ trained: [Int]) throws -> [RenderedConversation.Answer] {
        var answers: [RenderedConversation.Answer] = []
        for turn in trained {
            let found: RenderedConversation.Answer
            if let region = places.region(of: turn) {
                found = try answer(turn, in: region)
            } else {
                found = try answerByPrefix(turn)
            }
            guard found.range.lowerBound >= answers.last?.range.upperBound ?? 0 else { throw cannotTell(turn, "the order of its turns is another") }
            answers.append(found)
        }
        return answers
    }

    private func cannotTell(_ turn: Int, _ why: String) -> LorikeetError {
        LorikeetError.input(
            "it cannot be determined where the answer of message \(turn + 1) begins in the chat template's text: \(why)",
            fix: "give a chat template that marks answers with {% generation %}, or prompt/completion records")
    }

    /// The text of the first messages, with the generation prompt or without.
    private mutating func rendering(of count: Int, asking: Bool, for turn: Int) throws -> RenderedPlaces {
        renderings += 1
        guard renderings <= Self.mostRenderings else { throw cannotTell(turn, "the conversation has too many turns that differ") }
        return try renderer.rendering(of: count, asking: asking)
    }

    // MARK: By turns of the loop over the messages

    private mutating func answer(_ turn: Int, in region: Range<Int>) throws -> RenderedConversation.Answer {
        guard !places.holdsOthers(turn) else { throw cannotTell(turn, "other messages may be written inside its turn") }
        let written = places.bytes[region]
        let kind = kind(of: turn)
        let known = renderings >= Self.alwaysRendered ? prompts[kind] : nil
        let prompt = try known.flatMap { written.starts(with: $0) ? $0 : nil } ?? generationPrompt(before: turn, at: region.lowerBound)
        prompts[kind] = prompt
        var start = region.lowerBound + prompt.count
        if !written.starts(with: prompt) {
            // The prompt opens the answer (with a thought) and this turn is written without, or the other way round: the answer begins with
            // the first piece that is not the prompt's.
            let common = zip(written, prompt).prefix { $0 == $1 }.count
            start = places.boundary(atMost: region.lowerBound + common)
            guard start > region.lowerBound else { throw cannotTell(turn, "it is written otherwise than it is asked for") }
        }
        if let end = places.end(of: start..<region.upperBound, ends) {
            return .init(message: turn, range: start..<end, endsWithEndToken: true)
        }
        // Some templates end a turn with the token that begins the next.
        let end = places.end(at: region.upperBound, ends)
        return .init(message: turn, range: start..<(end ?? region.upperBound), endsWithEndToken: end != nil)
    }

    /// What the template writes behind the messages before a turn to ask for it.
    private mutating func generationPrompt(before turn: Int, at start: Int) throws -> [UInt8] {
        let asked = try rendering(of: turn, asking: true, for: turn)
        if asked.bytes.starts(with: places.bytes[..<start]) { return Array(asked.bytes[start...]) }
        // The messages before are written otherwise where they are the last: the prompt is what asking adds behind the last of them.
        let plain = try rendering(of: turn, asking: false, for: turn)
        guard places.region(of: turn - 1)?.upperBound == start, let last = plain.region(of: turn - 1), let same = asked.region(of: turn - 1),
            asked.bytes[same].starts(with: plain.bytes[last])
        else { throw cannotTell(turn, "the messages before it are written otherwise when it is asked for") }
        return Array(asked.bytes[(same.lowerBound + last.count)...])
    }

    private func kind(of turn: Int) -> Kind {
        turn > 0 ? renderer.kind(of: turn - 1) : []
    }

    // MARK: By prefixes

    private mutating func answerByPrefix(_ turn: Int) throws -> RenderedConversation.Answer {
        let asked = try rendering(of: turn, asking: true, for: turn).bytes
        guard places.bytes.starts(with: asked) else { throw cannotTell(turn, "it is written otherwise than it is asked for") }
        var bound = places.bytes.count
        if turn < renderer.messageCount - 1 {
            let upToTurn = try rendering(of: turn + 1, asking: false, for: turn).bytes
            guard places.bytes.starts(with: upToTurn), upToTurn.count > asked.count else {
                throw cannotTell(turn, "it is written otherwise when nothing follows")
            }
            bound = upToTurn.count
        }
        guard bound > asked.count else { throw cannotTell(turn, "nothing is written for it") }
        let end = places.end(of: asked.count..<bound, ends) ?? places.end(at: bound, ends)
        return .init(message: turn, range: asked.count..<(end ?? bound), endsWithEndToken: end != nil)
    }
}
