import LorikeetDevices
import LorikeetModelFiles

/// Where models are held and run: this machine's processor, or a card.
package struct Compute {
    package let cpu: CPU
    /// nil computes on the processor.
    package let device: (any Accelerator)?
    /// The type of activations on the card.
    package let element: DeviceElement

    package init(cpu: CPU, device: (any Accelerator)? = nil, element: DeviceElement = .f32) {
        self.cpu = cpu
        self.device = device
        self.element = element
    }

    /// What programs are made for.
    package var target: ProgramTarget { device == nil ? .cpu(threads: cpu.threads) : .device(element) }

    /// Loads a model's weights to where they are used.
    ///
    /// - Throws: exit 2 for models that cannot be, exit 4 when memory fails.
    package func model(_ source: ModelSource, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0) throws -> Model {
        try Model(source: source, storage: storage, lora: lora, seed: seed, compute: self)
    }
}
