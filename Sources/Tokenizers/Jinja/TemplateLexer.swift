import LorikeetGround

/// A token of the template language.
struct TemplateToken: Sendable {
    enum Kind: Sendable, Equatable {
        case text(String)
        case blockBegin, blockEnd
        case outputBegin, outputEnd
        case name(String)
        case string(String)
        case integer(Int)
        case number(Double)
        /// An operator or bracket.
        case mark(String)
        case end
    }

    let kind: Kind
    let line: Int
}

/// Cuts a template into tokens, with the white-space rules that transformers sets: `trim_blocks`, `lstrip_blocks`,
/// no newline kept at the very end; `-` strips, `+` keeps.
struct TemplateLexer {
    private let bytes: [UInt8]
    private let name: String
    private var at = 0
    private var line = 1
    private var tokens: [TemplateToken] = []
    /// Whether what was read last ended a line (or nothing was read yet): decides what `lstrip_blocks` may strip.
    private var isAtLineStart = true

    static func tokens(of source: String, name: String) throws -> [TemplateToken] {
        var lexer = TemplateLexer(source, name)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ source: String, _ name: String) {
        var normal: [UInt8] = []
        normal.reserveCapacity(source.utf8.count)
        var last: UInt8 = 0
        for byte in source.utf8 {
            if byte == 0x0D { normal.append(0x0A) } else if !(byte == 0x0A && last == 0x0D) { normal.append(byte) }
            last = byte
        }
        if normal.last == 0x0A { normal.removeLast() }
        bytes = normal
        self.name = name
    }

    private func failure(_ what: String) -> LorikeetError { .input(what, at: "\(name):\(line)") }

    private func has(_ text: StaticString, at index: Int) -> Bool {
        let count = text.utf8CodeUnitCount
        guard index + count <= bytes.count else { return false }
        for i in 0..<count where bytes[index + i] != text.utf8Start[i] { return false }
        return true
    }

    private mutating func run() throws {
        while at < bytes.count {
            var tag = at
            while tag < bytes.count,
                !(bytes[tag] == UInt8(ascii: "{") && tag + 1 < bytes.count
                    && "%{#".utf8.contains(bytes[tag + 1]))
            { tag += 1 }
            guard tag < bytes.count else {
                addText(at..<bytes.count)
                break
            }
            try readTag(at: tag)
        }
        tokens.append(TemplateToken(kind: .end, line: line))
    }

    private mutating func addText(_ range: Range<Int>, until end: Int? = nil) {
        if !range.isEmpty {
            tokens.append(TemplateToken(kind: .text(String(decoding: bytes[range], as: UTF8.self)), line: line))
        }
        advance(to: end ?? range.upperBound)
    }

