// Writing GGUF's blocks of 256.
//
// The weight of a squared error grows with the value's magnitude: root mean square + |value| in Q4_K and Q5_K, value² in Q6_K. Each group's own
// scale (and minimum) is searched first; then the block's float16 scale, and each group's whole number that multiplies it, are chosen by the
// resulting error.

extension Q4_K: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(0...15)
        guard let fit = MinimumBlock.fit(values, scratch.weights, codes, SearchGrid(reach: 1, step: 0.1)) else { return false }
        fit.store(to: block)
        fit.write(values, codes, to: scratch.codes)
        storeHalfBytes(scratch.codes, block + 16)
        return true
    }
}

extension Q5_K: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(0...31)
        guard let fit = MinimumBlock.fit(values, scratch.weights, codes, SearchGrid(reach: 1, step: 0.1)) else { return false }
        fit.store(to: block)
        fit.write(values, codes, to: scratch.codes)
        // Fifth bit of group g at bit g of 32 bytes.
        for half in 0..<2 {
            var fifths = SIMD16<UInt8>.zero
            for group in 0..<8 {
                fifths |= (load16(scratch.codes + 32 * group + 16 * half) &>> 4) &<< SIMD16(repeating: UInt8(truncatingIfNeeded: group))
            }
            (block + 16 + 16 * half).storeBytes(of: fifths, as: SIMD16<UInt8>.self)
        }
        storeHalfBytes(scratch.codes, block + 48)
        return true
    }
}

/// Eight groups of 32 codes, low four bits: even groups in the low halves of 32 bytes, the odd groups after them in the high halves.
@inline(__always)
private func storeHalfBytes(_ codes: UnsafePointer<UInt8>, _ out: UnsafeMutableRawPointer) {
    for pair in 0..<4 {
        for half in 0..<2 {
            let (low, high) = (load16(codes + 64 * pair + 16 * half), load16(codes + 64 * pair + 32 + 16 * half))
            (out + 32 * pair + 16 * half).storeBytes(of: (low & 15) | (high &<< 4), as: SIMD16<UInt8>.self)
        }
    }
}

extension Q6_K: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        guard let fit = SymmetricBlock.fit(values, scratch.weights) else { return false }
        storeHalf(fit.d, block + 208)
        for group in 0..<16 { (block + 192 + group).storeBytes(of: byte(fit.scales[group]), as: UInt8.self) }
        fit.write(values, SymmetricBlock.codes, zero: 32, to: scratch.codes)
        for part in 0..<2 {
            for half in 0..<2 {
                let codes = scratch.codes + 128 * part + 16 * half
                let (a, b, c, d) = (load16(codes), load16(codes + 32), load16(codes + 64), load16(codes + 96))
                (block + 64 * part + 16 * half).storeBytes(of: (a & 15) | (c &<< 4), as: SIMD16<UInt8>.self)
                (block + 64 * part + 32 + 16 * half).storeBytes(of: (b & 15) | (d &<< 4), as: SIMD16<UInt8>.self)
                let high = (a &>> 4) | ((b &>> 4) &<< 2) | ((c &>> 4) &<< 4) | ((d &>> 4) &<< 6)
                (block + 128 + 32 * part + 16 * half).storeBytes(of: high, as: SIMD16<UInt8>.self)
            }
        }
        return true
    }
}

/// Whether all 256 values are within ± `limit`, the largest value that a block can hold. Larger ones are refused before their squares overflow.
private func isWithin(_ values: UnsafePointer<Float>, _ limit: Float) -> Bool {
    let (lowest, highest) = WeightedGroup(values, values, 256).bounds
    return lowest >= -limit && highest <= limit
}

/// The grids of 4 bits that training moved eight times 32 values off; nil where fewer than half of them lie near one.
private func formerGrids(_ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>) -> [CodeGrid?]? {
    let grids = (0..<8).map { WeightedGroup(values + 32 * $0, weights + 32 * $0, 32).formerGrid }
    return grids.count { $0 != nil } >= 4 ? grids : nil
}

/// The largest float16.
private let largestHalf = Float(Float16.greatestFiniteMagnitude)

// MARK: - what blocks of 256 have in common

/// The scales of a block's groups.
private protocol GroupScales {
    /// Values in a group.
    static var groupSize: Int { get }
    /// The weighted squared error of the block.
    var error: Float { get set }
    /// By group, from the lowest bit: whether its codes are chosen at random.
    var randomGroups: UInt16 { get set }
    /// How a group is written.
    func fit(_ group: Int) -> GroupFit
}

