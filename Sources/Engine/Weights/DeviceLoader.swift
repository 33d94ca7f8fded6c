import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

extension DeviceWeights {
    /// Brings a model's tensors from their files to a card: the blocks' linears in their storage, tables in the activations' type,
    /// vectors as float32. The same bits as loading on the processor; no copy of the weights is made in RAM.
    ///
    /// - Parameters:
    ///   - onHost: the name of the table that lies in the host's memory.
    /// - Throws: exit 2 where a tensor is missing, misshapen or not finite, or a weight does not fit a type; exit 4 when memory, disk or
    ///   card fail; `Interrupted` where the processor's `interruption` says so, which is asked before each part of a tensor that goes to the card.
    package static func load(
        _ declarations: [WeightDeclaration], from source: ModelSource, storage: BaseStorage, onHost: String?, on compute: Compute, _ device: any Accelerator
    ) throws -> DeviceWeights {
        let (element, cpu) = (compute.element, compute.cpu)
        // Sizes come from the files from here on: they are held to the configuration before anything is allocated.
        let views = try declarations.map { try $0.view(in: source) }
        func bytes(_ onCard: Bool) -> Int {
            zip(declarations, views).reduce(0) {
                $0 + (($1.0.tensor != onHost) == onCard ? Self.bytes($1.0, storage: storage, stored: $1.1.type, element: element) : 0)
            }
        }
        let weights = try DeviceWeights(device: device, bytes: bytes(true), onHost: bytes(false))
        let loader = try DeviceLoader(weights: weights, device: device, element: element, cpu: cpu, views: views)
        for (number, (declaration, view)) in zip(declarations, views).enumerated() {
            try cpu.requireGoing()
            let name = declaration.tensor
            switch declaration.role {
            case .vector:
                let count = view.elementCount
                let address = try weights.take(count * 4)
                let floats = try WeightTable.floats(view)
                try device.upload(UnsafeRawBufferPointer(start: floats.base, count: count * 4), to: address)
                weights.set(name, vector: address)
            case .table: weights.set(name, matrix: try loader.table(view, number, onHost: name == onHost))
            case .linear: weights.set(name, matrix: try loader.linear(view, number, storage))
            }
        }
        try loader.finish()
        return weights
    }
}

/// Copies matrices from their files to a card, piece by piece, and converts them there to the form in which they are stored.
///
///     file → pinned memory → `raw` (as in the file) → NF4, or the activations' type
///                               └─ GGUF's blocks → float32 in `wide` ─┘
///
/// The processor only copies from the page cache to pinned memory. That takes longest, and transfers and kernels overlap with it. The card
/// works in the order of its calls, so one buffer of each kind is enough: a piece is overwritten only after it has been used.
final class DeviceLoader {
    /// Weights of a piece: a multiple of every block's length, so that only a matrix's last NF4 block may be short.
    static let pieceWeights = 1 << 22

    private let weights: DeviceWeights
    private let device: any Accelerator
    private let element: DeviceElement
    private let cpu: CPU
    private let views: [TensorView]
    private let piece: Int
    private let memory: DeviceAllocation
    private var raw: DeviceAddress { memory.address }
    private let wide: DeviceAddress
    /// float32 block maxima of the matrix that is being quantised, and behind them their offset.
    private let maxima: DeviceAddress
    private let offset: DeviceAddress
    /// Two flags for each tensor: a weight exceeded float16's range when it was converted to the storage's type, or to the activations' type.
    private let overflows: DeviceAddress

    /// - Parameters:
    ///   - views: what will be loaded, by number.
    ///   - pieceWeights: a multiple of 256.
    init(
        weights: DeviceWeights, device: any Accelerator, element: DeviceElement, cpu: CPU, views: [TensorView],
        pieceWeights: Int = DeviceLoader.pieceWeights
    ) throws {
        (self.weights, self.device, self.element, self.cpu, self.views) = (weights, device, element, cpu, views)
        let largest = views.filter { $0.shape.count == 2 }.map(\.elementCount).max() ?? 0
        piece = max(256, min(pieceWeights, largest.roundedUp(toMultipleOf: 256)))
        // One allocation, cut up.
        let maximaBytes = (NF4.Layout(count: largest).blocks * 4).roundedUp(toMultipleOf: DeviceWeights.alignment)
        memory = try DeviceAllocation(on: device, bytes: 8 * piece + maximaBytes + 256 + 8 * views.count)
        wide = memory.address + 4 * piece
        maxima = wide + 4 * piece
        offset = maxima + maximaBytes
        overflows = offset + 256
        try device.zero(overflows, bytes: 8 * views.count)
    }

