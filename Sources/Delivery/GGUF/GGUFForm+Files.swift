extension GGUFForm {
    /// The form as it appears in file names: `Q4_K_M`.
    package var label: String { rawValue.uppercased() }
    /// Whether the file holds the model's numbers, rounded at most to a plain float type, so that it has to compute the same logits.
    package var isExact: Bool { !isQuantised }
}
