import LorikeetGround

/// What is wrong with a text that should be records, by its cause: what people really hand in.
enum TextFault {
    private static let asUTF8 = "write it as UTF-8, one JSON object a line"

    static func notUTF8(at place: String) -> LorikeetError {
        .input("the line is not UTF-8", at: place, fix: "save the file as UTF-8 (from Windows' encoding: iconv -f WINDOWS-1252 -t UTF-8 FILE)")
    }

    static func returnsAlone(at path: String) -> LorikeetError {
        .input("the lines end with carriage returns alone (old Mac line ends)", at: path, fix: #"convert it: tr '\r' '\n' < FILE"#)
    }

    // MARK: - The beginning of a file

    /// UTF-16 and UTF-32, with a byte order mark or without.
    static func refuseEncodings(_ bytes: [UInt8], at path: String) throws {
        func isZero(_ offsets: [Int]) -> Bool { offsets.allSatisfy { bytes.count > $0 && bytes[$0] == 0 } }
        func isText(_ offsets: [Int]) -> Bool { offsets.allSatisfy { bytes.count > $0 && bytes[$0] != 0 } }
        if bytes.starts(with: [0xFF, 0xFE, 0, 0]) || bytes.starts(with: [0, 0, 0xFE, 0xFF]) || isZero([0, 1, 2]) && isText([3])
            || isZero([1, 2, 3]) && isText([0])
        {
            throw LorikeetError.input("the file is UTF-32", at: path, fix: asUTF8)
        }
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) { throw LorikeetError.input("the file is UTF-16", at: path, fix: asUTF8) }
        if isZero([1, 3]) && isText([0, 2]) || isZero([0, 2]) && isText([1, 3]) || bytes.count == 2 && isZero([1]) && isText([0]) {
            throw LorikeetError.input("the file is UTF-16 without a byte order mark", at: path, fix: asUTF8)
        }
    }

    /// Texts that are no JSON from their first line on.
    static func refuseOtherText(_ bytes: [UInt8], at path: String) throws {
        let beginning = bytes.prefix(1 << 16)
        if !beginning.contains(0x0A), beginning.contains(0x0D), beginning.contains(UInt8(ascii: "{")), !beginning.starts(with: [0x0D]),
            let end = beginning.firstIndex(of: 0x0D), beginning[end...].contains(UInt8(ascii: "{"))
        {
            throw returnsAlone(at: path)
        }
        let lines = beginning.split(separator: 0x0A).filter { $0.contains { !isBlank($0) } }
        guard let first = lines.first else { return }
        let text = trimmed(first)
        if text == "{", lines.count > 1 {
            throw LorikeetError.input(
                "a record spans several lines (pretty-printed JSON)", at: "\(path):1",
                fix: "write one object a line: jq -c . FILE (records inside a list: jq -c '.KEY[]' FILE)")
        }
        guard let begin = text.utf8.first, begin != UInt8(ascii: "{"), begin != UInt8(ascii: "\""), !(0x30...0x39 ~= begin) else { return }
        if text.hasPrefix("#") || text.hasPrefix("//") {
            throw LorikeetError.input("a comment stands where a record should: JSON has none", at: "\(path):1", fix: "remove the line")
        }
        if text.hasPrefix("data:") || text.hasPrefix("event:") {
            throw LorikeetError.input("the file is a stream of events (lines begin with 'data:')", at: "\(path):1", fix: "keep what stands behind 'data:'")
        }
        if text.hasPrefix("---") || text.hasPrefix("- ") {
            throw LorikeetError.input("the file is YAML, not JSONL", at: "\(path):1", fix: "write one JSON object a line")
        }
        let delimiters = text.utf8.count { $0 == UInt8(ascii: ",") || $0 == 0x09 || $0 == UInt8(ascii: ";") }
        if delimiters > 0, !text.contains("{"), !["true", "false", "null"].contains(text) {
            throw LorikeetError.input(
                "the first line is no JSON and looks like the header of a CSV file", at: "\(path):1", fix: "name the file with the ending .csv or .tsv")
        }
    }

    // MARK: - A line

