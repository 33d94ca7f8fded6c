import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// Loss and adapters' gradients of a real model on a card against the processor's in float32, which are held to the Hugging Face stack's
/// on small models.
struct CardGradientCheck {
    let source: ModelSource
    /// Token ids of texts. Those of two tokens or more are trained, packed into one micro-batch.
    let texts: [[Int32]]
    /// Stands before every text where the folder's losses have it: a model that was never trained without a beginning-of-sequence token is
    /// measured as it is used.
    let beginning: [Int32]
    let compute: Compute

    /// Limits of a card; in 16 bits of 1 - cosine, for one matrix and for all as one vector (SmolLM2 with adapters on q, k, v and o).
    enum Tolerance {
        static func loss(_ element: DeviceElement) -> Double { [5e-6, 5e-4, 5e-3][Int(element.rawValue)] }

        /// Relative L2 in float32, of one matrix and of all as one vector: what the order of long sums does in the Hugging Face stack
        /// (adapters on q, k, v and o). Between a processor and an H100 SmolLM2's gradients of its texts are up to 1.7e-4 and 5.3e-5 apart (torch
        /// 2.11). Behind a beginning-of-sequence token, which gathers much larger activations, Gemma 3 270M's are up to 8.0e-4 and 2.4e-4 from
        /// those in float64, on one processor (torch 2.15, Tests/Reference/measure_gradients.py).
        static func distance(beginning: Bool) -> (matrix: Double, all: Double) { beginning ? (8e-4, 2.4e-4) : (1.7e-4, 5e-5) }

        /// 1 - cosine in 16 bits. The Hugging Face stack's own in bfloat16: 0.015 for all matrices of SmolLM2; for one matrix and for all of
        /// Gemma 3 270M 0.0123 and 0.0017 behind a beginning-of-sequence token, 0.13 and 0.013 without.
        static func cosine(_ element: DeviceElement) -> (matrix: Double, all: Double) { element == .bf16 ? (0.015, 0.005) : (0.001, 0.001) }
    }

    func run() throws -> [Deviation] {
        try compare(step(compute), step(Compute(cpu: compute.cpu)))
    }

    /// A micro-batch's loss and gradients.
    struct Step {
        let loss: Double
        let gradients: [Float]
        let entries: [TrainedTensor]
    }

    func compare(_ card: Step, _ plain: Step) -> [Deviation] {
        let element = compute.element
        var results = [
            Deviation(
                name: "gradients: loss, relative to the processor's", measured: Vectors.relative(card.loss, to: plain.loss),
                tolerance: Tolerance.loss(element))
        ]
        let limit = element == .f32 ? Tolerance.distance(beginning: !beginning.isEmpty) : Tolerance.cosine(element)
        for entry in plain.entries {
            let range = entry.offset..<(entry.offset + entry.elementCount)
            let (ours, theirs) = (card.gradients[range], plain.gradients[range])
            let name = "gradients: " + Vectors.short(entry.name)
            results.append(
                element == .f32
                    ? Deviation(name: name, measured: Vectors.distance(ours, theirs), tolerance: limit.matrix)
                    : Deviation(name: name + ", 1 - cosine", measured: 1 - Vectors.cosine(ours, theirs), tolerance: limit.matrix))
        }
        results.append(
            element == .f32
                ? Deviation(name: "gradients: all", measured: Vectors.distance(card.gradients, plain.gradients), tolerance: limit.all)
                : Deviation(name: "gradients: all, 1 - cosine", measured: 1 - Vectors.cosine(card.gradients, plain.gradients), tolerance: limit.all))
        return results
    }

    /// What the presets adapt. In bfloat16 1 - cosine over all four together is 0.0043 on an H100 (the Hugging Face stack's: 0.015); of one
    /// down_proj, which no preset adapts, in the block where activations grow largest, 0.017.
    static let targets = ["q_proj", "k_proj", "v_proj", "o_proj"]

    /// One micro-batch on a model with adapters.
    func step(_ compute: Compute) throws -> Step {
        let batch = batch()
        let model = try compute.model(source, storage: .stored, lora: LoRASettings(r: 8, alpha: 16, targetModules: Self.targets), seed: 1)
        // B is not zero, so that A's gradients are not.
        let values = model.adapters.floats(.values)
        for entry in model.adapters.tensors where entry.name.hasSuffix("lora_B.weight") {
            for i in 0..<entry.elementCount {
                values[entry.offset + i] = 0.02 * uniform(UInt64(entry.offset + i))
            }
        }
        let session = try Session(model: model, sizes: SessionSizes(training: batch.rows, evaluation: 32, headChunk: 128))
        let loss = try session.finiteGradients(of: batch)
        return Step(loss: loss, gradients: Array(model.adapters.floats(.gradients)), entries: model.adapters.tensors)
    }

    private func batch() -> TokenBatch {
        var batch = TokenBatch()
        for text in texts where beginning.count + text.count > 1 { batch.append(beginning + text) }
        batch.setWeight(1 / Float(max(1, batch.trainedRows)))
        return batch
    }
}

extension Session {
    /// One micro-batch's loss; its gradients are pulled from the device. A pass that overflows in float16 is repeated at half the loss scale,
    /// as training does.
    func finiteGradients(of batch: TokenBatch) throws -> Double {
        while true {
            let loss = try accumulate(batch, zeroFirst: true).lossSum
            try pullAdapters()
            let isFinite = model.adapters.floats(.gradients).allSatisfy(\.isFinite)
            guard let scaling = lossScaling, scaling.scale > LossScaling.smallest, !isFinite else { return loss }
            try setLossScaling(LossScaling(scale: scaling.scale / 2, goodSteps: 0))
        }
    }
}
