import LorikeetGround

/// One rendering of a template: variables, output, and the limits that keep an untrusted template from running away.
final class TemplateRun {
    /// Statements and expressions that one rendering may evaluate.
    static let maximumSteps = 4_000_000
    /// The longest string and the longest output, in bytes.
    static let maximumBytes = 64 << 20
    /// The most elements of a list.
    static let maximumElements = 1 << 20
    /// The deepest recursion of expressions, statements and macros together.
    static let deepestRecursion = 600

    /// The deepest nesting of lists and mappings that a variable may hold.
    static let deepestValue = 300

    enum Flow { case normal, leave, next }

    let name: String
    /// Seconds since 1970 for `strftime_now`; without it templates find that function undefined.
    let now: Double?
    var line = 1
    var output = ""
    var namespaces: [TemplateMapping] = []
    private var macros: [Macro] = []
    /// Scopes: the first is the template's own; those from `floor` on belong to the macro that runs (lexical scope).
    private var scopes: [[String: TemplateValue]]
    private var floor = 0
    private var steps = 0
    private var depth = 0
    private var loopDepth = 0

    init(name: String, now: Double?, variables: [String: TemplateValue]) {
        self.name = name
        self.now = now
        scopes = [variables]
    }

    func failure(_ what: String) -> LorikeetError { .input(what, at: "\(name):\(line)") }

    // MARK: Limits

    private func step() throws {
        steps += 1
        if steps > Self.maximumSteps { throw failure("the template runs for more than \(Self.maximumSteps) steps") }
    }

    func descend<Result>(_ body: () throws -> Result) throws -> Result {
        depth += 1
        defer { depth -= 1 }
        if depth > Self.deepestRecursion { throw failure("the template recurses deeper than \(Self.deepestRecursion) levels") }
        try step()
        return try body()
    }

    /// Throws where a string of so many bytes would be too long.
    func check(bytes: Int) throws {
        if bytes > Self.maximumBytes { throw failure("the template makes a text of more than \(Self.maximumBytes >> 20) MiB") }
    }

    func check(elements: Int) throws {
        if elements > Self.maximumElements { throw failure("the template makes a list of more than \(Self.maximumElements) elements") }
    }

    /// Throws where lists and mappings stand in one another too deeply, or too many of them: printing and releasing such a
    /// value descends by recursion, and one that holds itself twice, again and again, has no end in practice. Called where
    /// values are kept, for within one expression the depth of the expression is the limit.
    func checkShape(_ value: TemplateValue, level: Int = 0) throws {
        let parts: [TemplateValue]
        switch value {
        case .list(let values): parts = values
        case .mapping(let mapping): parts = mapping.entries.map(\.value)
        default: return
        }
        try step()
        if level > Self.deepestValue { throw failure("the template makes values that nest deeper than \(Self.deepestValue) levels") }
        for part in parts { try checkShape(part, level: level + 1) }
    }

    func write(_ text: String) throws {
        try check(bytes: output.utf8.count + text.utf8.count)
        output += text
    }

    // MARK: Variables

    func lookUp(_ name: String) -> TemplateValue {
        var index = scopes.count - 1
        while index >= floor {
            if let value = scopes[index][name] { return value }
            index -= 1
        }
        if floor > 0, let value = scopes[0][name] { return value }
        if TemplateFunctions.names.contains(name), name != "strftime_now" || now != nil { return .function(name) }
        return .undefined(name)
    }

    func define(_ name: String, _ value: TemplateValue) { scopes[scopes.count - 1][name] = value }

    private func assign(_ target: AssignmentTarget, _ value: TemplateValue) throws {
        try checkShape(value)
        switch target {
        case .name(let name): define(name, value)
        case .names(let names):
            let values = try elements(of: value)
            guard values.count == names.count else {
                throw failure("\(values.count) values cannot be assigned to \(names.count) names")
            }
            for (name, value) in zip(names, values) { define(name, value) }
        case .attribute(let name, let attribute):
            guard case .namespace(let index) = lookUp(name) else {
                throw failure("only attributes of a namespace can be set, and “\(name)” is \(lookUp(name).kind)")
            }
            namespaces[index][attribute] = value
        }
    }

    private func inScope<Result>(_ body: () throws -> Result) rethrows -> Result {
        scopes.append([:])
        defer { scopes.removeLast() }
        return try body()
    }

    /// What `body` writes.
    private func captured(_ body: () throws -> Void) throws -> String {
        let outer = output
        output = ""
        defer { output = outer }
        try body()
        return output
    }

    // MARK: Statements

    func run(_ statements: [Statement]) throws -> Flow {
        try descend {
            for statement in statements {
                let flow = try run(statement)
                if flow != .normal { return flow }
            }
            return .normal
        }
    }

