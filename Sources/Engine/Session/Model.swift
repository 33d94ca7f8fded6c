import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// A base model with frozen weights, and the adapters that are trained on it.
package final class Model {
    package let configuration: ModelConfiguration
    package let family: any ModelFamily
    package let storage: BaseStorage
    package let weights: WeightTable
    package let adapters: AdapterSet
    package let cpu: CPU
    /// The card that holds the frozen weights; nil computes on the processor.
    package private(set) var placed: ModelDevice?
    /// Off gives the base model by the same programs.
    package var adapterEnabled = true

    /// Maps and, where `storage` asks for it, converts the weights of `source`; initialises the adapters from `seed`.
    ///
    /// - Throws: exit 2 for unsupported families, missing or misshapen tensors, target modules that match nothing.
    package init(source: ModelSource, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, cpu: CPU) throws {
        configuration = source.configuration
        let family = try Families.family(for: source.configuration)
        let layout = try lora.map { try AdapterLayout($0, linears: family.linears()) } ?? .none
        self.family = family
        self.storage = storage
        self.cpu = cpu
        weights = try WeightTable.load(family.weights(), from: source, storage: storage, cpu: cpu)
        adapters = try AdapterSet(layout: layout)
        adapters.initialise(seed: seed)
    }

    /// A model of `configuration`'s shape with random weights, for benchmarks.
    package init(randomly configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, cpu: CPU) throws {
        self.configuration = configuration
        let family = try Families.family(for: configuration)
        let layout = try lora.map { try AdapterLayout($0, linears: family.linears()) } ?? .none
        self.family = family
        self.storage = storage
        self.cpu = cpu
        weights = try WeightTable.random(family.weights(), storage: storage, seed: seed, cpu: cpu)
        adapters = try AdapterSet(layout: layout)
        adapters.initialise(seed: seed)
    }

    /// A model of `configuration`'s shape with random weights made on a card, for benchmarks.
    package init(
        randomly configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, cpu: CPU, device: any Accelerator,
        element: DeviceElement
    ) throws {
        self.configuration = configuration
        let family = try Families.family(for: configuration)
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

    /// Copies the frozen weights to a card; sessions made from here on run there.
    ///
    /// - Parameter stored: a tensor's type in the file.
    package func place(on device: any Accelerator, element: DeviceElement, stored: (String) -> ElementType?) throws {
        placed = ModelDevice(
            device: device, element: element,
            weights: try DeviceWeights.load(
                family.weights(), from: weights, storage: storage, element: element, device: device, stored: stored))
    }

    /// Gives the card's memory back once the model's sessions are gone; nothing runs with it from here on.
    package func leaveCard() { placed = nil }

    /// Expands the stored linears on the card once and for all (see `DevicePlan.keepsExpanded`).
    package func keepExpanded() throws { try placed?.weights.keepExpanded(family.weights()) }

    /// Rows of a program's head chunk.
    func headChunk(_ program: Program) -> Int {
        for op in program.ops { if let head = op as? HeadLoss { return program.values[head.logits].shape[0] } }
        return max(1, program.tokens)
    }

    /// Starts the adapters from a PEFT folder's values.
    package func loadAdapter(_ file: AdapterFile) throws { try adapters.load(file) }

    /// The stored matrix of a linear such as `model.layers.0.self_attn.q_proj`.
    package func linear(named name: String) -> (any WeightStore)? { weights.matrix(name + ".weight") }
}
