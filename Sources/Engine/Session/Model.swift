import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// Where a model's frozen weights come from.
enum WeightOrigin {
    /// Mapped and, where the storage asks for it, converted.
    case files(ModelSource)
    /// Random numbers in this shape, for benchmarks and tests.
    case random(ModelConfiguration)

    var configuration: ModelConfiguration {
        switch self {
        case .files(let source): source.configuration
        case .random(let configuration): configuration
        }
    }
}

/// A base model with frozen weights, and what is trained on it. `Compute` makes models.
package final class Model {
    package let configuration: ModelConfiguration
    package let family: any ModelFamily
    package let storage: BaseStorage
    /// What the processor computes with; empty where a card holds the weights.
    package private(set) var weights: WeightTable
    package let adapters: TrainedSet
    package let cpu: CPU
    /// The frozen weights on a card; nil where the processor computes.
    package private(set) var placed: ModelDevice?
    /// Off gives the base model by the same programs.
    package var adapterEnabled = true

    /// Loads the frozen weights to where `compute` computes, and initialises what is trained from `seed`.
    ///
    /// - Throws: exit 2 for missing or misshapen tensors; exit 4 when memory, disk or card fail.
    init(_ origin: WeightOrigin, storage: BaseStorage, trained: TrainedSet, seed: UInt64, compute: Compute) throws {
        configuration = origin.configuration
        family = configuration.family
        self.storage = storage
        cpu = compute.cpu
        let declared = family.weights()
        if let device = compute.device {
            weights = WeightTable()
            let onHost = compute.embeddingOnHost ? family.embeddingOnly?.tensor : nil
            let deviceWeights =
                switch origin {
                case .files(let source):
                    try DeviceWeights.load(declared, from: source, storage: storage, onHost: onHost, on: compute, device)
                case .random: try DeviceWeights.random(declared, storage: storage, onHost: onHost, element: compute.element, device: device)
                }
            placed = ModelDevice(device: device, element: compute.element, weights: deviceWeights)
        } else {
            weights =
                switch origin {
                case .files(let source): try WeightTable.load(declared, from: source, storage: storage, cpu: cpu)
                case .random: try WeightTable.random(declared, storage: storage, seed: seed, cpu: cpu)
                }
            placed = nil
        }
        adapters = trained
        adapters.initialise(seed: seed)
    }

    /// The same model on threads of its own, with the same weights and trained parameters, and gradients of its own.
    ///
    /// - Throws: exit 4 when memory cannot be had.
    init(replicaOf model: Model, threads: Int) throws {
        (configuration, family, storage) = (model.configuration, model.family, model.storage)
        (weights, placed, adapterEnabled) = (model.weights, model.placed, model.adapterEnabled)
        cpu = model.cpu.part(threads: threads)
        adapters = try TrainedSet(replicaOf: model.adapters)
    }

    /// Frees the frozen weights, on a card once the model's sessions are gone; nothing runs with the model from here on. What is trained stays.
    package func releaseWeights() {
        placed = nil
        weights = WeightTable()
    }

    /// Expands the stored linears on the card once and for all (see `DevicePlan.keepsExpanded`).
    package func keepExpanded() throws { try placed.map { try $0.weights.keepExpanded(family.weights(), $0.element) } }

    /// Rows of a program's head chunk.
    func headChunk(_ program: Program) -> Int {
        for op in program.ops { if let head = op as? any HeadOp { return program.values[head.chunks.logits].shape[0] } }
        return max(1, program.tokens)
    }

    /// Starts the adapters from a PEFT folder's values.
    package func loadAdapter(_ file: AdapterFile) throws { try adapters.load(file) }

    /// The stored matrix of a linear such as `model.layers.0.self_attn.q_proj`.
    package func linear(named name: String) -> (any WeightStore)? { weights.matrix(name + ".weight") }
}
