import LorikeetGround

/// Tokens → statements, by recursive descent. Nesting is limited, for templates come from outside.
struct TemplateParser {
    /// The deepest nesting of blocks, brackets and operators.
    static let deepestNesting = 200

    private let tokens: [TemplateToken]
    let name: String
    private var at = 0
    var nesting = 0
    /// Of every macro that is being read, the innermost last: whether its body reads `varargs` and `kwargs`.
    private var macroUses: [(more: Bool, moreNamed: Bool)] = []
    private var loops = 0

    static func statements(of source: String, name: String) throws -> [Statement] {
        var parser = TemplateParser(tokens: try TemplateLexer.tokens(of: source, name: name), name: name)
        let statements = try parser.body(until: [])
        return statements
    }

    private init(tokens: [TemplateToken], name: String) {
        self.tokens = tokens
        self.name = name
    }

    // MARK: Tokens

    var current: TemplateToken.Kind { tokens[min(at, tokens.count - 1)].kind }
    var line: Int { tokens[min(at, tokens.count - 1)].line }
    var following: TemplateToken.Kind { tokens[min(at + 1, tokens.count - 1)].kind }

    mutating func advance() { at += 1 }

    func failure(_ what: String, line: Int? = nil) -> LorikeetError {
        .input(what, at: "\(name):\(line ?? self.line)")
    }

    /// What stands here, for errors.
    var found: String {
        switch current {
        case .text: "text"
        case .blockBegin, .outputBegin: "a new tag"
        case .blockEnd, .outputEnd: "the tag's end"
        case .name(let name): "“\(name)”"
        case .string: "a string"
        case .integer, .number: "a number"
        case .mark(let mark): "“\(mark)”"
        case .end: "the template's end"
        }
    }

    mutating func take(mark: String) -> Bool {
        guard current == .mark(mark) else { return false }
        advance()
        return true
    }

    mutating func take(word: String) -> Bool {
        guard current == .name(word) else { return false }
        advance()
        return true
    }

    mutating func expect(mark: String) throws {
        guard take(mark: mark) else { throw failure("expected “\(mark)” and found \(found)") }
    }

    mutating func expect(word: String) throws {
        guard take(word: word) else { throw failure("expected “\(word)” and found \(found)") }
    }

    /// The name of a filter that exists.
    mutating func filterName() throws -> String {
        let start = line
        let name = try expectName()
        guard TemplateRun.filterNames.contains(name) else { throw failure("the filter “\(name)” is not supported", line: start) }
        return name
    }

    /// Notes a variable that the innermost macro reads.
    mutating func noteUse(of name: String) {
        guard let innermost = macroUses.indices.last else { return }
        if name == "varargs" { macroUses[innermost].more = true }
        if name == "kwargs" { macroUses[innermost].moreNamed = true }
    }

    mutating func expectName() throws -> String {
        guard case .name(let name) = current else { throw failure("expected a name and found \(found)") }
        advance()
        return name
    }

    private mutating func expectBlockEnd() throws {
        guard current == .blockEnd else { throw failure("expected “%}” and found \(found)") }
        advance()
    }

    /// Descends one level; the error names the limit.
    mutating func nested<Result>(_ body: (inout TemplateParser) throws -> Result) throws -> Result {
        nesting += 1
        defer { nesting -= 1 }
        guard nesting <= Self.deepestNesting else { throw tooDeep(line) }
        return try body(&self)
    }

    func tooDeep(_ line: Int) -> LorikeetError {
        failure("the template nests deeper than \(Self.deepestNesting) levels", line: line)
    }

    // MARK: Statements

    /// Statements up to a block tag whose word is in `ends` (left unread, before its word) or the template's end.
    private mutating func body(until ends: [String]) throws -> [Statement] {
        try nested { parser in
            var statements: [Statement] = []
            while true {
                switch parser.current {
                case .end:
                    guard ends.isEmpty else { throw parser.failure("“\(ends.joined(separator: "” or “"))” is missing") }
                    return statements
                case .text(let text):
                    statements.append(.text(text))
                    parser.advance()
                case .outputBegin:
                    parser.advance()
                    statements.append(.output(try parser.tuple()))
                    guard parser.current == .outputEnd else {
                        throw parser.failure("expected “}}” and found \(parser.found)")
                    }
                    parser.advance()
                case .blockBegin:
                    if case .name(let word) = parser.following, ends.contains(word) {
                        parser.advance()
                        return statements
                    }
                    parser.advance()
                    statements.append(try parser.statement())
                default: throw parser.failure("unexpected \(parser.found)")
                }
            }
        }
    }

    /// The body of a block, with its end tag read.
    private mutating func block(_ end: String) throws -> [Statement] {
        try expectBlockEnd()
        let statements = try body(until: [end])
        advance()
        try expectBlockEnd()
        return statements
    }

