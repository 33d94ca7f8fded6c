// Values that training moved off a grid of 4 bits, and how they are rounded.
//
// The weights of a model that was 4-bit before its training lie on a grid, and training moved them by a fraction of a step. The scale with the
// least error is that grid's own, and the nearest code to each value is the one that it had before: the whole change would be lost. Such values
// are rounded up or down at random instead, so that the expected value of what is stored is the value: over many weights the change is kept. The
// price is an expected error of |r| · (step - |r|) for a value at the distance r from its nearest code, which alone costs r².

/// expanded = scale · code + minimum
struct CodeGrid {
    let scale: Float
    var minimum: Float = 0
}

/// A group's grid as its values demand it, and as the block stores it, in fewer bits.
struct GroupFit {
    let exact: CodeGrid
    let stored: CodeGrid
    /// Whether codes are chosen at random from the two beside a value; else the nearest one is taken.
    var isRandom = false
}

private let fourBits = CodeRange(0...15)

extension WeightedGroup {
    /// The grid of 4 bits that the values were moved off: nil where they are not near 8 to 15 even steps from the least to the largest, or are on them
    /// but for rounding errors.
    ///
    /// The mean squared distance of values from their grid, in steps, is below 1/48. Values that have nothing to do with it have 1/12, and with the best
    /// of many scales 1/17 in the mean.
    var formerGrid: CodeGrid? {
        let (lowest, highest) = bounds
        for steps in 8...15 {
            let grid = CodeGrid(scale: (highest - lowest) / Float(steps), minimum: lowest)
            guard let distance = distance(from: grid, fourBits, below: 1 / 48) else { continue }
            guard distance > 1e-6 else { return nil }
            guard let fit = fit(1 / grid.scale, grid.minimum, fourBits, totals, false) else { return grid }
            return CodeGrid(scale: fit.scale, minimum: fit.minimum)
        }
        return nil
    }

    /// The values' mean squared distance from the grid, in steps, where it is below `limit`; else nil.
    @inline(__always)
    private func distance(from grid: CodeGrid, _ codes: CodeRange, below limit: Float) -> Float? {
        guard grid.scale != 0 else { return nil }
        let inverse = 1 / grid.scale
        var sum: Float = 0
        for i in stride(from: 0, to: count, by: 8) {
            let place = (load8(values + i) - grid.minimum) * inverse
            let distance = place - codes.nearest(place)
            sum += (distance * distance).sum()
            guard sum < limit * Float(count) else { return nil }
        }
        return sum / Float(count)
    }

    /// Whether the nearest codes of a grid give the values back that stood there before training: whether their error is most of the change.
    ///
    /// Not where the change is so large (its mean square above 1/160 of a squared step) that nearest codes keep a part of it anyway.
    ///
    /// - Parameter former: the grid before training; what lies between it and a value is the change.
    func isUndone(by grid: CodeGrid, _ codes: CodeRange, former: CodeGrid) -> Bool {
        let (inverse, formerInverse) = (grid.scale == 0 ? 0 : 1 / grid.scale, 1 / former.scale)
        var (errors, products, changes) = (SIMD8<Float>.zero, SIMD8<Float>.zero, SIMD8<Float>.zero)
        for i in stride(from: 0, to: count, by: 8) {
            let (value, weight) = (load8(values + i), load8(weights + i))
            let error = codes.nearest((value - grid.minimum) * inverse) * grid.scale + (grid.minimum - value)
            let change = value - former.minimum - fourBits.nearest((value - former.minimum) * formerInverse) * former.scale
            errors.addProduct(weight * error, error)
            products.addProduct(weight * error, change)
            changes.addProduct(weight * change, change)
        }
        let change = changes.sum()
        guard change * 160 < former.scale * former.scale * totals.w else { return false }
        return errors.sum() < 2 * change && -products.sum() > 0.75 * change
    }

    /// The same fit with codes chosen at random; nil where the values are not near its grid, so that random codes are no better than others.
    func random(_ fit: GroupFit, _ codes: CodeRange) -> GroupFit? {
        guard distance(from: fit.stored, codes, below: 1 / 48) != nil, distance(from: fit.exact, codes, below: 1 / 80) != nil else { return nil }
        return GroupFit(exact: fit.exact, stored: fit.stored, isRandom: true)
    }

    /// The error of what `write` writes.
    func error(_ fit: GroupFit, _ codes: CodeRange) -> Float {
        guard fit.isRandom else { return error(scale: fit.stored.scale, minimum: fit.stored.minimum, codes) }
        let seed = seed
        var error: Float = 0
        for i in 0..<count {
            let difference = randomCode(i, fit.exact, codes, seed) * fit.stored.scale + (fit.stored.minimum - values[i])
            error += weights[i] * difference * difference
        }
        return error
    }

    /// Writes each value's code plus `zero`, a byte each.
    @inline(__always)
    func write(_ fit: GroupFit, _ codes: CodeRange, zero: Float = 0, to bytes: UnsafeMutablePointer<UInt8>) {
        guard fit.isRandom else { return write(scale: fit.stored.scale, minimum: fit.stored.minimum, codes, zero: zero, to: bytes) }
        let seed = seed
        for i in 0..<count { bytes[i] = byte(randomCode(i, fit.exact, codes, seed) + zero) }
    }

    /// One of the two codes beside a value. The multiples of the golden ratio added to the group's seed, modulo 1, spread evenly over the group: each
    /// is one value's threshold. Differences below half a thousandth of a step are rounding errors and change no code.
    @inline(__always)
    private func randomCode(_ i: Int, _ grid: CodeGrid, _ codes: CodeRange, _ seed: Float) -> Float {
        let turn = seed + 0.618_033_99 * Float(i)
        let threshold = (turn - turn.rounded(.down) - 0.5) * 0.999
        return codes.nearest((values[i] - grid.minimum) / grid.scale + threshold)
    }

    /// A number in [0, 1) from the bits of the group's values.
    private var seed: Float {
        var bits: UInt32 = 0
        for i in 0..<count { bits = ((bits ^ values[i].bitPattern) &* 0x9E37_79B1) ^ (bits >> 15) }
        bits = (bits ^ (bits >> 16)) &* 0x85EB_CA6B
        bits = (bits ^ (bits >> 13)) &* 0xC2B2_AE35
        return Float((bits ^ (bits >> 16)) >> 8) / 16_777_216
    }
}
