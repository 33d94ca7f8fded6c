/// A text of which parts are not known yet: it stands for messages' contents while a `TemplateOutline` is made.
///
/// It may be kept, written, trimmed and joined to other texts. Everything else needs to know its bytes and ends the outline.
package struct OpenText: Sendable {
    enum Part: Sendable {
        case known(String)
        case content(OpenContent)
    }

    /// Bytes were needed that are not known.
    struct Unknown: Error {}

    let parts: [Part]
}

/// A message's content, which is neither empty nor white space alone.
struct OpenContent: Sendable {
    let message: Int
    /// Without the white space at both ends.
    var isTrimmed = false
}

/// A content in the output of an outline, where one byte stands for it.
struct OpenPlace: Sendable {
    let offset: Int
    let content: OpenContent
}

/// The operations of a run that makes an outline. A run of any other kind has no open texts, and these functions cost it one comparison.
extension TemplateRun {
    var makesOutline: Bool { openPlaces != nil }

    /// A value that is read as a whole: it must not hold open texts.
    @inline(__always)
    func known(_ value: TemplateValue) throws -> TemplateValue {
        if makesOutline, value.shape.isOpen { throw OpenText.Unknown() }
        return value
    }

    @inline(__always)
    func known(_ arguments: EvaluatedArguments) throws -> EvaluatedArguments {
        guard makesOutline else { return arguments }
        for value in arguments.positional { _ = try known(value) }
        for argument in arguments.named { _ = try known(argument.value) }
        return arguments
    }

    /// A value of which a part is taken: a list or mapping may hold open texts, but a text must not be open itself.
    @inline(__always)
    func whole(_ value: TemplateValue) throws -> TemplateValue {
        if case .open = value { throw OpenText.Unknown() }
        return value
    }

    /// What a filter makes of a value that may be open; nil where it is to be applied as always.
    func outlined(filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        guard makesOutline else { return nil }
        switch value {
        case .open(let text):
            guard name == "trim", arguments.positional.isEmpty, arguments.named.isEmpty, text.parts.count == 1,
                case .content(var content) = text.parts[0]
            else { break }
            content.isTrimmed = true
            return .open(OpenText(parts: [.content(content)]))
        case .list where name == "length" || name == "count": return nil
        default: break
        }
        _ = try known(value)
        return nil
    }

    private static let testsOfKind: Set<String> = [
        "defined", "undefined", "none", "string", "escaped", "mapping", "boolean", "true", "false", "integer", "float", "number", "sequence",
        "iterable", "callable",
    ]

    /// The value that a test is to look at: some look at nothing but the kind of value.
    func tested(_ value: TemplateValue, by test: String) throws -> TemplateValue {
        guard makesOutline, value.shape.isOpen else { return value }
        guard Self.testsOfKind.contains(test) else { throw OpenText.Unknown() }
        if case .open = value { return .string("text") }
        return value
    }

    /// Holds the sides of a comparison to what is known: of a mapping that is searched the keys alone.
    @inline(__always)
    func requireKnown(_ comparing: Operator, _ left: TemplateValue, _ right: TemplateValue) throws {
        guard makesOutline else { return }
        _ = try known(left)
        if comparing == .isIn || comparing == .notIn, case .mapping = right { return }
        _ = try known(right)
    }

    /// The sum of two texts of which one is open; nil where none is.
    func openSum(_ binary: Operator, _ left: TemplateValue, _ right: TemplateValue) throws -> TemplateValue? {
        guard makesOutline, left.shape.isOpen || right.shape.isOpen else { return nil }
        func parts(_ value: TemplateValue) throws -> [OpenText.Part] {
            switch value {
            case .string(let text): text.isEmpty ? [] : [.known(text)]
            case .open(let text): text.parts
            default: throw OpenText.Unknown()
            }
        }
        guard binary == .add || binary == .concatenate else { throw OpenText.Unknown() }
        return .open(OpenText(parts: try parts(left) + parts(right)))
    }

    /// Writes a text with a byte in place of each content.
    func write(open text: OpenText) throws {
        // What is captured becomes a value again.
        guard makesOutline, notes.captures == 0 else { throw OpenText.Unknown() }
        notes.noteBoundary(output.utf8.count)
        for part in text.parts {
            switch part {
            case .known(let text):
                try charge(text.utf8.count)
                output += text
            case .content(let content):
                openPlaces?.append(OpenPlace(offset: output.utf8.count, content: content))
                output += "\u{1}"
            }
        }
    }
}
