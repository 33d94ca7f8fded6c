/// The constants of bitsandbytes' NF4 with double quantisation (QLoRA, arXiv:2305.14314, section 3).
package enum NF4 {
    /// Weights that share one maximum; blocks run over the flattened matrix and may straddle rows.
    package static let blockLength = 64
    /// Block maxima that share one maximum of the second quantisation.
    package static let nestedBlockLength = 256

    /// The sixteen values that a 4-bit code stands for: quantiles of a normal distribution, scaled to [-1, 1].
    package static let values: [Float] = [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]

    /// Midpoints between neighbouring values, as ordered integers: a scaled weight's code is the number of midpoints
    /// below it.
    static let orderedMidpoints: [Int32] = (0..<15).map { ordered(((values[$0] + values[$0 + 1]) / 2).bitPattern) }

    /// Maps a float's bits to an integer in the same order.
    @inline(__always)
    static func ordered(_ bits: UInt32) -> Int32 {
        let signed = Int32(bitPattern: bits)
        return signed ^ ((signed &>> 31) & 0x7fff_ffff)
    }

    /// The 256 values of the signed dynamic 8-bit type (arXiv:1511.04561) that codes of block maxima stand for, as
    /// bitsandbytes' `create_dynamic_map(signed=True)` makes them, bit for bit: for each of seven decades the centres
    /// of 2^i equal steps between 0.1 and 1, both signs, then 0 and 1.
    package static let nestedValues: [Float] = {
        var values: [Float] = [0, 1]
        for (i, decade) in decades.enumerated() {
            let steps = 1 << i
            // The spacing that torch.linspace takes: from both ends, with one rounding for product and sum.
            let width = (1 - Float(0.1)) / Float(steps)
            let bounds = (0...steps).map { j -> Float in
                j < (steps + 1) / 2
                    ? Float(0.1).addingProduct(width, Float(j)) : Float(1).addingProduct(-width, Float(steps - j))
            }
            for j in 0..<steps {
                let centre = decade * ((bounds[j] + bounds[j + 1]) / 2)
                values += [centre, -centre]
            }
        }
        return values.sorted()
    }()

    private static let decades: [Float] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]

    /// Code of a nested value by its place on a grid of 65,536 points over [-1, 1]. bitsandbytes' CPU code rounds to
    /// this grid before it looks for the nearest value; where a value lies within half a grid step of a midpoint that
    /// decides the code, so the grid is part of the format's bits.
    static let nestedGrid: [UInt8] = {
        let values = nestedValues
        let midpoints = (0..<255).map { 0.5 * (values[$0] + values[$0 + 1]) }
        var code = 0
        return (0..<65536).map { i in
            let value = -1 + (2 * Float(i)) / 65535
            while code < 255, midpoints[code] < value { code += 1 }
            return UInt8(code)
        }
    }()

    /// Sizes of the parts of a matrix of `count` weights.
    struct Layout: Sendable {
        let count: Int
        /// Two codes a byte, the last half byte unused where `count` is odd.
        var codeBytes: Int { (count + 1) / 2 }
        /// Blocks of 64, the last one perhaps shorter; each has an 8-bit code of its maximum.
        var blocks: Int { (count + NF4.blockLength - 1) / NF4.blockLength }
        /// Blocks of 256 block maxima; each has a float32 maximum.
        var nestedBlocks: Int { (blocks + NF4.nestedBlockLength - 1) / NF4.nestedBlockLength }
        /// Everything, with the float32 offset.
        var bytes: Int { codeBytes + blocks + 4 * nestedBlocks + 4 }
    }
}
