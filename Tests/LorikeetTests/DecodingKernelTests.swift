import LorikeetGround
import EmulatedDevice
import LorikeetDevices
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// decode.cu against expansion and a product, and a decoding step that expands nothing.
struct DecodingKernelTests {
    /// How a matrix is stored: NF4, or blocks of GGUF.
    struct Stored: Sendable, CustomStringConvertible {
        var blocks: BlockFormat?
        var columns: Int
        var description: String { "\(blocks?.rawValue ?? "nf4") of \(columns) columns" }
    }

    /// NF4 rows that are whole blocks, begin inside blocks, inside words and inside bytes, and are divided among eight warps.
    static let cases: [Stored] =
        [64, 96, 576, 40, 33, 2080].map { Stored(blocks: nil, columns: $0) }
        + BlockFormat.allCases.map { Stored(blocks: $0, columns: $0.blockElements == 32 ? 96 : 512) }

    /// A matrix on the device, from random weights or random blocks with finite scales.
    private func matrix(_ stored: Stored, outputs: Int, seed: UInt64, on device: EmulatedDevice) throws -> DeviceForm {
        let count = outputs * stored.columns
        guard let format = stored.blocks else {
            let values = (0..<count).map { 0.1 * Float(Int(mix64(seed &+ UInt64($0)) % 2001) - 1000) / 1000 }
            let plain = try FloatStore(rows: outputs, columns: stored.columns, copying: values)
            let store = try NF4Store.quantise(plain, name: "w", cpu: nil)
            func put(_ bytes: [UInt8]) throws -> DeviceAddress {
                let address = try device.allocate(bytes: bytes.count)
                try bytes.withUnsafeBytes { try device.upload($0, to: address) }
                return address
            }
            return .nf4(
                codes: try put(store.codes), maxima: try put(store.maxima),
                nestedMaxima: try put(store.nestedMaxima.flatMap { withUnsafeBytes(of: $0, Array.init) }), offset: store.offset)
        }
        var bytes = (0..<(count / format.blockElements * format.blockBytes)).map { UInt8(truncatingIfNeeded: mix64(seed &+ UInt64($0))) }
        // float16 scales (at most two) near 1/64: 0x2400.
        let scales: [Int] = [.q2_K: [80, 82], .q3_K: [108], .q6_K: [208], .q4_1: [0, 2], .q5_1: [0, 2], .q4_K: [0, 2], .q5_K: [0, 2]][format] ?? [0]
        for block in stride(from: 0, to: bytes.count, by: format.blockBytes) {
            for at in scales { bytes[block + at + 1] = 0x20 | bytes[block + at + 1] & 7 }
        }
        let address = try device.allocate(bytes: bytes.count)
        try bytes.withUnsafeBytes { try device.upload($0, to: address) }
        return .blocks(address, format)
    }

    private func expand(_ form: DeviceForm, count: Int, nestedValues: DeviceAddress, on device: EmulatedDevice, _ element: DeviceElement) throws
        -> DeviceAddress
    {
        let out = try device.allocate(bytes: count * element.bytes)
        var arguments = KernelArguments()
        switch form {
        case .element: Issue.record("nothing to expand")
        case .nf4(let codes, let maxima, let nested, let offset):
            for address in [codes, maxima, nested, nestedValues, out] { arguments.add(address) }
            arguments.add(count)
            arguments.add(offset)
            try device.launch(KernelLaunch("expand", "expand_nf4", element, grid: (2, 1, 1), threads: 64, arguments: arguments))
        case .blocks(let blocks, let format):
            for address in [blocks, out] { arguments.add(address) }
            arguments.add(count)
            arguments.add(Int32(BlockFormat.allCases.firstIndex(of: format) ?? 0))
            try device.launch(KernelLaunch("expand", "expand_blocks", element, grid: (3, 1, 1), threads: 64, arguments: arguments))
        }
        return out
    }

