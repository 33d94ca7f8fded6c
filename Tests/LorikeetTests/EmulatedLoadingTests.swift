import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
import Testing

@testable import LorikeetEngine

/// Loading to a card gives the bits of loading on the processor, and the same errors.
struct EmulatedLoadingTests {
    let cpu = CPU(threads: 2)

    /// A file of `bytes` seen as a tensor.
    private func view(_ bytes: [UInt8], shape: [Int], type: ElementType, permutation: RowPermutation? = nil) throws -> TensorView {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-tensor-" + UUID().uuidString)
        try Data([1, 2, 3, 4] + bytes).write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        return TensorView(
            name: "w", shape: shape, type: type, file: try RealFiles().map(path.path), offset: 4, byteCount: bytes.count, rowPermutation: permutation)
    }

    private func view(_ values: [Float], _ shape: [Int], as type: ElementType, permutation: RowPermutation? = nil) throws -> TensorView {
        var bytes = [UInt8](repeating: 0, count: values.count * type.blockBytes)
        _ = bytes.withUnsafeMutableBytes { to in to.baseAddress.map { encode(values, count: values.count, as: type, into: $0) } }
        return try view(bytes, shape: shape, type: type, permutation: permutation)
    }

    /// Numbers of both signs, a block of zeros and one of subnormals among them.
    private func noise(_ count: Int) -> [Float] {
        (0..<count).map { i in
            switch i / 64 {
            case 3: 0
            case 5: Float(bitPattern: UInt32(mix64(UInt64(i)) % 100_000))
            default: uniform(UInt64(i)) * (i / 64 % 7 == 0 ? 3 : 0.05)
            }
        }
    }

    /// What lies on the emulated card, whose memory is this process's.
    private func bytes(_ address: DeviceAddress, _ count: Int, _ device: EmulatedDevice) throws -> [UInt8] {
        var back = [UInt8](repeating: 0, count: count)
        try back.withUnsafeMutableBytes { try device.download(address, into: $0) }
        return back
    }

    private func load(
        _ view: TensorView, _ storage: BaseStorage, _ element: DeviceElement, on device: EmulatedDevice, piece: Int = DeviceLoader.pieceWeights,
        table: Bool = false
    ) throws -> (weights: DeviceWeights, form: DeviceForm) {
        let weights = try DeviceWeights(device: device, bytes: 8 * view.elementCount + 4096)
        let loader = try DeviceLoader(weights: weights, device: device, element: element, cpu: cpu, views: [view], pieceWeights: piece)
        let matrix = table ? try loader.table(view, 0) : try loader.linear(view, 0, storage)
        try loader.finish()
        #expect([matrix.rows, matrix.columns] == view.shape)
        return (weights, matrix.form)
    }

