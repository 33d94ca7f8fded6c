import LorikeetGround

/// Model files of other programs, recognised by their first bytes or their names, so that the error can name the format.
enum ForeignFormat {
    /// Fixes that several formats share.
    private static let convert = "use the model's safetensors directory, or a GGUF of it"
    private static let save = "load the model in Python and save it as safetensors: save_pretrained(…, safe_serialization=True)"

    /// The message for a directory without a file of a known format.
    static let nothing = "no model.safetensors in the directory"

    /// The error for a file that is not GGUF.
    static func refusal(of file: MappedFile) -> LorikeetError {
        let (what, fix) = known(file) ?? ("not a GGUF file (it does not begin with 'GGUF')", "name a .gguf file, or a Hugging Face directory")
        return .input(what, at: file.path, fix: fix)
    }

    private static func known(_ file: MappedFile) -> (what: String, fix: String)? {
        let (bytes, path) = (file.bytes, file.path)
        func begins(_ text: String, at offset: Int = 0) -> Bool {
            bytes.count >= offset + text.utf8.count && bytes[offset..<offset + text.utf8.count].elementsEqual(text.utf8)
        }
        if begins("version https://git-lfs") { return ("a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull") }
        if begins("<") { return ("a web page, not a model", "download the file itself") }
        if path.hasSuffix(".safetensors") || begins("{", at: 8) {
            return ("this is a safetensors file alone, without its configuration", "name the directory that holds it, with config.json and the tokenizer")
        }
        if path.hasSuffix(".safetensors.index.json") || path.hasSuffix("config.json") { return ("this is one file of a model", "name its directory") }
        if ["tjgg", "fmgg", "lmgg", "algg"].contains(where: { begins($0) }) {
            return ("a model in one of ggml's formats from before GGUF", "convert the original model to GGUF with a present llama.cpp")
        }
        if bytes.first == 0x89, begins("HDF", at: 1) {
            return ("a TensorFlow model (HDF5)", convert)
        }
        if path.hasSuffix(".onnx") || path.hasSuffix(".ort") { return ("an ONNX model", convert) }
        if path.hasSuffix(".msgpack") { return ("a Flax model (msgpack)", convert) }
        if path.hasSuffix(".npz") || path.hasSuffix(".npy") { return ("arrays of NumPy or MLX (.npz)", convert) }
        if begins("PK") || bytes.first == 0x80 || [".bin", ".pth", ".pt", ".ckpt", ".pkl"].contains(where: path.hasSuffix) {
            return ("weights as a pickle (PyTorch), which can run any code and is not read", save)
        }
        if path.hasSuffix(".llamafile") || begins("MZ") || begins("\u{7F}ELF") { return ("a program, not a model", "name a .gguf file") }
        return nil
    }

    /// The error for a directory without usable weights: what it holds instead, judged by the names of its files.
    static func refusal(ofDirectory directory: String, _ files: any Files) -> LorikeetError {
        let names = (try? files.list(directory)) ?? []
        func any(_ matches: (String) -> Bool) -> String? { names.first(where: matches) }
        func error(_ what: String, _ fix: String) -> LorikeetError { .input(what, at: directory, fix: fix) }
        if let name = any({ $0.hasSuffix(".gguf") }) {
            return error("the directory holds a GGUF ('\(name)') and no safetensors", "name the file: \(directory)/\(name)")
        }
        if names.contains("adapter_config.json") {
            return error("the directory holds an adapter and no model", "name the base model, and this directory as --adapter")
        }
        if let name = any({ name in [".bin", ".pth", ".pt", ".ckpt"].contains { name.hasSuffix($0) } }) {
            let isMeta = name.hasPrefix("consolidated.")
            return error(
                "the weights are a pickle ('\(name)'), which can run any code and is not read",
                isMeta ? "use the model's Hugging Face directory, with safetensors" : save)
        }
        if let name = any({ $0.hasPrefix("consolidated") && $0.hasSuffix(".safetensors") }) {
            return error("the weights have the names of Mistral's own format ('\(name)')", "fetch the model's model*.safetensors")
        }
        if let name = any({ $0.hasSuffix(".h5") || $0.hasSuffix(".tflite") || $0 == "saved_model.pb" }) {
            return error("a TensorFlow model ('\(name)')", convert)
        }
        if let name = any({ $0.hasSuffix(".msgpack") }) { return error("a Flax model ('\(name)')", convert) }
        if let name = any({ $0.hasSuffix(".onnx") || $0 == "onnx" }) { return error("an ONNX model ('\(name)')", convert) }
        if let name = any({ $0.hasSuffix(".npz") }) { return error("arrays of NumPy or MLX ('\(name)')", convert) }
        if let name = any({ $0.hasPrefix("model-") && $0.hasSuffix(".safetensors") }) {
            return error("there are shards ('\(name)') and no model.safetensors.index.json", "fetch the index too")
        }
        return error(nothing, "fetch the model's safetensors files")
    }
}
