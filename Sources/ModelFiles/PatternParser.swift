import LorikeetGround

/// A regular expression as a tree.
indirect enum PatternNode {
    case set(PatternSet)
    case assertion(PatternAssertion)
    case sequence([PatternNode])
    case choice([PatternNode])
    /// `most` nil: without limit.
    case repetition(PatternNode, least: Int, most: Int?)
    case lookahead(PatternNode, negated: Bool)
}

/// A set of characters.
struct PatternSet: Sendable {
    enum Member: Sendable {
        case range(ClosedRange<Unicode.Scalar>)
        /// `\d`, `\w`, `\s`, or, in capitals, their opposites.
        case kind(Character)
    }

    var members: [Member]
    var isNegated = false

    /// Every character but a line feed.
    static let any = PatternSet(members: [.range("\n"..."\n")], isNegated: true)

    init(members: [Member], isNegated: Bool = false) { (self.members, self.isNegated) = (members, isNegated) }

    init(_ scalar: Unicode.Scalar) { self.init(members: [.range(scalar...scalar)]) }

    func contains(_ scalar: Unicode.Scalar) -> Bool {
        let found = members.contains { member in
            switch member {
            case .range(let range): range.contains(scalar)
            case .kind(let kind): Self.isKind(kind, scalar)
            }
        }
        return found != isNegated
    }

    private static func isKind(_ kind: Character, _ scalar: Unicode.Scalar) -> Bool {
        switch kind {
        case "d": scalar.properties.generalCategory == .decimalNumber
        case "D": scalar.properties.generalCategory != .decimalNumber
        case "w": isWord(scalar)
        case "W": !isWord(scalar)
        case "s": scalar.properties.isWhitespace
        default: !scalar.properties.isWhitespace
        }
    }

    /// A letter, a digit or `_`.
    static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "_" || scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    }
}

enum PatternAssertion: Sendable {
    /// `^`, `\A`
    case start
    /// `$`: the end, or before a line feed that is the last character.
    case end
    /// `\Z`
    case absoluteEnd
    /// `\b`
    case boundary
    /// `\B`
    case noBoundary

    func holds(in text: [Unicode.Scalar], at place: Int) -> Bool {
        func isWord(_ index: Int) -> Bool { text.indices.contains(index) && PatternSet.isWord(text[index]) }
        return switch self {
        case .start: place == 0
        case .end: place == text.count || place + 1 == text.count && text[place] == "\n"
        case .absoluteEnd: place == text.count
        case .boundary: isWord(place - 1) != isWord(place)
        case .noBoundary: isWord(place - 1) == isWord(place)
        }
    }
}

/// Reads the syntax of Python's `re`.
struct PatternParser {
    private let text: [Unicode.Scalar]
    private var at = 0
    private var depth = 0

    /// Deepest nesting of groups, and the largest number in a quantifier.
    private static let (deepest, largest) = (100, 10_000)

    init(_ text: String) { self.text = Array(text.unicodeScalars) }

    /// - Throws: exit 2 with the place in the expression.
    mutating func parse() throws -> PatternNode {
        let node = try choice()
        guard at == text.count else { throw broken("unmatched ')'") }
        return node
    }