    private mutating func advance(to end: Int) {
        for byte in bytes[at..<end] where byte == 0x0A { line += 1 }
        at = end
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private mutating func readTag(at tag: Int) throws {
        let kind = bytes[tag + 1]
        let sign = tag + 2 < bytes.count ? bytes[tag + 2] : 0
        var textEnd = tag
        if sign == UInt8(ascii: "-") {
            while textEnd > at, Self.isSpace(bytes[textEnd - 1]) { textEnd -= 1 }
        } else if sign != UInt8(ascii: "+"), kind != UInt8(ascii: "{") {
            textEnd = strippedToLineStart(tag)
        }
        let hasSign = sign == UInt8(ascii: "-") || (sign == UInt8(ascii: "+") && kind != UInt8(ascii: "{"))
        addText(at..<textEnd, until: tag)
        advance(to: tag + (hasSign ? 3 : 2))
        switch kind {
        case UInt8(ascii: "#"): try skipComment()
        case UInt8(ascii: "{"):
            tokens.append(TemplateToken(kind: .outputBegin, line: line))
            try readInside(isBlock: false)
        default:
            if try readRaw() { return }
            tokens.append(TemplateToken(kind: .blockBegin, line: line))
            try readInside(isBlock: true)
        }
    }

    /// Where the text before a block tag ends under `lstrip_blocks`: at the line's start if only blanks lie between.
    private func strippedToLineStart(_ tag: Int) -> Int {
        var start = tag
        while start > at, bytes[start - 1] != 0x0A, Self.isSpace(bytes[start - 1]) { start -= 1 }
        if start == at { return isAtLineStart ? start : tag }
        return bytes[start - 1] == 0x0A ? start : tag
    }

    /// After a closing tag: `-` eats white space, `trim_blocks` one newline.
    private mutating func closeTag(length: Int, strips: Bool, trims: Bool) {
        var end = at + length
        if strips {
            while end < bytes.count, Self.isSpace(bytes[end]) { end += 1 }
        } else if trims, end < bytes.count, bytes[end] == 0x0A {
            end += 1
        }
        isAtLineStart = bytes[end - 1] == 0x0A
        advance(to: end)
    }

    private mutating func skipComment() throws {
        var end = at
        while end < bytes.count, !has("#}", at: end) { end += 1 }
        guard end < bytes.count else { throw failure("a comment “{#” has no end") }
        let sign = end > at ? bytes[end - 1] : 0
        advance(to: end)
        closeTag(length: 2, strips: sign == UInt8(ascii: "-"), trims: sign != UInt8(ascii: "+"))
    }

    /// `{% raw %}…{% endraw %}`; true when it was one.
    private mutating func readRaw() throws -> Bool {
        func word(_ text: StaticString, from start: Int) -> (end: Int, strips: Bool, plain: Bool)? {
            var i = start
            while i < bytes.count, Self.isSpace(bytes[i]) { i += 1 }
            guard has(text, at: i) else { return nil }
            i += text.utf8CodeUnitCount
            while i < bytes.count, Self.isSpace(bytes[i]) { i += 1 }
            if has("-%}", at: i) { return (i + 3, true, false) }
            if has("+%}", at: i) { return (i + 3, false, false) }
            return has("%}", at: i) ? (i + 2, false, true) : nil
        }
        guard let open = word("raw", from: at) else { return false }
        advance(to: open.end)
        closeTag(length: 0, strips: open.strips, trims: false)
        var i = at
        while i < bytes.count {
            defer { i += 1 }
            guard has("{%", at: i) else { continue }
            let strips = has("{%-", at: i)
            guard let close = word("endraw", from: i + (strips || has("{%+", at: i) ? 3 : 2)) else { continue }
            var end = strips ? i : strippedToLineStart(i)
            while strips, end > at, Self.isSpace(bytes[end - 1]) { end -= 1 }
            addText(at..<end, until: close.end)
            closeTag(length: 0, strips: close.strips, trims: close.plain)
            return true
        }
        throw failure("“raw” has no “endraw”")
    }

    /// The tokens of a tag up to and with its end.
    private mutating func readInside(isBlock: Bool) throws {
        var open: [UInt8] = []
        while at < bytes.count {
            let byte = bytes[at]
            if Self.isSpace(byte) {
                advance(to: at + 1)
                continue
            }
            if open.isEmpty, closes(isBlock: isBlock) { return }
            if byte == UInt8(ascii: "_") || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A && byte < 0x80) {
                readName()
            } else if byte >= 0x30, byte <= 0x39 {
                try readNumber()
            } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                try readString(quote: byte)
            } else {
                try readMark(&open)
            }
        }
        throw failure(isBlock ? "a tag “{%” has no end" : "a tag “{{” has no end")
    }

    private mutating func closes(isBlock: Bool) -> Bool {
        let strips = bytes[at] == UInt8(ascii: "-")
        let signed = strips || (isBlock && bytes[at] == UInt8(ascii: "+"))
        let end = at + (signed ? 1 : 0)
        guard isBlock ? has("%}", at: end) : has("}}", at: end) else { return false }
        tokens.append(TemplateToken(kind: isBlock ? .blockEnd : .outputEnd, line: line))
        closeTag(length: signed ? 3 : 2, strips: strips, trims: isBlock && !signed)
        return true
    }

    private mutating func readName() {
        var end = at
        while end < bytes.count,
            bytes[end] == UInt8(ascii: "_") || (bytes[end] >= 0x30 && bytes[end] <= 0x39)
                || (bytes[end] | 0x20 >= 0x61 && bytes[end] | 0x20 <= 0x7A)
        { end += 1 }
        tokens.append(TemplateToken(kind: .name(String(decoding: bytes[at..<end], as: UTF8.self)), line: line))
        at = end
    }

    private mutating func readNumber() throws {
        var end = at
        var isInteger = true
        func isDigit(_ i: Int) -> Bool { i < bytes.count && bytes[i] >= 0x30 && bytes[i] <= 0x39 }
        if let (value, end) = try radixNumber() {
            tokens.append(TemplateToken(kind: .integer(value), line: line))
            at = end
            return
        }
        while isDigit(end) || (end < bytes.count && bytes[end] == UInt8(ascii: "_") && isDigit(end + 1)) { end += 1 }
        if end < bytes.count, bytes[end] == UInt8(ascii: "."), isDigit(end + 1) {
            isInteger = false
            end += 1
            while isDigit(end) { end += 1 }
        }
        if end < bytes.count, bytes[end] | 0x20 == UInt8(ascii: "e") {
            let signed = end + 1 < bytes.count && (bytes[end + 1] == UInt8(ascii: "+") || bytes[end + 1] == UInt8(ascii: "-"))
            if isDigit(end + (signed ? 2 : 1)) {
                isInteger = false
                end += signed ? 2 : 1
                while isDigit(end) { end += 1 }
            }
        }
        let text = String(decoding: bytes[at..<end].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
        if isInteger, let value = Int(text) {
            tokens.append(TemplateToken(kind: .integer(value), line: line))
        } else if !isInteger, let value = Double(text) {
            tokens.append(TemplateToken(kind: .number(value), line: line))
        } else {
            throw failure("the number \(text.prefix(80)) is out of range")
        }
        at = end
    }

    /// `0x1F`, `0o17`, `0b11`; nil where none begins here.
    private func radixNumber() throws -> (value: Int, end: Int)? {
        guard bytes[at] == UInt8(ascii: "0"), at + 2 < bytes.count,
            let radix = [UInt8(ascii: "x"): 16, UInt8(ascii: "o"): 8, UInt8(ascii: "b"): 2][bytes[at + 1] | 0x20]
        else { return nil }
        func isDigit(_ byte: UInt8) -> Bool { byte < 0x80 && Character(Unicode.Scalar(byte)).hexDigitValue.map { $0 < radix } ?? false }
        let digits = bytes[(at + 2)...].prefix { isDigit($0) || $0 == UInt8(ascii: "_") }
        guard !digits.isEmpty else { return nil }
        let text = String(decoding: digits.filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
        guard let value = Int(text, radix: radix) else { throw failure("the number \(text.prefix(80)) is out of range") }
        return (value, digits.endIndex)
    }

    private mutating func readString(quote: UInt8) throws {
        let start = line
        var content: [UInt8] = []
        var i = at + 1
        while i < bytes.count, bytes[i] != quote {
            if bytes[i] == UInt8(ascii: "\\"), i + 1 < bytes.count {
                i = try readEscape(at: i + 1, into: &content)
            } else {
                content.append(bytes[i])
                i += 1
            }
        }
        guard i < bytes.count else { throw failure("a string has no end") }
        tokens.append(TemplateToken(kind: .string(String(decoding: content, as: UTF8.self)), line: start))
        advance(to: i + 1)
    }

    /// One escape of Python's, from the byte after the backslash; returns where it ends. Unknown ones stay as written.
    private func readEscape(at index: Int, into content: inout [UInt8]) throws -> Int {
        func hexadecimal(_ digits: Int) throws -> Int {
            let end = min(index + 1 + digits, bytes.count)
            let text = String(decoding: bytes[(index + 1)..<end], as: UTF8.self)
            guard text.utf8.count == digits, let value = UInt32(text, radix: 16), let scalar = Unicode.Scalar(value) else {
                throw failure("a string has an escape that names no character")
            }
            content.append(contentsOf: Array(String(scalar).utf8))
            return end
        }
        let simple: [UInt8: UInt8] = [
            UInt8(ascii: "n"): 0x0A, UInt8(ascii: "t"): 0x09, UInt8(ascii: "r"): 0x0D, UInt8(ascii: "b"): 0x08,
            UInt8(ascii: "f"): 0x0C, UInt8(ascii: "v"): 0x0B, UInt8(ascii: "a"): 0x07,
            UInt8(ascii: "\\"): UInt8(ascii: "\\"), UInt8(ascii: "'"): UInt8(ascii: "'"), UInt8(ascii: "\""): UInt8(ascii: "\""),
        ]
        switch bytes[index] {
        case UInt8(ascii: "x"): return try hexadecimal(2)
        case UInt8(ascii: "u"): return try hexadecimal(4)
        case UInt8(ascii: "U"): return try hexadecimal(8)
        case UInt8(ascii: "N"): throw failure("the escape \\N is not supported")
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            let digits = bytes[index..<min(index + 3, bytes.count)].prefix { (0x30...0x37).contains($0) }
            let value = digits.reduce(0) { $0 * 8 + UInt32($1 - 0x30) }
            if let scalar = Unicode.Scalar(value) { content.append(contentsOf: Array(String(scalar).utf8)) }
            return digits.endIndex
        case 0x0A: return index + 1
        case let byte:
            if let value = simple[byte] { content.append(value) } else { content += [UInt8(ascii: "\\"), byte] }
            return index + 1
        }
    }

    private mutating func readMark(_ open: inout [UInt8]) throws {
        let byte = bytes[at]
        for two in ["//", "**", "==", "!=", "<=", ">="] where bytes[at...].starts(with: two.utf8) {
            tokens.append(TemplateToken(kind: .mark(two), line: line))
            at += 2
            return
        }
        guard "+-*/%~<>=()[]{},:.|".utf8.contains(byte) else {
            throw failure("the character “\(Character(Unicode.Scalar(byte < 0x80 ? byte : 0x3F)))” has no meaning here")
        }
        if "([{".utf8.contains(byte) { open.append(byte) }
        if ")]}".utf8.contains(byte) {
            let opening: UInt8 = byte == UInt8(ascii: ")") ? UInt8(ascii: "(") : byte - 2
            guard open.popLast() == opening else { throw failure("“\(Character(Unicode.Scalar(byte)))” closes a bracket that is not open") }
        }
        tokens.append(TemplateToken(kind: .mark(String(UnicodeScalar(byte))), line: line))
        at += 1
    }
}
