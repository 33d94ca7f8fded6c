import LorikeetJSON

// What `rope_scaling` of a `config.json` says of each type of scaling, beside Llama 3's (see RoPEFactors.swift).

extension RoPETable.YaRN {
    /// What is not the default is said.
    var json: JSON {
        var entries: [(key: String, value: JSON)] = [
            ("rope_type", "yarn"), ("factor", .number(factor)), ("original_max_position_embeddings", JSON(originalPositions)),
            ("beta_fast", .number(betaFast)), ("beta_slow", .number(betaSlow)),
        ]
        for (key, value) in [("attention_factor", attentionFactor), ("mscale", mscale), ("mscale_all_dim", mscaleAllDimensions)] {
            if let value { entries.append((key, .number(value))) }
        }
        if !truncates { entries.append(("truncate", false)) }
        return .object(JSONObject(entries))
    }
}

/// `rope_type` longrope: a factor for each pair, of one list up to the original context's length and of another beyond it.
struct LongRoPEScaling: Sendable, Equatable {
    let short: [Float]
    let long: [Float]
    /// Extended over original positions.
    let factor: Double
    /// `factor` where the configuration has it; else it follows from `max_position_embeddings`.
    let givenFactor: Double?
    let originalPositions: Int
    let attentionFactor: Double?

    /// The attention's scale that follows from the lengths of the context, in positions.
    static func attentionFactor(extended: Int, original: Int) -> Double {
        RoPETable.longRoPEScale(factor: Double(extended) / Double(max(1, original)), originalPositions: original)
    }

    var json: JSON {
        func list(_ factors: [Float]) -> JSON { .array(factors.map { JSON(Double("\($0)") ?? Double($0)) }) }
        var entries: [(key: String, value: JSON)] = [
            ("rope_type", "longrope"), ("short_factor", list(short)), ("long_factor", list(long)),
            ("original_max_position_embeddings", JSON(originalPositions)),
        ]
        for (key, value) in [("factor", givenFactor), ("attention_factor", attentionFactor)] {
            if let value { entries.append((key, .number(value))) }
        }
        return .object(JSONObject(entries))
    }
}
