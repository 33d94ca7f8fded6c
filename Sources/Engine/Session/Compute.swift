import LorikeetDevices
import LorikeetModelFiles

/// Where models are held and run: this machine's processor, or its cards.
package struct Compute {
    package let cpu: CPU
    /// None computes on the processor. Models run on the first; nothing uses the others yet.
    package let devices: [any Accelerator]
    /// The type of activations on the cards.
    package let element: DeviceElement

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
    /// - Throws: exit 2 for models that cannot be, exit 4 when memory fails.
    package func model(_ source: ModelSource, storage: BaseStorage, lora: LoRASettings?, seed: UInt64 = 0) throws -> Model {
        try Model(source: source, storage: storage, lora: lora, seed: seed, compute: self)
    }
}
