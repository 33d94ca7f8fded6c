/// Which of a device's ways to multiply is taken for a product: the one its library names first, or the fastest of those measured.
///
/// What is chosen changes bits. So a run that measures keeps the choices, and gives them back when it goes on.
package final class ProductChoices {
    /// Products without a choice are measured when they are first planned.
    package private(set) var measures = false
    /// The place among the library's ways, by product (its sizes, types and alignments) and the library's version.
    package private(set) var indices: [String: Int] = [:]

    package init() {}

    /// - Parameter known: choices of an earlier process, which stand.
    package func begin(measuring: Bool, known: [String: Int] = [:]) { (measures, indices) = (measuring, known) }

    package func keep(_ index: Int, for product: String) { indices[product] = index }
}