    private func floats(_ address: DeviceAddress, _ count: Int, on device: EmulatedDevice, _ type: DeviceElement) throws -> [Float] {
        var bytes = [UInt8](repeating: 0, count: count * type.bytes)
        try bytes.withUnsafeMutableBytes { try device.download(address, into: $0) }
        return bytes.withUnsafeBytes { bytes in
            (0..<count).map { i in
                switch type {
                case .f32: bytes.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
                case .f16: Float(bytes.loadUnaligned(fromByteOffset: 2 * i, as: Float16.self))
                case .bf16: Float(bitPattern: UInt32(bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16)
                }
            }
        }
    }

    /// x [rows, columns] as elements: eighths, exact in every type.
    private func input(rows: Int, columns: Int, on device: EmulatedDevice, _ element: DeviceElement) throws -> DeviceAddress {
        let values = (0..<rows * columns).map { Float(Int(mix64(UInt64($0) + 77) % 17) - 8) / 8 }
        let bytes: [UInt8] = values.flatMap { value -> [UInt8] in
            switch element {
            case .f32: withUnsafeBytes(of: value) { Array($0) }
            case .f16: withUnsafeBytes(of: Float16(value)) { Array($0) }
            case .bf16: withUnsafeBytes(of: UInt16(truncatingIfNeeded: value.bitPattern >> 16)) { Array($0) }
            }
        }
        let address = try device.allocate(bytes: bytes.count)
        try bytes.withUnsafeBytes { try device.upload($0, to: address) }
        return address
    }

    @Test(arguments: cases, DeviceElement.allCases) func `rows times codes are expansion and a product`(stored: Stored, element: DeviceElement) throws {
        let device = EmulatedDevice()
        // Odd outputs, and enough of them for the wide tiles.
        let (columns, outputs) = (stored.columns, [37, 70])
        let joint = outputs.reduce(0, +) + 3
        let nestedValues = try device.allocate(bytes: 1024)
        try NF4.nestedValues.withUnsafeBytes { try device.upload($0, to: nestedValues) }
        let forms = try outputs.enumerated().map { try matrix(stored, outputs: $1, seed: UInt64($0 + 1) << 32, on: device) }
        let x = try input(rows: 16, columns: columns, on: device, element)
        var expected: [[Float]] = []
        for (form, count) in zip(forms, outputs) {
            let w = try expand(form, count: count * columns, nestedValues: nestedValues, on: device, element)
            let y = try device.allocate(bytes: 16 * count * 4)
            try device.multiply(
                MatrixProduct(m: 16, n: count, k: columns, transposeB: true, inputs: element, output: .f32, lda: columns, ldb: columns, ldc: count),
                a: x, b: w, c: y)
            expected.append(try floats(y, 16 * count, on: device, .f32))
        }
        var first: [Float] = []
        for rows in [1, 3, 8, 16] {
            for output in Set([element, .f32]) {
                let product = try #require(
                    CodesProduct(
                        [.init(form: forms[0], outputs: outputs[0], first: 1), .init(form: forms[1], outputs: outputs[1], first: 2 + outputs[0])], rows: rows,
                        columns: columns))
                let y = try device.allocate(bytes: rows * joint * output.bytes)
                let launches = product.launches(
                    x: x, y: y, rows: rows, ld: joint, output: output, nestedValues: nestedValues, element, device.properties)
                #expect(launches.count == 1)
                for launch in launches { try device.launch(launch) }
                let got = try floats(y, rows * joint, on: device, output)
                // Another order of at most 2,080 terms costs some 1e-6 of a large sum; then the output's own rounding.
                let rounding: Float = output == .f32 ? 1e-5 : output == .f16 ? 0x1p-11 : 0x1p-8
                let largest = expected.joined().reduce(0) { max($0, abs($1)) }
                for (number, first) in [1, 2 + outputs[0]].enumerated() {
                    for row in 0..<rows {
                        for n in 0..<outputs[number] {
                            let (a, b) = (got[row * joint + first + n], expected[number][row * outputs[number] + n])
                            #expect(abs(a - b) <= rounding * max(abs(b), largest / 8), "row \(row), output \(n) of \(number): \(a), expected \(b)")
                        }
                    }
                }
                // What belongs to nobody stays.
                #expect((0..<rows).allSatisfy { row in [0, 1 + outputs[0], joint - 1].allSatisfy { got[row * joint + $0].isNaN } })
                if output == .f32 {
                    let row = Array(got[1..<1 + outputs[0]])
                    if rows == 1 { first = row }
                    #expect(row == first, "a row's bits do not hang on the rows beside it")
                }
            }
        }
    }