extension GroupScales {
    static var groupCount: Int { 256 / groupSize }

    func isRandom(_ group: Int) -> Bool { randomGroups & 1 << UInt16(truncatingIfNeeded: group) != 0 }

    @inline(__always)
    static func group(_ number: Int, _ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>) -> WeightedGroup {
        WeightedGroup(values + groupSize * number, weights + groupSize * number, groupSize)
    }

    /// Sets `error` to that of what would be written.
    mutating func addErrors(_ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ codes: CodeRange) {
        error = (0..<Self.groupCount).reduce(0) { $0 + Self.group($1, values, weights).error(fit($1), codes) }
    }

    /// Chooses codes at random in groups that training moved off a grid: as many as keep the block's error at or below the plain choice's, and those
    /// whose training the plain choice undoes.
    ///
    /// - Parameters:
    ///   - former: the grids of 32 values each.
    ///   - plain: llama.cpp's choice of the scales.
    mutating func keepChange(
        _ former: [CodeGrid?], below plain: Self, _ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ codes: CodeRange
    ) {
        for group in 0..<Self.groupCount {
            let weighted = Self.group(group, values, weights)
            guard let grid = former[group * Self.groupSize / 32], let random = weighted.random(fit(group), codes) else { continue }
            let raised = error + weighted.error(random, codes) - weighted.error(fit(group), codes)
            if raised <= plain.error || weighted.isUndone(by: plain.fit(group).stored, codes, former: grid) {
                error = raised
                randomGroups |= 1 << UInt16(truncatingIfNeeded: group)
            }
        }
    }

    /// - Parameter zero: what is added to each code.
    func write(_ values: UnsafePointer<Float>, _ codes: CodeRange, zero: Float = 0, to bytes: UnsafeMutablePointer<UInt8>) {
        for group in 0..<Self.groupCount { Self.group(group, values, values).write(fit(group), codes, zero: zero, to: bytes + Self.groupSize * group) }
    }
}

// MARK: - expanded = (d · scale) · code - (dmin · minimum), eight groups of 32

/// The scales of a block of Q4_K or Q5_K.
private struct MinimumBlock: GroupScales {
    static var groupSize: Int { 32 }
    var d: Float
    var dmin: Float
    /// Whole numbers from 0 to 63.
    var scales = SIMD8<Float>.zero
    var minima = SIMD8<Float>.zero
    var error: Float = 0
    /// What the groups' values alone demand: expanded = scale · code - minimum.
    var exact = (scales: SIMD8<Float>.zero, minima: SIMD8<Float>.zero)
    var randomGroups: UInt16 = 0

    private static let sixBits = CodeRange(0...63)

    /// - Returns: nil where float16 holds no scale that is large enough.
    static func fit(
        _ values: UnsafePointer<Float>, _ weights: UnsafeMutablePointer<Float>, _ codes: CodeRange, _ grid: SearchGrid
    ) -> MinimumBlock? {
        guard isWithin(values, largestHalf * 63 * codes.highest) else { return nil }
        var (scales, minima) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
        for group in 0..<8 {
            let (first, weight) = (values + 32 * group, weights + 32 * group)
            weigh(first, weight)
            let own = WeightedGroup(first, weight, 32).scaleAndMinimum(codes, atMostZero: true, grid)
            (scales[group], minima[group]) = (own.scale, -own.minimum)
        }
        let (d, dmin) = (roundedToHalf(scales.max() / 63), roundedToHalf(minima.max() / 63))
        guard d.isFinite, dmin.isFinite else { return nil }
        let exact = (scales, minima)
        var best = MinimumBlock(d: d, dmin: dmin).choosing(scales, minima, values, weights, codes)
        for _ in 0..<2 {
            guard let (d, dmin) = best.refitted(values, weights, codes) else { break }
            let next = MinimumBlock(d: roundedToHalf(d), dmin: roundedToHalf(dmin))
                .choosing(best.d * best.scales, best.dmin * best.minima, values, weights, codes)
            guard next.d.isFinite, next.dmin.isFinite, next.error < best.error else { break }
            best = next
        }
        if let former = formerGrids(values, weights) {
            best.exact = exact
            best.keepChange(former, below: plain(values, weights, codes, grid), values, weights, codes)
        }
        return best
    }

