import LorikeetDevices
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

extension KernelChecks {
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
    private static func optimiser(hidden: Int, rank: Int, betas: (Double, Double)? = nil, _ bench: KernelBench) throws -> [Deviation] {
        let configuration = try ModelConfiguration(
            json: [
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": JSON(hidden), "intermediate_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": JSON(hidden), "vocab_size": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000,
                "max_position_embeddings": 8, "tie_word_embeddings": true, "hidden_act": "silu",
            ], source: "kernel check")
        let lora = LoRASettings(r: rank, targetModules: ["q_proj", "v_proj"])
        let model = try Model(
            randomly: configuration, storage: .f32, lora: lora, cpu: bench.cpu, device: bench.device, element: bench.element)
        guard let placed = model.placed else { return [] }
        let plain = try AdapterSet(layout: model.adapters.layout)
        let count = plain.elementCount
        for buffer in [\AdapterSet.values, \.gradients, \.firstMoment, \.secondMoment] {
            let (ours, theirs) = (model.adapters.floats(buffer), plain.floats(buffer))
            for i in 0..<count {
                let number = Float(mix64(UInt64(i)) >> 40) / Float(1 << 23) - 1
                ours[i] = buffer == \.secondMoment ? abs(number) * 0.01 : number * 0.1
                if betas != nil, buffer == \.firstMoment || buffer == \.secondMoment { ours[i] = 0 }
                theirs[i] = ours[i]
            }
        }
        let backend = try DeviceBackend(model: model, on: placed)
        var results: [Deviation] = []
        // Clipped, not clipped, and clipped to nearly nothing.
        for (index, limit) in [0.05, 1e6, 1e-50].enumerated() {
            let step = (betas == nil ? 3 : 1) + index
            var settings = AdamWSettings(weightDecay: 0.1, maxGradNorm: limit)
            if let betas { (settings.beta1, settings.beta2) = betas }
            let norm = adamWStep(plain, learningRate: 0.01, settings: settings, step: step, cpu: bench.cpu)
            let result = try backend.optimiserStep(learningRate: 0.01, settings: settings, step: step)
            try backend.pullAdapters()
            results.append(Deviation(name: "norm, step \(step)", measured: abs(result.gradientNorm - norm) / norm, tolerance: 1e-5))
            results.append(Deviation(name: "skipped, step \(step)", measured: result.skipped ? 1 : 0, tolerance: 0))
            for (name, buffer) in [("values", \AdapterSet.values), ("first moments", \.firstMoment), ("second moments", \.secondMoment)] {
                let measured = KernelBench.difference(Array(model.adapters.floats(buffer)), Array(plain.floats(buffer)))
                results.append(Deviation(name: "\(name), step \(step)", measured: measured, tolerance: 4 * DeviceElement.f32.unit))
            }
        }
        // One gradient that is infinite: nothing may change.
        model.adapters.floats(\.gradients)[count - 1] = .infinity
        try backend.pushAdapters()
        let skipped = try backend.optimiserStep(learningRate: 0.01, settings: AdamWSettings(), step: 5).skipped
        try backend.pullAdapters()
        let measured = KernelBench.difference(Array(model.adapters.floats(\.values)), Array(plain.floats(\.values)))
        return results + [
            Deviation(name: "an infinite gradient is skipped", measured: skipped ? 0 : 1, tolerance: 0),
            Deviation(name: "values after that", measured: measured, tolerance: 4 * DeviceElement.f32.unit),
        ]
    }
}
