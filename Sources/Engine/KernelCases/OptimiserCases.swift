import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

extension KernelCase {
    /// Through the session's own optimiser step, on a model of so many hidden columns with an adapter of rank `rank` on q and v.
    static let optimiserCases: [KernelCase] =
        [(24, 3, false), (64, 40, false), (1024, 64, true)].map { hidden, rank, large in
            KernelCase(name: "adamw", detail: "rank \(rank) of \(hidden)", large: large) { try optimiser(hidden: hidden, rank: rank, $0) }
        }
        // Among them what float32 does not tell from 1, up to the largest that a recipe may name.
        + [(0.0, 0.5), (0.95, 0.98), (0.9, 0.99999999), (0.999999, 0.999999999)].map { betas in
            KernelCase(name: "adamw", detail: "betas \(betas.0) and \(betas.1)") { try optimiser(hidden: 24, rank: 3, betas: betas, $0) }
        }

    /// - Parameter betas: given, the moments begin at zero with the first step, so that they show 1 - beta; else in the middle of a run.
    private static func optimiser(hidden: Int, rank: Int, betas: (Double, Double)? = nil, _ comparison: KernelComparison) throws -> [Deviation] {
        let configuration = try ModelConfiguration(
            json: [
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": JSON(hidden), "intermediate_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": JSON(hidden), "vocab_size": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000,
                "max_position_embeddings": 8, "tie_word_embeddings": true, "hidden_act": "silu",
            ], source: "kernel check")
        let lora = LoRASettings(r: rank, targetModules: ["q_proj", "v_proj"])
        let model = try Compute(cpu: comparison.cpu, device: comparison.device, element: comparison.element)
            .randomModel(configuration, storage: .f32, lora: lora)
        // The processor's model of the same shape and state.
        let plain = try Compute(cpu: comparison.cpu).randomModel(configuration, storage: .f32, lora: lora)
        let names = [PersistentName.parameters, PersistentName.gradients] + AdamWSettings.moments
        let count = plain.adapters.elementCount
        for name in names {
            let (ours, theirs) = (model.adapters.floats(named: name), plain.adapters.floats(named: name))
            for i in 0..<count {
                let number = uniform(UInt64(i))
                ours[i] = name == "second_moment" ? abs(number) * 0.01 : number * 0.1
                if betas != nil, AdamWSettings.moments.contains(name) { ours[i] = 0 }
                theirs[i] = ours[i]
            }
        }
        for adapters in [model.adapters, plain.adapters] { adapters.state.updates = betas == nil ? 2 : 0 }
        let sizes = SessionSizes(training: 0, evaluation: 32)
        let (session, reference) = (try Session(model: model, sizes: sizes), try Session(model: plain, sizes: sizes))
        var results: [Deviation] = []
        // Clipped, not clipped, and clipped to nearly nothing.
        for limit in [0.05, 1e6, 1e-50] {
            var settings = AdamWSettings(weightDecay: 0.1, maxGradNorm: limit)
            if let betas { (settings.beta1, settings.beta2) = betas }
            let norm = try reference.optimiserStep(learningRate: 0.01, optimiser: settings).gradientNorm
            let result = try session.optimiserStep(learningRate: 0.01, optimiser: settings)
            try session.pullAdapters()
            let step = Int(model.adapters.state.updates)
            results.append(Deviation(name: "norm, step \(step)", measured: abs(result.gradientNorm - norm) / norm, tolerance: 1e-5))
            results.append(Deviation(name: "skipped, step \(step)", measured: result.skipped ? 1 : 0, tolerance: 0))
            for name in names where name != PersistentName.gradients {
                let measured = KernelComparison.difference(Array(model.adapters.floats(named: name)), Array(plain.adapters.floats(named: name)))
                results.append(Deviation(name: "\(name), step \(step)", measured: measured, tolerance: 4 * DeviceElement.f32.unit))
            }
        }
        // One gradient that is infinite: nothing may change, on the processor neither.
        for (model, session) in [(model, session), (plain, reference)] {
            model.adapters.floats(.gradients)[count - 1] = .infinity
            try session.pushAdapters()
            let skipped = try session.optimiserStep(learningRate: 0.01, optimiser: AdamWSettings()).skipped
            try session.pullAdapters()
            results.append(Deviation(name: "an infinite gradient is skipped", measured: skipped ? 0 : 1, tolerance: 0))
        }
        let measured = KernelComparison.difference(Array(model.adapters.floats(.values)), Array(plain.adapters.floats(.values)))
        results.append(Deviation(name: "parameters after that", measured: measured, tolerance: 4 * DeviceElement.f32.unit))
        return results
    }
}