    private mutating func statement() throws -> Statement {
        let start = line
        let word = try expectName()
        switch word {
        case "if": return try condition()
        case "for": return .loop(try loop(start))
        case "set": return try set(start)
        case "macro":
            let name = try expectName()
            return .macro(try macro(name, end: "endmacro", line: start))
        case "call": return try callBlock(start)
        case "filter":
            let filters = try filterChain(leading: true)
            return .filtered(filters, body: try outsideLoops { try $0.block("endfilter") }, line: start)
        case "with":
            var assignments: [(String, Expression)] = []
            while current != .blockEnd {
                let name = try expectName()
                try expect(mark: "=")
                assignments.append((name, try expression()))
                _ = take(mark: ",")
            }
            return .with(assignments, body: try block("endwith"))
        case "generation":
            return .generation(try outsideLoops { try $0.block("endgeneration") }, line: start)
        case "break", "continue":
            guard loops > 0 else { throw failure("“\(word)” stands outside a loop", line: start) }
            try expectBlockEnd()
            return word == "break" ? .leave : .next
        case "include", "import", "from", "extends", "block":
            throw failure("the tag “\(word)” is not supported: a chat template is one file", line: start)
        default:
            throw failure("the tag “\(word)” is not supported", line: start)
        }
    }

    private mutating func condition() throws -> Statement {
        var branches: [(condition: Expression, body: [Statement])] = []
        var otherwise: [Statement] = []
        let first = try expression()
        try expectBlockEnd()
        branches.append((first, try body(until: ["elif", "else", "endif"])))
        while take(word: "elif") {
            let condition = try expression()
            try expectBlockEnd()
            branches.append((condition, try body(until: ["elif", "else", "endif"])))
        }
        if take(word: "else") {
            try expectBlockEnd()
            otherwise = try body(until: ["endif"])
        }
        try expect(word: "endif")
        try expectBlockEnd()
        return .condition(branches, otherwise: otherwise)
    }

    private mutating func loop(_ start: Int) throws -> Loop {
        let target = try assignmentTarget()
        try expect(word: "in")
        let sequence = try tuple(withCondition: false)
        let condition = take(word: "if") ? try expression() : nil
        let isRecursive = take(word: "recursive")
        try expectBlockEnd()
        loops += 1
        let statements = try body(until: ["else", "endfor"])
        loops -= 1
        var otherwise: [Statement] = []
        if take(word: "else") {
            try expectBlockEnd()
            otherwise = try body(until: ["endfor"])
        }
        try expect(word: "endfor")
        try expectBlockEnd()
        return Loop(
            target: target, sequence: sequence, condition: condition, body: statements, otherwise: otherwise,
            isRecursive: isRecursive, line: start)
    }

    private mutating func set(_ start: Int) throws -> Statement {
        let target = try assignmentTarget()
        if take(mark: "=") {
            let value = try tuple()
            try expectBlockEnd()
            return .set(target, value)
        }
        let filters = try filterChain(leading: false)
        return .capture(target, filters: filters, body: try outsideLoops { try $0.block("endset") }, line: start)
    }

    /// `name`, `a, b`, `(a, b)` or `namespace.attribute`.
    private mutating func assignmentTarget() throws -> AssignmentTarget {
        let isBracketed = take(mark: "(")
        let first = try expectName()
        if !isBracketed, take(mark: ".") { return .attribute(first, try expectName()) }
        var names = [first]
        var isTuple = false
        while take(mark: ",") {
            isTuple = true
            guard case .name(let name) = current, name != "in" else { break }
            names.append(name)
            advance()
        }
        if isBracketed { try expect(mark: ")") }
        return isTuple ? .names(names) : .name(first)
    }

    /// `name(…)|name(…)`, after a `|` unless `leading`.
    private mutating func filterChain(leading: Bool) throws -> [AppliedFilter] {
        var filters: [AppliedFilter] = []
        while (leading && filters.isEmpty) || take(mark: "|") {
            let name = try filterName()
            filters.append(AppliedFilter(name: name, arguments: current == .mark("(") ? try arguments() : Arguments()))
        }
        return filters
    }

    /// A body that `break` and `continue` cannot leave: it is a function of its own.
    private mutating func outsideLoops<Result>(_ read: (inout TemplateParser) throws -> Result) throws -> Result {
        let outer = loops
        loops = 0
        defer { loops = outer }
        return try read(&self)
    }

    private typealias Parameter = (name: String, standard: Expression?)

    private mutating func parameters() throws -> [Parameter] {
        var parameters: [Parameter] = []
        guard take(mark: "(") else { return [] }
        while !take(mark: ")") {
            let name = try expectName()
            parameters.append((name, take(mark: "=") ? try expression() : nil))
            if parameters.last?.standard == nil, parameters.dropLast().last?.standard != nil {
                throw failure("a parameter without a default follows one with a default")
            }
            if current != .mark(")") { try expect(mark: ",") }
        }
        return parameters
    }

    private mutating func macroBody(_ name: String, _ parameters: [Parameter], end: String, line: Int) throws -> Macro {
        macroUses.append((false, false))
        defer { macroUses.removeLast() }
        let body = try outsideLoops { try $0.block(end) }
        let uses = macroUses.last ?? (false, false)
        return Macro(
            name: name, parameters: parameters, body: body, takesMore: uses.more, takesMoreNamed: uses.moreNamed, line: line)
    }

    private mutating func macro(_ name: String, end: String, line: Int) throws -> Macro {
        guard current == .mark("(") else { throw failure("expected “(” and found \(found)") }
        return try macroBody(name, try parameters(), end: end, line: line)
    }

    private mutating func callBlock(_ start: Int) throws -> Statement {
        let parameters = try parameters()
        let call = try expression()
        guard case .call = call.kind else { throw failure("“call” needs a call of a macro", line: start) }
        return .callBlock(call: call, caller: try macroBody("caller", parameters, end: "endcall", line: start))
    }
}
