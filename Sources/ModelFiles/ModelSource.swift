import LorikeetGround
import LorikeetJSON

/// A model on disk: a Hugging Face directory with safetensors, or a GGUF file. Tensors go by Hugging Face names in both.
package struct ModelSource: Sendable {
    package let path: String
    package let configuration: ModelConfiguration
    package let gguf: GGUFFile?
    private let tensors: [String: TensorView]

    package var isGGUF: Bool { gguf != nil }

    /// - Throws: exit 2 when the path is neither, or the files do not add up.
    package static func open(_ path: String, files: any Files = RealFiles()) throws -> ModelSource {
        guard files.exists(path) else {
            throw LorikeetError.input("no such model", at: path, mend: "give a directory with config.json and safetensors, or a .gguf file")
        }
        if files.isDirectory(path) {
            let config = path + "/config.json"
            guard files.exists(config) else {
                throw LorikeetError.input("no config.json in the directory", at: path, mend: "give a Hugging Face model directory or a .gguf file")
            }
            let configuration = try ModelConfiguration(json: JSON.parse(files.read(config), source: config), source: config)
            return ModelSource(
                path: path, configuration: configuration, gguf: nil, tensors: try SafetensorsFile.openDirectory(path, files: files))
        }
        let file = try GGUFFile(path: path)
        let configuration = try GGUFModel.configuration(file)
        return ModelSource(path: path, configuration: configuration, gguf: file, tensors: GGUFModel.tensors(file, configuration))
    }

    /// A tensor such as `model.layers.0.self_attn.q_proj.weight`.
    package func tensor(_ name: String) -> TensorView? { tensors[name] }

    package var tensorNames: [String] { tensors.keys.sorted() }

    /// The path of a file that stands beside the weights, where there is one; nil for a GGUF.
    package func fileIfPresent(_ name: String, files: any Files = RealFiles()) -> String? {
        guard !isGGUF else { return nil }
        let full = path + "/" + name
        return files.exists(full) ? full : nil
    }
}