    @Test func `more rows than sixteen, and matrices that are no codes, are not for it`() {
        let address = DeviceAddress(raw: 256)
        let codes = CodesProduct.Matrix(form: .blocks(address, .q4_0), outputs: 32, first: 0)
        let plain = CodesProduct.Matrix(form: .element(address), outputs: 32, first: 32)
        #expect(CodesProduct([codes], rows: 16, columns: 32) != nil)
        #expect(CodesProduct([codes], rows: 17, columns: 32) == nil)
        #expect(CodesProduct([codes, plain], rows: 1, columns: 32) == nil)
    }

    @Test func `matrices of two formats are two launches, five of one are two`() {
        let address = DeviceAddress(raw: 256)
        func launches(_ formats: [BlockFormat]) -> Int {
            let matrices = formats.enumerated().map { CodesProduct.Matrix(form: .blocks(address, $1), outputs: 8, first: 8 * $0) }
            let card = EmulatedDevice().properties
            return CodesProduct(matrices, rows: 2, columns: 256)?
                .launches(x: address, y: address, rows: 2, ld: 64, output: .f16, nestedValues: address, .f16, card).count ?? 0
        }
        #expect(launches([.q4_K, .q4_K, .q6_K]) == 2)
        #expect(launches(Array(repeating: .q4_0, count: 5)) == 2)
    }

    @Test func `a decoding step expands no weight, and says what the processor says`() throws {
        let files = try RandomModel([
            ("hidden_size", 64), ("intermediate_size", 96), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", 32), ("vocab_size", 101),
        ])
        let lora = LoRASettings(r: 8, alpha: 16, targetModules: ["q_proj", "v_proj"])
        let prompts: [[Int32]] = [[5, 17, 60, 3], [44, 9, 9]]
        func answers(on device: EmulatedDevice?) throws -> [[Int32]] {
            let compute = Compute(cpu: CPU(threads: 2), device: device, element: .f32)
            let model = try compute.model(files.source, storage: .nf4, lora: lora, seed: 3)
            let session = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: 32, headChunk: 32))
            let before = device?.unprepared
            defer { #expect(device?.unprepared == before) }
            return try session.generate(prompts: prompts, maxNewTokens: 12, endTokens: [])
        }
        let device = EmulatedDevice()
        #expect(try answers(on: device) == answers(on: nil))
        #expect(device.launched["multiply_codes_f32", default: 0] >= 12 * 2 * 4)
        #expect(device.launched["expand_nf4_f32"] == nil)
    }

    @Test func `on a card, too, what all prompts begin with is computed once`() throws {
        let files = try RandomModel([
            ("hidden_size", 64), ("intermediate_size", 96), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", 32), ("vocab_size", 101),
        ])
        let shared = (0..<20).map { Int32($0 * 37 % 101) }
        let prompts = [[5, 17, 60, 3], [44, 9, 9], [7], [44, 1]].map { shared + $0 }
        func answers(on device: EmulatedDevice?, _ prompts: [[Int32]]) throws -> (tokens: [[Int32]], rows: Int) {
            let model = try Compute(cpu: CPU(threads: 2), device: device, element: .f32).model(files.source, storage: .nf4, lora: nil)
            let session = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: 32, headChunk: 32))
            return (try session.generate(prompts: prompts, maxNewTokens: 8, endTokens: []), session.decodedRows)
        }
        let together = try answers(on: EmulatedDevice(), prompts)
        #expect(together.rows == 20 + 10 + 7 * 4)
        for (prompt, tokens) in zip(prompts, together.tokens) {
            #expect(try answers(on: EmulatedDevice(), [prompt]).tokens == [tokens])
            #expect(try answers(on: nil, [prompt]).tokens == [tokens])
        }
    }
}
