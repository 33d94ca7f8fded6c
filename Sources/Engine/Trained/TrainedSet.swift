import LorikeetDevices
import LorikeetModelFiles

/// The host's copy of what training changes: the persistent values of the step program by name, all in `layout`'s order.
package final class TrainedSet: Sendable {
    package let layout: TrainedLayout
    /// Names, shapes and types of the persistent values; the programs' own list.
    package let program: Program
    package let optimiser: any Optimiser.Type
    private let buffers: [String: Buffer]

    package var tensors: [TrainedTensor] { layout.tensors }
    package var elementCount: Int { layout.elementCount }

    package init(layout: TrainedLayout, optimiser: any Optimiser.Type = AdamWSettings.self) throws {
        self.layout = layout
        self.optimiser = optimiser
        program = StepProgram.build(count: layout.elementCount, optimiser: optimiser, target: .cpu(threads: 1))
        buffers = try Dictionary(uniqueKeysWithValues: program.persistentValues.map { ($0.name, try Buffer(bytes: max(4, $0.byteCount))) })
        state = StepState()
    }

    /// The same values with gradients of their own.
    ///
    /// - Throws: exit 4 when memory cannot be had.
    init(replicaOf set: TrainedSet) throws {
        (layout, program, optimiser) = (set.layout, set.program, set.optimiser)
        var buffers = set.buffers
        if let gradients = buffers[PersistentName.gradients] { buffers[PersistentName.gradients] = try Buffer(bytes: gradients.byteCount) }
        self.buffers = buffers
    }

    /// The buffer of a persistent value of the step program.
    package func buffer(_ name: String) -> Buffer? { buffers[name] }

    /// The numbers of a persistent float32 value; empty where there is none of that name.
    package func floats(named name: String) -> UnsafeMutableBufferPointer<Float> {
        guard let buffer = buffers[name], let value = program.persistentValues.first(where: { $0.name == name }) else {
            return UnsafeMutableBufferPointer(start: nil, count: 0)
        }
        return UnsafeMutableBufferPointer(start: buffer.pointer(as: Float.self), count: value.elementCount)
    }

    package enum Part: Sendable { case values, gradients }

    package func floats(_ part: Part) -> UnsafeMutableBufferPointer<Float> {
        floats(named: part == .values ? PersistentName.parameters : PersistentName.gradients)
    }

    package var state: StepState {
        get { StepState(Array(floats(named: PersistentName.state))) }
        set { for (i, number) in newValue.numbers.enumerated() { floats(named: PersistentName.state)[i] = number } }
    }

    /// Every tensor as its kind starts it. A function of the seed alone.
    package func initialise(seed: UInt64) {
        let values = floats(.values)
        values.update(repeating: 0)
        for tensor in tensors { layout.kinds[tensor.kind].initialise(tensor, seed: seed, UnsafeMutableBufferPointer(rebasing: values[tensor.range])) }
    }

    /// Reads values from a PEFT folder; every tensor has to be there with its shape.
    ///
    /// - Throws: exit 2 naming the tensor that is missing, has another shape, or has no place; nothing has changed then.
    package func load(_ file: AdapterFile) throws {
        let read = try TrainedValues(file, layout, fix: "start from an adapter of this base, of the same rank and the same target modules")
        guard let values = floats(.values).baseAddress else { return }
        for tensor in tensors { try read.copy(tensor, to: values + tensor.offset) }
    }
}
