import LorikeetGround

/// Rewrites an expression of Oniguruma's Ruby syntax so that PCRE2 (UTF, UCP, MULTILINE) matches the same, or refuses it by name.
///
/// Where the two differ: `\s`, `\w`, `\b` and `\h` (other sets of characters), `{n,m}+` (not possessive), `{n}?` (optional, not lazy),
/// `{,m}`, quantifiers of quantifiers, `(?m:` (the dot matches newlines), `\uHHHH`, nested and intersected classes, names of
/// properties, and folding that maps one character to several.
struct ExpressionTranslation {
    private let scalars: [Unicode.Scalar]
    private let source: String
    private let place: String
    private var at = 0
    private var result = ""
    /// Where the last atom begins in `result`; nil where no quantifier may follow.
    private var atom: String.UnicodeScalarView.Index?
    private var open: [(start: String.UnicodeScalarView.Index, ignoresCase: Bool)] = []
    private var ignoresCase = false
    private var insideClass = 0
    /// The letters before `at` that stand together without regard to case.
    private var folded = ""

    static let space = #"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"#
    static let notSpace = #"\P{Xsp}\x{180e}"#
    /// `\w` inside of a class; by itself it has six digits of Latin-1 more (²³¹¼½¾).
    static let word = #"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}"#
    static let wordAlone = word + #"\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}"#

    /// - Throws: exit 2 naming the part that is not supported.
    static func pattern(_ source: String, place: String) throws(LorikeetError) -> String {
        var translation = ExpressionTranslation(scalars: Array(source.unicodeScalars), source: source, place: place)
        try translation.run()
        return translation.result
    }

    static func refusal(_ source: String, _ reason: String, _ place: String) -> LorikeetError {
        .input(
            "the tokenizer's regular expression “\(source.prefix(200))” is not supported: \(reason)", at: place,
            fix: "use a tokenizer.json whose expressions avoid it")
    }

    private init(scalars: [Unicode.Scalar], source: String, place: String) {
        (self.scalars, self.source, self.place) = (scalars, source, place)
    }

    private func refused(_ reason: String) -> LorikeetError { Self.refusal(source, reason, place) }

    private func peek(_ ahead: Int = 0) -> Unicode.Scalar? { at + ahead < scalars.count ? scalars[at + ahead] : nil }

    private func starts(_ text: String) -> Bool {
        var index = at
        for scalar in text.unicodeScalars {
            guard index < scalars.count, scalars[index] == scalar else { return false }
            index += 1
        }
        return true
    }

    private mutating func run() throws(LorikeetError) {
        guard scalars.count <= 20_000 else { throw refused("it has \(scalars.count) characters, more than 20,000") }
        while let scalar = peek() {
            let isLetter = scalar.properties.isAlphabetic
            if !isLetter { folded = "" }
            switch scalar {
            case "\\": try escape()
            case "[":
                begin()
                result += try characterClass()
            case "(": try group()
            case ")":
                guard let (start, ignores) = open.popLast() else { throw refused("a “)” without “(”") }
                result += ")"
                (atom, ignoresCase) = (start, ignores)
                at += 1
            case "*", "+", "?", "{": try quantifier()
            case "|", "^", "$":
                result.unicodeScalars.append(scalar)
                atom = nil
                at += 1
            default:
                begin()
                if ignoresCase, isLetter { try fold(scalar) }
                result.unicodeScalars.append(scalar)
                at += 1
            }
        }
        guard open.isEmpty else { throw refused("a “(” without “)”") }
    }

    private mutating func begin() { atom = result.unicodeScalars.endIndex }

    /// Letters that are folded to or from several at once, which PCRE2 does not do.
    private mutating func fold(_ scalar: Unicode.Scalar) throws(LorikeetError) {
        guard scalar.isASCII else { throw refused("the letter “\(scalar)” without regard to case") }
        folded += String(scalar).lowercased()
        for pair in ["ss", "ff", "fi", "fl", "st"] where folded.hasSuffix(pair) {
            throw refused("“\(pair)” without regard to case, which stands for one character as well")
        }
    }

