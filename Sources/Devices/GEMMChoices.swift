/// Which of its library's algorithms a device uses for each matrix product: the one that the library proposes first, or the fastest of those
/// measured.
///
/// Another algorithm gives other bits. So a run that measures saves the choices and restores them when it is resumed.
package final class GEMMChoices {
    /// Whether products without a choice are measured when they are first planned.
    package private(set) var measures = false
    /// The chosen algorithm's index in the library's list of proposals, by product (sizes, types, alignments) and library version.
    package private(set) var algorithms: [String: Int] = [:]

    package init() {}

    /// - Parameter known: choices of an earlier process; they are not measured again.
    package func begin(measuring: Bool, known: [String: Int] = [:]) { (measures, algorithms) = (measuring, known) }

    package func keep(_ index: Int, for product: String) { algorithms[product] = index }
}