    /// llama.cpp's choice: the search without its last steps, scales and minima rounded to the nearest whole numbers.
    private static func plain(
        _ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ codes: CodeRange, _ grid: SearchGrid
    ) -> MinimumBlock {
        var (scales, minima) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
        for group in 0..<8 {
            let weighted = Self.group(group, values, weights)
            let own = weighted.scaleAndMinimum(codes, atMostZero: true, grid, refines: false)
            (scales[group], minima[group]) = (own.scale, -own.minimum)
        }
        let (largest, deepest) = (scales.max(), minima.max())
        var block = MinimumBlock(d: roundedToHalf(largest / 63), dmin: roundedToHalf(deepest / 63))
        for group in 0..<8 {
            block.scales[group] = largest > 0 ? sixBits.nearest(scales[group] * (63 / largest)) : 0
            block.minima[group] = deepest > 0 ? sixBits.nearest(minima[group] * (63 / deepest)) : 0
        }
        block.addErrors(values, weights, codes)
        return block
    }

    func fit(_ group: Int) -> GroupFit {
        GroupFit(
            exact: CodeGrid(scale: exact.scales[group], minimum: -exact.minima[group]),
            stored: CodeGrid(scale: d * scales[group], minimum: -(dmin * minima[group])), isRandom: isRandom(group))
    }

    /// The weights of a group's squared errors: root mean square + |value|.
    private static func weigh(_ values: UnsafePointer<Float>, _ weights: UnsafeMutablePointer<Float>) {
        var squares = SIMD8<Float>.zero
        for i in stride(from: 0, to: 32, by: 8) { squares.addProduct(load8(values + i), load8(values + i)) }
        let root = (squares.sum() / 32).squareRoot()
        for i in 0..<32 { weights[i] = root + abs(values[i]) }
    }

    /// Each group's whole numbers: the best ones next to its own scale and minimum.
    private func choosing(
        _ scales: SIMD8<Float>, _ minima: SIMD8<Float>, _ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ codes: CodeRange
    ) -> MinimumBlock {
        var chosen = self
        for group in 0..<8 {
            let weighted = Self.group(group, values, weights)
            let scale = d == 0 ? 0 : Self.sixBits.nearest(scales[group] / d)
            let minimum = dmin == 0 ? 0 : Self.sixBits.nearest(minima[group] / dmin)
            var least = Float.infinity
            for s in stride(from: max(0, scale - 1), through: min(63, scale + 1), by: 1) {
                for m in stride(from: max(0, minimum - 1), through: min(63, minimum + 1), by: 1) {
                    let error = weighted.error(scale: d * s, minimum: -(dmin * m), codes)
                    if error < least { (least, chosen.scales[group], chosen.minima[group]) = (error, s, m) }
                }
            }
            chosen.error += least
        }
        return chosen
    }

    /// d and dmin that fit the block's codes best: least squares over all groups. nil where the codes do not determine them.
    private func refitted(_ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ codes: CodeRange) -> (d: Float, dmin: Float)? {
        var (ss, sm, mm, xs, xm) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for group in 0..<8 {
            let weighted = Self.group(group, values, weights)
            let scale = d * scales[group]
            let sums = weighted.sums(scale == 0 ? 0 : 1 / scale, -(dmin * minima[group]), codes)
            let totals = weighted.totals
            let (s, m) = (Double(scales[group]), Double(minima[group]))
            ss += s * s * Double(sums.cc)
            sm -= s * m * Double(sums.c)
            mm += m * m * Double(totals.w)
            xs += s * Double(sums.xc)
            xm -= m * Double(totals.x)
        }
        guard ss > 0 else { return nil }
        guard mm > 0 else { return (Float(xs / ss), 0) }
        let determinant = ss * mm - sm * sm
        guard determinant > 0 else { return nil }
        let (d, dmin) = (Float((xs * mm - xm * sm) / determinant), Float((ss * xm - sm * xs) / determinant))
        return d > 0 && dmin >= 0 ? (d, dmin) : nil
    }

    /// d, dmin and the twelve bytes of scales and minima.
    func store(to block: UnsafeMutableRawPointer) {
        storeHalf(d, block)
        storeHalf(dmin, block + 2)
        SixBits.store(scales, minima, to: (block + 4).assumingMemoryBound(to: UInt8.self))
    }
}

extension SixBits {
    /// The inverse of `scaleAndMinimum` for all eight groups.
    static func store(_ scales: SIMD8<Float>, _ minima: SIMD8<Float>, to bytes: UnsafeMutablePointer<UInt8>) {
        for group in 0..<4 {
            let (scale, minimum) = (byte(scales[group + 4]), byte(minima[group + 4]))
            bytes[group] = byte(scales[group]) | (scale >> 4) << 6
            bytes[group + 4] = byte(minima[group]) | (minimum >> 4) << 6
            bytes[group + 8] = (scale & 15) | (minimum & 15) << 4
        }
    }
}

