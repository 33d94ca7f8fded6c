/// Expressions, in Jinja's order of precedence from the loosest: inline if, or, and, not, comparison, `+ -`, `~`,
/// `* / // %`, `**`, sign, then what follows a value: `.name`, `[…]`, `(…)`, `|filter`, `is test`.
extension TemplateParser {
    private func make(_ kind: Expression.Kind, _ line: Int, over depth: Int = 0) throws -> Expression {
        guard depth < Self.deepestNesting else { throw tooDeep(line) }
        return Expression(kind: kind, line: line, depth: depth + 1)
    }

    /// An expression, or several with commas between as a tuple.
    mutating func tuple(withCondition: Bool = true) throws -> Expression {
        let start = line
        let first = try withCondition ? expression() : disjunction()
        guard current == .mark(",") else { return first }
        var items = [first]
        while take(mark: ",") {
            if current == .blockEnd || current == .outputEnd || current == .mark(")") { break }
            items.append(try withCondition ? expression() : disjunction())
        }
        return try make(.list(items, isTuple: true), start, over: items.map(\.depth).max() ?? 0)
    }

    mutating func expression() throws -> Expression {
        try nested { parser in
            let start = parser.line
            var result = try parser.disjunction()
            while parser.take(word: "if") {
                let condition = try parser.disjunction()
                let otherwise = parser.take(word: "else") ? try parser.expression() : nil
                result = try parser.make(
                    .conditional(condition: condition, then: result, otherwise: otherwise), start,
                    over: max(condition.depth, result.depth, otherwise?.depth ?? 0))
            }
            return result
        }
    }

    private mutating func disjunction() throws -> Expression {
        var left = try conjunction()
        while current == .name("or") {
            let start = line
            advance()
            let right = try conjunction()
            left = try make(.or(left, right), start, over: max(left.depth, right.depth))
        }
        return left
    }

    private mutating func conjunction() throws -> Expression {
        var left = try negation()
        while current == .name("and") {
            let start = line
            advance()
            let right = try negation()
            left = try make(.and(left, right), start, over: max(left.depth, right.depth))
        }
        return left
    }

    private mutating func negation() throws -> Expression {
        let start = line
        guard take(word: "not") else { return try comparison() }
        let operand = try nested { try $0.negation() }
        return try make(.not(operand), start, over: operand.depth)
    }

    private mutating func comparison() throws -> Expression {
        let start = line
        let first = try sum()
        var rest: [(Operator, Expression)] = []
        while let comparing = takeComparison() { rest.append((comparing, try sum())) }
        if rest.isEmpty { return first }
        return try make(.comparison(first, rest), start, over: max(first.depth, rest.map(\.1.depth).max() ?? 0))
    }

    private mutating func takeComparison() -> Operator? {
        switch current {
        case .mark(let mark) where ["==", "!=", "<", "<=", ">", ">="].contains(mark):
            advance()
            return Operator(rawValue: mark)
        case .name("in"):
            advance()
            return .isIn
        case .name("not") where following == .name("in"):
            advance()
            advance()
            return .notIn
        default: return nil
        }
    }

    /// A chain of operators of one precedence, from the left.
    private mutating func chain(
        _ operators: [String], _ operand: (inout TemplateParser) throws -> Expression
    ) throws -> Expression {
        var left = try operand(&self)
        while case .mark(let mark) = current, operators.contains(mark), let binary = Operator(rawValue: mark) {
            let start = line
            advance()
            let right = try operand(&self)
            left = try make(.binary(binary, left, right), start, over: max(left.depth, right.depth))
        }
        return left
    }

    private mutating func sum() throws -> Expression {
        try chain(["+", "-"]) { parser in
            try parser.chain(["~"]) { parser in
                try parser.chain(["*", "/", "//", "%"]) { parser in
                    try parser.chain(["**"]) { try $0.signed(withFilters: true) }
                }
            }
        }
    }

    private mutating func signed(withFilters: Bool) throws -> Expression {
        let start = line
        var result: Expression
        if take(mark: "-") {
            let operand = try nested { try $0.signed(withFilters: false) }
            result = try make(.negative(operand), start, over: operand.depth)
        } else if take(mark: "+") {
            result = try nested { try $0.signed(withFilters: false) }
        } else {
            result = try withPostfixes(try primary())
        }
        return withFilters ? try filtered(result) : result
    }

    /// `.name`, `[…]` and `(…)` after a value.
    private mutating func withPostfixes(_ value: Expression) throws -> Expression {
        var result = value
        while true {
            let start = line
            if take(mark: ".") {
                if case .integer(let index) = current {
                    advance()
                    result = try make(.item(result, try make(.literal(.integer(index)), start)), start, over: result.depth)
                } else {
                    result = try make(.attribute(result, try expectName()), start, over: result.depth)
                }
            } else if take(mark: "[") {
                result = try subscripted(result, start)
            } else if current == .mark("(") {
                let arguments = try arguments()
                result = try make(.call(result, arguments), start, over: max(result.depth, arguments.depth))
            } else {
                return result
            }
        }
    }

