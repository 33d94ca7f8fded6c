import Synchronization

/// What a template writes for every conversation of one shape: messages that consist of a role and a text, with the same roles.
///
/// Most templates write the texts (or trim them first) and look at nothing in them. Such a template is run once with texts that are left open;
/// each conversation then puts its texts into the places. A template that looks at a text, or refuses the roles, has no outline.
struct TemplateOutline: Sendable {
    /// Conversations of more messages are rendered as they are.
    static let mostMessages = 64

    private let layout: RenderedLayout
    /// The output, with one byte in place of each text.
    private let bytes: [UInt8]
    private let places: [OpenPlace]
    private let steps: Int

    init(_ run: TemplateRun) {
        layout = RenderedLayout(run.notes)
        bytes = Array(run.output.utf8)
        places = run.openPlaces ?? []
        steps = run.work / TemplateRun.stepCost + 1
    }

    /// The rendering of a conversation with these texts; nil where they are so long that the limits of a run might be reached.
    func filled(with contents: [String]) -> RenderedPlaces? {
        let longest = contents.reduce(0) { max($0, $1.utf8.count) }
        // Every step of the run works on a text a few times at most.
        guard longest <= TemplateRun.maximumBytes / 8 / steps else { return nil }
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + places.reduce(0) { $0 + contents[$1.content.message].utf8.count })
        var shifts: [RenderedPlaces.Shift] = []
        shifts.reserveCapacity(places.count)
        var done = 0
        for place in places {
            output += bytes[done..<place.offset]
            done = place.offset + 1
            let content = contents[place.content.message]
            if place.content.isTrimmed { output += PythonText.strip(content, nil).utf8 } else { output += content.utf8 }
            shifts.append(.init(offset: place.offset, by: output.count - done))
        }
        output += bytes[done...]
        return RenderedPlaces(bytes: output, layout: layout, shifts: shifts)
    }
}

/// The outlines of a template that were needed so far.
final class OutlineTable: Sendable {
    struct Key: Hashable, Sendable {
        /// Of the messages, each with a line break behind it.
        let roles: String
        let asks: Bool
    }

    private enum Entry: Sendable {
        case outline(TemplateOutline)
        case none
    }

    /// Shapes that are kept; further ones have no outline.
    private static let mostEntries = 1024

    private let entries = Mutex<[Key: Entry]>([:])

    /// The outline of a shape: `make` is run for a new one, at times by several threads.
    func outline(_ key: Key, make: () -> TemplateOutline?) -> TemplateOutline? {
        let (entry, isFull) = entries.withLock { ($0[key], $0.count >= Self.mostEntries) }
        if let entry {
            if case .outline(let outline) = entry { return outline }
            return nil
        }
        guard !isFull else { return nil }
        let outline = make()
        entries.withLock { $0[key] = outline.map { .outline($0) } ?? Entry.none }
        return outline
    }
}

/// Renders a conversation and its beginnings: from outlines where there are some.
struct ConversationRenderer {
    private let template: ChatTemplate
    private let conversation: Conversation
    /// Role and text of each message; nil where messages have something else.
    private let texts: (roles: [String], contents: [String])?
    private var input: TemplateInput?

    /// - Throws: as `TemplateInput.init`.
    init(_ template: ChatTemplate, _ conversation: Conversation) throws {
        self.template = template
        self.conversation = conversation
        texts = Self.texts(conversation)
        if texts == nil { input = try TemplateInput(conversation) }
    }

    var messageCount: Int { conversation.messages.count }

    private static func texts(_ conversation: Conversation) -> (roles: [String], contents: [String])? {
        guard conversation.tools == nil, conversation.documents == nil, conversation.variables.isEmpty,
            conversation.messages.count <= TemplateOutline.mostMessages
        else { return nil }
        var (roles, contents): ([String], [String]) = ([], [])
        // Any other role might be equal to one of other bytes, or to two.
        func isPlain(_ role: String) -> Bool { role.utf8.allSatisfy { (0x21...0x7E).contains($0) } }
        for message in conversation.messages {
            guard case .object(let object) = message, object.entries.count == 2, object.entries[0].key == "role",
                object.entries[1].key == "content", case .string(let role) = object.entries[0].value, isPlain(role),
                case .string(let content) = object.entries[1].value, content.unicodeScalars.contains(where: { !PythonText.isSpace($0) })
            else { return nil }
            roles.append(role)
            contents.append(content)
        }
        return (roles, contents)
    }

    /// The first `count` messages as text, with the generation prompt or without.
    mutating func rendering(of count: Int, asking: Bool) throws -> RenderedPlaces {
        if let (roles, contents) = texts {
            let key = OutlineTable.Key(roles: roles[..<count].reduce(into: "") { $0 += $1 + "\n" }, asks: asking)
            let outline = template.outlines.outline(key) { template.outline(roles: Array(roles[..<count]), addGenerationPrompt: asking) }
            if let rendering = outline?.filled(with: contents) { return rendering }
        }
        let input = try wholeInput()
        var notes = RunNotes()
        notes.tracksPlaces = true
        return RenderedPlaces(try template.run(count == messageCount ? input : input.prefix(count), addGenerationPrompt: asking, notes: notes))
    }

    private mutating func wholeInput() throws -> TemplateInput {
        let whole = try input ?? TemplateInput(conversation)
        input = whole
        return whole
    }

    /// The role and the keys of a message, as the template finds them.
    func kind(of message: Int) -> [String] {
        if let texts { return [texts.roles[message], "role", "content"] }
        guard case .mapping(let mapping)? = input?.messages[message] else { return [] }
        return [mapping["role"]?.string ?? ""] + mapping.entries.map(\.key.text)
    }
}

extension ChatTemplate {
    /// The outline of the conversations with these roles; nil where the template looks at the texts, or refuses the conversation.
    func outline(roles: [String], addGenerationPrompt: Bool) -> TemplateOutline? {
        let messages = roles.enumerated().map { index, role in
            var mapping = TemplateMapping([
                ("role", .string(role)), ("content", .open(OpenText(parts: [.content(OpenContent(message: index))]))),
            ])
            mapping.message = index
            return TemplateValue.mapping(mapping)
        }
        var notes = RunNotes()
        notes.tracksPlaces = true
        let input = TemplateInput(messages: messages)
        return (try? run(input, addGenerationPrompt: addGenerationPrompt, notes: notes, makesOutline: true)).map { TemplateOutline($0) }
    }
}
