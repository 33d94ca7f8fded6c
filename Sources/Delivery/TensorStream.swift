import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// A tensor's name, shape and element type.
package struct TensorDescription: Sendable, Equatable {
    package let name: String
    /// Row-major, last index fastest.
    package let shape: [Int]
    package let type: ElementType

    /// As a matrix: a vector is one row.
    var rows: Int { shape.count < 2 ? 1 : shape[0] }
    var columns: Int { shape.count < 2 ? shape.reduce(1, *) : shape.dropFirst().reduce(1, *) }
    /// Bytes of a row, which is a whole number of blocks.
    var rowBytes: Int { columns / type.blockElements * type.blockBytes }
    /// Rows that are read and written at a time: 4 MiB of float32.
    var blockRows: Int { max(1, min(rows, (4 << 20) / max(1, columns * 4))) }
}

/// A tensor on its way from a model to a sink. Its bytes are read after `open`, a block of rows at a time.
package struct StreamedTensor {
    /// Writes rows to memory, contiguous and in the tensor's element type; at most `blockRows` of them a call.
    ///
    /// - Throws: `Interrupted` where the processor's `interruption` says so; else as the format and its conversion say.
    package typealias Rows = (_ rows: Range<Int>, _ memory: UnsafeMutableRawPointer) throws -> Void

    package let description: TensorDescription
    /// Starts reading and returns the closure that yields rows. What reading holds in memory is freed with that closure.
    package let open: () throws -> Rows
}

/// A transform between stream and sink, e.g. adding an adapter or rounding to float16. `apply` only describes the result; the numbers are
/// computed when its rows are read.
package protocol TensorStep {
    /// - Throws: exit 2 where the transform does not fit the tensor.
    func apply(_ tensor: StreamedTensor) throws -> StreamedTensor
}

/// A writer of one file format.
package protocol TensorSink: AnyObject {
    /// - Parameter tensors: all tensors that will be written, in order.
    func begin(_ tensors: [TensorDescription]) throws
    /// The next bytes, tensor after tensor. Comes from another thread than the other calls, while what follows is computed.
    func append(_ bytes: UnsafeRawBufferPointer) throws
    /// After the last byte.
    func finish() throws
}

/// A model's tensors in the order of its forward pass, as float32.
///
/// Memory: one block of rows; where linears go through NF4, the codes of one matrix as well, and of a matrix that is read from the mapped file
/// (through NF4, or with scales in other tensors) the file's pages until its last row is written.
package struct TensorStream {
    private let source: ModelSource
    private let storage: BaseStorage
    private let cpu: CPU

    /// - Parameter storage: the form through which the linears go; `.stored` leaves them as the files have them.
    package init(_ source: ModelSource, linearsThrough storage: BaseStorage, cpu: CPU) {
        self.source = source
        self.storage = storage
        self.cpu = cpu
    }

    /// The tensors, none of which is read before its `open` is called.
    ///
    /// - Throws: exit 2 where one is missing or has another shape.
    package func tensors() throws -> [StreamedTensor] {
        try source.configuration.weights.map { declaration in
            let view = try declaration.view(in: source)
            var through = BaseStorage.stored
            if case .linear = declaration.role { through = storage }
            return StreamedTensor(description: TensorDescription(name: declaration.tensor, shape: declaration.shape, type: .f32)) {
                [cpu] in try Self.rows(of: view, through, cpu)
            }
        }
    }

    private static func rows(of view: TensorView, _ storage: BaseStorage, _ cpu: CPU) throws -> StreamedTensor.Rows {
        let (blocks, pages) = (try RowBlocks(view), MappedPages(view))
        guard storage == .nf4 else {
            return { rows, memory in
                try cpu.requireGoing()
                try withExtendedLifetime(pages) {
                    try blocks.withStore(rows) { stored in
                        let store = try convert(stored, to: storage, name: view.name, cpu: cpu)
                        expand(store, 0..<store.rows, memory, cpu)
                        blocks.finish(memory.assumingMemoryBound(to: Float.self), count: store.rows * store.columns)
                    }
                }
            }
        }
        // The second quantisation looks at all of a matrix's blocks.
        let store = try loadStore(view: view, storage: .nf4, cpu: cpu)
        return { rows, memory in
            try cpu.requireGoing()
            withExtendedLifetime(pages) { expand(store, rows, memory, cpu) }
        }
    }

    private static func expand(_ store: any WeightStore, _ rows: Range<Int>, _ memory: UnsafeMutableRawPointer, _ cpu: CPU) {
        let values = memory.assumingMemoryBound(to: Float.self)
        cpu.parallelRanges(over: rows.count) { range, _ in
            store.expand(
                rows: rows.lowerBound + range.lowerBound..<rows.lowerBound + range.upperBound, into: values + range.lowerBound * store.columns)
        }
    }
}

/// The mapped pages of a tensor, given back when the last that reads it is released.
private final class MappedPages {
    private let view: TensorView

    init(_ view: TensorView) { self.view = view }

    deinit { view.giveBack(0..<view.byteCount) }
}

extension TensorSink {
    /// Writes all tensors of a stream, a block of rows at a time: while one block is written, the next ones are computed.
    ///
    /// - Parameter progress: called after each tensor with the share that is done; what it throws ends the writing.
    /// - Throws: what would come first if each block were written before the next is computed. Nothing runs any more then.
    package func write(_ tensors: [StreamedTensor], progress: (Double) throws -> Void) throws {
        try begin(tensors.map(\.description))
        let blocks = try BlockRing(bytes: tensors.map { $0.description.blockRows * $0.description.rowBytes }.max() ?? 0)
        var computed = Result<Void, any Error>.success(())
        var written = Result<Void, any Error>.success(())
        try SideThread.run {
            written = Result { try blocks.takeAll { try append($0) } }
        } meanwhile: {
            computed = Result { try compute(tensors, into: blocks, progress) }
            blocks.end()
        }
        try written.get()
        try computed.get()
        try finish()
    }

    private func compute(_ tensors: [StreamedTensor], into blocks: BlockRing, _ progress: (Double) throws -> Void) throws {
        for (number, tensor) in tensors.enumerated() {
            let form = tensor.description
            let read = try tensor.open()
            for first in stride(from: 0, to: form.rows, by: form.blockRows) {
                let rows = first..<min(first + form.blockRows, form.rows)
                // Nil where nothing can be written any more.
                guard let memory = blocks.next() else { return }
                try read(rows, memory)
                blocks.pass(rows.count * form.rowBytes)
            }
            try progress(Double(number + 1) / Double(tensors.count))
        }
    }
}
