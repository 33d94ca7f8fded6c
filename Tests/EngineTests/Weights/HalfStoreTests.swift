import LorikeetDevices
import LorikeetGround
import Testing

@testable import LorikeetEngine

struct HalfStoreTests {
    let cpu = CPU(threads: 2)

    func store(_ form: HalfStore.Form, _ bits: [UInt16], columns: Int) throws -> HalfStore {
        let stored = try StoredBytes(count: bits.count * 2) { memory in
            bits.withUnsafeBytes { if let p = $0.baseAddress { memory.copyMemory(from: p, byteCount: $0.count) } }
        }
        return HalfStore(rows: bits.count / columns, columns: columns, form: form, bytes: stored)
    }

    @Test func `every float16 expands to its value`() throws {
        let bits = (0...UInt16.max).filter { !Float16(bitPattern: $0).isNaN }
        let values = expanded(try store(.f16, bits, columns: bits.count))
        #expect(values == bits.map { Float(Float16(bitPattern: $0)) })
    }

    @Test func `every bfloat16 is the upper half of its float32`() throws {
        let bits = Array(0...UInt16.max)
        let values = expanded(try store(.bf16, bits, columns: bits.count))
        #expect(values.map(\.bitPattern) == bits.map { UInt32($0) << 16 })
    }

    @Test func `float16 rounds to nearest even at every length`() throws {
        // 1 + 2^-11 lies between two neighbours; even is below. 1 + 3 · 2^-11: even is above.
        let ties: [Float] = [1.00048828125, 1.00146484375, 65519, 5.9604645e-8, 2.9802322e-8]
        for extra in 0..<9 {
            let weights = ties + noise(extra)
            let source = try FloatStore(rows: 1, columns: weights.count, copying: weights)
            let half = try HalfStore.convert(source, to: .f16, name: "w", cpu: cpu)
            let bits = Array(UnsafeBufferPointer(start: half.bits, count: weights.count))
            #expect(bits == weights.map { Float16($0).bitPattern })
            #expect(bits[0] == 0x3c00 && bits[1] == 0x3c02 && bits[2] == 0x7bff && bits[4] == 0)
            expectPartsEqualWhole(half)
        }
    }

    @Test func `bfloat16 rounds to nearest even at every length`() throws {
        let cases: [(UInt32, UInt16)] = [
            (0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81), (0x3f80_7fff, 0x3f80),
            (0xbf81_8000, 0xbf82), (0x7f7f_ffff, 0x7f80), (0x7f80_0000, 0x7f80), (0x7f80_0001, 0x7fc0), (0, 0),
            (0x8000_0000, 0x8000),
        ]
        for count in 1...cases.count {
            let part = cases.prefix(count)
            let source = try FloatStore(rows: 1, columns: count, copying: part.map { Float(bitPattern: $0.0) })
            let half = try HalfStore.convert(source, to: .bf16, name: "w", cpu: cpu)
            #expect(Array(UnsafeBufferPointer(start: half.bits, count: count)) == part.map(\.1))
        }
    }

    @Test(arguments: [0, 9]) func `a weight beyond float16's range is an error`(place: Int) throws {
        var weights = noise(10)
        weights[place] = -65520
        let source = try FloatStore(rows: 1, columns: 10, copying: weights)
        #expect(throws: LorikeetError.self) { try HalfStore.convert(source, to: .f16, name: "w", cpu: cpu) }
        weights[place] = -65519
        let within = try FloatStore(rows: 1, columns: 10, copying: weights)
        #expect(expanded(try HalfStore.convert(within, to: .f16, name: "w", cpu: cpu))[place] == -65504)
    }
}
