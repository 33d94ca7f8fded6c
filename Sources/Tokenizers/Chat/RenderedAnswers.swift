import LorikeetGround
import LorikeetJSON

extension ChatTemplate {
    /// The conversation as text, with the range of every answer that is to be trained.
    ///
    /// Where the template marks what the assistant writes (`{% generation %}`), its marks are the ranges, to the byte. Otherwise an answer
    /// begins where the generation prompt for the messages before it ends, and ends with the end token of its turn; what the template
    /// writes after that (a newline) belongs to the next prompt.
    ///
    /// - Parameters:
    ///   - trained: indices of the messages to train, ascending.
    ///   - endTexts: the texts of the tokens that end an answer.
    /// - Throws: `LorikeetError.input` where the template refuses the conversation, or where the ranges cannot be found exactly.
    package func renderWithAnswers(_ conversation: Conversation, trained: [Int], endTexts: [String]) throws -> RenderedConversation {
        for turn in trained where !conversation.messages.indices.contains(turn) {
            throw LorikeetError.input("message \(turn + 1) does not exist")
        }
        if trained.first == 0 { throw LorikeetError.input("nothing stands before the answer") }
        var renderer = try ConversationRenderer(self, conversation)
        let places = try renderer.rendering(of: conversation.messages.count, asking: false)
        let ends = endTexts.map { Array($0.utf8) }.filter { !$0.isEmpty }
        let answers: [RenderedConversation.Answer]
        if let line = places.unplacedGeneration {
            throw LorikeetError.input(
                "{% generation %} stands inside a macro or a {% set %} block, where the position of its text cannot be determined", at: "\(name):\(line)")
        } else if !places.generated.isEmpty {
            let assistants = conversation.messages.indices.filter { conversation.messages[$0]["role"]?.string == "assistant" }
            answers = try MarkedAnswers(places: places, ends: ends).find(trained, assistants: assistants)
        } else {
            var finder = AnswerFinder(renderer, places: places, ends: ends)
            answers = try finder.find(trained)
        }
        return RenderedConversation(text: String(decoding: places.bytes, as: UTF8.self), answers: answers)
    }
}

/// Where the messages of a rendering stand.
struct RenderedLayout: Sendable {
    let notes: RunNotes
    /// Of each message that one turn of one loop wrote: where. Messages that were written in several places are missing.
    let regions: [Int: Range<Int>]
    /// Messages inside whose stretch another message was written.
    let shared: Set<Int>

    init(_ notes: RunNotes) {
        self.notes = notes
        var found: [Int: Range<Int>] = [:]
        var several: Set<Int> = []
        var shared: Set<Int> = []
        // Inner loops' stretches come first. Those that no outer one has swallowed yet, in the order of the text.
        var open: [RunNotes.Region] = []
        for region in notes.regions {
            while let last = open.last, last.range.lowerBound >= region.range.lowerBound {
                if last.message != region.message { shared.insert(region.message) }
                open.removeLast()
            }
            open.append(region)
            if let before = found[region.message], !Self.contains(region.range, before) { several.insert(region.message) }
            found[region.message] = region.range
        }
        regions = several.isEmpty ? found : found.filter { !several.contains($0.key) }
        self.shared = shared
    }

    private static func contains(_ outer: Range<Int>, _ inner: Range<Int>) -> Bool {
        outer.lowerBound <= inner.lowerBound && inner.upperBound <= outer.upperBound
    }
}

/// The text of a rendering, and where its messages stand.
struct RenderedPlaces {
    /// Offsets of the layout behind `offset` are to be raised.
    struct Shift {
        let offset: Int
        let by: Int
    }

    let bytes: [UInt8]
    private let layout: RenderedLayout
    /// Ascending; the last one below an offset counts. Every offset stays above those that it was above.
    private let shifts: [Shift]

    init(_ run: TemplateRun) {
        self.init(bytes: Array(run.output.utf8), layout: RenderedLayout(run.notes), shifts: [])
    }