    private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }

    private func broken(_ what: String) -> LorikeetError { .input("\(what) at character \(at + 1) of the expression") }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard next == scalar else { return false }
        at += 1
        return true
    }

    private mutating func take(_ word: String) -> Bool {
        let scalars = Array(word.unicodeScalars)
        guard text[at...].starts(with: scalars) else { return false }
        at += scalars.count
        return true
    }

    private mutating func choice() throws -> PatternNode {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else { throw broken("groups are nested too deeply") }
        var branches = [try sequence()]
        while take("|" as Unicode.Scalar) { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .choice(branches)
    }

    private mutating func sequence() throws -> PatternNode {
        var nodes: [PatternNode] = []
        while let scalar = next, scalar != "|", scalar != ")" { nodes.append(try quantified()) }
        return .sequence(nodes)
    }

    private mutating func quantified() throws -> PatternNode {
        let node = try atom()
        guard let (least, most) = try quantifier() else { return node }
        // Lazy and possessive forms: only a possessive one changes what matches, and that is refused.
        if next == "+" { throw broken("a possessive quantifier is not supported") }
        _ = take("?" as Unicode.Scalar)
        let mark = at
        guard try quantifier() == nil else {
            at = mark
            throw broken("a quantifier follows a quantifier")
        }
        return .repetition(node, least: least, most: most)
    }

    private mutating func quantifier() throws -> (least: Int, most: Int?)? {
        if take("*" as Unicode.Scalar) { return (0, nil) }
        if take("+" as Unicode.Scalar) { return (1, nil) }
        if take("?" as Unicode.Scalar) { return (0, 1) }
        let start = at
        guard take("{" as Unicode.Scalar) else { return nil }
        let first = try number()
        if first != nil, take("}" as Unicode.Scalar) { return first.map { ($0, $0) } }
        guard take("," as Unicode.Scalar) else {
            at = start
            return nil
        }
        let second = try number()
        guard take("}" as Unicode.Scalar) else {
            at = start
            return nil
        }
        if let second, second < first ?? 0 { throw broken("a quantifier's bounds are in the wrong order") }
        return (first ?? 0, second)
    }

    private mutating func number() throws -> Int? {
        var value: Int?
        while let digit = next.flatMap({ $0.isASCII ? $0.properties.numericValue : nil }) {
            value = (value ?? 0) * 10 + Int(digit)
            guard value ?? 0 <= Self.largest else { throw broken("a quantifier is too large") }
            at += 1
        }
        return value
    }

    private mutating func atom() throws -> PatternNode {
        guard let scalar = next else { throw broken("the expression ends early") }
        at += 1
        switch scalar {
        case ".": return .set(.any)
        case "^": return .assertion(.start)
        case "$": return .assertion(.end)
        case "(": return try group()
        case "[": return .set(try set())
        case "\\": return try escape()
        case "*", "+", "?":
            at -= 1
            throw broken("nothing to repeat")
        case "{":
            at -= 1
            guard try quantifier() == nil else { throw broken("nothing to repeat") }
            at += 1
            return .set(PatternSet(scalar))
        default: return .set(PatternSet(scalar))
        }
    }

    /// Reads a group, after its `(`.
    private mutating func group() throws -> PatternNode {
        var lookahead: Bool?
        if take("?") {
            if take(":") {
            } else if take("=") {
                lookahead = false
            } else if take("!") {
                lookahead = true
            } else if take("P<") {
                while let scalar = next, scalar != ">" { at += scalar == ")" ? text.count : 1 }
                guard take(">" as Unicode.Scalar) else { throw broken("a group's name does not end") }
            } else {
                throw broken("the group '(?\(next.map(String.init) ?? "")' is not supported")
            }
        }
        let node = try choice()
        guard take(")" as Unicode.Scalar) else { throw broken("missing ')'") }
        return lookahead.map { .lookahead(node, negated: $0) } ?? node
    }

    /// Reads an escape outside a set, after its backslash.
    private mutating func escape() throws -> PatternNode {
        guard let scalar = next else { throw broken("the expression ends with a backslash") }
        switch scalar {
        case "A", "Z", "b", "B":
            at += 1
            return .assertion(scalar == "A" ? .start : scalar == "Z" ? .absoluteEnd : scalar == "b" ? .boundary : .noBoundary)
        case "1"..."9": throw broken("a back-reference is not supported")
        default: return .set(PatternSet(members: [try escapedMember()]))
        }
    }

    /// Reads an escape, after its backslash: one character, or a kind (`\d`, …).
    private mutating func escapedMember() throws -> PatternSet.Member {
        guard let scalar = next else { throw broken("the expression ends with a backslash") }
        at += 1
        switch scalar {
        case "d", "D", "w", "W", "s", "S": return .kind(Character(scalar))
        case "n": return .range("\n"..."\n")
        case "r": return .range("\r"..."\r")
        case "t": return .range("\t"..."\t")
        default:
            guard !scalar.properties.isAlphabetic, scalar.properties.numericType == nil else {
                at -= 1
                throw broken("the escape '\\\(scalar)' is not supported")
            }
            return .range(scalar...scalar)
        }
    }

    /// Reads a set, after its `[`.
    private mutating func set() throws -> PatternSet {
        let isNegated = take("^" as Unicode.Scalar)
        var members: [PatternSet.Member] = []
        while true {
            guard let scalar = next else { throw broken("a set does not end") }
            if scalar == "]", !members.isEmpty {
                at += 1
                return PatternSet(members: members, isNegated: isNegated)
            }
            at += 1
            let first: PatternSet.Member = scalar == "\\" ? try escapedMember() : .range(scalar...scalar)
            guard next == "-", at + 1 < text.count, text[at + 1] != "]", case .range(let low) = first else {
                members.append(first)
                continue
            }
            at += 1
            let end = text[at]
            at += 1
            let last: PatternSet.Member = end == "\\" ? try escapedMember() : .range(end...end)
            guard case .range(let high) = last, low.lowerBound <= high.lowerBound else { throw broken("a range in a set is in the wrong order") }
            members.append(.range(low.lowerBound...high.lowerBound))
        }
    }
}