    // MARK: - Escapes

    private mutating func escape() throws(LorikeetError) {
        guard let letter = peek(1) else { throw refused("a “\\” at its end") }
        begin()
        switch letter {
        case "s": result += "[\(Self.space)]"
        case "S": result += "[^\(Self.space)]"
        case "w": result += "[\(Self.wordAlone)]"
        case "W": result += "[^\(Self.wordAlone)]"
        case "h": result += "[0-9a-fA-F]"
        case "H": result += "[^0-9a-fA-F]"
        case "b": result += "(?:(?<=[\(Self.wordAlone)])(?![\(Self.wordAlone)])|(?<![\(Self.wordAlone)])(?=[\(Self.wordAlone)]))"
        case "B": result += "(?:(?<=[\(Self.wordAlone)])(?=[\(Self.wordAlone)])|(?<![\(Self.wordAlone)])(?![\(Self.wordAlone)]))"
        case "A", "z", "Z", "G", "d", "D", "R", "X": result += "\\\(letter)"
        case "u", "x", "p", "P":
            result += try valueEscape()
            return
        case "1"..."9":
            guard peek(2).map({ !("0"..."9").contains($0) }) ?? true else { throw refused("the escape “\\\(letter)…”") }
            result += "\\g{\(letter)}"
        default: result += try plainEscape(letter)
        }
        at += 2
    }

    /// Escapes that mean one character, in and outside of classes.
    private func plainEscape(_ letter: Unicode.Scalar) throws(LorikeetError) -> String {
        switch letter {
        case "t", "n", "r", "f", "a", "e": return "\\\(letter)"
        case "v": return "\\x{b}"
        case "0": return "\\x{0}"
        case _ where letter.isASCII && !letter.properties.isAlphabetic && !("0"..."9").contains(letter): return "\\\(letter)"
        case _ where !letter.isASCII: return String(letter)
        default: throw refused("the escape “\\\(letter)”")
        }
    }

    /// `\uHHHH`, `\xHH`, `\x{H…}`, `\p{…}`, `\P{…}`: appended after the “\\” at `at`, which moves past it.
    private mutating func valueEscape() throws(LorikeetError) -> String {
        let letter = scalars[at + 1]
        at += 2
        if letter == "p" || letter == "P" { return try property(isNegated: letter == "P") }
        var digits = ""
        if letter == "x", peek() == "{" {
            at += 1
            while let scalar = peek(), scalar != "}" {
                digits.unicodeScalars.append(scalar)
                at += 1
            }
            at += 1
        } else {
            for _ in 0..<(letter == "u" ? 4 : 2) {
                guard let scalar = peek(), scalar.properties.isASCIIHexDigit else { break }
                digits.unicodeScalars.append(scalar)
                at += 1
            }
        }
        guard let value = UInt32(digits, radix: 16), Unicode.Scalar(value) != nil else { throw refused("the escape “\\\(letter)\(digits)”") }
        if letter == "x", scalars[at - 1] != "}", value > 0x7F { throw refused("“\\x\(digits)”, a single byte") }
        return "\\x{\(digits)}"
    }

    private mutating func property(isNegated: Bool) throws(LorikeetError) -> String {
        guard peek() == "{" else { throw refused("“\\p” without a name in braces") }
        at += 1
        var negated = isNegated
        if peek() == "^" {
            negated.toggle()
            at += 1
        }
        var name = ""
        while let scalar = peek(), scalar != "}" {
            name.unicodeScalars.append(scalar)
            at += 1
        }
        at += 1
        let key = name.lowercased().filter { $0 != " " && $0 != "_" && $0 != "-" }
        if let set = Self.posix[key] { return try inClass(set, isNegated: negated, name: name) }
        let long = Self.categories[key] ?? name
        return negated ? "\\P{\(long)}" : "\\p{\(long)}"
    }

