import LorikeetGround

/// Sums and products that stop at the largest integer instead of overflowing: sizes that are only compared with a limit.
enum Saturating {
    static func sum(_ a: Int, _ b: Int) -> Int {
        let (result, overflows) = a.addingReportingOverflow(b)
        return overflows ? .max : result
    }

    /// Of two numbers that are not negative.
    static func product(_ a: Int, _ b: Int) -> Int {
        let (result, overflows) = a.multipliedReportingOverflow(by: b)
        return overflows ? .max : result
    }
}

/// The limits that keep an untrusted template from running away. Every operation is charged before it works.
extension TemplateRun {
    /// Units of work of one rendering: a statement or expression costs `stepCost`, an operation on text or lists about one unit for each
    /// byte that it reads or writes. Spent in about a second.
    static let maximumWork = 256 << 20
    static let stepCost = 64
    /// The longest string and the longest output, in bytes.
    static let maximumBytes = 64 << 20
    /// The most elements of a list.
    static let maximumElements = 1 << 20
    /// The deepest recursion of expressions, statements and macros together.
    static let deepestRecursion = 600
    /// The deepest nesting of lists and mappings that a variable may hold.
    static let deepestValue = 300

    /// How many units a byte costs that is looked up by its Unicode properties or written by several pieces.
    static let slowByte = 24

    /// How many units a byte of a key costs: it is hashed, and compared with the keys of a small mapping.
    static let hashedByte = 4

    /// Pays for work that is about to be done.
    @inline(__always)
    func charge(_ units: Int) throws {
        let (sum, overflows) = work.addingReportingOverflow(units)
        guard !overflows, sum <= Self.maximumWork else { throw tooMuchWork() }
        work = sum
    }

    private func tooMuchWork() -> LorikeetError {
        var error = failure("the template does too much work (more than \(Self.maximumWork / Self.stepCost) steps, or as much in long texts)")
        error.kind = .tooMuchWork
        return error
    }

    /// Pays for a text of at most so many bytes; throws where it would be too long.
    func charge(bytes: Int) throws {
        if bytes > Self.maximumBytes { throw failure("the template makes a text of more than \(Self.maximumBytes >> 20) MiB") }
        try charge(bytes)
    }

    /// Pays for a list of so many elements; throws where it would be too long.
    func charge(elements: Int) throws {
        if elements > Self.maximumElements { throw failure("the template makes a list of more than \(Self.maximumElements) elements") }
        try charge(elements * 16)
    }

    /// Pays for walking all of a value: printing, comparing, searching.
    func charge(walking value: TemplateValue) throws { try charge(value.shape.weight) }

    /// Pays for reading the texts that a filter, test, method or function is given.
    func charge(reading value: TemplateValue? = nil, _ arguments: EvaluatedArguments) throws {
        var bytes = Saturating.sum(value?.string?.utf8.count ?? 0, arguments.positional.count + arguments.named.count)
        for argument in arguments.positional { bytes = Saturating.sum(bytes, argument.string?.utf8.count ?? 0) }
        for argument in arguments.named { bytes = Saturating.sum(bytes, argument.value.string?.utf8.count ?? 0) }
        try charge(bytes)
    }

    /// Pays for a comparison, which ends at the latest with the smaller of two values.
    func charge(comparing a: TemplateValue, _ b: TemplateValue) throws { try charge(min(a.shape.weight, b.shape.weight)) }

    /// `str(value)`, paid for.
    func text(of value: TemplateValue) throws -> String {
        switch value {
        case .string(let text), .markup(let text): return text
        case .open: throw OpenText.Unknown()
        case .list, .mapping:
            _ = try known(value)
            // Escapes make a character up to four bytes long.
            try charge(Saturating.product(value.shape.weight, 4))
            return value.text
        default: return value.text
        }
    }

    func equal(_ a: TemplateValue, _ b: TemplateValue) throws -> Bool {
        try charge(comparing: a, b)
        return a.equals(b)
    }

    /// Throws where lists and mappings stand in one another too deeply: printing and releasing such a value descends by recursion. Called
    /// where values are kept, for within one expression the depth of the expression is the limit.
    func checkShape(_ value: TemplateValue) throws {
        if value.shape.depth > Self.deepestValue { throw failure("the template makes values that nest deeper than \(Self.deepestValue) levels") }
    }
}
