import LorikeetGround

/// The evaluation of expressions.
extension TemplateRun {
    func evaluate(_ expression: Expression) throws -> TemplateValue {
        switch expression.kind {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        default:
            line = expression.line
            return try descend { try evaluateParts(expression) }
        }
    }

    private func evaluateParts(_ expression: Expression) throws -> TemplateValue {
        switch expression.kind {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let items, let isTuple): return .list(TemplateList(try items.map(evaluate), isTuple: isTuple))
        case .mapping(let entries): return try mapping(entries)
        case .attribute(let object, let name): return try attribute(name, of: try whole(try evaluate(object)))
        case .item(let object, let index):
            let value = try whole(try evaluate(object))
            return try item(try known(try evaluate(index)), of: value)
        case .slice(let object, let from, let to, let step): return try slice(object, from, to, step)
        case .call(let callee, let arguments): return try call(callee, arguments, expression.line)
        case .filter(let value, let name, let arguments):
            let value = try evaluate(value)
            let arguments = try known(try evaluate(arguments))
            line = expression.line
            if let result = try outlined(filter: name, value, arguments) { return result }
            return try apply(filter: name, to: value, arguments)
        case .test(let value, let name, let arguments):
            let value = try tested(try evaluate(value), by: name)
            return .bool(try holds(test: name, value, try known(try evaluate(arguments))))
        case .not(let operand): return .bool(!(try evaluate(operand).isTrue))
        case .negative(let operand): return try negated(try evaluate(operand))
        case .binary(let binary, let left, let right):
            let value = try evaluate(left)
            return try compute(binary, value, try evaluate(right))
        case .comparison(let first, let rest): return .bool(try compare(first, rest))
        case .and(let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? try evaluate(right) : value
        case .or(let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? value : try evaluate(right)
        case .conditional(let condition, let then, let otherwise):
            if try evaluate(condition).isTrue { return try evaluate(then) }
            return try otherwise.map(evaluate) ?? .undefined("the inline if without an else")
        }
    }

    /// Writes a value. The terms of a sum of texts are written one by one: no text is made that is only written.
    func write(_ expression: Expression) throws {
        guard case .binary(let binary, _, _) = expression.kind, binary == .add || binary == .concatenate else {
            return try write(value: try evaluate(expression))
        }
        line = expression.line
        let values = try descend { try terms(of: expression) }
        if binary == .concatenate || values.allSatisfy(\.isPlainText) {
            for value in values { try write(value: value) }
        } else {
            var sum = values[0]
            for value in values.dropFirst() { sum = try compute(.add, sum, value) }
            try write(value: sum)
        }
    }

    private func write(value: TemplateValue) throws {
        if case .open(let text) = value { try write(open: text) } else { try write(try text(of: value)) }
    }

    /// The values of a chain of one operator, from the left.
    private func terms(of expression: Expression) throws -> [TemplateValue] {
        guard case .binary(let binary, var left, let last) = expression.kind else { return [try evaluate(expression)] }
        var right = [last]
        while case .binary(binary, let further, let next) = left.kind {
            right.append(next)
            left = further
        }
        return try [evaluate(left)] + right.reversed().map(evaluate)
    }

    func evaluate(_ arguments: Arguments) throws -> EvaluatedArguments {
        var result = EvaluatedArguments(positional: try arguments.positional.map(evaluate))
        if let spread = arguments.spread {
            let values = try elements(of: try evaluate(spread))
            try charge(elements: values.count)
            result.positional += values
        }
        result.named = try arguments.named.map { ($0.name, try evaluate($0.value)) }
        if let spread = arguments.namedSpread {
            guard case .mapping(let mapping) = try evaluate(spread) else { throw failure("“**” needs a mapping") }
            try charge(elements: mapping.entries.count)
            for (key, value) in mapping.entries {
                guard result.named(key.text) == nil else { throw failure("the argument “\(key.text)” is given twice") }
                result.named.append((key.text, value))
            }
        }
        return result
    }

    private func mapping(_ entries: [(key: Expression, value: Expression)]) throws -> TemplateValue {
        var result = TemplateMapping()
        for entry in entries {
            let key = try evaluate(entry.key)
            guard let name = try mappingKey(key) else { throw failure("a mapping's key must be a string or an integer, not \(key.kind)") }
            result[name] = try evaluate(entry.value)
        }
        return .mapping(result)
    }

    /// A value as a key, whose bytes are read to find it; nil for one that cannot be a key.
    func mappingKey(_ value: TemplateValue) throws -> MappingKey? {
        if case .integer(let number) = value { return .integer(number) }
        guard let text = value.string else { return nil }
        try charge(Saturating.product(text.utf8.count, Self.hashedByte))
        return .string(text)
    }

    // MARK: Parts of values

    /// What a loop goes through: a list's elements, a string's scalars, a mapping's keys.
    func elements(of value: TemplateValue) throws -> [TemplateValue] {
        switch value {
        case .list(let list):
            try charge(list.count)
            return list.values
        case .string(let text), .markup(let text):
            try charge(elements: text.utf8.count)
            return text.unicodeScalars.map { .string(String($0)) }
        case .mapping(let mapping):
            try charge(elements: mapping.entries.count)
            return mapping.entries.map(\.key.value)
        case .undefined: return []
        default: throw failure("\(value.kind) cannot be iterated over")
        }
    }

    /// `value.name`: Python's attributes (methods) come before a mapping's keys.
    func attribute(_ name: String, of value: TemplateValue) throws -> TemplateValue {
        if let method = try method(name, of: value) { return method }
        return try key(name, of: value)
    }

    /// A method as a value; undefined where it would change what it belongs to, which is forbidden; nil where there is none.
    private func method(_ name: String, of value: TemplateValue) throws -> TemplateValue? {
        guard let methods = PythonMethods.of(value) else { return nil }
        // Names of Python's own; the sandbox hides what they stand for.
        let isInternal = name.hasPrefix("__") && name.hasSuffix("__")
        if isInternal || methods.changing.contains(name) { return .undefined(name) }
        return methods.reading.contains(name) ? .method(value, name) : nil
    }

    private func key(_ name: String, of value: TemplateValue) throws -> TemplateValue {
        switch value {
        case .mapping(let mapping):
            notes.noteRead(name, of: mapping)
            return mapping[name] ?? .undefined(name)
        case .namespace(let index): return namespaces[index][name] ?? .undefined(name)
        case .loop(let loop): return loop.attribute(name)
        case .undefined(let missing): throw failure("“\(missing)” is undefined, so it has no “\(name)”")
        // What `groupby` makes has names for its two parts.
        case .list(let list) where list.isTuple && list.count == 2 && name == "grouper": return list[0]
        case .list(let list) where list.isTuple && list.count == 2 && name == "list": return list[1]
        case .counter(let index) where name == "current":
            let counter = counters[index]
            return counter.isJoiner ? .undefined(name) : counter.values[counter.taken % counter.values.count]
        default: return .undefined(name)
        }
    }

    /// `value[index]`: keys come before Python's attributes.
    func item(_ index: TemplateValue, of value: TemplateValue) throws -> TemplateValue {
        switch (value, index) {
        case (_, .string(let name)), (_, .markup(let name)):
            try charge(Saturating.product(name.utf8.count, Self.hashedByte))
            let found = try key(name, of: value)
            return found.isUndefined ? try method(name, of: value) ?? found : found
        case (.mapping(let mapping), .integer(let number)):
            if let found = mapping[.integer(number)] { return found }
        case (.list(let values), _):
            guard let position = index.asInteger else { break }
            let place = position < 0 ? Saturating.sum(values.count, position) : position
            return values.indices.contains(place) ? values[place] : .undefined("element \(position)")
        case (.string(let text), _), (.markup(let text), _):
            guard let position = index.asInteger else { break }
            try charge(text.utf8.count)
            return PythonText.scalar(of: text, at: position).map { .string($0) } ?? .undefined("character \(position)")
        case (.undefined(let missing), _): throw failure("“\(missing)” is undefined, so it has no elements")
        default: break
        }
        return .undefined(index.kind)
    }

    /// Python's slices, negative bounds and steps included.
    private func slice(
        _ object: Expression, _ from: Expression?, _ to: Expression?, _ step: Expression?
    ) throws -> TemplateValue {
        let value = try whole(try evaluate(object))
        func bound(_ expression: Expression?) throws -> Int? {
            guard let expression else { return nil }
            let bound = try evaluate(expression)
            if case .none = bound { return nil }
            guard let integer = bound.asInteger else { throw failure("a slice's bound must be an integer, not \(bound.kind)") }
            return integer
        }
        let slice = PythonSlice(from: try bound(from), to: try bound(to), step: try bound(step) ?? 1)
        guard slice.step != 0 else { throw failure("a slice's step must not be 0") }
        switch value {
        case .string(let text), .markup(let text):
            try charge(2 * text.utf8.count)
            return .string(slice.text(of: text))
        case .list(let list):
            let places = slice.places(in: list.count)
            try charge(elements: places.count)
            return .list(TemplateList(places.map { list[$0] }, isTuple: list.isTuple))
        case .undefined(let missing): throw failure("“\(missing)” is undefined, so it has no elements")
        default: return .undefined("the slice of \(value.kind)")
        }
    }

    // MARK: Calls

    private func call(_ callee: Expression, _ arguments: Arguments, _ callLine: Int) throws -> TemplateValue {
        if case .attribute(let object, let method) = callee.kind {
            let value = try known(try evaluate(object))
            let evaluated = try known(try evaluate(arguments))
            line = callLine
            if let result = try call(method: method, on: value, evaluated) { return result }
            return try call(try key(method, of: value), evaluated, name: method)
        }
        let function = try evaluate(callee)
        let evaluated = try evaluate(arguments)
        line = callLine
        if case .name(let name) = callee.kind { return try call(function, evaluated, name: name) }
        return try call(function, evaluated, name: "the value")
    }

    private func call(_ function: TemplateValue, _ arguments: EvaluatedArguments, name: String) throws -> TemplateValue {
        if case .macro(let index) = function { return try call(macro: index, arguments) }
        let arguments = try known(arguments)
        switch function {
        case .function(let name): return try call(function: name, arguments)
        case .method(let owner, let method):
            guard let result = try call(method: method, on: owner, arguments) else { throw failure("“\(method)” cannot be called") }
            return result
        case .counter(let index): return take(from: index)
        case .loop(let state): return try call(loop: state, arguments)
        case .undefined:
            throw failure(
                name == "strftime_now" ? "the template asks for today's date, and none was given" : "“\(name)” is undefined, so it cannot be called")
        default: throw failure("“\(name)” is \(function.kind), so it cannot be called")
        }
    }
}
