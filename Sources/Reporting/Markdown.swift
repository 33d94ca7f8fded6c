import LorikeetGround

/// Text of files, names and recipes inside a Markdown document, where none of it may act as Markdown or HTML.
enum Markdown {
    /// Running text on one line.
    static func text(_ text: String) -> String {
        var result = ""
        for scalar in oneLine(text).unicodeScalars {
            if "\\`*_{}[]<>()#+!|~&$@:".unicodeScalars.contains(scalar) { result += "\\" }
            result.unicodeScalars.append(scalar)
        }
        return result
    }

    /// A span of code on one line, also inside a table.
    static func code(_ text: String) -> String {
        let line = oneLine(text)
        guard !line.isEmpty else { return "" }
        let fence = String(repeating: "`", count: longestRun(in: line) + 1)
        let space = line.hasPrefix("`") || line.hasSuffix("`") || line.hasPrefix(" ") && line.hasSuffix(" ") ? " " : ""
        // A table ends its cell at a bar even inside code.
        return fence + space + line.replacing("|", with: "\\|") + space + fence
    }

    /// A block of code.
    static func block(_ language: String, _ text: String) -> String {
        let fence = String(repeating: "`", count: max(3, longestRun(in: text) + 1))
        return "\(fence)\(language)\n\(text.printable())\n\(fence)"
    }

    /// - Parameter rows: cells that are Markdown already.
    static func table(_ head: [String], _ rows: [[String]]) -> String {
        func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
        return ([line(head), line(head.map { _ in "---" })] + rows.map(line)).joined(separator: "\n")
    }

    private static func oneLine(_ text: String) -> String {
        text.printable(lines: false).replacing("\t", with: " ")
    }

    private static func longestRun(in text: String) -> Int {
        var (longest, run) = (0, 0)
        for byte in text.utf8 {
            run = byte == UInt8(ascii: "`") ? run + 1 : 0
            longest = max(longest, run)
        }
        return longest
    }
}
