import LorikeetGround

/// The scales of a quantised tensor, which a safetensors directory holds in tensors of their own.
package indirect enum TensorScaling: Sendable {
    case nf4(NF4State, firstRow: Int)
    case blocks(ScaleBlocks, firstRow: Int)

    /// The same for the rows from `row` on.
    func part(from row: Int) -> TensorScaling {
        switch self {
        case .nf4(let state, let first): .nf4(state, firstRow: first + row)
        case .blocks(let blocks, let first): .blocks(blocks, firstRow: first + row)
        }
    }
}

/// bitsandbytes' `quant_state` of an NF4 tensor: value = map[code] · absmax[block], blocks running over the flattened matrix.
package struct NF4State: Sendable {
    /// Elements of a block.
    package let blockLength: Int
    /// The values of the sixteen codes.
    package let map: [Float]
    /// The largest magnitude of each block: float32, or 8-bit codes where the maxima are quantised themselves (`nested`).
    package let absmax: TensorView
    package let nested: Nested?
    /// The type that bitsandbytes rounds a value to: `.f32`, `.f16` or `.bf16`.
    package let rounding: ElementType

    /// The second quantisation: absmax = map[code] · nestedAbsmax[block] + offset.
    package struct Nested: Sendable {
        package let blockLength: Int
        package let map: [Float]
        package let absmax: TensorView
        package let offset: Float
    }
}

/// A scale for each block of `rows` × `columns` elements; the last blocks may be cut off.
package struct ScaleBlocks: Sendable {
    package let rows: Int
    package let columns: Int
    /// Blocks in a row of blocks: the columns of `scales`.
    package let across: Int
    /// float32, float16 or bfloat16 [blocks down, `across`], row-major.
    package let scales: TensorView
}

extension TensorView {
    /// The tensor's floats; nil where it holds no float32, float16 or bfloat16.
    package func floatValues() -> [Float]? {
        let bytes = bytes
        func bits(_ place: Int) -> UInt16 { UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 2 * place, as: UInt16.self)) }
        switch type {
        case .f32: return (0..<elementCount).map { Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self))) }
        case .f16: return (0..<elementCount).map { Float(Float16(bitPattern: bits($0))) }
        case .bf16: return (0..<elementCount).map { Float(bitPattern: UInt32(bits($0)) << 16) }
        default: return nil
        }
    }
}
