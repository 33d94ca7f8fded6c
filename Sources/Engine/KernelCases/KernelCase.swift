import LorikeetDevices

/// Ops or one kernel on certain sizes, run on a card and on the processor and compared.
///
/// The cases are part of the engine because they build single ops, which no other room can; the room `Checks` runs them.
package struct KernelCase: Sendable {
    /// The op or kernel that is tested.
    package let name: String
    /// The sizes, in words.
    package let detail: String
    /// The element types that it exists in.
    package var elements: [DeviceElement] = DeviceElement.allCases
    /// Whether it would take too long on the emulated card.
    package var large = false
    /// One deviation for each value that is compared.
    package let run: @Sendable (KernelComparison) throws -> [Deviation]

    /// All cases, in order.
    package static let all: [KernelCase] =
        normCases + normRowsCases + residualCases + ropeCases + queryScaleCases + activationCases + attentionCases + cachedAttentionCases
        + embeddingCases + headCases + largestLogitCases + linearCases + updateCases + expansionCases + decodingCases + loadingCases + optimiserCases
        + productCases
}
