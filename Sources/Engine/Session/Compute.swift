import LorikeetDevices
import LorikeetModelFiles

/// Where models are held and run: this machine's processor, or its cards.
package struct Compute {
    package let cpu: CPU
    /// None computes on the processor. Models run on the first; nothing uses the others yet.
    package let devices: [any Accelerator]
    /// The type of activations on the cards.
    package let element: DeviceElement
    /// Whether models on a card have their embedding in the host's memory, where no head shares it (`DevicePlan.embeddingOnHost`).
    package var embeddingOnHost = false

    package init(cpu: CPU, devices: [any Accelerator], element: DeviceElement = .f32) {
        self.cpu = cpu
        self.devices = devices
        self.element = element
    }

    package init(cpu: CPU, device: (any Accelerator)? = nil, element: DeviceElement = .f32) {
        self.init(cpu: cpu, devices: device.map { [$0] } ?? [], element: element)
    }

    /// The card that models run on; nil computes on the processor.
    package var device: (any Accelerator)? { devices.first }

    /// What programs are made for.
    package var target: ProgramTarget { device == nil ? .cpu(threads: cpu.threads) : .device(element) }

    /// Loads a model's weights to where they are used.
    ///
    /// - Parameters:
    ///   - storage: how linears are stored; they are converted where the files store them otherwise.
    ///   - lora: the adapters; nil makes none.
    ///   - optimiser: whose moments are kept beside the adapters.
    ///   - seed: of the adapters' first values.
    /// - Throws: exit 2 for unsupported families, missing or misshapen tensors, target modules that match nothing; exit 4 when memory,
    ///   disk or card fail; `Interrupted` where `cpu.interruption` says so, between two parts of a tensor.
    package func model(
        _ source: ModelSource, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0, optimiser: any Optimiser.Type = AdamWSettings.self
    ) throws -> Model {
        let layout = try TrainedLayout(lora, weights: source.configuration.weights)
        return try model(source, storage: storage, trained: layout, seed: seed, optimiser: optimiser)
    }

    /// The same for a list of trained tensors.
    package func model(
        _ source: ModelSource, storage: BaseStorage, trained: TrainedLayout, seed: UInt64 = 0, optimiser: any Optimiser.Type = AdamWSettings.self
    ) throws -> Model {
        try Model(.files(source), storage: storage, trained: TrainedSet(layout: trained, optimiser: optimiser), seed: seed, compute: self)
    }

    /// A model of `configuration`'s shape with random weights, for benchmarks and tests.
    ///
    /// - Throws: exit 2 for target modules that match nothing; exit 4 when memory or card fail.
    package func randomModel(_ configuration: ModelConfiguration, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0) throws -> Model {
        let trained = try TrainedSet(layout: TrainedLayout(lora, weights: configuration.weights))
        return try Model(.random(configuration), storage: storage, trained: trained, seed: seed, compute: self)
    }
}
