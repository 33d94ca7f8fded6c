import LorikeetGround

/// Text of files, names and recipes inside a Markdown document, where none of it may act as Markdown or HTML. The output means the same to
/// CommonMark (a hub's model card) and to Python-Markdown (TensorBoard).
package enum Markdown {
    /// Running text on one line; a line break is shown as ⏎.
    ///
    /// A backslash stands before what both dialects let it stand before; other characters with a meaning become character references.
    package static func text(_ text: String) -> String {
        var result = ""
        // A hyphen or a number with a full stop begins a list at the beginning of a line alone.
        var begins = true
        for scalar in text.printable().unicodeScalars {
            switch scalar {
            case "\n": result += " ⏎ "
            case "\t": result += " "
            case "\\", "`", "*", "_", "{", "}", "[", "]", "(", ")", "#", "+", "!": result += "\\" + String(scalar)
            case "-" where begins, "." where begins: result += "\\" + String(scalar)
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            // A cell's end, struck-out text, a formula, somebody's account, a web address.
            case "|", "~", "$", "@", ":": result += "&#\(scalar.value);"
            default: result.unicodeScalars.append(scalar)
            }
            if !(scalar == " " || ("0"..."9").contains(scalar)) { begins = false }
        }
        return result
    }

    /// A span of code on one line, also inside a table.
    package static func code(_ text: String) -> String {
        let line = text.printable(lines: false).replacing("\t", with: " ")
        guard !line.isEmpty else { return "" }
        let fence = String(repeating: "`", count: longestRun(in: line) + 1)
        let space = line.hasPrefix("`") || line.hasSuffix("`") || line.hasPrefix(" ") && line.hasSuffix(" ") ? " " : ""
        // A table ends its cell at a bar even inside code.
        return fence + space + line.replacing("|", with: "\\|") + space + fence
    }

    /// A block of code.
    package static func block(_ language: String, _ text: String) -> String {
        let fence = String(repeating: "`", count: max(3, longestRun(in: text) + 1))
        return "\(fence)\(language)\n\(text.printable())\n\(fence)"
    }

    /// - Parameter rows: cells that are Markdown already.
    package static func table(_ head: [String], _ rows: [[String]]) -> String {
        func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
        return ([line(head), line(head.map { _ in "---" })] + rows.map(line)).joined(separator: "\n")
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
