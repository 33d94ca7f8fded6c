/// Long work that was asked to end and did, between two of its pieces. What stays is as it was before the work: parameters, moments and step state,
/// and the files that a run or a verb delivers.
package struct Interrupted: Error {
    package init() {}
}
