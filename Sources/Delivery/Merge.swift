import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// How a merged model is written.
package struct MergeSettings: Sendable {
    /// `.f16`, `.bf16` or `.f32`.
    package var type: ElementType
    /// What the adapter is added to: `.stored` is the base as its file has it, `.nf4` and the others the weights it was trained on.
    package var into: BaseStorage
    /// A shard grows no larger than this.
    package var shardBytes = 5_000_000_000
    /// Linears as bitsandbytes' NF4 (`BitsAndBytesExport`), the rest in `type`.
    package var isNF4 = false
    /// The chat template that the model was trained with, where it is not the base's own.
    package var template: String?

    package init(type: ElementType, into: BaseStorage = .stored) {
        self.type = type
        self.into = into
    }
}

/// Merges an adapter into its base: W + scale * B A for every adapted matrix, as a Hugging Face directory.
///
/// The tensors go from the base through `AddAdapter` and `ConvertPrecision` to a `SafetensorsSink`, a block of rows at a time. The
/// directory is built beside its place and renamed when whole (see `PendingFolder`); nothing that stands there is ever replaced.
package struct Merger {
    private let base: ModelSource
    private let adapter: AdapterFile?
    private let settings: MergeSettings
    private let files: any Files
    private let cpu: CPU

    /// - Parameter adapter: nil writes the base alone.
    package init(base: ModelSource, adapter: AdapterFile?, settings: MergeSettings, files: any Files, cpu: CPU) {
        self.base = base
        self.adapter = adapter
        self.settings = settings
        self.files = files
        self.cpu = cpu
    }

    /// About how many bytes the directory will have.
    ///
    /// - Throws: exit 2 where the model cannot be written like this.
    package func byteCount() throws -> Int64 { try byteCount(of: tensors()) }

    private func byteCount(of tensors: [StreamedTensor]) throws -> Int64 {
        let bytes = tensors.reduce(Int64(0)) { $0 + Int64($1.description.type.byteCount(shape: $1.description.shape) ?? 0) }
        // Headers and index name each tensor; configuration and generation settings are small.
        return bytes + Int64(300 * tensors.count + (64 << 10)) + Int64(try Sidecar(source: base.files, files: files).bytes())
    }

    private func tensors() throws -> [StreamedTensor] {
        let add = try adapter.map { try AddAdapter($0, base: base, cpu: cpu) }
        let merged = try TensorStream(base, linearsThrough: settings.into, cpu: cpu).tensors().map { try add?.apply($0) ?? $0 }
        if settings.isNF4 { return try BitsAndBytesExport(base: base, type: settings.type, cpu: cpu).tensors(merged) }
        let convert = ConvertPrecision(to: settings.type, path: base.path, cpu: cpu)
        return try merged.map(convert.apply)
    }

    /// Writes the directory, after a check that the disk has room for it.
    ///
    /// - Parameters:
    ///   - whenFull: the class of the error where the disk is too small: nothing was started, or a run fails that had begun.
    ///   - progress: called after each tensor with the share that is done, from 0 to 1; what it throws ends the merging, and nothing stays on the disk.
    ///   - whenBuilt: called with the folder that is built, complete, before it is renamed to `directory`; what it throws ends the merging likewise.
    /// - Returns: warnings: what the directory lacks.
    /// - Throws: exit 3 (or `whenFull`) where the disk is too small, exit 2 when adapter and base do not fit, a merged weight is not finite or does not fit the type, or something that is not
    ///   the program's is in the way; exit 4 when the disk fails; `Interrupted` where `cpu.interruption` says so, which is asked before each block of rows.
    @discardableResult
    package func write(
        to directory: String, whenFull: LorikeetError.ExitClass = .doesNotFit, progress: (Double) throws -> Void = { _ in },
        whenBuilt: (_ folder: String) throws -> Void = { _ in }
    ) throws -> [String] {
        let tensors = try tensors()
        let plain = try base.configuration.written(type: Self.names[settings.type])
        let configuration = settings.isNF4 ? BitsAndBytesExport.configuration(plain, type: settings.type) : plain
        // Before the weights, which take time.
        _ = try Sidecar(source: base.files, files: files).copied()
        try files.requireNew(directory)
        try DiskSpace.require(byteCount(of: tensors), for: "the model", at: directory, whenFull, files)
        let pending = try PendingFolder(for: directory, files: files)
        do {
            let sink = SafetensorsSink(directory: pending.path, files: pending.files, shardBytes: settings.shardBytes)
            try sink.write(tensors, progress: progress)
            try pending.files.writeDurably(configuration.serialized(pretty: true) + "\n", to: pending.path + "/config.json")
            let warning = try Sidecar(source: base.files, files: pending.files).write(
                to: pending.path, configuration: configuration, template: settings.template)
            try base.files.requireUnchanged()
            try whenBuilt(pending.path)
            try pending.commit()
            return warning.map { [$0] } ?? []
        } catch {
            pending.discard()
            throw error
        }
    }

    private static let names: [ElementType: String] = [.f16: "float16", .bf16: "bfloat16", .f32: "float32"]
}
