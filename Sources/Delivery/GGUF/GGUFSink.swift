import LorikeetGround
import LorikeetModelFiles

/// Writes tensors as one GGUF file, a block of rows at a time.
package final class GGUFSink: TensorSink {
    private let path: String
    private let files: any Files
    private let metadata: [(key: String, value: GGUFValue)]
    private var writer: GGUFWriter?

    package init(path: String, files: any Files, metadata: [(key: String, value: GGUFValue)]) {
        (self.path, self.files, self.metadata) = (path, files, metadata)
    }

    package func begin(_ tensors: [TensorDescription]) throws {
        writer = try GGUFWriter(path: path, files: files, metadata: metadata, tensors: tensors.map(\.gguf))
    }

    package func append(_ bytes: UnsafeRawBufferPointer) throws { try writer?.append(bytes) }

    package func finish() throws { try writer?.finish() }
}

extension TensorDescription {
    var gguf: GGUFWriter.Tensor { GGUFWriter.Tensor(name: name, type: type, shape: shape) }
}
