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
        case .list(let items): return .list(try items.map(evaluate))
        case .mapping(let entries): return try mapping(entries)
        case .attribute(let object, let name): return try attribute(name, of: try evaluate(object))
        case .item(let object, let index): return try item(try evaluate(index), of: try evaluate(object))
        case .slice(let object, let from, let to, let step): return try slice(object, from, to, step)
        case .call(let callee, let arguments): return try call(callee, arguments, expression.line)
        case .filter(let value, let name, let arguments):
            let value = try evaluate(value)
            let arguments = try evaluate(arguments)
            line = expression.line
            return try apply(filter: name, to: value, arguments)
        case .test(let value, let name, let arguments):
            let value = try evaluate(value)
            return .bool(try holds(test: name, value, try evaluate(arguments)))
        case .not(let operand): return .bool(!(try evaluate(operand).isTrue))
        case .negative(let operand): return try negated(try evaluate(operand))
        case .binary(let binary, let left, let right): return try compute(binary, try evaluate(left), try evaluate(right))
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

    func evaluate(_ arguments: Arguments) throws -> EvaluatedArguments {
        EvaluatedArguments(
            positional: try arguments.positional.map(evaluate),
            named: try arguments.named.map { ($0.name, try evaluate($0.value)) })
    }

    private func mapping(_ entries: [(key: Expression, value: Expression)]) throws -> TemplateValue {
        var result = TemplateMapping()
        for entry in entries {
            let key = try evaluate(entry.key)
            guard case .string(let name) = key else { throw failure("a mapping's key must be a string, not \(key.kind)") }
            result[name] = try evaluate(entry.value)
        }
        return .mapping(result)
    }

    // MARK: Parts of values

    /// What a loop goes through: a list's elements, a string's scalars, a mapping's keys.
    func elements(of value: TemplateValue) throws -> [TemplateValue] {
        switch value {
        case .list(let values): return values
        case .string(let text): return text.unicodeScalars.map { .string(String($0)) }
        case .mapping(let mapping): return mapping.entries.map { .string($0.key) }
        case .undefined: return []
        default: throw failure("\(value.kind) cannot be iterated over")
        }
    }

    func attribute(_ name: String, of value: TemplateValue) throws -> TemplateValue {
        switch value {
        case .mapping(let mapping): return mapping[name] ?? .undefined(name)
        case .namespace(let index): return namespaces[index][name] ?? .undefined(name)
        case .loop(let loop): return loop.attribute(name)
        case .undefined(let missing): throw failure("“\(missing)” is undefined, so it has no “\(name)”")
        default: return .undefined(name)
        }
    }

    func item(_ index: TemplateValue, of value: TemplateValue) throws -> TemplateValue {
        switch (value, index) {
        case (_, .string(let name)): return try attribute(name, of: value)
        case (.list(let values), _):
            guard let position = index.asInteger else { break }
            let place = position < 0 ? values.count + position : position
            return values.indices.contains(place) ? values[place] : .undefined("element \(position)")
        case (.string(let text), _):
            guard let position = index.asInteger else { break }
            let scalars = Array(text.unicodeScalars)
            let place = position < 0 ? scalars.count + position : position
            return scalars.indices.contains(place) ? .string(String(scalars[place])) : .undefined("character \(position)")
        case (.undefined(let missing), _): throw failure("“\(missing)” is undefined, so it has no elements")
        default: break
        }
        return .undefined(index.text)
    }

    /// Python's slices, negative bounds and steps included.
    private func slice(
        _ object: Expression, _ from: Expression?, _ to: Expression?, _ step: Expression?
    ) throws -> TemplateValue {
        let value = try evaluate(object)
        func bound(_ expression: Expression?) throws -> Int? {
            guard let expression else { return nil }
            let bound = try evaluate(expression)
            if case .none = bound { return nil }
            guard let integer = bound.asInteger else { throw failure("a slice's bound must be an integer, not \(bound.kind)") }
            return integer
        }
        let (from, to, step) = (try bound(from), try bound(to), try bound(step) ?? 1)
        guard step != 0 else { throw failure("a slice's step must not be 0") }
        let values = try elements(of: value)
        func clamped(_ index: Int?, _ standard: Int) -> Int {
            guard let index else { return standard }
            let place = index < 0 ? index + values.count : index
            return step > 0 ? min(max(place, 0), values.count) : min(max(place, -1), values.count - 1)
        }
        let first = clamped(from, step > 0 ? 0 : values.count - 1)
        let last = clamped(to, step > 0 ? values.count : -1)
        let picked = stride(from: first, to: last, by: step).map { values[$0] }
        if case .string = value { return .string(picked.map(\.text).joined()) }
        return .list(picked)
    }

    // MARK: Operators

    private func compare(_ first: Expression, _ rest: [(Operator, Expression)]) throws -> Bool {
        var left = try evaluate(first)
        for (comparing, expression) in rest {
            let right = try evaluate(expression)
            guard try compare(comparing, left, right) else { return false }
            left = right
        }
        return true
    }

    func compare(_ comparing: Operator, _ left: TemplateValue, _ right: TemplateValue) throws -> Bool {
        switch comparing {
        case .equal: return left.equals(right)
        case .notEqual: return !left.equals(right)
        case .isIn: return try contains(right, left)
        case .notIn: return !(try contains(right, left))
        case .less: return try precedes(left, right)
        case .greater: return try precedes(right, left)
        case .lessOrEqual: return !(try precedes(right, left))
        case .greaterOrEqual: return !(try precedes(left, right))
        default: throw failure("“\(comparing.rawValue)” does not compare")
        }
    }

    func contains(_ container: TemplateValue, _ value: TemplateValue) throws -> Bool {
        switch (container, value) {
        case (.string(let text), .string(let part)): return PythonText.contains(text, part)
        case (.list(let values), _): return values.contains { $0.equals(value) }
        case (.mapping(let mapping), .string(let key)): return mapping[key] != nil
        case (.mapping, _), (.undefined, _): return false
        default: throw failure("“in” cannot look for \(value.kind) in \(container.kind)")
        }
    }

    func precedes(_ left: TemplateValue, _ right: TemplateValue) throws -> Bool {
        if let a = left.asDouble, let b = right.asDouble { return a < b }
        switch (left, right) {
        case (.string(let a), .string(let b)): return PythonText.precedes(a, b)
        case (.list(let a), .list(let b)):
            for (x, y) in zip(a, b) where !x.equals(y) { return try precedes(x, y) }
            return a.count < b.count
        default: throw failure("\(left.kind) and \(right.kind) have no order")
        }
    }

    private func negated(_ value: TemplateValue) throws -> TemplateValue {
        if let integer = value.asInteger {
            let (result, overflows) = 0.subtractingReportingOverflow(integer)
            if !overflows { return .integer(result) }
        }
        if case .number(let number) = value { return .number(-number) }
        throw failure("\(value.kind) has no negative")
    }

    func compute(_ binary: Operator, _ left: TemplateValue, _ right: TemplateValue) throws -> TemplateValue {
        switch (binary, left, right) {
        case (.concatenate, _, _): return try joined(left.text, right.text)
        case (.add, .string(let a), .string(let b)): return try joined(a, b)
        case (.add, .list(let a), .list(let b)):
            try check(elements: a.count + b.count)
            return .list(a + b)
        case (.multiply, .string(let text), .integer(let count)), (.multiply, .integer(let count), .string(let text)):
            try check(
                bytes: text.utf8.count.multipliedReportingOverflow(by: max(count, 0)).overflow
                    ? .max : text.utf8.count * max(count, 0))
            return .string(String(repeating: text, count: max(count, 0)))
        case (.remainder, .string(let format), _): return try formatted(format, right)
        default: break
        }
        if let a = left.asInteger, let b = right.asInteger, let result = try integer(binary, a, b) { return result }
        guard let a = left.asDouble, let b = right.asDouble else {
            throw failure("“\(binary.rawValue)” cannot be done with \(left.kind) and \(right.kind)")
        }
        if b == 0, [.divide, .floorDivide, .remainder].contains(binary) { throw failure("division by zero") }
        switch binary {
        case .add: return .number(a + b)
        case .subtract: return .number(a - b)
        case .multiply: return .number(a * b)
        case .divide: return .number(a / b)
        case .floorDivide: return .number((a / b).rounded(.down))
        case .remainder: return .number(a - b * (a / b).rounded(.down))
        default: throw failure("“\(binary.rawValue)” is supported for integers only")
        }
    }

    private func joined(_ a: String, _ b: String) throws -> TemplateValue {
        try check(bytes: a.utf8.count + b.utf8.count)
        return .string(a + b)
    }

    /// Integer arithmetic as Python does it (floor division); nil where the result is no integer.
    private func integer(_ binary: Operator, _ a: Int, _ b: Int) throws -> TemplateValue? {
        var result = (partialValue: 0, overflow: false)
        switch binary {
        case .add: result = a.addingReportingOverflow(b)
        case .subtract: result = a.subtractingReportingOverflow(b)
        case .multiply: result = a.multipliedReportingOverflow(by: b)
        case .floorDivide, .remainder:
            if b == 0 { throw failure("division by zero") }
            let quotient = a.dividedReportingOverflow(by: b)
            let rest = a.remainderReportingOverflow(dividingBy: b).partialValue
            let isBelow = rest != 0 && (rest < 0) != (b < 0)
            if binary == .remainder { return .integer(isBelow ? rest + b : rest) }
            result = (isBelow ? quotient.partialValue - 1 : quotient.partialValue, quotient.overflow)
        case .power:
            if b < 0 { return nil }
            result = (1, false)
            for _ in 0..<b {
                result = result.partialValue.multipliedReportingOverflow(by: a)
                if result.overflow || result.partialValue == 0 || (a == 1) { break }
                if a == -1 { return .integer(b % 2 == 0 ? 1 : -1) }
            }
        default: return nil
        }
        if result.overflow { throw failure("the integer is out of range") }
        return .integer(result.partialValue)
    }

    /// `"…%s…" % values`: `%s`, `%d`, `%r`, `%%`.
    func formatted(_ format: String, _ value: TemplateValue) throws -> TemplateValue {
        var values: [TemplateValue]
        if case .list(let list) = value { values = list } else { values = [value] }
        var result = String.UnicodeScalarView()
        var isEscape = false
        for scalar in format.unicodeScalars {
            if !isEscape {
                if scalar == "%" { isEscape = true } else { result.append(scalar) }
                continue
            }
            isEscape = false
            if scalar == "%" {
                result.append(scalar)
                continue
            }
            guard !values.isEmpty else { throw failure("the format has more places than values") }
            let next = values.removeFirst()
            switch scalar {
            case "s": result.append(contentsOf: next.text.unicodeScalars)
            case "r": result.append(contentsOf: next.represented.unicodeScalars)
            case "d":
                guard let number = next.asDouble else { throw failure("“%d” needs a number, not \(next.kind)") }
                let whole = next.asInteger ?? Int(exactly: number.rounded(.towardZero))
                guard let whole else { throw failure("the integer is out of range") }
                result.append(contentsOf: String(whole).unicodeScalars)
            default: throw failure("the format “%\(scalar)” is not supported")
            }
        }
        try check(bytes: result.count)
        return .string(String(result))
    }

    // MARK: Calls

    private func call(_ callee: Expression, _ arguments: Arguments, _ callLine: Int) throws -> TemplateValue {
        if case .attribute(let object, let method) = callee.kind {
            let value = try evaluate(object)
            let evaluated = try evaluate(arguments)
            line = callLine
            if let result = try call(method: method, on: value, evaluated) { return result }
            return try call(try attribute(method, of: value), evaluated, name: method)
        }
        let function = try evaluate(callee)
        let evaluated = try evaluate(arguments)
        line = callLine
        if case .name(let name) = callee.kind { return try call(function, evaluated, name: name) }
        return try call(function, evaluated, name: "the value")
    }

    private func call(_ function: TemplateValue, _ arguments: EvaluatedArguments, name: String) throws -> TemplateValue {
        switch function {
        case .macro(let index): return try call(macro: index, arguments)
        case .function(let name): return try call(function: name, arguments)
        case .undefined:
            throw failure(
                name == "strftime_now" ? "the template asks for today's date, and none was given" : "“\(name)” is undefined, so it cannot be called")
        default: throw failure("“\(name)” is \(function.kind), so it cannot be called")
        }
    }
}
