import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// What a GGUF says of a model, apart from its tokenizer: the family's table of GGUF names, used for writing instead of reading.
package struct GGUFWriting: Sendable {
    /// `general.architecture`, and the keys of the architecture.
    package let metadata: [(key: String, value: GGUFValue)]
    /// The tensors that say how the rotary frequencies are scaled, one float32 for each rotated pair.
    package let ropeTensors: [(name: String, values: [Float])]
    package let architecture: String
    private let names: TensorNames
    private let windowIsNotApplied: Bool
    private let original: ModelConfiguration
    private let path: String

    /// What a GGUF does to a tensor's values.
    package enum Change: Sendable, Equatable {
        case none
        /// The two halves of each head's rows interleaved (see `RowPermutation`).
        case interleavedHeads(RowPermutation)
        /// Every value plus this number.
        case plus(Float)
    }

    /// - Parameter path: the model, for errors.
    /// - Throws: exit 2 where the format has no such model, or has no key for a value of its configuration.
    package init(_ configuration: ModelConfiguration, path: String) throws {
        let kind = type(of: configuration.family)
        // Of a larger model whose text alone is written, llama.cpp's converter keeps the name of the whole.
        guard let format = configuration.part == nil ? kind.writtenGGUF : kind.gguf else {
            throw LorikeetError.input(
                "models of type '\(kind.huggingFace.modelType)' have no GGUF form", at: path, fix: "write a safetensors directory: lorikeet merge")
        }
        metadata = try format.metadata(of: configuration.values)
        if let factors = configuration.ropeFactors, let name = format.ropeFactors {
            ropeTensors = [(name, factors)]
        } else {
            ropeTensors = format.ropeTensors(of: configuration.values)
        }
        architecture = format.architecture
        names = TensorNames(format.tensors)
        windowIsNotApplied = format.windowIsNotApplied
        original = configuration
        self.path = path
    }

    /// A tensor's name in the file, and what the file does to its values.
    ///
    /// - Parameters:
    ///   - name: the family's name of the tensor.
    ///   - rows: of the tensor; the elements of a vector.
    package func place(of name: String, rows: Int) throws -> (name: String, change: Change) {
        guard let place = names.inFile(name) else {
            throw LorikeetError.input(
                "a GGUF of architecture '\(architecture)' has no place for the tensor '\(name)'", at: path, fix: "write a safetensors directory: lorikeet merge"
            )
        }
        switch place.transform {
        case .none: return (place.name, .none)
        case .plus(let number): return (place.name, .plus(number))
        case .interleavedHeads(let key):
            guard let heads = original.values[key]?.int, heads > 0, rows % (2 * heads) == 0 else {
                throw LorikeetError.input("the rows of '\(name)' do not divide into the heads of \(key)", at: path, fix: "download the model again")
            }
            return (place.name, .interleavedHeads(RowPermutation(heads: heads)))
        }
    }

    /// Compares the configuration that a reader makes of the file with the model's own.
    ///
    /// - Returns: warnings of what llama.cpp computes differently: an attention window that it does not apply, LongRoPE's choice of factors.
    /// - Throws: exit 2 naming a key that the file cannot say.
    package func differences(_ read: ModelConfiguration) throws -> [String] {
        var warnings: [String] = []
        if original.hasWindow, windowIsNotApplied || !read.hasWindow, let window = original.values["sliding_window"]?.int {
            warnings.append(
                "\(path): llama.cpp applies no window of attention in a model of architecture '\(architecture)': beyond \(window) tokens its answers are "
                    + "those of a model that sees all of them")
        }
        if original.values["rope_scaling.rope_type"] == "longrope", let positions = original.values["original_max_position_embeddings"]?.int {
            warnings.append(
                "\(path): llama.cpp takes LongRoPE's long factors wherever its context (-c) is larger than \(positions), transformers only where the text is longer: give it "
                    + "no larger context than the texts need")
        }
        let compared = original.values.entries.filter { isCompared($0.key) }
        for entry in compared {
            guard let value = read.values[entry.key] else { continue }
            guard Self.same(entry.value, value) else {
                throw LorikeetError.input(
                    "a GGUF of architecture '\(architecture)' cannot express \(entry.key) \(entry.value.serialized()): it would be read as \(value.serialized())",
                    at: path, fix: "write a safetensors directory: lorikeet merge")
            }
        }
        // A key that another family's reader does not read at all says nothing there; of one family every key has to come back.
        guard type(of: read.family) == type(of: original.family) else { return warnings }
        for entry in compared where !entry.value.isNull && read.values[entry.key] == nil {
            throw LorikeetError.input(
                "a GGUF of architecture '\(architecture)' cannot express \(entry.key) \(entry.value.serialized())", at: path,
                fix: "write a safetensors directory: lorikeet merge")
        }
        return warnings
    }

    /// Keys that are not compared: names of classes, and those of attention windows, for which `differences` has a warning of its own.
    private static let notCompared: Set<String> = [
        "architectures", "model_type", "sliding_window", "use_sliding_window", "max_window_layers", "layer_types",
    ]

    private func isCompared(_ key: String) -> Bool {
        // A reader notes rotary positions in the older form only (`rope_scaling`). A scaling that is written as a tensor was computed from its keys.
        let isScaling = key.hasPrefix("rope_scaling.")
        return !Self.notCompared.contains(key) && !key.hasPrefix("rope_parameters.") && key != "rope_scaling.type" && !(isScaling && !ropeTensors.isEmpty)
    }

    /// Whether two values of a configuration mean the same: a GGUF holds numbers as float32.
    private static func same(_ a: JSON, _ b: JSON) -> Bool {
        if let x = a.array, let y = b.array { return x.count == y.count && zip(x, y).allSatisfy(same) }
        guard let x = a.double, let y = b.double else { return a == b }
        return x == y || abs(x - y) <= 1e-6 * max(abs(x), abs(y))
    }
}

extension ModelConfiguration {
    /// Whether a layer's attention has a window.
    fileprivate var hasWindow: Bool {
        if let types = values["layer_types"]?.array { return types.contains("sliding_attention") }
        return values["sliding_window"]?.int != nil
    }
}
