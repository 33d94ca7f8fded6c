/// What the passes do with a program: which values are recomputed in the backward pass instead of being kept from the forward pass, and
/// whether ops are fused.
package struct PassPolicy: Sendable, Hashable {
    /// Recomputes the outputs of norms (from their input and 1/rms, which are kept) and of gated activations (from gate and up).
    package var cheap: Bool
    /// The first N blocks are recomputed: backward reaches them last, when later activations are already freed. They keep only what
    /// enters them.
    package var blocks: Int
    /// Whether ops are fused; false runs the plain program, with an op for every step.
    package var fuse = true

    package init(cheap: Bool = true, blocks: Int = 0) {
        self.cheap = cheap
        self.blocks = blocks
    }

    package static let nothing = PassPolicy(cheap: false)
    package static let norms = PassPolicy()
}

extension PassPolicy: RawRepresentable {
    /// `nothing`, `norms`, or `norms+12` for twelve blocks; `,plain` behind it without fusion.
    package var rawValue: String { (cheap ? "norms" : "nothing") + (blocks > 0 ? "+\(blocks)" : "") + (fuse ? "" : ",plain") }

    package init?(rawValue: String) {
        let fuse = !rawValue.hasSuffix(",plain")
        let parts = (fuse ? rawValue : String(rawValue.dropLast(6))).split(separator: "+", maxSplits: 1)
        guard let first = parts.first, first == "norms" || first == "nothing" else { return nil }
        self.init(cheap: first == "norms")
        self.fuse = fuse
        if parts.count == 2 {
            guard let blocks = Int(parts[1]), blocks > 0 else { return nil }
            self.blocks = blocks
        }
    }
}
