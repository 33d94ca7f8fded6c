import CVector

/// A matrix held in 16 bits a weight.
package struct HalfStore: WeightStore {
    /// The two 16-bit forms.
    package enum Form: String, Sendable {
        /// IEEE half precision: 11 significant bits, at most 65,504.
        case f16
        /// bfloat16: the upper half of a float32.
        case bf16

        /// Rounds float32 values to this type's, to nearest even, in place.
        func round(_ values: UnsafeMutablePointer<Float>, count: Int) {
            for i in 0..<count {
                var value = values[i]
                switch self {
                case .f16: value = Float(Float16(value))
                case .bf16:
                    var bits: UInt16 = 0
                    BFloat.round(&value, count: 1, into: &bits)
                    value = Float(bitPattern: UInt32(bits) << 16)
                }
                values[i] = value
            }
        }
    }

    package let rows: Int
    package let columns: Int
    package let form: Form
    private let bytes: StoredBytes

    /// - Parameter bytes: [rows, columns] of two bytes, 2-byte aligned.
    package init(rows: Int, columns: Int, form: Form, bytes: StoredBytes) {
        self.rows = rows
        self.columns = columns
        self.form = form
        self.bytes = bytes
    }

    package var storedBytes: Int { rows * columns * 2 }
    package var formatName: String { form.rawValue }
    /// The matrix's bits, row-major.
    package var bits: UnsafePointer<UInt16> { bytes.pointer(as: UInt16.self) }

    package func expand(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(from: rows.lowerBound * columns, count: rows.count * columns, into: destination)
    }

    package func expand(row: Int, columns range: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
        expand(from: row * columns + range.lowerBound, count: range.count, into: destination)
    }

    package func multiply(rows range: Range<Int>, x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>, ldy: Int) {
        guard count == 1, columns % 32 == 0 else { return multiplyByTiles(rows: range, x: x, count: count, into: y, ldy: ldy) }
        multiplyByEights(range, into: y) {
            let start = bytes.pointer(as: UInt8.self, at: 2 * $0 * columns)
            return form == .f16 ? lorikeet_dots_f16(start, columns, x) : lorikeet_dots_bf16(start, columns, x)
        } rest: {
            multiplyByTiles(rows: $0, x: x, count: 1, into: $1, ldy: ldy)
        }
    }

    private func expand(from start: Int, count: Int, into destination: UnsafeMutablePointer<Float>) {
        switch form {
        case .f16: Half.expand(bits + start, count: count, into: destination)
        case .bf16: BFloat.expand(bits + start, count: count, into: destination)
        }
    }
}

/// IEEE half precision ↔ float32.
enum Half {
    static func expand(_ bits: UnsafePointer<UInt16>, count: Int, into out: UnsafeMutablePointer<Float>) {
        let raw = UnsafeRawPointer(bits)
        var i = 0
        while i + 8 <= count {
            store8(SIMD8<Float>(raw.loadUnaligned(fromByteOffset: 2 * i, as: SIMD8<Float16>.self)), out + i)
            i += 8
        }
        while i < count {
            out[i] = Float(Float16(bitPattern: bits[i]))
            i += 1
        }
    }

    /// Rounds to nearest even; true where a finite value became infinite.
    static func round(_ values: UnsafePointer<Float>, count: Int, into bits: UnsafeMutablePointer<UInt16>) -> Bool {
        let raw = UnsafeMutableRawPointer(bits)
        var largest = SIMD8<UInt32>.zero
        var i = 0
        while i + 8 <= count {
            let value = load8(values + i)
            let magnitude = unsafeBitCast(value, to: SIMD8<UInt32>.self) & 0x7fff_ffff
            largest.replace(with: magnitude, where: magnitude .> largest)
            raw.storeBytes(of: SIMD8<Float16>(value), toByteOffset: 2 * i, as: SIMD8<Float16>.self)
            i += 8
        }
        var most = largest.max()
        while i < count {
            most = max(most, values[i].bitPattern & 0x7fff_ffff)
            bits[i] = Float16(values[i]).bitPattern
            i += 1
        }
        // 65520 is the least that rounds to infinity.
        return Float(bitPattern: most) >= 65520 || Float(bitPattern: most).isNaN
    }
}

/// bfloat16 ↔ float32.
enum BFloat {
    static func expand(_ bits: UnsafePointer<UInt16>, count: Int, into out: UnsafeMutablePointer<Float>) {
        let raw = UnsafeRawPointer(bits)
        var i = 0
        while i + 8 <= count {
            let wide =
                SIMD8<UInt32>(
                    truncatingIfNeeded: raw.loadUnaligned(fromByteOffset: 2 * i, as: SIMD8<UInt16>.self)) &<< 16
            store8(unsafeBitCast(wide, to: SIMD8<Float>.self), out + i)
            i += 8
        }
        while i < count {
            out[i] = Float(bitPattern: UInt32(bits[i]) << 16)
            i += 1
        }
    }

    /// Rounds to nearest even; a NaN stays one.
    static func round(_ values: UnsafePointer<Float>, count: Int, into bits: UnsafeMutablePointer<UInt16>) {
        for i in 0..<count {
            let bitPattern = values[i].bitPattern
            let rounded = (bitPattern &+ 0x7fff &+ (bitPattern >> 16 & 1)) >> 16
            let quiet = bitPattern >> 16 | 0x40
            bits[i] = UInt16(truncatingIfNeeded: (bitPattern & 0x7fff_ffff) > 0x7f80_0000 ? quiet : rounded)
        }
    }
}