    private func expectSameNF4(_ view: TensorView, piece: Int) throws {
        let device = EmulatedDevice()
        let wanted = try #require(try loadStore(view: view, storage: .nf4, cpu: cpu) as? NF4Store)
        let (weights, form) = try load(view, .nf4, .bf16, on: device, piece: piece)
        guard case .nf4(let codes, let maxima, let nested, let offset) = form else { return #expect(Bool(false), "\(form)") }
        let layout = wanted.layout
        #expect(offset.bitPattern == wanted.offset.bitPattern)
        #expect(try bytes(codes, layout.codeBytes, device) == wanted.codes)
        #expect(try bytes(maxima, layout.blocks, device) == wanted.maxima)
        #expect(try bytes(nested, layout.nestedBlocks * 4, device) == wanted.nestedMaxima.withUnsafeBytes { Array($0) })
        withExtendedLifetime(weights) {}
    }

    @Test(arguments: [ElementType.f32, .f16, .bf16], [[1, 1], [3, 1], [37, 70], [8, 512], [41, 25], [130, 1000]])
    func `NF4 made on the card has the processor's bits`(type: ElementType, shape: [Int]) throws {
        let view = try view(noise(shape[0] * shape[1]), shape, as: type)
        for piece in [256, DeviceLoader.pieceWeights] { try expectSameNF4(view, piece: piece) }
    }

    @Test func `NF4 of permuted rows is that of Hugging Face's row order`() throws {
        try expectSameNF4(try view(noise(24 * 25), [24, 25], as: .bf16, permutation: RowPermutation(heads: 3)), piece: 256)
    }

    /// Blocks whose scales are finite: every byte is below the float16 of infinity's upper one.
    private func blocks(_ format: BlockFormat, rows: Int, columns: Int) throws -> (bytes: [UInt8], type: ElementType) {
        let count = rows * columns / format.blockElements * format.blockBytes
        return ((0..<count).map { UInt8(mix64(UInt64($0)) % 0x5b) }, try #require(ElementType(rawValue: format.rawValue)))
    }

    @Test(arguments: BlockFormat.allCases) func `a GGUF's blocks arrive as they are, as NF4, and as activations`(format: BlockFormat) throws {
        let (raw, type) = try blocks(format, rows: 12, columns: 512)
        for permutation in [nil, RowPermutation(heads: 3)] {
            let view = try view(raw, shape: [12, 512], type: type, permutation: permutation)
            let device = EmulatedDevice()
            let stored = try #require(try loadStore(view: view, storage: .stored, cpu: cpu) as? BlockStore)
            let (weights, form) = try load(view, .stored, .f16, on: device)
            guard case .blocks(let address, format) = form else { return #expect(Bool(false), "\(form)") }
            let same = try bytes(address, raw.count, device) == Array(UnsafeBufferPointer(start: stored.bytes.pointer(as: UInt8.self), count: raw.count))
            #expect(same)
            withExtendedLifetime(weights) {}
            try expectSameNF4(view, piece: 1024)
            for element in DeviceElement.allCases where element != .f16 { try expectSamePlain(view, .stored, element, table: true) }
        }
    }

    /// The bits of the processor's store, rounded once more where the activations' type is another one.
    private func expectSamePlain(_ view: TensorView, _ storage: BaseStorage, _ element: DeviceElement, table: Bool) throws {
        let device = EmulatedDevice()
        let store = try loadStore(view: view, storage: table ? .stored : storage, cpu: cpu)
        var floats = [Float](repeating: 0, count: view.elementCount)
        store.expand(rows: 0..<store.rows, into: &floats)
        var wanted = [UInt8](repeating: 0, count: floats.count * element.bytes)
        let type: ElementType = [.f32, .f16, .bf16][Int(element.rawValue)]
        _ = wanted.withUnsafeMutableBytes { to in to.baseAddress.map { encode(floats, count: floats.count, as: type, into: $0) } }
        for piece in [256, DeviceLoader.pieceWeights] {
            let (weights, form) = try load(view, storage, element, on: device, piece: piece, table: table)
            guard case .element(let address) = form else { return #expect(Bool(false), "\(form)") }
            let same = try bytes(address, wanted.count, device) == wanted
            #expect(same, "\(view.type) by \(storage) to \(element), pieces of \(piece)")
            withExtendedLifetime(weights) {}
        }
    }

    @Test(arguments: [ElementType.f32, .f16, .bf16], DeviceElement.allCases)
    func `a plain matrix is rounded to its storage and to the activations' type as on the processor`(type: ElementType, element: DeviceElement) throws {
        for shape in [[1, 1], [41, 25], [60, 72]] {
            let view = try view(noise(shape[0] * shape[1]), shape, as: type, permutation: shape[0] == 60 ? RowPermutation(heads: 5) : nil)
            for storage in [BaseStorage.stored, .f16, .bf16, .f32] { try expectSamePlain(view, storage, element, table: false) }
            try expectSamePlain(view, .nf4, element, table: true)
        }
    }

    // MARK: quantised directories

    private static let quantised = TinyRun.testsFolder.appending(path: "Reference/quantised").path

    @Test(arguments: ["nf4_double", "nf4_half"], DeviceElement.allCases)
    func `bitsandbytes' codes arrive as they are, or expanded where the card would round otherwise`(name: String, element: DeviceElement) throws {
        let source = try ModelSource.open(Self.quantised + "/" + name)
        let view = try #require(source.tensor("model.layers.0.mlp.up_proj.weight"))
        for storage in [BaseStorage.stored, .nf4] {
            guard element != .f32 else {
                try expectSamePlain(view, storage, element, table: false)
                continue
            }
            let device = EmulatedDevice()
            let wanted = try #require(try loadStore(view: view, storage: storage, cpu: cpu) as? NF4Store)
            let (weights, form) = try load(view, storage, element, on: device)
            guard case .nf4(let codes, let maxima, let nested, let offset) = form else { return #expect(Bool(false), "\(form)") }
            #expect(offset == wanted.offset)
            #expect(try bytes(codes, wanted.layout.codeBytes, device) == wanted.codes)
            #expect(try bytes(maxima, wanted.layout.blocks, device) == wanted.maxima)
            #expect(try bytes(nested, wanted.layout.nestedBlocks * 4, device) == wanted.nestedMaxima.withUnsafeBytes { Array($0) })
            withExtendedLifetime(weights) {}
        }
    }

    @Test(arguments: ["nf4_plain", "nf4_blocks", "fp8_blocks", "fp8_rows", "fp8_tensor"], DeviceElement.allCases)
    func `a form without a kernel is expanded by the processor, with its bits`(name: String, element: DeviceElement) throws {
        let source = try ModelSource.open(Self.quantised + "/" + name)
        for tensor in ["model.layers.0.mlp.down_proj.weight", "model.layers.0.self_attn.k_proj.weight"] {
            let view = try #require(source.tensor(tensor))
            for storage in [BaseStorage.stored, .f16, .bf16, .f32] { try expectSamePlain(view, storage, element, table: false) }
            try expectSameNF4(view, piece: 256)
        }
    }

    @Test(arguments: ["nf4_double", "nf4_plain", "nf4_half", "nf4_blocks", "fp8_blocks", "fp8_rows", "fp8_tensor"], DeviceElement.allCases)
    func `a quantised base on a card takes the bytes that were planned and has the processor's logits`(name: String, element: DeviceElement) throws {
        let source = try ModelSource.open(Self.quantised + "/" + name)
        for storage in [BaseStorage.stored, .nf4] {
            let device = EmulatedDevice()
            let model = try Compute(cpu: cpu, device: device, element: element).model(source, storage: storage, lora: nil)
            let planned = model.family.weights().reduce(DeviceWeights.overheadBytes) {
                $0 + DeviceWeights.bytes($1, storage: storage, stored: source.tensor($1.tensor)?.type ?? .f32, element: element)
            }
            #expect(device.allocatedBytes == planned)
            func logits(_ model: Model) throws -> [Float] {
                try Session(model: model, maximumTokens: 16).logits(TokenBatch(sequence: (0..<12).map { Int32($0 * 3 % 37 + 3) }), rows: Array(0..<12))
            }
            let (ours, wanted) = (try logits(model), try logits(Compute(cpu: cpu).model(source, storage: storage, lora: nil)))
            let largest = wanted.reduce(0) { max($0, abs($1)) }
            let tolerance: Float = [1e-5, 0.01, 0.05][Int(element.rawValue)]
            #expect(zip(ours, wanted).allSatisfy { abs($0 - $1) <= tolerance * largest })
        }
    }

    // MARK: errors

    private func error(_ body: () throws -> Void) throws -> LorikeetError {
        do { try body() } catch { return try #require(error as? LorikeetError) }
        return try #require(nil, "nothing was thrown")
    }

    @Test(arguments: [ElementType.f32, .f16, .bf16], [Float.nan, .infinity, -.infinity])
    func `a weight that is no finite number is the processor's error`(type: ElementType, value: Float) throws {
        for place in [0, 70, 1024] {
            var values = noise(41 * 25)
            values[place] = value
            let view = try view(values, [41, 25], as: type)
            let theirs = try error { _ = try loadStore(view: view, storage: .nf4, cpu: cpu) }
            let ours = try error { _ = try load(view, .nf4, .bf16, on: EmulatedDevice(), piece: 256) }
            #expect(ours == theirs)
        }
    }

    @Test func `a weight beyond float16 is named, whether the activations or the storage want float16`() throws {
        for value in [Float(65520), -70000, .infinity, .nan] {
            for place in [3, 1024] {
                var values = noise(41 * 25)
                values[place] = value
                let view = try view(values, [41, 25], as: .f32)
                let narrow = try error { _ = try load(view, .stored, .f16, on: EmulatedDevice(), piece: 256) }
                #expect(narrow.exit == .unusableInput && narrow.description.contains("w: a weight of the model is outside of float16's range (65504)"))
                let table = try error { _ = try load(view, .nf4, .f16, on: EmulatedDevice(), table: true) }
                #expect(table == narrow)
                for element in DeviceElement.allCases {
                    let stored = try error { _ = try load(view, .f16, element, on: EmulatedDevice()) }
                    #expect(stored == (try error { _ = try loadStore(view: view, storage: .f16, cpu: cpu) }), "\(element)")
                }
            }
        }
        // The largest that still rounds to a finite number.
        _ = try load(try view([65519.996, -65504], [1, 2], as: .f32), .stored, .f16, on: EmulatedDevice())
    }

    @Test func `a file that is cut while it is loaded is an error that names it`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-cut-" + UUID().uuidString).path
        try Data(count: 8192).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let view = TensorView(name: "w", shape: [32, 64], type: .f32, file: try RealFiles().map(path), offset: 0, byteCount: 8192)
        #expect(truncate(path, 5000) == 0)
        let failed = try error { _ = try load(view, .nf4, .bf16, on: EmulatedDevice()) }
        #expect(failed.exit == .machineFailed && failed.description.contains("\(path) at byte 5000"))
    }

    @Test func `a tensor that is missing or misshapen is an error before the card is asked for memory`() throws {
        let model = try RandomModel(Self.small)
        let family = model.source.configuration.family
        for declaration in [
            WeightDeclaration(tensor: "model.nothing", shape: [4], role: .vector),
            WeightDeclaration(tensor: "model.norm.weight", shape: [4], role: .vector),
        ] {
            let device = EmulatedDevice()
            let failed = try error {
                _ = try DeviceWeights.load(
                    family.weights() + [declaration], from: model.source, storage: .nf4, onHost: nil, on: Compute(cpu: cpu, element: .f16), device)
            }
            #expect(failed.exit == .unusableInput && failed.description.contains(declaration.tensor))
            #expect(device.allocatedBytes == 0)
        }
    }

    // MARK: models

    private static let small = [
        ("hidden_size", 25), ("intermediate_size", 41), ("num_hidden_layers", 2), ("num_attention_heads", 3), ("num_key_value_heads", 1), ("head_dim", 8),
        ("vocab_size", 53),
    ]

    @Test(arguments: BaseStorage.allCases, DeviceElement.allCases)
    func `a model on a card takes the bytes that were planned, and none in RAM`(storage: BaseStorage, element: DeviceElement) throws {
        let files = try RandomModel(Self.small, type: .bf16)
        let device = EmulatedDevice()
        let model = try Compute(cpu: cpu, device: device, element: element).model(files.source, storage: storage, lora: nil)
        let planned = model.family.weights().reduce(DeviceWeights.overheadBytes) {
            $0 + DeviceWeights.bytes($1, storage: storage, stored: .bf16, element: element)
        }
        #expect(device.allocatedBytes == planned)
        #expect(model.weights.storedBytes == 0)
    }

    @Test func `the codes of SmolLM2's GGUF arrive on a card unchanged`() throws {
        let places: [String?] = [
            ProcessInfo.processInfo.environment["LORIKEET_SMOLLM2"], TinyRun.testsFolder.appending(path: "../.work/SmolLM2-135M-Instruct.Q4_1.gguf").path,
        ]
        guard let path = places.compactMap({ $0 }).first(where: { FileManager.default.fileExists(atPath: $0) }) else {
            print("skipped: no SmolLM2 model; `make model` fetches it")
            return
        }
        let source = try ModelSource.open(path)
        let device = EmulatedDevice()
        let model = try Compute(cpu: cpu, device: device, element: .bf16).model(source, storage: .stored, lora: nil)
        let table = try WeightTable.load(model.family.weights(), from: source, storage: .stored, cpu: cpu)
        let weights = try #require(model.placed).weights
        for declaration in model.family.weights() {
            guard case .linear = declaration.role, let store = table.matrix(declaration.tensor) as? BlockStore else { continue }
            guard case .blocks(let address, _) = try weights.matrix(declaration.tensor).form else { return #expect(Bool(false)) }
            let same = try bytes(address, store.storedBytes, device)
                .elementsEqual(UnsafeBufferPointer(start: store.bytes.pointer(as: UInt8.self), count: store.storedBytes))
            #expect(same, "\(declaration.tensor)")
        }
        // The head is expanded once: its first rows as bfloat16.
        let head = try weights.matrix("model.embed_tokens.weight")
        let store = try #require(table.matrix("model.embed_tokens.weight"))
        guard case .element(let address) = head.form else { return #expect(Bool(false)) }
        var floats = [Float](repeating: 0, count: 3 * store.columns)
        store.expand(rows: 0..<3, into: &floats)
        var wanted = [UInt8](repeating: 0, count: 2 * floats.count)
        _ = wanted.withUnsafeMutableBytes { to in to.baseAddress.map { encode(floats, count: floats.count, as: .bf16, into: $0) } }
        let same = try bytes(address, wanted.count, device) == wanted
        #expect(same)
    }
}