    // MARK: forms

    /// An embedding or head, in the activations' type.
    func table(_ view: TensorView, _ number: Int, onHost: Bool = false) throws -> DeviceMatrix {
        let matrix = try StoredMatrix(view)
        let place = try weights.takeTable(matrix.rows * matrix.columns * element.bytes, onHost: onHost)
        return DeviceMatrix(rows: matrix.rows, columns: matrix.columns, form: try plain(view, matrix, through: nil, number, into: place))
    }

    func linear(_ view: TensorView, _ number: Int, _ storage: BaseStorage) throws -> DeviceMatrix {
        let matrix = try StoredMatrix(view)
        let form: DeviceForm
        switch (storage, matrix.form) {
        case (.stored, .blocks(let format)):
            let blocks = try weights.take(view.byteCount)
            try send(view, 0..<view.byteCount, to: blocks)
            form = .blocks(blocks, format)
        case (.stored, .nf4(let state, _)) where keepsCodes(state), (.nf4, .nf4(let state, _)) where keepsCodes(state):
            form = try bitsAndBytes(view, matrix, state)
        case (.nf4, .nf4(let state, _)) where state.isOwnForm: form = try plain(view, matrix, through: nil, number)
        case (.nf4, _): form = try quantised(view, matrix)
        case (.stored, _): form = try plain(view, matrix, through: nil, number)
        case (.f16, _): form = try plain(view, matrix, through: .f16, number)
        case (.bf16, _): form = try plain(view, matrix, through: .bf16, number)
        case (.f32, _): form = try plain(view, matrix, through: nil, number)
        }
        return DeviceMatrix(rows: matrix.rows, columns: matrix.columns, form: form)
    }

    /// Whether a matrix of bitsandbytes' NF4 stays on its own codes. The card rounds an expanded weight to the activations' type alone: where
    /// those are float32 and the file asks for 16 bits, the processor expands the matrix, so that both have the same values.
    private func keepsCodes(_ state: NF4State) -> Bool { state.isOwnForm && (element != .f32 || state.roundingForm == nil) }

    /// The file's own codes and block maxima.
    private func bitsAndBytes(_ view: TensorView, _ matrix: StoredMatrix, _ state: NF4State) throws -> DeviceForm {
        let layout = NF4.Layout(count: matrix.rows * matrix.columns)
        let (codes, maxima, nestedMaxima) = (
            try weights.take(layout.codeBytes), try weights.take(layout.blocks), try weights.take(layout.nestedBlocks * 4)
        )
        guard let nested = state.nested, view.byteCount == layout.codeBytes, state.absmax.byteCount == layout.blocks,
            nested.absmax.byteCount == 4 * layout.nestedBlocks
        else { throw LorikeetError.input("the parts of '\(view.name)' do not fit its shape", at: view.file.path, fix: "fetch the model again") }
        try send(view, 0..<view.byteCount, to: codes)
        try send(state.absmax, 0..<state.absmax.byteCount, to: maxima)
        try send(nested.absmax, 0..<nested.absmax.byteCount, to: nestedMaxima)
        return .nf4(codes: codes, maxima: maxima, nestedMaxima: nestedMaxima, offset: nested.offset)
    }