    /// Why a line is no JSON. `error` is what the parser said.
    static func explained(_ bytes: UnsafeRawBufferPointer, _ error: LorikeetError, at place: String) -> LorikeetError {
        func fault(_ what: String, _ fix: String) -> LorikeetError { .input(what, at: place, fix: fix) }
        let again = "write the line again with a JSON library (json.dumps)"
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            return fault("a byte order mark stands in the middle of the file: files were joined", #"remove it: sed -i 's/^\xEF\xBB\xBF//' FILE"#)
        }
        if bytes.contains(0) { return fault("a zero byte stands in the line: the file is damaged or not UTF-8", "fetch or write it again as UTF-8") }
        guard String(validating: bytes, as: UTF8.self) != nil else { return notUTF8(at: place) }
        let text = trimmed(bytes[...])
        if let found = leftover(text) { return fault(found.what, found.fix) }
        if text.contains("\r"), text.contains("}\r{") || text.contains("}\r\r{") {
            return fault("the lines end with carriage returns alone (old Mac line ends)", #"convert it: tr '\r' '\n' < FILE"#)
        }
        if text.hasPrefix("{'") || text.hasPrefix("{ '") || text.contains("': '") && !text.contains("\":") {
            return fault("the line is Python's way to print a dictionary (single quotes), not JSON", again)
        }
        if text.hasPrefix("{\u{201C}") || text.hasPrefix("{\u{2018}") { return fault("the quotes are typographic ones (“ ”), not JSON's", "write them as \"") }
        if let word = pythonWord(text) { return fault("'\(word)' is Python's, not JSON's", again) }
        if text.hasSuffix("},") { return fault("a comma stands behind the object", "remove it: JSONL has one object a line and nothing between them") }
        if text == "{" || text == "}" || text == "]" || text.hasPrefix("\"") && text.hasSuffix(",") || text == "}," {
            return fault("a record spans several lines (pretty-printed JSON)", "write one object a line: jq -c . FILE")
        }
        if text.contains("}{") || text.contains("} {"), error.what.contains("root") {
            return fault("several objects stand on the line", "write one object a line")
        }
        let state = Self.state(text)
        if state.hasRawControl { return fault("a text holds a tab or another control character as it is", again + #": a tab is \t there"#) }
        if state.inText { return fault("a text is not closed: the line ends inside it", "is the file cut off, or a line break inside the text? \(again)") }
        if state.depth > 0 { return fault("the object is not closed: the line ends inside it", "is the file cut off? write one whole object a line") }
        if state.hasComment { return fault("the line holds a comment: JSON has none", "remove it") }
        if text.contains(",}") || text.contains(", }") || text.contains(",]") || text.contains(", ]") {
            return fault("a comma stands before a closing bracket", "remove it")
        }
        if text.wholeMatch(of: /\{\s*[A-Za-z_]\w*\s*:.*/.dotMatchesNewlines()) != nil { return fault("the keys stand without quotes", again) }
        if error.what.contains("surrogate") { return fault("a \\u escape is half a surrogate pair", again) }
        if error.what.contains("escape") { return fault("a backslash stands before a character that it cannot escape", again + #": a backslash is \\ there"#) }
        return LorikeetError(error.exit, error.what, at: place, fix: error.fix)
    }

    /// Traces of tools in place of a record.
    private static func leftover(_ text: String) -> (what: String, fix: String)? {
        for mark in ["<<<<<<<", "=======", ">>>>>>>"] where text.hasPrefix(mark) {
            return ("the line is the mark of a merge conflict", "resolve the conflict")
        }
        if text.hasPrefix("#") || text.hasPrefix("//") || text.hasPrefix("/*") { return ("the line is a comment: JSON has none", "remove it") }
        if text.hasPrefix("```") { return ("the line is Markdown's fence of code", "remove it") }
        if text.hasPrefix("data:") { return ("the line begins with 'data:', as in a stream of events", "keep what stands behind it") }
        return nil
    }

    /// A word of Python's outside of texts.
    private static func pythonWord(_ text: String) -> String? {
        var outside = ""
        var (inText, escaped) = (false, false)
        for character in text.unicodeScalars.prefix(100_000) {
            if inText {
                if escaped { escaped = false } else if character == "\\" { escaped = true } else if character == "\"" { inText = false }
            } else if character == "\"" {
                inText = true
                outside += " "
            } else {
                outside.unicodeScalars.append(character)
            }
        }
        guard !inText else { return nil }
        let words = outside.split { !$0.isLetter }
        return ["None", "True", "False", "NaN", "nan", "Infinity", "inf", "undefined"].first { word in words.contains { $0 == word } }
    }

    /// Where a line ends: inside a text or an object.
    private static func state(_ text: String) -> (inText: Bool, depth: Int, hasRawControl: Bool, hasComment: Bool) {
        var (inText, escaped, depth, control, comment) = (false, false, 0, false, false)
        var previous: UInt8 = 0
        for byte in text.utf8 {
            if inText {
                if byte < 0x20 { control = true }
                if escaped { escaped = false } else if byte == UInt8(ascii: "\\") { escaped = true } else if byte == UInt8(ascii: "\"") { inText = false }
            } else if byte == UInt8(ascii: "\"") {
                inText = true
            } else if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                depth += 1
            } else if byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") {
                depth -= 1
            } else if byte == UInt8(ascii: "/") && previous == byte || byte == UInt8(ascii: "*") && previous == UInt8(ascii: "/") {
                comment = true
            }
            previous = byte
        }
        return (inText, depth, control, comment)
    }

    private static func trimmed(_ bytes: some Sequence<UInt8>) -> String {
        var bytes = Array(bytes)[...]
        while let last = bytes.last, isBlank(last) { bytes.removeLast() }
        while let first = bytes.first, isBlank(first) { bytes.removeFirst() }
        return String(decoding: bytes, as: UTF8.self)
    }
}
