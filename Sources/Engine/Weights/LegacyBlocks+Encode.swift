// Writing GGUF's blocks of 32. All squared errors have the weight 1. The plain choice, which gives the value of the largest magnitude the last code,
// is among those compared: no block's error is above that of the plain choice, except where the plain choice undoes training (`chosen`).

extension Q8_0: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(-128...127)
        let group = WeightedGroup(values, ones(scratch), elements)
        guard let fit = halfScale(group, codes, plainEnd: 127, SearchGrid(reach: 1, step: 0.25)) else { return false }
        storeHalf(fit.stored.scale, block)
        group.write(fit, codes, to: (block + 2).assumingMemoryBound(to: UInt8.self))
        return true
    }
}

extension Q4_0: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(-8...7)
        let group = WeightedGroup(values, ones(scratch), elements)
        guard let fit = halfScale(group, codes, plainEnd: -8, SearchGrid(reach: 1.5, step: 0.125)) else { return false }
        storeHalf(fit.stored.scale, block)
        group.write(fit, codes, zero: 8, to: scratch.codes)
        storeHalfBytes(scratch.codes, block + 2)
        return true
    }
}

extension Q5_0: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(-16...15)
        let group = WeightedGroup(values, ones(scratch), elements)
        guard let fit = halfScale(group, codes, plainEnd: -16, SearchGrid(reach: 1.5, step: 0.125)) else { return false }
        storeHalf(fit.stored.scale, block)
        group.write(fit, codes, zero: 16, to: scratch.codes)
        storeFifthBits(scratch.codes, block + 2)
        storeHalfBytes(scratch.codes, block + 6)
        return true
    }
}

extension Q4_1: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(0...15)
        let group = WeightedGroup(values, ones(scratch), elements)
        guard let fit = halfScaleAndMinimum(group, codes, SearchGrid(reach: 1, step: 0.1)) else { return false }
        storeHalf(fit.stored.scale, block)
        storeHalf(fit.stored.minimum, block + 2)
        group.write(fit, codes, to: scratch.codes)
        storeHalfBytes(scratch.codes, block + 4)
        return true
    }
}

extension Q5_1: BlockEncoder {
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool {
        let codes = CodeRange(0...31)
        let group = WeightedGroup(values, ones(scratch), elements)
        guard let fit = halfScaleAndMinimum(group, codes, SearchGrid(reach: 1, step: 0.1)) else { return false }
        storeHalf(fit.stored.scale, block)
        storeHalf(fit.stored.minimum, block + 2)
        group.write(fit, codes, to: scratch.codes)
        storeFifthBits(scratch.codes, block + 4)
        storeHalfBytes(scratch.codes, block + 8)
        return true
    }
}

// MARK: - The steps that they are made of

/// The float16 nearest to a float, as a float.
@inline(__always)
func roundedToHalf(_ value: Float) -> Float { Float(Float16(value)) }

@inline(__always)
func storeHalf(_ value: Float, _ p: UnsafeMutableRawPointer) { p.storeBytes(of: Float16(value), as: Float16.self) }

private func ones(_ scratch: EncoderScratch) -> UnsafePointer<Float> {
    for i in 0..<32 { scratch.weights[i] = 1 }
    return UnsafePointer(scratch.weights)
}

/// The better one of the searched and the plain scale, both rounded to float16.
///
/// - Parameter plainEnd: the code that the plain scale gives the extreme value.
/// - Returns: nil where float16 does not hold the plain scale.
@inline(__always)
private func halfScale(_ group: WeightedGroup, _ codes: CodeRange, plainEnd: Float, _ grid: SearchGrid) -> GroupFit? {
    let extreme = group.extreme
    let plain = rounded(CodeGrid(scale: extreme / plainEnd))
    guard plain.stored.scale.isFinite else { return nil }
    return chosen(group, rounded(CodeGrid(scale: group.scale(codes, extreme: extreme, grid))), plain, codes)
}

/// The better ones of the searched and the plain scale and minimum, all rounded to float16.
///
/// - Returns: nil where float16 does not hold the plain ones.
@inline(__always)
private func halfScaleAndMinimum(_ group: WeightedGroup, _ codes: CodeRange, _ grid: SearchGrid) -> GroupFit? {
    let (lowest, highest) = group.bounds
    let plain = rounded(CodeGrid(scale: (highest - lowest) / codes.highest, minimum: lowest))
    guard plain.stored.scale.isFinite, plain.stored.minimum.isFinite else { return nil }
    let found = group.scaleAndMinimum(codes, atMostZero: false, grid)
    return chosen(group, rounded(CodeGrid(scale: found.scale, minimum: found.minimum)), plain, codes)
}

/// The fit with the lesser error, where the values do not come from a grid of 4 bits.
///
/// Where they do, the nearest codes of the best scale hide what training changed. Random codes of that scale are taken if their error is not above the plain
/// choice's, or if the plain choice undoes training. Else the plain choice is taken; least squares of its scale hides a part of the change too and is
/// taken only where it saves a third of the error.
private func chosen(_ group: WeightedGroup, _ searched: GroupFit, _ plain: GroupFit, _ codes: CodeRange) -> GroupFit {
    let least = group.error(plain, codes)
    guard let former = group.formerGrid else { return group.error(searched, codes) < least ? searched : plain }
    if let random = group.random(searched, codes),
        group.error(random, codes) <= least || group.isUndone(by: plain.stored, codes, former: former)
    {
        return random
    }
    guard plain.stored.minimum == 0, plain.stored.scale != 0 else { return plain }
    let sums = group.sums(1 / plain.stored.scale, codes)
    let refitted = rounded(CodeGrid(scale: sums.cc > 0 ? sums.xc / sums.cc : plain.exact.scale))
    return group.error(refitted, codes) < least * 2 / 3 ? refitted : plain
}

@inline(__always)
private func rounded(_ grid: CodeGrid) -> GroupFit {
    GroupFit(exact: grid, stored: CodeGrid(scale: roundedToHalf(grid.scale), minimum: roundedToHalf(grid.minimum)))
}

/// 32 codes' low four bits: code j in the low half of byte j, code j + 16 in the high half.
@inline(__always)
private func storeHalfBytes(_ codes: UnsafePointer<UInt8>, _ out: UnsafeMutableRawPointer) {
    out.storeBytes(of: (load16(codes) & 15) | (load16(codes + 16) &<< 4), as: SIMD16<UInt8>.self)
}

/// 32 codes' fifth bits, lowest first.
@inline(__always)
private func storeFifthBits(_ codes: UnsafePointer<UInt8>, _ out: UnsafeMutableRawPointer) {
    var bits: UInt32 = 0
    for i in 0..<32 { bits |= UInt32((codes[i] >> 4) & 1) << UInt32(i) }
    out.storeBytes(of: bits.littleEndian, as: UInt32.self)
}
