import LorikeetGround
import LorikeetJSON

/// A model on disk as its files have it: a Hugging Face directory with safetensors, or a GGUF file. Names and metadata are the files'
/// own; what they mean is for the engine's families to say.
package struct ModelFiles: Sendable {
    /// The configuration that comes with the tensors.
    package enum Metadata: Sendable {
        /// `config.json`
        case configuration(JSON)
        case gguf(GGUFFile)
    }

    package let path: String
    package let metadata: Metadata
    /// In the files' order.
    package let names: [String]
    package let tensors: [String: TensorView]
    /// For the user: what the files' form means, and what in them is not used.
    package let notes: [String]

    /// The files that hold tensors, sorted.
    package let weightPaths: [String]

    package var gguf: GGUFFile? { if case .gguf(let file) = metadata { file } else { nil } }

    /// The file that holds the configuration, for errors.
    package var configurationPath: String { gguf == nil ? path + "/config.json" : path }

    /// - Throws: exit 2 when the path is neither form, or the files are malformed or contradict each other.
    package static func open(_ path: String, files: any Files = RealFiles()) throws -> ModelFiles {
        guard files.exists(path) else {
            throw LorikeetError.input(
                "no such model", at: path, fix: "give a directory with config.json and safetensors, a .gguf file, or a hub's ORG/NAME"
            ).of(.unreadableFile)
        }
        guard files.isDirectory(path) else {
            let file = try GGUFFile(path: path, files: files)
            return ModelFiles(path: path, metadata: .gguf(file), names: file.names, tensors: file.tensors, notes: [], weightPaths: file.paths)
        }
        let config = path + "/config.json"
        guard files.exists(config) else {
            let error = ForeignFormat.refusal(ofDirectory: path, files)
            let isKnown = error.what != ForeignFormat.nothing
            throw isKnown
                ? error
                : LorikeetError.input("no config.json in the directory", at: path, fix: "give a Hugging Face model directory or a .gguf file")
        }
        let json = try JSON.parse(files.read(config), source: config)
        guard json.object != nil else {
            throw LorikeetError.input("the configuration is not a JSON object", at: config, fix: "use the model's own config.json")
        }
        let (names, tensors) = try SafetensorsFile.openDirectory(path, files: files)
        let paths = Set(tensors.values.map(\.file.path)).sorted()
        let joined = try QuantisedTensors(names: names, tensors: tensors, configuration: json, directory: path)
        return ModelFiles(
            path: path, metadata: .configuration(json), names: joined.names, tensors: joined.tensors, notes: joined.notes, weightPaths: paths)
    }
}

extension ModelFiles {
    /// The files that are mapped, each once.
    private var mapped: [MappedFile] { Array(Dictionary(tensors.values.map { (ObjectIdentifier($0.file), $0.file) }) { first, _ in first }.values) }

    /// Gives the memory of the files' mapped pages back; see `MappedFile.giveBack`.
    package func giveBackPages() { for file in mapped { file.giveBack(0..<file.count) } }

    /// Checks that nothing has written the files since they were opened.
    ///
    /// - Throws: exit 4 that names the file.
    package func requireUnchanged() throws { for file in mapped { try file.requireUnchanged() } }

    /// A GGUF that is open: its file, or the header of one that is somewhere else or not written yet.
    package init(gguf mapped: MappedFile) throws {
        let file = try GGUFFile(part: mapped)
        self.init(path: mapped.path, metadata: .gguf(file), names: file.names, tensors: file.tensors, notes: [], weightPaths: file.paths)
    }
}
