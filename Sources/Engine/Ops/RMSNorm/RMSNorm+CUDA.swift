import LorikeetDevices

extension RMSNorm {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[output].shape
        try context.launch("rmsnorm", "rmsnorm_forward", blocks: (shape[0], 1, 1), threads: rowThreads(shape[1])) {
            $0.add(try context.address(hidden))
            $0.add(try context.address(delta))
            $0.add(try context.address(sum))
            $0.add(try context.address(output))
            $0.add(try context.address(inverseRMS))
            $0.add(try context.weights.vector(weight))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(epsilon)
            $0.add(weightOffset)
            $0.add(deltaScale)
        }
    }
}

extension RMSNormRecomputation {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[output].shape
        try context.launch("rmsnorm", "rmsnorm_again", blocks: (shape[0], 1, 1), threads: rowThreads(shape[1])) {
            $0.add(try context.address(hidden))
            $0.add(try context.address(inverseRMS))
            $0.add(try context.weights.vector(weight))
            $0.add(try context.address(output))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(weightOffset)
        }
    }
}

extension RMSNormBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[dx].shape
        try context.launch("rmsnorm", "rmsnorm_backward", blocks: (shape[0], 1, 1), threads: rowThreads(shape[1])) {
            $0.add(try context.address(dy))
            $0.add(try context.address(hidden))
            $0.add(try context.address(inverseRMS))
            $0.add(try context.weights.vector(weight))
            $0.add(try context.address(residualGradient))
            $0.add(try context.address(dx))
            $0.add(try context.address(narrow))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(weightOffset)
            $0.add(deltaScale)
        }
    }
}
