import LorikeetGround

/// Variables of one block of a template; names that it lacks are looked up in the block around it.
final class TemplateScope {
    private var names: [String]
    /// As many as `names`.
    private var values: [TemplateValue]
    private let outer: TemplateScope?
    /// Places of the names, once there are many.
    private var places: [String: Int] = [:]

    private static let linearSearchLimit = 24

    init(_ variables: [String: TemplateValue] = [:], in outer: TemplateScope? = nil) {
        names = Array(variables.keys)
        values = Array(variables.values)
        self.outer = outer
        if names.count > Self.linearSearchLimit { notePlaces() }
    }

    private func notePlaces() {
        for (place, name) in names.enumerated() { places[name] = place }
    }

    private func place(of name: String) -> Int? {
        names.count > Self.linearSearchLimit ? places[name] : names.firstIndex(of: name)
    }

    subscript(name: String) -> TemplateValue? {
        var scope: TemplateScope? = self
        while let current = scope {
            if let place = current.place(of: name) { return current.values[place] }
            scope = current.outer
        }
        return nil
    }

    func define(_ name: String, _ value: TemplateValue) {
        if let place = place(of: name) {
            values[place] = value
            return
        }
        names.append(name)
        values.append(value)
        guard names.count > Self.linearSearchLimit else { return }
        if places.isEmpty { notePlaces() } else { places[name] = names.count - 1 }
    }
}

/// One rendering of a template: variables, output, and what was noted on the way.
final class TemplateRun {
    enum Flow { case normal, leave, next }

    let name: String
    /// Seconds since 1970 for `strftime_now`; without it templates find that function undefined.
    let now: Double?
    var line = 1
    var output = ""
    var notes: RunNotes
    /// The contents that were left open, where the run makes an outline.
    var openPlaces: [OpenPlace]?
    /// Work done so far; see `charge`.
    var work = 0
    var namespaces: [TemplateMapping] = []
    /// `joiner` and `cycler`: the values and how many were taken.
    var counters: [(values: [TemplateValue], isJoiner: Bool, taken: Int)] = []
    private var macros: [(macro: Macro, scope: TemplateScope)] = []
    /// The loops that run now, the innermost last.
    private var loops: [(loop: Loop, scope: TemplateScope, changed: [TemplateValue]?)] = []
    var scope: TemplateScope
    private var depth = 0

    init(name: String, now: Double?, variables: [String: TemplateValue], notes: RunNotes = RunNotes()) {
        self.name = name
        self.now = now
        self.notes = notes
        scope = TemplateScope(variables)
    }

    func failure(_ what: String) -> LorikeetError { .input(what, at: "\(name):\(line)") }

    func descend<Result>(_ body: () throws -> Result) throws -> Result {
        depth += 1
        defer { depth -= 1 }
        if depth > Self.deepestRecursion { throw failure("the template recurses deeper than \(Self.deepestRecursion) levels") }
        try charge(Self.stepCost)
        return try body()
    }

    func write(_ text: String) throws {
        let length = Saturating.sum(output.utf8.count, text.utf8.count)
        if length > Self.maximumBytes { throw failure("the template makes a text of more than \(Self.maximumBytes >> 20) MiB") }
        try charge(text.utf8.count)
        notes.noteBoundary(output.utf8.count)
        output += text
    }

    // MARK: Variables

    func lookUp(_ name: String) -> TemplateValue {
        if let value = scope[name] { return value }
        if TemplateFunctions.names.contains(name), name != "strftime_now" || now != nil { return .function(name) }
        return .undefined(name)
    }

