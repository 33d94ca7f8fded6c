import LorikeetModelFiles

/// Writes floats as a plain 16- or 32-bit type, rounding to nearest even.
///
/// - Parameter type: `.f16`, `.bf16` or `.f32`; anything else writes float32.
/// - Returns: false where a finite value became infinite (float16 ends at 65504).
package func encode(_ values: UnsafePointer<Float>, count: Int, as type: ElementType, into out: UnsafeMutableRawPointer) -> Bool {
    switch type {
    case .f16: return !Half.round(values, count: count, into: out.assumingMemoryBound(to: UInt16.self))
    case .bf16: BFloat.round(values, count: count, into: out.assumingMemoryBound(to: UInt16.self))
    default: out.copyMemory(from: values, byteCount: count * 4)
    }
    return true
}
