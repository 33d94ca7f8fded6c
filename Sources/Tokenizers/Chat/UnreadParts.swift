import LorikeetJSON

/// A part of a conversation that does not reach the text of a chat template.
package struct UnreadPart: Sendable, Hashable {
    /// The message's index; nil for a part of the conversation as a whole (`tools`, `documents`, a variable).
    package let message: Int?
    /// A key of the message, or the variable's name.
    package let key: String
}

extension ChatTemplate {
    /// What stands in the conversation and does not reach the template's text: keys of messages and variables that the template never
    /// reads, and tool calls, reasoning and tools without which the text would be the same.
    ///
    /// Costs one to four renderings. Roles are never reported, nor are values that say nothing (null, empty texts and lists).
    /// - Throws: as `render`.
    package func unreadParts(of conversation: Conversation) throws -> [UnreadPart] {
        var notes = RunNotes()
        notes.tracksReads = true
        let run = try run(try TemplateInput(conversation), addGenerationPrompt: false, notes: notes)
        var parts: [UnreadPart] = []
        let reasoning = Set(TemplateInput.reasoningKeys)
        for (index, message) in conversation.messages.enumerated() {
            let read = run.notes.readKeys[index] ?? []
            let readsReasoning = !read.isDisjoint(with: reasoning)
            for (key, value) in message.object?.entries ?? [] where key != "role" && !value.saysNothing {
                if reasoning.contains(key) ? !readsReasoning : !read.contains(key) { parts.append(UnreadPart(message: index, key: key)) }
            }
        }
        for (name, value) in conversation.givenVariables where !run.notes.readVariables.contains(name) && !value.saysNothing {
            parts.append(UnreadPart(message: nil, key: name))
        }
        return parts + (try partsWithoutEffect(conversation, text: run.output, besides: parts))
    }

    /// Parts that are read but change nothing.
    private func partsWithoutEffect(_ conversation: Conversation, text: String, besides known: [UnreadPart]) throws -> [UnreadPart] {
        var parts: [UnreadPart] = []
        for keys in [["tool_calls"], TemplateInput.reasoningKeys] {
            let places = conversation.messages.indices.flatMap { index in
                keys.filter { conversation.messages[index][$0]?.saysNothing == false }.map { UnreadPart(message: index, key: $0) }
            }.filter { !known.contains($0) }
            guard !places.isEmpty else { continue }
            var without = conversation
            for index in without.messages.indices {
                guard case .object(var object) = without.messages[index] else { continue }
                for key in keys { object[key] = nil }
                without.messages[index] = .object(object)
            }
            if hasSameText(without, text) { parts += places }
        }
        if let tools = conversation.tools, !tools.saysNothing, !known.contains(UnreadPart(message: nil, key: "tools")) {
            var without = conversation
            without.tools = nil
            if hasSameText(without, text) { parts.append(UnreadPart(message: nil, key: "tools")) }
        }
        return parts
    }

    /// A template that refuses the rest reads what was taken away.
    private func hasSameText(_ conversation: Conversation, _ text: String) -> Bool {
        guard let other = try? render(conversation, addGenerationPrompt: false) else { return false }
        return other == text
    }
}

extension Conversation {
    /// What is given to the template beside the messages, in a fixed order.
    fileprivate var givenVariables: [(name: String, value: JSON)] {
        var all = variables.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        if let tools { all.append(("tools", tools)) }
        if let documents { all.append(("documents", documents)) }
        return all
    }
}

extension JSON {
    /// null, an empty text, an empty list or object.
    fileprivate var saysNothing: Bool {
        switch self {
        case .null: true
        case .string(let text): text.isEmpty
        case .array(let values): values.isEmpty
        case .object(let object): object.entries.isEmpty
        default: false
        }
    }
}
