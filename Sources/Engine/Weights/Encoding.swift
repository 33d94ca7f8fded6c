import LorikeetModelFiles

extension ElementType {
    /// Whether `encode` writes this type.
    package var isWritten: Bool {
        switch self {
        case .f32, .f16, .bf16: true
        default: encoder != nil
        }
    }

    /// How the type's blocks are made; nil for plain types and for blocks that are only read.
    fileprivate var encoder: (any BlockEncoder.Type)? { BlockFormat(rawValue: rawValue)?.codec as? any BlockEncoder.Type }
}

/// Writes finite floats as another type: plain 16- and 32-bit types rounded to nearest even, GGUF's blocks with the scales of the least
/// error that the search of their kind finds.
///
/// - Parameter count: a multiple of the type's `blockElements`.
/// - Returns: false where a value, or the scale of a block, became infinite (float16 ends at 65504), and for types that are not `isWritten`.
package func encode(_ values: UnsafePointer<Float>, count: Int, as type: ElementType, into out: UnsafeMutableRawPointer) -> Bool {
    switch type {
    case .f16: return !Half.round(values, count: count, into: out.assumingMemoryBound(to: UInt16.self))
    case .bf16: BFloat.round(values, count: count, into: out.assumingMemoryBound(to: UInt16.self))
    case .f32: out.copyMemory(from: values, byteCount: count * 4)
    default:
        guard let encoder = type.encoder else { return false }
        return encodeBlocks(encoder, values, count / encoder.elements, into: out)
    }
    return true
}

private func encodeBlocks<Encoder: BlockEncoder>(
    _: Encoder.Type, _ values: UnsafePointer<Float>, _ blocks: Int, into out: UnsafeMutableRawPointer
) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: EncoderScratch.bytes, alignment: 32) { memory in
        guard let base = memory.baseAddress else { return false }
        let scratch = EncoderScratch(base)
        for block in 0..<blocks where !Encoder.encode(values + block * Encoder.elements, into: out + block * Encoder.bytes, scratch) { return false }
        return true
    }
}

/// A GGUF block format that is written as well as read.
protocol BlockEncoder: BlockCodec {
    /// Rounds `elements` finite values to one block.
    ///
    /// - Returns: false where a scale lies beyond float16's range.
    static func encode(_ values: UnsafePointer<Float>, into block: UnsafeMutableRawPointer, _ scratch: EncoderScratch) -> Bool
}

/// Memory that the encoding of one block works in.
struct EncoderScratch {
    static let bytes = 256 * 4 + 256
    /// The weight of each value's squared error.
    let weights: UnsafeMutablePointer<Float>
    /// A code for each value of the block.
    let codes: UnsafeMutablePointer<UInt8>

    init(_ memory: UnsafeMutableRawPointer) {
        weights = memory.bindMemory(to: Float.self, capacity: 256)
        codes = (memory + 256 * 4).bindMemory(to: UInt8.self, capacity: 256)
    }
}
