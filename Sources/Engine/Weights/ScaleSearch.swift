import CVector

/// Whole numbers from `lowest` to `highest`, as floats.
struct CodeRange {
    let lowest: Float
    let highest: Float

    init(_ range: ClosedRange<Float>) { (lowest, highest) = (range.lowerBound, range.upperBound) }

    /// The nearest code to each value; of two that are equally near, the even one.
    @inline(__always)
    func nearest(_ values: SIMD8<Float>) -> SIMD8<Float> {
        let bounded = lorikeet_min8(lorikeet_max8(values, SIMD8(repeating: lowest)), SIMD8(repeating: highest))
        return (bounded + roundingMagic) - roundingMagic
    }

    @inline(__always)
    func nearest(_ value: Float) -> Float { (min(max(value, lowest), highest) + roundingMagic) - roundingMagic }
}

/// 1.5 · 2²³: added to a float below 2²², leaves the nearest whole number in the low bits.
private let roundingMagic: Float = 12_582_912

/// A whole number's low byte, two's complement.
@inline(__always)
func byte(_ value: Float) -> UInt8 { UInt8(truncatingIfNeeded: (value + roundingMagic).bitPattern) }

/// Offsets that a search adds to a range of codes: -reach, -reach + step, …, reach.
struct SearchGrid {
    let reach: Float
    let step: Float
}

/// Values that share a scale, and the weight of each one's squared error:
///
///     error = Σ weight · (value - expanded)²
struct WeightedGroup {
    let values: UnsafePointer<Float>
    let weights: UnsafePointer<Float>
    /// A multiple of eight.
    let count: Int

    @inline(__always)
    init(_ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ count: Int) {
        (self.values, self.weights, self.count) = (values, weights, count)
    }

    /// The value of the largest magnitude.
    var extreme: Float {
        var extreme: Float = 0
        for i in 0..<count where abs(values[i]) > abs(extreme) { extreme = values[i] }
        return extreme
    }

    /// The least and the largest value.
    @inline(__always)
    var bounds: (lowest: Float, highest: Float) {
        var (lowest, highest) = (load8(values), load8(values))
        for i in stride(from: 8, to: count, by: 8) {
            lowest = lorikeet_min8(lowest, load8(values + i))
            highest = lorikeet_max8(highest, load8(values + i))
        }
        return (lowest.min(), highest.max())
    }
}

// MARK: - expanded = scale · code

extension WeightedGroup {
    /// The scale with the least error that the grid's starting points lead to; 0 where all values are.
    ///
    /// The extreme value is first given about the lowest code, then about the highest: (end + offset) / extreme is the reciprocal of a scale,
    /// its codes are fixed, and Σ w x c / Σ w c² is the scale that fits them best.
    ///
    /// - Parameters:
    ///   - ends: the codes that the extreme value is first given; nil for the lowest and the highest.
    ///   - refines: whether the best scale is improved further, beyond llama.cpp's search.
    func scale(_ codes: CodeRange, extreme: Float, _ grid: SearchGrid, ends: [Float]? = nil, refines: Bool = true) -> Float {
        // The smallest positive float16 is 6e-8: no scale of such values is above 0.
        guard abs(extreme) > 1e-12 else { return 0 }
        var (gain, scale): (Float, Float) = (0, 0)
        for end in ends ?? [codes.lowest, codes.highest] {
            var offset = -grid.reach
            while offset <= grid.reach {
                let sums = sums((end + offset) / extreme, codes)
                // The error is Σ w x² less this.
                if sums.cc > 0, sums.xc * (sums.xc / sums.cc) > gain { (gain, scale) = (sums.xc * (sums.xc / sums.cc), sums.xc / sums.cc) }
                offset += grid.step
            }
        }
        return refines ? refined(scale, codes) : scale
    }

    /// Nearest codes and best scale in turn, neither of which raises the error.
    private func refined(_ start: Float, _ codes: CodeRange) -> Float {
        var scale = start
        for _ in 0..<2 {
            let sums = sums(1 / scale, codes)
            guard sums.cc > 0, sums.xc != 0 else { return scale }
            scale = sums.xc / sums.cc
        }
        return scale
    }

    /// Σ w x c and Σ w c² for the codes nearest to value · inverse.
    @inline(__always)
    func sums(_ inverse: Float, _ codes: CodeRange) -> (xc: Float, cc: Float) {
        var (xc, cc) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
        for i in stride(from: 0, to: count, by: 8) {
            let value = load8(values + i)
            let code = codes.nearest(value * inverse)
            let product = load8(weights + i) * code
            xc.addProduct(product, value)
            cc.addProduct(product, code)
        }
        return (xc.sum(), cc.sum())
    }

    /// The error with each value's nearest code.
    @inline(__always)
    func error(scale: Float, _ codes: CodeRange) -> Float { error(scale: scale, minimum: 0, codes) }
}

