import Glibc

/// Tables of inverse frequencies by the formulas of transformers' `modeling_rope_utils`, in double precision, rounded to float32 at the end.
///
/// `theta`: the base; `rotated`: dimensions of a head that are rotated, an even number.
extension RoPETable {
    /// theta^(-2i / rotated), one a pair.
    package static func frequencies(theta: Double, rotated: Int) -> [Double] {
        (0..<rotated / 2).map { 1 / pow(theta, Double(2 * $0) / Double(rotated)) }
    }

    package init(_ frequencies: [Double], attentionScale: Double = 1) {
        self.init(inverseFrequencies: frequencies.map { Float($0) }, attentionScale: Float(attentionScale))
    }

    /// Each frequency divided by `factor` (positions as if the context were the original one).
    package static func linear(_ frequencies: [Double], factor: Double) -> RoPETable { RoPETable(frequencies.map { $0 / factor }) }

    /// Each frequency divided by its own factor: what a `rope_freqs.weight` of a GGUF file holds, one a pair.
    package static func divided(_ frequencies: [Double], by factors: [Float], attentionScale: Double = 1) -> RoPETable {
        RoPETable(zip(frequencies, factors).map { $0 / Double($1) }, attentionScale: attentionScale)
    }

    // MARK: YaRN

    /// The settings of `rope_type: yarn` (Peng et al. 2023, arXiv:2309.00071).
    package struct YaRN: Sendable, Equatable {
        package var factor: Double
        package var originalPositions: Int
        /// Pairs with more rotations than this over the original context keep their frequency; those with fewer than `betaSlow` are divided by
        /// `factor`; those between are interpolated.
        package var betaFast: Double
        package var betaSlow: Double
        /// Given, it multiplies cos and sin; else it follows from `factor`, and from both mscales where both are given and not 0.
        package var attentionFactor: Double?
        package var mscale: Double?
        package var mscaleAllDimensions: Double?
        /// Whether the interpolated range is rounded to whole pairs.
        package var truncates: Bool

        package init(
            factor: Double, originalPositions: Int, betaFast: Double = 32, betaSlow: Double = 1, attentionFactor: Double? = nil, mscale: Double? = nil,
            mscaleAllDimensions: Double? = nil, truncates: Bool = true
        ) {
            (self.factor, self.originalPositions, self.betaFast, self.betaSlow) = (factor, originalPositions, betaFast, betaSlow)
            (self.attentionFactor, self.mscale, self.mscaleAllDimensions) = (attentionFactor, mscale, mscaleAllDimensions)
            self.truncates = truncates
        }

        /// 0.1 m ln(factor) + 1, 1 for a context that is not extended.
        private func magnitude(_ m: Double) -> Double { factor <= 1 ? 1 : 0.1 * m * log(factor) + 1 }

        var attentionScale: Double {
            if let attentionFactor { return attentionFactor }
            if let mscale, let all = mscaleAllDimensions, mscale != 0, all != 0 { return magnitude(mscale) / magnitude(all) }
            return magnitude(1)
        }

        /// The pair that makes `rotations` rotations over the original context, as a real number.
        fileprivate func dimension(rotations: Double, theta: Double, rotated: Int) -> Double {
            Double(rotated) * log(Double(originalPositions) / (rotations * 2 * Double.pi)) / (2 * log(theta))
        }
    }

    package static func yarn(theta: Double, rotated: Int, _ settings: YaRN) -> RoPETable {
        var low = settings.dimension(rotations: settings.betaFast, theta: theta, rotated: rotated)
        var high = settings.dimension(rotations: settings.betaSlow, theta: theta, rotated: rotated)
        if settings.truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        (low, high) = (max(low, 0), min(high, Double(rotated - 1)))
        if low == high { high += 0.001 }
        let interpolated = frequencies(theta: theta, rotated: rotated).enumerated().map { pair, frequency in
            let ramp = min(max((Double(pair) - low) / (high - low), 0), 1)
            return frequency / settings.factor * ramp + frequency * (1 - ramp)
        }
        return RoPETable(interpolated, attentionScale: settings.attentionScale)
    }

    // MARK: LongRoPE

    /// `rope_type: longrope` (Ding et al. 2024, arXiv:2402.13753): a factor for each pair, of one list up to the original context's length
    /// and of another beyond it.
    ///
    /// transformers takes one list for a whole batch, by its longest sequence. Here each sequence has its own, whatever it is packed with.
    ///
    /// - Parameter factor: extended over original positions, for the attention's scale sqrt(1 + ln(factor) / ln(original)) where none is given.
    package static func longRoPE(
        theta: Double, rotated: Int, short: [Float], long: [Float], factor: Double, originalPositions: Int, attentionFactor: Double? = nil
    ) -> RoPETable {
        let scale = attentionFactor ?? longRoPEScale(factor: factor, originalPositions: originalPositions)
        let frequencies = frequencies(theta: theta, rotated: rotated)
        var table = divided(frequencies, by: short, attentionScale: scale)
        table.long = Long(inverseFrequencies: divided(frequencies, by: long).inverseFrequencies, originalPositions: originalPositions)
        return table
    }

    /// sqrt(1 + ln(factor) / ln(original positions)), 1 for a context that is not extended.
    package static func longRoPEScale(factor: Double, originalPositions: Int) -> Double {
        factor <= 1 || originalPositions <= 1 ? 1 : (1 + log(factor) / log(Double(originalPositions))).squareRoot()
    }
}