    private func assign(_ target: AssignmentTarget, _ value: TemplateValue) throws {
        try checkShape(value)
        switch target {
        case .name(let name): scope.define(name, value)
        case .names(let names):
            let values = try elements(of: value)
            guard values.count == names.count else {
                throw failure("\(values.count) values cannot be assigned to \(names.count) names")
            }
            for (name, value) in zip(names, values) { scope.define(name, value) }
        case .attribute(let name, let attribute):
            guard case .namespace(let index) = lookUp(name) else {
                throw failure("only attributes of a namespace can be set, and “\(name)” is \(lookUp(name).kind)")
            }
            try set(attribute, of: index, to: value)
        }
    }

    func set(_ attribute: String, of namespace: Int, to value: TemplateValue) throws {
        guard !attribute.hasPrefix("_") else { throw failure("a namespace cannot have the attribute “\(attribute)”") }
        namespaces[namespace][.string(attribute)] = value
    }

    private func inScope<Result>(of outer: TemplateScope? = nil, _ body: () throws -> Result) rethrows -> Result {
        let before = scope
        scope = TemplateScope(in: outer ?? before)
        defer { scope = before }
        return try body()
    }

    /// What `body` writes.
    private func captured(_ body: () throws -> Void) throws -> String {
        let outer = output
        output = ""
        notes.captures += 1
        defer {
            output = outer
            notes.captures -= 1
        }
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
        try charge(Self.stepCost)
        switch statement {
        case .text(let text): try write(text)
        case .output(let expression): try write(expression)
        case .condition(let branches, let otherwise):
            for branch in branches where try evaluate(branch.condition).isTrue { return try run(branch.body) }
            return try run(otherwise)
        case .loop(let loop): try run(loop, over: loop.sequence)
        case .set(let target, let expression): try assign(target, try evaluate(expression))
        case .capture(let target, let filters, let body, let line):
            try assign(target, try filtered(body, filters, line))
        case .filtered(let filters, let body, let line): try write(try text(of: try filtered(body, filters, line)))
        case .macro(let macro): scope.define(macro.name, makeMacro(macro))
        case .callBlock(let call, let caller): try runCallBlock(call, caller)
        case .with(let assignments, let body):
            // The values are those of the block around, so that one cannot read another.
            let values = try assignments.map { (name: $0.0, value: try evaluate($0.1)) }
            for entry in values { try checkShape(entry.value) }
            return try inScope {
                for (name, value) in values { scope.define(name, value) }
                return try run(body)
            }
        case .generation(let body, let line):
            let start = output.utf8.count
            _ = try inScope { try run(body) }
            notes.noteGenerated(start..<output.utf8.count, line: line)
        case .leave: return .leave
        case .next: return .next
        }
        return .normal
    }

    private func filtered(_ body: [Statement], _ filters: [AppliedFilter], _ line: Int) throws -> TemplateValue {
        var value = TemplateValue.string(try captured { try inScope { _ = try run(body) } })
        self.line = line
        for filter in filters { value = try apply(filter: filter.name, to: value, try evaluate(filter.arguments)) }
        return value
    }

    // MARK: Loops

    private func run(_ loop: Loop, over sequence: Expression) throws {
        line = loop.line
        try run(loop, over: try elements(of: try evaluate(sequence)), in: scope, depth: 0)
    }

    private func run(_ loop: Loop, over all: [TemplateValue], in outer: TemplateScope, depth: Int) throws {
        var values = all
        if let condition = loop.condition {
            values = try all.filter { value in
                try inScope(of: outer) {
                    try assign(loop.target, value)
                    return try evaluate(condition).isTrue
                }
            }
        }
        if values.isEmpty {
            _ = try inScope(of: outer) { try run(loop.otherwise) }
            return
        }
        let list = TemplateList(values)
        loops.append((loop, outer, nil))
        defer { loops.removeLast() }
        for index in values.indices {
            let start = output.utf8.count
            let message = Self.message(values[index])
            if message >= 0 { notes.enter(message: message) }
            let flow = try inScope(of: outer) {
                try assign(loop.target, values[index])
                scope.define("loop", .loop(LoopState(index0: index, depth0: depth, values: list, number: loops.count - 1)))
                return try run(loop.body)
            }
            if message >= 0 { notes.leave(message: message, wrote: start..<output.utf8.count) }
            if flow == .leave { break }
        }
    }