    init(bytes: [UInt8], layout: RenderedLayout, shifts: [Shift]) { (self.bytes, self.layout, self.shifts) = (bytes, layout, shifts) }

    /// An offset of the layout as one of `bytes`.
    private func place(_ offset: Int) -> Int {
        var (low, high) = (0, shifts.count)
        while low < high {
            let middle = (low + high) / 2
            if shifts[middle].offset < offset { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? offset + shifts[low - 1].by : offset
    }

    private func place(_ range: Range<Int>) -> Range<Int> { place(range.lowerBound)..<place(range.upperBound) }

    func region(of message: Int) -> Range<Int>? { layout.regions[message].map(place) }
    func holdsOthers(_ message: Int) -> Bool { layout.shared.contains(message) || layout.notes.readersOfOthers.contains(message) }
    var unplacedGeneration: Int? { layout.notes.unplacedGeneration }
    /// What `{% generation %}` marks.
    var generated: [RunNotes.Generated] { layout.notes.generated.map { .init(message: $0.message, range: place($0.range)) } }

    /// The last place at or below `limit` where the template began to write a piece.
    func boundary(atMost limit: Int) -> Int {
        let boundaries = layout.notes.boundaries
        var (low, high) = (0, boundaries.count)
        while low < high {
            let middle = (low + high) / 2
            if place(boundaries[middle]) <= limit { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? place(boundaries[low - 1]) : 0
    }

    /// Where a turn ends that has its end token last, white space aside; nil where it has none.
    func end(of range: Range<Int>, _ ends: [[UInt8]]) -> Int? {
        var end = range.upperBound
        while true {
            if ends.contains(where: { $0.count <= end - range.lowerBound && bytes[(end - $0.count)..<end].elementsEqual($0) }) { return end }
            guard end > range.lowerBound, bytes[end - 1] == 0x20 || (0x09...0x0D).contains(bytes[end - 1]) else { return nil }
            end -= 1
        }
    }

    /// One past an end token that begins at `place`.
    func end(at place: Int, _ ends: [[UInt8]]) -> Int? {
        ends.filter { bytes[place...].starts(with: $0) }.map { place + $0.count }.max()
    }
}

/// The answers of a template that marks them.
private struct MarkedAnswers {
    let places: RenderedPlaces
    let ends: [[UInt8]]

    /// - Parameter assistants: indices of all assistant messages.
    func find(_ trained: [Int], assistants: [Int]) throws -> [RenderedConversation.Answer] {
        let marks = try owners(trained, assistants)
        let wanted = Set(trained)
        var last: [Int: Int] = [:]
        for (index, mark) in marks.enumerated() { last[mark.message] = index }
        for turn in trained where last[turn] == nil {
            throw LorikeetError.input("the chat template's {% generation %} marks nothing of message \(turn + 1)")
        }
        return marks.enumerated().filter { wanted.contains($0.element.message) }.map { index, mark in
            let ends = last[mark.message] == index && places.end(of: mark.range, ends) != nil
            return .init(message: mark.message, range: mark.range, endsWithEndToken: ends)
        }
    }

    /// The marked ranges with their messages.
    private func owners(_ trained: [Int], _ assistants: [Int]) throws -> [(message: Int, range: Range<Int>)] {
        let generated = places.generated
        if generated.allSatisfy({ $0.message == nil }) {
            // The template does not loop over the messages themselves: only the order tells which is which.
            guard generated.count == assistants.count, trained == assistants else {
                throw LorikeetError.input("it cannot be determined which messages the chat template's {% generation %} blocks belong to")
            }
            return zip(assistants, generated).map { ($0, $1.range) }
        }
        var current: Int?
        return try generated.map { mark in
            // Behind the loop a template may mark the last answer's end.
            guard let message = mark.message ?? current else {
                throw LorikeetError.input("the chat template's {% generation %} marks text before the first message")
            }
            current = message
            return (message, mark.range)
        }
    }
}
