import LorikeetGround

/// `value is test`
extension TemplateRun {
    static let testNames: Set<String> = Set([
        "defined", "undefined", "none", "string", "mapping", "boolean", "true", "false", "integer", "float", "number", "sequence", "iterable",
        "callable", "escaped", "odd", "even", "upper", "lower", "divisibleby", "sameas", "filter", "test",
    ]).union(comparisons.keys)

    private static let comparisons: [String: Operator] = [
        "equalto": .equal, "eq": .equal, "==": .equal, "ne": .notEqual, "!=": .notEqual, "lt": .less, "lessthan": .less, "<": .less,
        "le": .lessOrEqual, "<=": .lessOrEqual, "gt": .greater, "greaterthan": .greater, ">": .greater, "ge": .greaterOrEqual,
        ">=": .greaterOrEqual, "in": .isIn,
    ]

    func holds(test name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> Bool {
        try charge(reading: value, arguments)
        switch name {
        case "defined": return !value.isUndefined
        case "undefined": return value.isUndefined
        case "none": if case .none = value { return true } else { return false }
        case "string": return value.string != nil
        case "escaped": if case .markup = value { return true } else { return false }
        case "filter": return value.string.map(Self.filterNames.contains) ?? false
        case "test": return value.string.map(Self.testNames.contains) ?? false
        case "mapping":
            switch value {
            case .mapping: return true
            default: return false
            }
        case "boolean": if case .bool = value { return true } else { return false }
        case "true": if case .bool(true) = value { return true } else { return false }
        case "false": if case .bool(false) = value { return true } else { return false }
        case "integer": if case .integer = value { return true } else { return false }
        case "float": if case .number = value { return true } else { return false }
        case "number": return value.asDouble != nil
        case "sequence", "iterable":
            switch value {
            case .string, .markup, .list, .mapping, .undefined: return true
            default: return false
            }
        case "callable":
            switch value {
            case .macro, .function, .method, .counter, .loop: return true
            default: return false
            }
        case "odd", "even":
            guard let number = value.asInteger else { throw failure("“\(name)” needs an integer, not \(value.kind)") }
            return number.isMultiple(of: 2) == (name == "even")
        case "upper", "lower":
            return try call(method: "is" + name, on: .string(try text(of: value)), EvaluatedArguments())?.isTrue ?? false
        default: return try holds(comparison: name, value, arguments)
        }
    }

    private func holds(comparison name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> Bool {
        let comparing = Self.comparisons[name]
        guard ["divisibleby", "sameas"].contains(name) || comparing != nil else {
            throw failure("the test “\(name)” is not supported")
        }
        guard let other = arguments.value(0, "other") else { throw failure("the test “\(name)” needs a value") }
        if let comparing { return try compare(comparing, value, other) }
        switch name {
        case "divisibleby":
            guard let number = value.asInteger, let divisor = other.asInteger, divisor != 0 else {
                throw failure("“divisibleby” needs integers, and no zero")
            }
            return number.isMultiple(of: divisor)
        default:
            try charge(comparing: value, other)
            return isSame(value, other)
        }
    }

    /// Python's `is` as far as templates use it: constants are themselves, a boolean is no integer.
    private func isSame(_ a: TemplateValue, _ b: TemplateValue) -> Bool {
        switch (a, b) {
        case (.bool(let x), .bool(let y)): x == y
        case (.bool, _), (_, .bool): false
        case (.integer, .number), (.number, .integer): false
        default: a.equals(b)
        }
    }
}
