import LorikeetGround

/// Comparisons and arithmetic.
extension TemplateRun {
    func compare(_ first: Expression, _ rest: [(Operator, Expression)]) throws -> Bool {
        var left = try evaluate(first)
        for (comparing, expression) in rest {
            let right = try evaluate(expression)
            guard try compare(comparing, left, right) else { return false }
            left = right
        }
        return true
    }

    func compare(_ comparing: Operator, _ left: TemplateValue, _ right: TemplateValue) throws -> Bool {
        try requireKnown(comparing, left, right)
        switch comparing {
        case .equal: return try equal(left, right)
        case .notEqual: return try !equal(left, right)
        case .isIn: return try contains(right, left)
        case .notIn: return try !contains(right, left)
        case .less: return try order(left, right) { $0 < 0 }
        case .greater: return try order(left, right) { $0 > 0 }
        case .lessOrEqual: return try order(left, right) { $0 <= 0 }
        case .greaterOrEqual: return try order(left, right) { $0 >= 0 }
        default: throw failure("“\(comparing.rawValue)” does not compare")
        }
    }

    func contains(_ container: TemplateValue, _ value: TemplateValue) throws -> Bool {
        switch container {
        case .string(let text), .markup(let text):
            guard let part = value.string else { break }
            try charge(text.utf8.count + part.utf8.count)
            return PythonText.contains(text, part)
        case .list(let values): return try values.contains { try equal($0, value) }
        case .mapping(let mapping): return try mappingKey(value).map { mapping[$0] != nil } ?? false
        case .undefined: return false
        default: break
        }
        throw failure("“in” cannot look for \(value.kind) in \(container.kind)")
    }

    func precedes(_ left: TemplateValue, _ right: TemplateValue) throws -> Bool { try order(left, right) { $0 < 0 } }

    /// Whether the order of two values (below 0, 0, above 0) passes; no order with NaN ever does.
    private func order(_ left: TemplateValue, _ right: TemplateValue, _ passes: (Int) -> Bool) throws -> Bool {
        if let a = left.asInteger, let b = right.asInteger { return passes(a < b ? -1 : a > b ? 1 : 0) }
        if let a = left.asDouble, let b = right.asDouble { return a.isNaN || b.isNaN ? false : passes(a < b ? -1 : a > b ? 1 : 0) }
        if let a = left.string, let b = right.string {
            try charge(min(a.utf8.count, b.utf8.count))
            return passes(PythonText.precedes(a, b) ? -1 : PythonText.equal(a, b) ? 0 : 1)
        }
        if case .list(let a) = left, case .list(let b) = right, a.isTuple == b.isTuple {
            for (x, y) in zip(a, b) where try !equal(x, y) { return try descend { try order(x, y, passes) } }
            return passes(a.count < b.count ? -1 : a.count > b.count ? 1 : 0)
        }
        throw failure("\(left.kind) and \(right.kind) have no order")
    }

    func negated(_ value: TemplateValue) throws -> TemplateValue {
        if let integer = value.asInteger {
            let (result, overflows) = 0.subtractingReportingOverflow(integer)
            if !overflows { return .integer(result) }
        }
        if case .number(let number) = value { return .number(-number) }
        throw failure("\(value.kind) has no negative")
    }

    func compute(_ binary: Operator, _ left: TemplateValue, _ right: TemplateValue) throws -> TemplateValue {
        if let sum = try openSum(binary, left, right) { return sum }
        switch (binary, left, right) {
        case (.concatenate, _, _): return .string(try joined(try text(of: left), try text(of: right)))
        case (.add, .string(let a), .string(let b)): return .string(try joined(a, b))
        case (.add, .markup(let a), .markup(let b)): return .markup(try joined(a, b))
        case (.add, .markup(let a), .string(let b)): return .markup(try joined(a, try escaped(b)))
        case (.add, .string(let a), .markup(let b)): return .markup(try joined(try escaped(a), b))
        case (.add, .list(let a), .list(let b)) where a.isTuple == b.isTuple:
            try charge(elements: a.count + b.count)
            return .list(TemplateList(a.values + b.values, isTuple: a.isTuple))
        case (.multiply, .string(let text), _), (.multiply, _, .string(let text)):
            if let count = (left.string == nil ? left : right).asInteger { return .string(try repeated(text, max(count, 0))) }
        case (.multiply, .list(let list), _), (.multiply, _, .list(let list)):
            if let count = left.asInteger ?? right.asInteger {
                let length = Saturating.product(list.count, max(count, 0))
                try charge(elements: length)
                return .list(TemplateList((0..<length).map { list[$0 % list.count] }, isTuple: list.isTuple))
            }
        case (.remainder, .string(let format), .list(let list)) where list.isTuple:
            return .string(try percentFormatted(format, EvaluatedArguments(positional: list.values)))
        case (.remainder, .string(let format), _):
            return .string(try percentFormatted(format, EvaluatedArguments(positional: [right])))
        default: break
        }
        return try arithmetic(binary, left, right)
    }

    private func arithmetic(_ binary: Operator, _ left: TemplateValue, _ right: TemplateValue) throws -> TemplateValue {
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

    private func joined(_ a: String, _ b: String) throws -> String {
        try charge(bytes: Saturating.sum(a.utf8.count, b.utf8.count))
        return a + b
    }

    func repeated(_ text: String, _ count: Int) throws -> String {
        if text.isEmpty || count == 0 { return "" }
        try charge(bytes: Saturating.product(text.utf8.count, count))
        return PythonText.repeated(text, count)
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
            if a == 0 || a == 1 || a == -1 { return .integer(b == 0 ? 1 : a == -1 && b.isMultiple(of: 2) ? 1 : a) }
            // At most 63 turns: then it is out of range.
            result = (1, false)
            for _ in 0..<b {
                result = result.partialValue.multipliedReportingOverflow(by: a)
                if result.overflow { break }
            }
        default: return nil
        }
        if result.overflow { throw failure("the integer is out of range") }
        return .integer(result.partialValue)
    }
}
