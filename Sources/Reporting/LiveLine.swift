/// A line on a terminal that is drawn again in place.
///
/// The cursor waits in the line's first column. A terminal that becomes narrower wraps the line into several rows and keeps the cursor where the line
/// begins, or cuts the line off: either way everything from the cursor on is the line, so it is removed whole without knowing the width it was drawn at.
package struct LiveLine {
    private var isShown = false

    package init() {}

    /// - Parameter text: narrower than the terminal is now, without line breaks.
    /// - Returns: the characters that put the text in place of what the line shows.
    package mutating func draw(_ text: String) -> String {
        let start = erase()
        isShown = true
        return start + text + "\r"
    }

    /// - Returns: the characters that remove the line; none where it is not shown.
    package mutating func erase() -> String {
        defer { isShown = false }
        return isShown ? "\r\u{1B}[J" : ""
    }
}