    private func inClass(_ set: String, isNegated: Bool, name: String) throws(LorikeetError) -> String {
        if insideClass == 0 { return isNegated ? "[^\(set)]" : "[\(set)]" }
        guard !isNegated else { throw refused("“\(name)” negated inside of a class") }
        return set
    }

    /// Sets that Oniguruma names beside Unicode's categories and scripts.
    private static let posix = [
        "alpha": #"\p{Alphabetic}"#, "alnum": #"\p{Alphabetic}\p{Nd}"#, "digit": #"\p{Nd}"#, "upper": #"\p{Uppercase}"#, "lower": #"\p{Lowercase}"#,
        "punct": #"\p{P}"#, "space": space, "whitespace": space, "word": word, "xdigit": "0-9a-fA-F", "cntrl": #"\p{Cc}"#,
        "ascii": #"\x{0}-\x{7f}"#, "blank": #"\p{Zs}\t"#,
    ]
    private static let categories = [
        "letter": "L", "uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm", "otherletter": "Lo",
        "mark": "M", "nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me", "number": "N", "decimalnumber": "Nd",
        "letternumber": "Nl", "othernumber": "No", "punctuation": "P", "symbol": "S", "separator": "Z", "other": "C", "control": "Cc",
        "spaceseparator": "Zs", "mathsymbol": "Sm", "currencysymbol": "Sc", "modifiersymbol": "Sk", "othersymbol": "So",
    ]

    // MARK: - Groups and quantifiers

    private mutating func group() throws(LorikeetError) {
        let start = result.unicodeScalars.endIndex
        atom = nil
        guard peek(1) == "?" else {
            open.append((start, ignoresCase))
            // Unnamed groups capture nothing that is used, but a back-reference counts them.
            result += "("
            at += 1
            return
        }
        for opening in ["(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"] where starts(opening) {
            open.append((start, ignoresCase))
            result += opening
            at += opening.unicodeScalars.count
            return
        }
        var index = at + 2
        var flags = ""
        while index < scalars.count, "imx-".unicodeScalars.contains(scalars[index]) {
            flags.unicodeScalars.append(scalars[index])
            index += 1
        }
        guard !flags.isEmpty, !flags.contains("x"), index < scalars.count, scalars[index] == ":" || scalars[index] == ")" else {
            throw refused("the group “\(String(String.UnicodeScalarView(scalars[at..<min(at + 5, scalars.count)])))…”")
        }
        let outer = ignoresCase
        let on = flags.split(separator: "-", omittingEmptySubsequences: false).first ?? ""
        if flags.contains("i") { ignoresCase = on.contains("i") }
        let translated = flags.replacing("m", with: "s")
        if scalars[index] == ":" {
            open.append((start, outer))
            result += "(?\(translated):"
        } else {
            // Holds up to the end of the group, alternatives included: PCRE2 and Ruby agree.
            result += "(?\(translated))"
        }
        at = index + 1
    }

    private mutating func quantifier() throws(LorikeetError) {
        var text = ""
        var isInterval = false
        if peek() == "{" {
            guard let interval = interval() else {
                begin()
                result += "\\{"
                at += 1
                return
            }
            text = interval
            isInterval = true
        } else {
            text = String(peek() ?? "*")
            at += 1
        }
        guard let atom else { throw refused("the quantifier “\(text)” without anything before it") }
        result += text
        if isInterval {
            // Greedy and repeated, or optional: not possessive and not lazy as in Perl.
            let isFixed = !text.contains(",")
            if peek() == "+" || (peek() == "?" && isFixed) || peek() == "*" || peek() == "{" {
                wrap(atom)
            } else if peek() == "?" {
                result += "?"
                at += 1
                wrap(atom)
            }
            return
        }
        if peek() == "?" || peek() == "+" {
            result.unicodeScalars.append(scalars[at])
            at += 1
        }
        if let next = peek(), next == "*" || next == "+" || next == "?" || next == "{" { wrap(atom) }
    }

    private mutating func wrap(_ start: String.UnicodeScalarView.Index) {
        result.unicodeScalars.insert(contentsOf: "(?:".unicodeScalars, at: start)
        result += ")"
    }

