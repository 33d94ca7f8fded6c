extension GGUFForm {
    /// As files' names have it: `Q4_K_M`.
    package var label: String { rawValue.uppercased() }
    /// Whether the numbers are the model's but for rounding to a plain float, so that the file has to compute the same.
    package var isExact: Bool { !isQuantised }
}