    private func quantised(_ view: TensorView, _ matrix: StoredMatrix) throws -> DeviceForm {
        let layout = NF4.Layout(count: matrix.rows * matrix.columns)
        let (codes, codesOfMaxima) = (try weights.take(layout.codeBytes), try weights.take(layout.blocks))
        let nestedMaxima = try weights.take(layout.nestedBlocks * 4)
        var type = DeviceElement.f32
        try eachPiece(view, matrix) { first, count, address, pieceType in
            type = pieceType
            try NF4Store.launchQuantise(
                address, pieceType, count: count, codes: codes + first / 2, maxima: maxima + first / NF4.blockLength * 4, on: device)
        }
        var found = [Float](repeating: 0, count: layout.blocks)
        try found.withUnsafeMutableBytes { try device.download(maxima, into: $0) }
        let mean = try NF4Store.offset(of: found, name: view.name)
        try withUnsafeBytes(of: mean) { try device.upload($0, to: offset) }
        try NF4Store.launchQuantiseMaxima(
            maxima, type, count: layout.blocks, offset: offset, nestedValues: weights.nestedValues, codes: codesOfMaxima,
            nestedMaxima: nestedMaxima, on: device)
        return .nf4(codes: codes, maxima: codesOfMaxima, nestedMaxima: nestedMaxima, offset: mean)
    }

    /// The matrix in the activations' type, rounded to the storage's own first where that is another one.
    ///
    /// - Parameter into: where it is written; nil takes the next place on the card.
    private func plain(
        _ view: TensorView, _ matrix: StoredMatrix, through: DeviceElement?, _ number: Int, into place: DeviceAddress? = nil
    ) throws -> DeviceForm {
        let out = try place ?? weights.take(matrix.rows * matrix.columns * element.bytes)
        if case .float(element) = matrix.form, through ?? element == element {
            try send(view, 0..<view.byteCount, to: out)
            return .element(out)
        }
        try eachPiece(view, matrix) { first, count, address, type in
            var (address, type) = (address, type)
            if let through, through != type, through != element {
                let other = address == raw ? wide : raw
                try Self.convert(address, type, count: count, to: other, through, overflow: overflows + 8 * number, on: device)
                (address, type) = (other, through)
            }
            let overflow = overflows + 8 * number + (through == .f16 && element == .f16 ? 0 : 4)
            try Self.convert(address, type, count: count, to: out + first * element.bytes, element, overflow: overflow, on: device)
        }
        return .element(out)
    }

    /// y [count] = x in the `wanted` type; marks what float16 cannot hold.
    static func convert(
        _ x: DeviceAddress, _ type: DeviceElement, count: Int, to y: DeviceAddress, _ wanted: DeviceElement, overflow: DeviceAddress,
        on device: any Accelerator
    ) throws {
        var arguments = KernelArguments()
        for address in [x, y, overflow] { arguments.add(address) }
        arguments.add(count)
        arguments.add(wanted.rawValue)
        let blocks = max(1, min((count / 8 + 255) / 256, 32 * device.properties.multiprocessors))
        try device.launch(KernelLaunch("convert", "convert", type, grid: (blocks, 1, 1), threads: 256, arguments: arguments))
    }

    /// - Throws: where a weight went beyond a type's range; waits for the card.
    func finish() throws {
        var marks = [Int32](repeating: 0, count: 2 * views.count)
        try marks.withUnsafeMutableBytes { try device.download(overflows, into: $0) }
        guard let mark = marks.firstIndex(where: { $0 != 0 }) else { return }
        let name = views[mark / 2].name
        if mark % 2 == 0 {
            throw LorikeetError.input(
                "\(name) holds a weight beyond the range of float16 (65504)", at: "base_storage", fix: "take bf16, nf4 or stored")
        }
        throw LorikeetError.input(
            "a weight of the model is outside of float16's range (65504)", at: name, fix: "say --compute-type bfloat16 or float32")
    }

    // MARK: moving

    /// Calls `body` with each piece of the matrix as floating-point numbers on the card: the index of its first weight, their number, their
    /// address and element type.
    private func eachPiece(
        _ view: TensorView, _ matrix: StoredMatrix, _ body: (_ first: Int, _ count: Int, _ address: DeviceAddress, _ type: DeviceElement) throws -> Void
    ) throws {
        let total = matrix.rows * matrix.columns
        switch matrix.form {
        case .nf4, .float8: return try eachExpandedPiece(view, total, body)
        case .float, .blocks: break
        }
        for first in stride(from: 0, to: total, by: piece) {
            let count = min(piece, total - first)
            switch matrix.form {
            case .float(let type):
                try send(view, first * type.bytes..<(first + count) * type.bytes, to: raw)
                try body(first, count, raw, type)
            case .blocks(let format):
                let blockBytes = format.blockBytes
                try send(view, first / format.blockElements * blockBytes..<(first + count) / format.blockElements * blockBytes, to: raw)
                try weights.expand(DeviceMatrix(rows: 1, columns: count, form: .blocks(raw, format)), into: wide, on: device, .f32)
                try body(first, count, wide, .f32)
            case .nf4, .float8: break
            }
        }
    }

