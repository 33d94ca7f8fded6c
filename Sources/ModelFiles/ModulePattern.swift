import LorikeetGround

/// A regular expression of Python's `re`, as adapter settings contain them, matched against names of modules.
///
/// Supported: literals, `.`, sets, `\d \w \s \b` and their opposites, groups, `|`, all quantifiers, `^ $ \A \Z`, lookahead. Whether the whole
/// name matches does not depend on which quantifiers are greedy. Refused: back-references, lookbehind, flags inside the expression.
///
/// Matching follows all alternatives at once (Thompson's construction): its work grows with the expression's length times the name's, never
/// exponentially, and ends with an error beyond `workLimit`.
package struct ModulePattern: Sendable, Equatable {
    /// The expression as the file has it.
    package let text: String
    private let program: [Step]

    /// - Throws: exit 2 where the text is not an expression of Python's `re`, or uses what is not supported; the caller names the setting.
    package init(_ text: String) throws {
        self.text = text
        var parser = PatternParser(text)
        var compiler = Compiler()
        try compiler.compile(parser.parse())
        program = compiler.program + [.match]
    }

    package static func == (a: ModulePattern, b: ModulePattern) -> Bool { a.text == b.text }

    /// Python's `re.fullmatch`.
    ///
    /// - Throws: exit 2 where matching takes more than `workLimit` steps.
    package func matches(_ name: some StringProtocol) throws -> Bool {
        var run = Run(program: program, text: Array(name.unicodeScalars))
        return try run.matches(from: 0, at: 0, toEnd: true)
    }

    /// Steps of one match.
    static let workLimit = 1_000_000
    /// Steps of a compiled expression: `(a{1000}){1000}` would have a million.
    private static let longestProgram = 20_000

    // MARK: compiling

    fileprivate enum Step: Sendable {
        case character(PatternSet)
        /// Matching goes on at both steps.
        case split(Int, Int)
        case jump(Int)
        case assertion(PatternAssertion)
        /// The steps up to `next` have to match here, or, negated, must not.
        case lookahead(negated: Bool, next: Int)
        case match
    }

    private struct Compiler {
        var program: [Step] = []
        /// Nodes compiled, counting each repetition: a group may be empty.
        private var nodes = 0

        mutating func compile(_ node: PatternNode) throws {
            nodes += 1
            guard nodes <= ModulePattern.longestProgram else { throw LorikeetError.input("the expression is too long") }
            switch node {
            case .set(let set): program.append(.character(set))
            case .assertion(let assertion): program.append(.assertion(assertion))
            case .sequence(let nodes): for node in nodes { try compile(node) }
            case .choice(let nodes): try choice(nodes)
            case .repetition(let node, let least, let most):
                for _ in 0..<least { try compile(node) }
                let splits = try (least..<max(least, most ?? least + 1)).map { _ in
                    let split = placeholder()
                    try compile(node)
                    return split
                }
                if most == nil { program.append(.jump(splits[0])) }
                for split in splits { program[split] = .split(split + 1, program.count) }
            case .lookahead(let node, let negated):
                let start = placeholder()
                try compile(node)
                program.append(.match)
                program[start] = .lookahead(negated: negated, next: program.count)
            }
        }

        private mutating func choice(_ nodes: [PatternNode]) throws {
            var ends: [Int] = []
            for node in nodes.dropLast() {
                let split = placeholder()
                try compile(node)
                ends.append(placeholder())
                program[split] = .split(split + 1, program.count)
            }
            if let last = nodes.last { try compile(last) }
            for end in ends { program[end] = .jump(program.count) }
        }

        /// A step that is written when its targets are known.
        private mutating func placeholder() -> Int {
            program.append(.match)
            return program.count - 1
        }
    }

    // MARK: matching

    private struct Run {
        let program: [Step]
        let text: [Unicode.Scalar]
        var work = 0

        /// Whether the steps from `start` on match from place `place` on; up to the text's end, or any part of the rest.
        mutating func matches(from start: Int, at place: Int, toEnd: Bool) throws -> Bool {
            var threads = threads()
            if try follow(start, place, &threads), !toEnd || place == text.count { return true }
            for index in place..<text.count {
                guard !threads.list.isEmpty else { return false }
                var next = self.threads()
                var found = false
                for step in threads.list {
                    work += 1
                    guard case .character(let set) = program[step], set.contains(text[index]) else { continue }
                    if try follow(step + 1, index + 1, &next) { found = true }
                }
                if found, !toEnd || index + 1 == text.count { return true }
                threads = next
            }
            return false
        }

        private mutating func threads() -> Threads {
            work += program.count / 16
            return Threads(count: program.count)
        }

        /// Adds the characters that may come next after `start`; true where the match may end here.
        private mutating func follow(_ start: Int, _ place: Int, _ threads: inout Threads) throws -> Bool {
            var (waiting, ends) = ([start], false)
            while let step = waiting.popLast() {
                guard threads.insert(step) else { continue }
                work += 1
                guard work <= ModulePattern.workLimit else { throw LorikeetError.input("the expression takes too long to match") }
                switch program[step] {
                case .character: threads.list.append(step)
                case .split(let a, let b): waiting += [a, b]
                case .jump(let to): waiting.append(to)
                case .assertion(let assertion): if assertion.holds(in: text, at: place) { waiting.append(step + 1) }
                case .lookahead(let negated, let next):
                    if try matches(from: step + 1, at: place, toEnd: false) != negated { waiting.append(next) }
                case .match: ends = true
                }
            }
            return ends
        }
    }

    /// Steps that wait for a character, and all that were visited.
    private struct Threads {
        var list: [Int] = []
        private var seen: [Bool]

        init(count: Int) { seen = [Bool](repeating: false, count: count) }

        mutating func insert(_ step: Int) -> Bool {
            guard !seen[step] else { return false }
            seen[step] = true
            return true
        }
    }
}
