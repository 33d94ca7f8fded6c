import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// A base model with frozen weights, and the adapters that are trained on it.
package final class Model {
    package let configuration: ModelConfiguration
    package let family: any ModelFamily
    package let storage: BaseStorage
    /// What the processor computes with; empty where a card holds the weights.
    package let weights: WeightTable
    package let adapters: AdapterSet
    package let cpu: CPU
    /// The card that holds the frozen weights; nil computes on the processor.
    package private(set) var placed: ModelDevice?
    /// Off gives the base model by the same programs.
    package var adapterEnabled = true

    /// Maps and, where `storage` asks for it, converts the weights of `source`, or brings them to a card; initialises the adapters from
    /// `seed`.
    ///
    /// - Throws: exit 2 for unsupported families, missing or misshapen tensors, target modules that match nothing; exit 4 when memory,
    ///   disk or card fail.
    package init(source: ModelSource, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, compute: Compute) throws {
        configuration = source.configuration
        let family = source.configuration.family
        let layout = try lora.map { try AdapterLayout($0, linears: family.linears()) } ?? .none
        self.family = family
        self.storage = storage
        cpu = compute.cpu
        if let device = compute.device {
            weights = WeightTable()
            placed = ModelDevice(
                device: device, element: compute.element,
                weights: try DeviceWeights.load(
                    family.weights(), from: source, storage: storage, element: compute.element, device: device, cpu: compute.cpu))
        } else {
            placed = nil
            weights = try WeightTable.load(family.weights(), from: source, storage: storage, cpu: compute.cpu)
        }
        adapters = try AdapterSet(layout: layout)
        adapters.initialise(seed: seed)
    }

    /// The same on the processor.
    package convenience init(source: ModelSource, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, cpu: CPU) throws {
        try self.init(source: source, storage: storage, lora: lora, seed: seed, compute: Compute(cpu: cpu))
    }

    /// A model of `configuration`'s shape with random weights, for benchmarks.
    package init(randomly configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, cpu: CPU) throws {
        self.configuration = configuration
        let family = configuration.family
        let layout = try lora.map { try AdapterLayout($0, linears: family.linears()) } ?? .none
        self.family = family
        self.storage = storage
        self.cpu = cpu
        weights = try WeightTable.random(family.weights(), storage: storage, seed: seed, cpu: cpu)
        placed = nil
        adapters = try AdapterSet(layout: layout)
        adapters.initialise(seed: seed)
    }

    /// A model of `configuration`'s shape with random weights made on a card, for benchmarks.
    package init(
        randomly configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, cpu: CPU, device: any Accelerator,
        element: DeviceElement
    ) throws {
        self.configuration = configuration
        let family = configuration.family
        let layout = try lora.map { try AdapterLayout($0, linears: family.linears()) } ?? .none
        self.family = family
        self.storage = storage
        self.cpu = cpu
        weights = WeightTable()
        adapters = try AdapterSet(layout: layout)
        adapters.initialise(seed: seed)
        placed = ModelDevice(
            device: device, element: element,
            weights: try DeviceWeights.random(family.weights(), storage: storage, element: element, device: device))
    }

    /// Gives the card's memory back once the model's sessions are gone; nothing runs with it from here on.
    package func leaveCard() { placed = nil }

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