    /// The index of the message that a loop's element is, or -1.
    private static func message(_ value: TemplateValue) -> Int {
        if case .mapping(let mapping) = value { mapping.message } else { -1 }
    }

    /// `loop(values)` in a recursive loop: the same body over other values, as text.
    func call(loop state: LoopState, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        guard loops.indices.contains(state.number), loops[state.number].loop.isRecursive, arguments.positional.count == 1 else {
            throw failure("“loop” can be called inside a recursive loop only, with one value")
        }
        let (loop, outer, _) = loops[state.number]
        let values = try elements(of: arguments.positional[0])
        return .string(try captured { try descend { try run(loop, over: values, in: outer, depth: state.depth0 + 1) } })
    }

    /// `loop.changed(…)`: whether the values differ from those of the call before.
    func changed(_ state: LoopState, _ values: [TemplateValue]) throws -> Bool {
        guard loops.indices.contains(state.number) else { throw failure("“loop.changed” stands outside its loop") }
        for value in values { try checkShape(value) }
        let before = loops[state.number].changed
        loops[state.number].changed = values
        guard let before, before.count == values.count else { return true }
        return try zip(before, values).contains { try !equal($0, $1) }
    }

    // MARK: Macros

    private func makeMacro(_ macro: Macro) -> TemplateValue {
        macros.append((macro, scope))
        return .macro(macros.count - 1)
    }

    func call(macro index: Int, _ arguments: EvaluatedArguments, caller: TemplateValue? = nil) throws -> TemplateValue {
        let (macro, definitionScope) = macros[index]
        let callLine = line
        defer { line = callLine }
        for value in arguments.positional { try checkShape(value) }
        for argument in arguments.named { try checkShape(argument.value) }
        return .string(
            try captured {
                try inScope(of: definitionScope) {
                    try bind(arguments, to: macro)
                    if let caller { scope.define("caller", caller) }
                    _ = try run(macro.body)
                }
            })
    }

    private func bind(_ arguments: EvaluatedArguments, to macro: Macro) throws {
        let parameters = macro.parameters
        guard arguments.positional.count <= parameters.count || macro.takesMore else {
            throw failure("the macro “\(macro.name)” takes \(parameters.count) arguments, not \(arguments.positional.count)")
        }
        for (position, parameter) in parameters.enumerated() {
            if position < arguments.positional.count {
                guard arguments.named(parameter.name) == nil else {
                    throw failure("the macro “\(macro.name)” is given “\(parameter.name)” twice")
                }
                scope.define(parameter.name, arguments.positional[position])
            } else if let value = arguments.named(parameter.name) {
                scope.define(parameter.name, value)
            } else if let standard = parameter.standard {
                scope.define(parameter.name, try evaluate(standard))
            } else {
                scope.define(parameter.name, .undefined(parameter.name))
            }
        }
        let others = arguments.named.filter { named in !parameters.contains { $0.name == named.name } }
        if let unknown = others.first, !macro.takesMoreNamed {
            throw failure("the macro “\(macro.name)” has no parameter “\(unknown.name)”")
        }
        if macro.takesMore { scope.define("varargs", .tuple(Array(arguments.positional.dropFirst(parameters.count)))) }
        if macro.takesMoreNamed { scope.define("kwargs", .mapping(TemplateMapping(others.map { ($0.name, $0.value) }))) }
    }

    private func runCallBlock(_ call: Expression, _ caller: Macro) throws {
        guard case .call(let callee, let arguments) = call.kind else { return }
        line = call.line
        guard case .macro(let index) = try evaluate(callee) else { throw failure("“call” needs a macro") }
        let value = try self.call(macro: index, try evaluate(arguments), caller: makeMacro(caller))
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
