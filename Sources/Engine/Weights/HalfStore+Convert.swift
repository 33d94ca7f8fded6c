import LorikeetDevices
import LorikeetGround

extension HalfStore {
    /// Rounds a matrix to 16 bits, to nearest even.
    ///
    /// - Parameter name: what an error calls it.
    /// - Throws: where a weight lies beyond float16's range; `Interrupted`.
    package static func convert(_ source: any WeightStore, to form: Form, name: String, cpu: CPU?) throws -> HalfStore {
        let columns = source.columns
        let bytes = try StoredBytes(count: source.rows * columns * 2) { memory in
            let out = memory.assumingMemoryBound(to: UInt16.self)
            // One flag a unit, at its first row: written by the thread that has the unit, read when all have ended.
            var overflows = [Bool](repeating: false, count: source.rows)
            try overflows.withUnsafeMutableBufferPointer { buffer in
                guard let overflows = buffer.baseAddress else { return }
                try forEachUnit(of: source, multiple: 1, cpu: cpu) { rows, values in
                    let first = rows.lowerBound * columns
                    let count = rows.count * columns
                    switch form {
                    case .f16: overflows[rows.lowerBound] = Half.round(values, count: count, into: out + first)
                    case .bf16: BFloat.round(values, count: count, into: out + first)
                    }
                }
            }
            guard !overflows.contains(true) else {
                throw LorikeetError.input(
                    "\(name) holds a weight beyond the range of float16 (65504)", at: "base_storage",
                    fix: "take bf16, nf4 or stored")
            }
        }
        return HalfStore(rows: source.rows, columns: columns, form: form, bytes: bytes)
    }
}
