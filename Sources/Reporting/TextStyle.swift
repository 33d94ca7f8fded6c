/// The few colours and weights of lines on a terminal, each with a meaning.
package enum TextStyle: String, Sendable {
    /// A step of the pipeline begins.
    case heading = "1"
    /// The done part of a bar.
    case progress = "36"
    /// A check passed.
    case good = "32"
    /// Something to look at.
    case warning = "33"
    /// A check failed, or the program did.
    case bad = "31"
    /// Details.
    case faint = "2"

    /// The text in this style. It is final: what comes from files is escaped before.
    package func applied(to text: String) -> String { "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" }
}