// MARK: - expanded = scale · code + minimum

extension WeightedGroup {
    /// Scale and minimum with the least error that the grid's starting points lead to.
    ///
    /// - Parameters:
    ///   - codes: from 0 on.
    ///   - atMostZero: whether the minimum may not be positive.
    ///   - refines: whether the best one is improved further, beyond llama.cpp's search.
    func scaleAndMinimum(_ codes: CodeRange, atMostZero: Bool, _ grid: SearchGrid, refines: Bool = true) -> (scale: Float, minimum: Float) {
        var (lowest, highest) = bounds
        if atMostZero { lowest = min(lowest, 0) }
        guard highest - lowest > 1e-12 else { return (0, lowest) }
        var best: (scale: Float, minimum: Float) = ((highest - lowest) / codes.highest, lowest)
        var least = error(scale: best.scale, minimum: best.minimum, codes)
        let totals = totals
        func take(_ scale: Float, _ minimum: Float) -> Bool {
            guard let fit = fit(1 / scale, minimum, codes, totals, atMostZero), fit.error < least else { return false }
            (best, least) = ((fit.scale, fit.minimum), fit.error)
            return true
        }
        var offset = -grid.reach
        while offset <= grid.reach {
            _ = take((highest - lowest) / (codes.highest + offset), lowest)
            offset += grid.step
        }
        guard refines else { return best }
        for _ in 0..<3 where !take(best.scale, best.minimum) { break }
        return best
    }

    /// Σ w and Σ w x.
    @inline(__always)
    var totals: (w: Float, x: Float) {
        var (w, x) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
        for i in stride(from: 0, to: count, by: 8) {
            w += load8(weights + i)
            x.addProduct(load8(weights + i), load8(values + i))
        }
        return (w.sum(), x.sum())
    }

    /// Σ w c, Σ w c² and Σ w x c for the codes nearest to (value - minimum) · inverse.
    @inline(__always)
    func sums(_ inverse: Float, _ minimum: Float, _ codes: CodeRange) -> (c: Float, cc: Float, xc: Float) {
        var (c, cc, xc) = (SIMD8<Float>.zero, SIMD8<Float>.zero, SIMD8<Float>.zero)
        for i in stride(from: 0, to: count, by: 8) {
            let value = load8(values + i)
            let code = codes.nearest((value - minimum) * inverse)
            let product = load8(weights + i) * code
            c += product
            cc.addProduct(product, code)
            xc.addProduct(product, value)
        }
        return (c.sum(), cc.sum(), xc.sum())
    }

    /// The best scale and minimum for the codes nearest to (value - minimum) · inverse, and the error of these codes; nil where all are equal.
    @inline(__always)
    func fit(
        _ inverse: Float, _ minimum: Float, _ codes: CodeRange, _ totals: (w: Float, x: Float), _ atMostZero: Bool
    ) -> (scale: Float, minimum: Float, error: Float)? {
        let sums = sums(inverse, minimum, codes)
        let determinant = totals.w * sums.cc - sums.c * sums.c
        guard determinant > 0 else { return nil }
        var scale = (totals.w * sums.xc - totals.x * sums.c) / determinant
        var best = (sums.cc * totals.x - sums.c * sums.xc) / determinant
        if atMostZero, best > 0 { (scale, best) = (sums.xc / sums.cc, 0) }
        guard scale > 0 else { return nil }
        var error = SIMD8<Float>.zero
        for i in stride(from: 0, to: count, by: 8) {
            let value = load8(values + i)
            let difference = codes.nearest((value - minimum) * inverse) * scale + (best - value)
            error.addProduct(load8(weights + i) * difference, difference)
        }
        return (scale, best, error.sum())
    }

    /// The error with each value's nearest code.
    @inline(__always)
    func error(scale: Float, minimum: Float, _ codes: CodeRange) -> Float {
        let inverse = scale == 0 ? 0 : 1 / scale
        var error = SIMD8<Float>.zero
        for i in stride(from: 0, to: count, by: 8) {
            let value = load8(values + i)
            let difference = codes.nearest((value - minimum) * inverse) * scale + (minimum - value)
            error.addProduct(load8(weights + i) * difference, difference)
        }
        return error.sum()
    }

    /// Writes each value's nearest code plus `zero`, a byte each.
    @inline(__always)
    func write(scale: Float, minimum: Float = 0, _ codes: CodeRange, zero: Float = 0, to bytes: UnsafeMutablePointer<UInt8>) {
        let inverse = scale == 0 ? 0 : 1 / scale
        for i in stride(from: 0, to: count, by: 8) {
            let code = codes.nearest((load8(values + i) - minimum) * inverse) + zero
            for lane in 0..<8 { bytes[i + lane] = byte(code[lane]) }
        }
    }
}