    private mutating func subscripted(_ value: Expression, _ start: Int) throws -> Expression {
        var bounds: [Expression?] = []
        var last: Expression?
        var isSlice = false
        while !take(mark: "]") {
            if take(mark: ":") {
                isSlice = true
                bounds.append(last)
                last = nil
            } else {
                guard last == nil else { throw failure("expected “]” and found \(found)") }
                last = try expression()
            }
        }
        bounds.append(last)
        guard bounds.count <= 3 else { throw failure("a slice has at most three parts", line: start) }
        let depth = max(value.depth, bounds.compactMap { $0?.depth }.max() ?? 0)
        guard isSlice else {
            guard let index = last else { throw failure("the brackets are empty", line: start) }
            return try make(.item(value, index), start, over: depth)
        }
        return try make(
            .slice(value, from: bounds[0], to: bounds[1], step: bounds.count > 2 ? bounds[2] : nil), start, over: depth)
    }

    /// `|filter`, `is test` and further calls after a value.
    private mutating func filtered(_ value: Expression) throws -> Expression {
        var result = value
        while true {
            let start = line
            if take(mark: "|") {
                let name = try filterName()
                let arguments = current == .mark("(") ? try arguments() : Arguments()
                result = try make(.filter(result, name, arguments), start, over: max(result.depth, arguments.depth))
            } else if take(word: "is") {
                result = try test(result, start)
            } else if current == .mark("(") {
                let arguments = try arguments()
                result = try make(.call(result, arguments), start, over: max(result.depth, arguments.depth))
            } else {
                return result
            }
        }
    }

    private mutating func test(_ value: Expression, _ start: Int) throws -> Expression {
        let isNegated = take(word: "not")
        let name = try expectName()
        guard TemplateRun.testNames.contains(name) else { throw failure("the test “\(name)” is not supported", line: start) }
        var arguments = Arguments()
        switch current {
        case .mark("("): arguments = try self.arguments()
        case .name(let word) where !["else", "or", "and", "is", "if", "in", "not"].contains(word):
            arguments.positional = [try withPostfixes(try primary())]
        case .string, .integer, .number, .mark("["), .mark("{"):
            arguments.positional = [try withPostfixes(try primary())]
        default: break
        }
        let test = try make(.test(value, name, arguments), start, over: max(value.depth, arguments.depth))
        return isNegated ? try make(.not(test), start, over: test.depth) : test
    }

    /// `(a, b, *c, name=d, **e)`
    mutating func arguments() throws -> Arguments {
        try expect(mark: "(")
        var result = Arguments()
        while !take(mark: ")") {
            if take(mark: "**") {
                guard result.namedSpread == nil else { throw failure("a call has two “**”") }
                result.namedSpread = try expression()
            } else if take(mark: "*") {
                guard result.spread == nil, result.namedSpread == nil else { throw failure("“*” stands behind another “*” or “**”") }
                result.spread = try expression()
            } else if case .name(let name) = current, following == .mark("=") {
                guard result.namedSpread == nil else { throw failure("an argument follows “**”") }
                advance()
                advance()
                result.named.append((name, try expression()))
            } else {
                guard result.named.isEmpty, result.spread == nil, result.namedSpread == nil else {
                    throw failure("an argument without a name follows one with a name, “*” or “**”")
                }
                result.positional.append(try expression())
            }
            if current != .mark(")") { try expect(mark: ",") }
        }
        return result
    }

    private mutating func primary() throws -> Expression {
        let start = line
        switch current {
        case .name(let name):
            advance()
            switch name {
            case "true", "True": return try make(.literal(.bool(true)), start)
            case "false", "False": return try make(.literal(.bool(false)), start)
            case "none", "None": return try make(.literal(.none), start)
            default:
                noteUse(of: name)
                return try make(.name(name), start)
            }
        case .string(var text):
            advance()
            while case .string(let more) = current {
                text += more
                advance()
            }
            return try make(.literal(.string(text)), start)
        case .integer(let value):
            advance()
            return try make(.literal(.integer(value)), start)
        case .number(let value):
            advance()
            return try make(.literal(.number(value)), start)
        case .mark("("):
            advance()
            if take(mark: ")") { return try make(.list([], isTuple: true), start) }
            let inner = try nested { try $0.tuple() }
            try expect(mark: ")")
            return inner
        case .mark("["): return try list(start)
        case .mark("{"): return try mapping(start)
        default: throw failure("expected a value and found \(found)")
        }
    }

    private mutating func list(_ start: Int) throws -> Expression {
        advance()
        var items: [Expression] = []
        while !take(mark: "]") {
            items.append(try expression())
            if current != .mark("]") { try expect(mark: ",") }
        }
        return try make(.list(items, isTuple: false), start, over: items.map(\.depth).max() ?? 0)
    }

    private mutating func mapping(_ start: Int) throws -> Expression {
        advance()
        var entries: [(key: Expression, value: Expression)] = []
        while !take(mark: "}") {
            let key = try expression()
            try expect(mark: ":")
            entries.append((key, try expression()))
            if current != .mark("}") { try expect(mark: ",") }
        }
        return try make(.mapping(entries), start, over: entries.map { max($0.key.depth, $0.value.depth) }.max() ?? 0)
    }
}