// MARK: - expanded = (d · scale) · (code - 32), sixteen groups of 16

/// The scales of a block of Q6_K.
private struct SymmetricBlock: GroupScales {
    static var groupSize: Int { 16 }
    var d: Float
    /// Whole numbers from -128 to 127.
    var scales = SIMD16<Float>.zero
    var error: Float = 0
    /// The scales that the groups' values alone demand.
    var exact = SIMD16<Float>.zero
    var randomGroups: UInt16 = 0

    static let codes = CodeRange(-32...31)
    private static let signedByte = CodeRange(-128...127)

    /// - Returns: nil where float16 holds no scale that is large enough.
    static func fit(_ values: UnsafePointer<Float>, _ weights: UnsafeMutablePointer<Float>) -> SymmetricBlock? {
        guard isWithin(values, largestHalf * 128 * 32) else { return nil }
        var scales = SIMD16<Float>.zero
        var largest: Float = 0
        for i in stride(from: 0, to: 256, by: 8) { store8(load8(values + i) * load8(values + i), weights + i) }
        for group in 0..<16 {
            let weighted = Self.group(group, values, weights)
            scales[group] = weighted.scale(codes, extreme: weighted.extreme, SearchGrid(reach: 1, step: 0.1))
            if abs(scales[group]) > abs(largest) { largest = scales[group] }
        }
        let d = roundedToHalf(largest / -128)
        guard d.isFinite else { return nil }
        var best = SymmetricBlock(d: d).choosing(scales, values, weights)
        for _ in 0..<2 {
            let next = SymmetricBlock(d: roundedToHalf(best.refitted(values, weights))).choosing(best.d * best.scales, values, weights)
            guard next.d.isFinite, next.error < best.error else { break }
            best = next
        }
        if let former = formerGrids(values, weights) {
            best.exact = scales
            best.keepChange(former, below: plain(values, weights), values, weights, codes)
        }
        return best
    }

    /// llama.cpp's choice: starting points at the lowest code alone, the search without its last steps, scales rounded to the nearest whole numbers.
    private static func plain(_ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>) -> SymmetricBlock {
        var (scales, largest) = (SIMD16<Float>.zero, Float.zero)
        for group in 0..<16 {
            let weighted = Self.group(group, values, weights)
            // A little above 0.9: the sum of the steps must not miss the last one.
            scales[group] = weighted.scale(codes, extreme: weighted.extreme, SearchGrid(reach: 0.9001, step: 0.1), ends: [codes.lowest], refines: false)
            if abs(scales[group]) > abs(largest) { largest = scales[group] }
        }
        var block = SymmetricBlock(d: roundedToHalf(largest / -128))
        for group in 0..<16 {
            block.scales[group] = largest == 0 ? 0 : signedByte.nearest(scales[group] * (-128 / largest))
        }
        block.addErrors(values, weights, codes)
        return block
    }

    func fit(_ group: Int) -> GroupFit {
        GroupFit(exact: CodeGrid(scale: exact[group]), stored: CodeGrid(scale: d * scales[group]), isRandom: isRandom(group))
    }

    /// Each group's whole number: the best one next to its own scale.
    private func choosing(_ scales: SIMD16<Float>, _ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>) -> SymmetricBlock {
        var chosen = self
        for group in 0..<16 {
            let weighted = Self.group(group, values, weights)
            let scale = d == 0 ? 0 : Self.signedByte.nearest(scales[group] / d)
            var least = Float.infinity
            for s in stride(from: max(-128, scale - 1), through: min(127, scale + 1), by: 1) {
                let error = weighted.error(scale: d * s, Self.codes)
                if error < least { (least, chosen.scales[group]) = (error, s) }
            }
            chosen.error += least
        }
        return chosen
    }

    /// The d that fits the block's codes best: least squares over all groups.
    private func refitted(_ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>) -> Float {
        var (xc, cc) = (0.0, 0.0)
        for group in 0..<16 where d * scales[group] != 0 {
            let sums = Self.group(group, values, weights).sums(1 / (d * scales[group]), Self.codes)
            xc += Double(scales[group]) * Double(sums.xc)
            cc += Double(scales[group]) * Double(scales[group]) * Double(sums.cc)
        }
        return cc > 0 ? Float(xc / cc) : d
    }
}