    private func run(_ statement: Statement) throws -> Flow {
        try step()
        switch statement {
        case .text(let text): try write(text)
        case .output(let expression): try write(try evaluate(expression).text)
        case .condition(let branches, let otherwise):
            for branch in branches where try evaluate(branch.condition).isTrue { return try run(branch.body) }
            return try run(otherwise)
        case .loop(let loop): return try run(loop)
        case .set(let target, let expression): try assign(target, try evaluate(expression))
        case .capture(let target, let filters, let body, let line):
            try assign(target, try filtered(body, filters, line))
        case .filtered(let filters, let body, let line): try write(try filtered(body, filters, line).text)
        case .macro(let macro):
            macros.append(macro)
            define(macro.name, .macro(macros.count - 1))
        case .callBlock(let call, let caller): try runCallBlock(call, caller)
        case .with(let assignments, let body):
            let values = try assignments.map { ($0.0, try evaluate($0.1)) }
            return try inScope {
                for (name, value) in values { define(name, value) }
                return try run(body)
            }
        case .generation(let body): return try run(body)
        case .leave(let line):
            guard loopDepth > 0 else { self.line = line; throw failure("“break” stands outside a loop") }
            return .leave
        case .next(let line):
            guard loopDepth > 0 else { self.line = line; throw failure("“continue” stands outside a loop") }
            return .next
        }
        return .normal
    }

    private func filtered(_ body: [Statement], _ filters: [AppliedFilter], _ line: Int) throws -> TemplateValue {
        var value = TemplateValue.string(try captured { try inScope { _ = try run(body) } })
        self.line = line
        for filter in filters { value = try apply(filter: filter.name, to: value, try evaluate(filter.arguments)) }
        return value
    }

    private func run(_ loop: Loop) throws -> Flow {
        line = loop.line
        var values = try elements(of: try evaluate(loop.sequence))
        if let condition = loop.condition {
            values = try inScope {
                try values.filter { value in
                    try assign(loop.target, value)
                    return try evaluate(condition).isTrue
                }
            }
        }
        if values.isEmpty { return try inScope { try run(loop.otherwise) } }
        loopDepth += 1
        defer { loopDepth -= 1 }
        for index in values.indices {
            let flow = try inScope {
                try assign(loop.target, values[index])
                define(
                    "loop",
                    .loop(
                        LoopState(
                            index0: index, length: values.count, depth0: loopDepth - 1,
                            previous: index > 0 ? values[index - 1] : nil,
                            next: index + 1 < values.count ? values[index + 1] : nil)))
                return try run(loop.body)
            }
            if flow == .leave { break }
        }
        return .normal
    }

    // MARK: Macros

    func call(macro index: Int, _ arguments: EvaluatedArguments, caller: TemplateValue? = nil) throws -> TemplateValue {
        let macro = macros[index]
        let callLine = line
        let outerFloor = floor
        let outerLoopDepth = loopDepth
        guard arguments.positional.count <= macro.parameters.count else {
            throw failure("the macro “\(macro.name)” takes \(macro.parameters.count) arguments, not \(arguments.positional.count)")
        }
        for value in arguments.positional { try checkShape(value) }
        for argument in arguments.named { try checkShape(argument.value) }
        floor = scopes.count
        loopDepth = 0
        scopes.append([:])
        defer {
            scopes.removeLast()
            floor = outerFloor
            loopDepth = outerLoopDepth
            line = callLine
        }
        for (position, parameter) in macro.parameters.enumerated() {
            if position < arguments.positional.count {
                define(parameter.name, arguments.positional[position])
            } else if let value = arguments.named(parameter.name) {
                define(parameter.name, value)
            } else if let standard = parameter.standard {
                define(parameter.name, try evaluate(standard))
            } else {
                define(parameter.name, .undefined(parameter.name))
            }
        }
        if let unknown = arguments.named.first(where: { named in !macro.parameters.contains { $0.name == named.name } }) {
            throw failure("the macro “\(macro.name)” has no parameter “\(unknown.name)”")
        }
        if let caller { define("caller", caller) }
        return .string(try captured { _ = try run(macro.body) })
    }

    private func runCallBlock(_ call: Expression, _ caller: Macro) throws {
        guard case .call(let callee, let arguments) = call.kind else { return }
        line = call.line
        guard case .macro(let index) = try evaluate(callee) else { throw failure("“call” needs a macro") }
        macros.append(caller)
        let value = try self.call(macro: index, try evaluate(arguments), caller: .macro(macros.count - 1))
        try write(value.text)
    }
}

/// The values of a call's arguments.
struct EvaluatedArguments {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    func named(_ name: String) -> TemplateValue? { named.first { $0.name == name }?.value }

    /// The argument at a position or of a name.
    func value(_ position: Int, _ name: String) -> TemplateValue? {
        positional.indices.contains(position) ? positional[position] : named(name)
    }

    func dropFirst(_ count: Int = 1) -> EvaluatedArguments {
        EvaluatedArguments(positional: Array(positional.dropFirst(count)), named: named)
    }
}
