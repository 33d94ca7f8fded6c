/// What the passes do with a program: which values are recomputed in the backward pass instead of being kept from the forward pass, and
/// whether ops are fused.
package struct PassPolicy: Sendable, Hashable {
    /// Recomputes the outputs of norms (from their input and 1/rms, which are kept) and of gated activations (from gate and up).
    package var cheap: Bool
    /// The first N blocks are recomputed: backward reaches them last, when later activations are already freed. They keep only what
    /// enters them.
    package var blocks: Int
    /// Whether what enters recomputed blocks lies in the host's memory from the forward pass to the backward pass (`Parking`); on a card only.
    package var parks = false
    /// Whether ops are fused; false runs the plain program, with an op for every step.
    package var fuse = true

    package init(cheap: Bool = true, blocks: Int = 0, parks: Bool = false) {
        self.cheap = cheap
        self.blocks = blocks
        self.parks = parks
    }

    package static let nothing = PassPolicy(cheap: false)
    package static let norms = PassPolicy()
}

extension PassPolicy: RawRepresentable {
    /// `nothing`, `norms`, or `norms+12` for twelve blocks; behind it `,parked` where their inputs are, and `,plain` without fusion.
    package var rawValue: String {
        (cheap ? "norms" : "nothing") + (blocks > 0 ? "+\(blocks)" : "") + (parks ? ",parked" : "") + (fuse ? "" : ",plain")
    }

    package init?(rawValue: String) {
        var words = rawValue.split(separator: ",", omittingEmptySubsequences: false)
        let plain = words.count > 1 && words.last == "plain"
        if plain { words.removeLast() }
        let parks = words.count > 1 && words.last == "parked"
        if parks { words.removeLast() }
        guard words.count == 1 else { return nil }
        let parts = words[0].split(separator: "+", maxSplits: 1)
        guard let first = parts.first, first == "norms" || first == "nothing" else { return nil }
        self.init(cheap: first == "norms")
        (fuse, self.parks) = (!plain, parks)
        if parts.count == 2 {
            guard let blocks = Int(parts[1]), blocks > 0 else { return nil }
            self.blocks = blocks
        }
    }
}