    /// `{n}`, `{n,}`, `{n,m}`, `{,m}`; nil where the brace is an ordinary character.
    private mutating func interval() -> String? {
        var index = at + 1
        var text = ""
        while index < scalars.count, scalars[index] != "}" {
            guard ("0"..."9").contains(scalars[index]) || scalars[index] == "," else { return nil }
            text.unicodeScalars.append(scalars[index])
            index += 1
        }
        let bounds = text.split(separator: ",", omittingEmptySubsequences: false)
        guard index < scalars.count, bounds.count <= 2, bounds.contains(where: { !$0.isEmpty }) else { return nil }
        at = index + 1
        return text.hasPrefix(",") ? "{0\(text)}" : "{\(text)}"
    }

    // MARK: - Classes

    /// The class at `at`, past which `at` moves. Nested classes are joined, `&&` becomes a look-ahead.
    private mutating func characterClass() throws(LorikeetError) -> String {
        insideClass += 1
        defer { insideClass -= 1 }
        at += 1
        var isNegated = false
        if peek() == "^" {
            isNegated = true
            at += 1
        }
        var parts = [""]
        var isWhole: Set<Int> = []
        if peek() == "]" {
            parts[0] = "\\]"
            at += 1
        }
        while let scalar = peek(), scalar != "]" {
            switch scalar {
            case "[" where peek(1) == ":": parts[parts.count - 1] += try bracket()
            case "[":
                let inner = try characterClass()
                // A class that is all of an operand of `&&` may be negated.
                if parts[parts.count - 1].isEmpty, parts.count > 1 || peek() == "&", peek() == "]" || peek() == "&" {
                    parts[parts.count - 1] = inner
                    isWhole.insert(parts.count - 1)
                    continue
                }
                guard inner.hasPrefix("["), !inner.hasPrefix("[^") else { throw refused("a negated or intersected class inside of a class") }
                parts[parts.count - 1] += inner.dropFirst().dropLast()
            case "&" where peek(1) == "&":
                parts.append("")
                at += 2
            case "\\": parts[parts.count - 1] += try classEscape()
            default:
                if ignoresCase, scalar.properties.isAlphabetic, !scalar.isASCII { throw refused("the letter “\(scalar)” without regard to case") }
                parts[parts.count - 1].unicodeScalars.append(scalar)
                at += 1
            }
        }
        guard peek() == "]" else { throw refused("a “[” without “]”") }
        at += 1
        guard !parts.contains("") else { throw refused("an empty class") }
        if parts.count == 1 { return isNegated ? "[^\(parts[0])]" : "[\(parts[0])]" }
        let classes = parts.enumerated().map { isWhole.contains($0) ? $1 : "[\($1)]" }
        let body = classes.dropFirst().map { "(?=\($0))" }.joined() + classes[0]
        return isNegated ? "(?:(?!\(body))[\\s\\S])" : "(?:\(body))"
    }

    private mutating func classEscape() throws(LorikeetError) -> String {
        guard let letter = peek(1) else { throw refused("a “\\” at its end") }
        switch letter {
        case "s": at += 2; return Self.space
        case "S": at += 2; return Self.notSpace
        case "w": at += 2; return Self.word
        case "h": at += 2; return "0-9a-fA-F"
        case "d", "D": at += 2; return "\\\(letter)"
        case "b": at += 2; return "\\x{8}"
        case "u", "x", "p", "P": return try valueEscape()
        case "W", "H": throw refused("“\\\(letter)” inside of a class")
        default:
            at += 2
            return try plainEscape(letter)
        }
    }

    /// `[:name:]`
    private mutating func bracket() throws(LorikeetError) -> String {
        var name = ""
        at += 2
        while let scalar = peek(), scalar != ":" {
            name.unicodeScalars.append(scalar)
            at += 1
        }
        guard peek() == ":", peek(1) == "]", let set = Self.posix[name] else { throw refused("the class “[:\(name):]”") }
        at += 2
        return name == "punct" ? #"\p{P}\p{S}"# : set
    }
}