    /// The same for a form that no kernel expands: the processor does, in memory of one piece.
    private func eachExpandedPiece(
        _ view: TensorView, _ total: Int, _ body: (_ first: Int, _ count: Int, _ address: DeviceAddress, _ type: DeviceElement) throws -> Void
    ) throws {
        let store = try loadStore(view: view, storage: .stored, cpu: cpu)
        let columns = store.columns
        let buffer = try Buffer(bytes: 4 * min(piece, total))
        let values = buffer.pointer(as: Float.self)
        for first in stride(from: 0, to: total, by: piece) {
            try cpu.requireGoing()
            let count = min(piece, total - first)
            let (firstRow, lastRow) = (first / columns, (first + count - 1) / columns)
            cpu.parallelRanges(over: lastRow - firstRow + 1) { range, _ in
                let row = UnsafeMutablePointer<Float>.allocate(capacity: columns)
                defer { row.deallocate() }
                for number in range {
                    let start = (firstRow + number) * columns
                    let part = max(first, start)..<min(first + count, start + columns)
                    store.expand(rows: firstRow + number..<firstRow + number + 1, into: row)
                    (values + (part.lowerBound - first)).update(from: row + (part.lowerBound - start), count: part.count)
                }
            }
            try device.upload(UnsafeRawBufferPointer(start: values, count: 4 * count), to: wide)
            try body(first, count, wide, .f32)
        }
    }

    /// Reads a tensor's bytes, rows in Hugging Face's order, and sends them. Several threads read: one copies from the page cache at a
    /// fraction of the bus's speed.
    private func send(_ view: TensorView, _ range: Range<Int>, to address: DeviceAddress) throws {
        var failures = [(any Error)?](repeating: nil, count: cpu.threads)
        try device.upload(count: range.count, to: address) { first, part in
            try cpu.requireGoing()
            failures.withUnsafeMutableBufferPointer { failures in
                cpu.parallelRanges(over: part.count, grain: 1 << 20) { bytes, worker in
                    let from = range.lowerBound + first
                    do {
                        try view.read(
                            from + bytes.lowerBound..<from + bytes.upperBound, into: UnsafeMutableRawBufferPointer(rebasing: part[bytes]))
                    } catch {
                        failures[worker] = error
                    }
                }
            }
            if let failure = failures.compactMap({ $0 }).first { throw failure }
        }
    }
}

extension NF4Store {
    /// Codes and block maxima of `count` weights of `type`, made on a card; `x` begins at a block.
    static func launchQuantise(
        _ x: DeviceAddress, _ type: DeviceElement, count: Int, codes: DeviceAddress, maxima: DeviceAddress, on device: any Accelerator
    ) throws {
        var arguments = KernelArguments()
        for address in [x, codes, maxima] { arguments.add(address) }
        arguments.add(count)
        let blocks = max(1, min((count + 2047) / 2048, 32 * device.properties.multiprocessors))
        try device.launch(KernelLaunch("quantise", "quantise_nf4", type, grid: (blocks, 1, 1), threads: 256, arguments: arguments))
    }

    /// The second quantisation of `count` block maxima. `type` only names the source's build.
    static func launchQuantiseMaxima(
        _ maxima: DeviceAddress, _ type: DeviceElement, count: Int, offset: DeviceAddress, nestedValues: DeviceAddress, codes: DeviceAddress,
        nestedMaxima: DeviceAddress, on device: any Accelerator
    ) throws {
        var arguments = KernelArguments()
        for address in [maxima, codes, nestedMaxima, nestedValues, offset] { arguments.add(address) }
        arguments.add(count)
        let blocks = (count + NF4.nestedBlockLength - 1) / NF4.nestedBlockLength
        try device.launch(KernelLaunch("quantise", "quantise_maxima", type, grid: (blocks, 1, 1), threads: 256, arguments: arguments))
    }
}
