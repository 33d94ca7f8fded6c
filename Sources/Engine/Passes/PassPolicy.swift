/// What the passes do with a program: which values are recomputed in the backward pass instead of being kept from the forward pass, and
/// whether ops are fused.
package struct PassPolicy: Sendable, Hashable {
    /// What of a recomputed block runs again in the backward pass. What does not run again has its results kept from the forward pass.
    package enum Repeated: String, Sendable, CaseIterable {
        /// Everything that the backward pass needs: the block keeps only what enters it.
        case everything
        /// All but attention, whose time grows with the square of a segment's length and whose result is a row of the hidden size.
        case allButAttention = "attention-kept"
        /// Only the gate and up products and their activation: the widest values of a block, for about half of the time of its products.
        case gates = "gates-only"
    }

    /// Recomputes the outputs of norms (from their input and 1/rms, which are kept) and of gated activations (from gate and up).
    package var cheap: Bool
    /// The first N blocks are recomputed: backward reaches them last, when later activations are already freed.
    package var blocks: Int
    /// What of these blocks is recomputed.
    package var repeated: Repeated
    /// Whether what recomputed blocks keep lies in the host's memory from the forward pass to the backward pass (`Parking`); on a card only.
    package var parks = false
    /// Whether ops are fused; false runs the plain program, with an op for every step.
    package var fuse = true

    package init(cheap: Bool = true, blocks: Int = 0, repeated: Repeated = .everything, parks: Bool = false) {
        self.cheap = cheap
        self.blocks = blocks
        self.repeated = repeated
        self.parks = parks
    }

    package static let nothing = PassPolicy(cheap: false)
    package static let norms = PassPolicy()
}

extension PassPolicy: RawRepresentable {
    /// `nothing`, `norms`, or `norms+12` for twelve blocks; behind it, in this order, `,attention-kept` or `,gates-only` where a part of
    /// these blocks is kept, `,parked` where what they keep lies in the host's memory, and `,plain` without fusion.
    package var rawValue: String {
        (cheap ? "norms" : "nothing") + (blocks > 0 ? "+\(blocks)" : "") + (repeated == .everything ? "" : ",\(repeated.rawValue)")
            + (parks ? ",parked" : "") + (fuse ? "" : ",plain")
    }

    package init?(rawValue: String) {
        var words = rawValue.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        func takes(_ word: String) -> Bool {
            guard words.count > 1, words.last == word else { return false }
            words.removeLast()
            return true
        }
        let (plain, parks) = (takes("plain"), takes("parked"))
        let repeated = [Repeated.allButAttention, .gates].first { takes($0.rawValue) } ?? .everything
        guard words.count == 1 else { return nil }
        let parts = words[0].split(separator: "+", maxSplits: 1)
        guard let first = parts.first, first == "norms" || first == "nothing" else { return nil }
        self.init(cheap: first == "norms", repeated: repeated, parks: parks)
        fuse = !plain
        if parts.count == 2 {
            guard let blocks = Int(parts[1]), blocks > 0 else { return nil }
            self.blocks = blocks
        }
    }
}
