import LorikeetGround

/// `layer_types` of a configuration: which layers see a window and which the whole context.
enum LayerTypes {
    /// The window of each layer; nil where a layer sees everything before.
    ///
    /// - Parameters:
    ///   - window: `sliding_window`.
    ///   - slides: the family's rule for a configuration without `layer_types`.
    /// - Throws: exit 2 for other types, another number of layers, or a sliding layer without a window.
    static func windows(_ reader: inout ConfigurationReader, layers: Int, window: Int?, slides: (Int) -> Bool) throws -> [Int?] {
        let types = try reader.texts("layer_types") ?? (0..<layers).map { slides($0) ? "sliding_attention" : "full_attention" }
        guard types.count == layers else { throw reader.refusal("layer_types", "has \(types.count) entries", "one for each of \(layers) layers") }
        return try types.map { type in
            switch type {
            case "full_attention": return nil
            case "sliding_attention":
                guard let window else { throw reader.refusal("sliding_window", "is not set", "set: layer_types has sliding layers") }
                return window
            default: throw reader.refusal("layer_types", "holds \"\(type)\"", "full_attention or sliding_attention")
            }
        }
    }
}
