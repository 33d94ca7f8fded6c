import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// A model on disk, read by its family: the configuration, and every tensor that the forward pass names, by the family's names, in Hugging
/// Face's row order, whichever form the files have.
package struct ModelSource: Sendable {
    package let files: ModelFiles
    package let configuration: ModelConfiguration
    /// Warnings for the user: what the files contain and is not used.
    package let warnings: [String]
    private let tensors: [String: TensorView]

    package var path: String { files.path }
    package var isGGUF: Bool { files.gguf != nil }
    /// Whether the files hold the linears in 4-bit codes of their own: a GGUF, or bitsandbytes' NF4.
    package var hasOwnCodes: Bool { isGGUF || files.tensors.values.contains { $0.type == .nf4 || $0.type == .nf4_other } }

    /// Opens a model's files and checks them against each other: every tensor that the configuration asks for is there, with its shape and a
    /// type that can be read, and there are no others. No weights are read.
    ///
    /// - Throws: exit 2 naming the file, key or tensor.
    package static func open(_ path: String, files: any Files = RealFiles()) throws -> ModelSource {
        try ModelSource(ModelFiles.open(path, files: files))
    }

    /// As `open`, for files that are open already.
    package init(_ files: ModelFiles) throws {
        let (configuration, warnings): (ModelConfiguration, [String])
        let names: TensorNames?
        let ignored: [Ignored]
        var used: Set<String> = []
        switch files.metadata {
        case .configuration(let json):
            configuration = try ModelConfiguration(
                json: json, source: files.configurationPath, hasHead: files.names.contains { $0.hasSuffix("lm_head.weight") })
            (warnings, names) = ([], configuration.part == nil ? nil : TextPart.names(in: files.names))
            ignored = type(of: configuration.family).huggingFace.ignoredTensors
        case .gguf(let file):
            let (family, format) = try Families.reading(file)
            let read = try GGUFConfiguration(file, family, format)
            configuration = try ModelConfiguration(json: read.json, source: file.path, ropeFactors: read.ropeFactors)
            (warnings, names, ignored) = (read.warnings, TensorNames(format.tensors), format.ignoredTensors)
            used = Set([format.ropeFactors, format.longRoPE?.short, format.longRoPE?.long].compactMap { $0 })
        }
        var assignment = TensorAssignment(files: files, configuration: configuration, names: names, used: used)
        tensors = try assignment.assign()
        let notes = try assignment.judgeLeftOver(ignored: ignored)
        self.files = files
        self.configuration = configuration
        self.warnings = configuration.warnings + warnings + notes + files.notes
    }

    /// A tensor such as `model.layers.0.self_attn.q_proj.weight`.
    package func tensor(_ name: String) -> TensorView? { tensors[name] }
}
