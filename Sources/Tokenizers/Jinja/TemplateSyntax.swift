/// An expression of a template, with the line where it begins.
struct Expression: Sendable {
    indirect enum Kind: Sendable {
        case literal(TemplateValue)
        case name(String)
        case list([Expression], isTuple: Bool)
        case mapping([(key: Expression, value: Expression)])
        case attribute(Expression, String)
        case item(Expression, Expression)
        case slice(Expression, from: Expression?, to: Expression?, step: Expression?)
        case call(Expression, Arguments)
        case filter(Expression, String, Arguments)
        case test(Expression, String, Arguments)
        case not(Expression)
        case negative(Expression)
        case binary(Operator, Expression, Expression)
        case comparison(Expression, [(Operator, Expression)])
        case and(Expression, Expression)
        case or(Expression, Expression)
        case conditional(condition: Expression, then: Expression, otherwise: Expression?)
    }

    let kind: Kind
    let line: Int
    /// Levels of nesting, itself included: kept small, for the evaluator descends by recursion.
    let depth: Int
}

/// What stands in the brackets of a call.
struct Arguments: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
    /// `*values`, behind the other positional arguments.
    var spread: Expression?
    /// `**values`
    var namedSpread: Expression?

    var depth: Int {
        max(
            positional.map(\.depth).max() ?? 0, named.map(\.value.depth).max() ?? 0, spread?.depth ?? 0, namedSpread?.depth ?? 0)
    }
}

enum Operator: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case remainder = "%"
    case power = "**"
    case concatenate = "~"
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case isIn = "in"
    case notIn = "not in"
}

/// What `set` and `for` assign to.
enum AssignmentTarget: Sendable {
    case name(String)
    case names([String])
    /// `namespace.attribute`
    case attribute(String, String)
}

/// A statement of a template.
indirect enum Statement: Sendable {
    case text(String)
    case output(Expression)
    case condition([(condition: Expression, body: [Statement])], otherwise: [Statement])
    case loop(Loop)
    case set(AssignmentTarget, Expression)
    /// `{% set name %}…{% endset %}`, with the filters written after the name.
    case capture(AssignmentTarget, filters: [AppliedFilter], body: [Statement], line: Int)
    /// `{% filter name %}…{% endfilter %}`
    case filtered([AppliedFilter], body: [Statement], line: Int)
    case macro(Macro)
    /// `{% call name(…) %}…{% endcall %}`
    case callBlock(call: Expression, caller: Macro)
    /// Its own scope: `{% with a = 1 %}…{% endwith %}`
    case with([(String, Expression)], body: [Statement])
    /// `{% generation %}…{% endgeneration %}`: marks what the assistant writes; the text passes through.
    case generation([Statement], line: Int)
    case leave
    case next
}

struct AppliedFilter: Sendable {
    let name: String
    let arguments: Arguments
}

struct Loop: Sendable {
    let target: AssignmentTarget
    let sequence: Expression
    let condition: Expression?
    let body: [Statement]
    let otherwise: [Statement]
    /// Whether the body may call `loop(…)` to go through more values with the same body.
    let isRecursive: Bool
    let line: Int
}

struct Macro: Sendable {
    let name: String
    let parameters: [(name: String, standard: Expression?)]
    let body: [Statement]
    /// Whether the body reads `varargs` or `kwargs`, so that calls may have more arguments than parameters.
    let takesMore: Bool
    let takesMoreNamed: Bool
    let line: Int
}
