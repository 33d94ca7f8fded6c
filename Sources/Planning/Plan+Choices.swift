import LorikeetDevices
import LorikeetEngine
import LorikeetJSON

/// The choices as `plan.json` has them.
extension Plan.Choices {
    var json: JSON {
        var object: JSONObject = [
            "base_storage": .string(storage.rawValue), "threads": JSON(threads),
            "tokens_per_batch": JSON(tokensPerBatch), "training_rows": JSON(sizes.training),
            "evaluation_rows": JSON(sizes.evaluation), "head_chunk": JSON(sizes.headChunk),
            "recompute": .string(passes.rawValue), "device": .string(device), "compute_type": .string(element.suffix),
            "gpu_arch": JSON(architecture), "keeps_expanded": .bool(keepsExpanded),
            "evaluation_tokens_per_batch": JSON(evaluationTokensPerBatch), "answer_slots": JSON(test.slots),
            "test_keeps_expanded": .bool(test.keepsExpanded), "merged_on_card": .bool(test.mergedOnCard),
            "compared_on_card": .bool(test.comparedOnCard),
        ]
        if sizes.replicas.count > 1 {
            object["replicas"] = JSON(sizes.replicas.count)
            object["replica_rows"] = JSON(sizes.replicas.rows)
        }
        if embeddingOnHost { object["embedding_on_host"] = true }
        if tuned {
            object["tuned"] = true
            object["products"] = .object(JSONObject(products.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
        }
        return .object(object)
    }
}

extension Plan {
    /// The choices of a kept `plan.json`; nil when it does not hold them.
    package static func choices(from json: JSON) -> Choices? {
        guard let kept = json["choices"], let storage = kept["base_storage"]?.string.flatMap({ BaseStorage(rawValue: $0) }),
            let threads = kept["threads"]?.int, let tokens = kept["tokens_per_batch"]?.int, let training = kept["training_rows"]?.int,
            let evaluation = kept["evaluation_rows"]?.int, let chunk = kept["head_chunk"]?.int,
            let passes = kept["recompute"]?.string.flatMap({ PassPolicy(rawValue: $0) }), threads > 0, threads <= 4096, tokens > 0
        else { return nil }
        let evaluationTokens = kept["evaluation_tokens_per_batch"]?.int ?? tokens
        // A session is made for these sizes before anything checks them again. A file of a run without replicas has neither of the last two.
        guard let replicas = kept["replicas"].map(\.int) ?? 1, let rows = kept["replica_rows"].map(\.int) ?? Replicas.one.rows,
            [training, evaluation, chunk, evaluationTokens, rows].allSatisfy({ (1...1_000_000_000).contains($0) }), (1...1024).contains(replicas)
        else { return nil }
        var choices = Choices(
            storage: storage, threads: threads, tokensPerBatch: tokens,
            sizes: SessionSizes(training: training, evaluation: evaluation, headChunk: chunk, replicas: Replicas(count: replicas, rows: rows)),
            passes: passes,
            evaluationTokensPerBatch: evaluationTokens)
        choices.device = kept["device"]?.string ?? choices.device
        choices.element = kept["compute_type"]?.string.flatMap { name in DeviceElement.allCases.first { $0.suffix == name } } ?? choices.element
        choices.architecture = kept["gpu_arch"]?.int ?? 0
        choices.keepsExpanded = kept["keeps_expanded"]?.bool ?? false
        choices.embeddingOnHost = kept["embedding_on_host"]?.bool ?? false
        choices.test.slots = min(1024, max(1, kept["answer_slots"]?.int ?? Planner.slots))
        choices.test.keepsExpanded = kept["test_keeps_expanded"]?.bool ?? false
        choices.test.mergedOnCard = kept["merged_on_card"]?.bool ?? false
        choices.test.comparedOnCard = kept["compared_on_card"]?.bool ?? false
        choices.tuned = kept["tuned"]?.bool ?? false
        // An index that is none of the library's ways counts as none there.
        for entry in kept["products"]?.object?.entries ?? [] {
            if let index = entry.value.int, index >= 0 { choices.products[entry.key] = index }
        }
        return choices
    }
}
