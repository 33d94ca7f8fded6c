import LorikeetGround
import LorikeetJSON

/// `layer_types` of a configuration: which layers see a window and which the whole context.
enum LayerTypes {
    /// The window of each layer; nil where a layer sees everything before.
    ///
    /// - Parameters:
    ///   - window: `sliding_window`.
    ///   - slides: the family's rule for a configuration without `layer_types`.
    /// - Throws: exit 2 for other types, another number of layers, or a sliding layer without a window.
    static func windows(_ reader: inout ConfigurationReader, layers: Int, window: Int?, slides: (Int) -> Bool) throws -> [Int?] {
        let types = try reader.texts("layer_types") ?? names(layers, slides)
        guard types.count == layers else { throw reader.refusal("layer_types", "has \(types.count) entries", "one for each of \(layers) layers") }
        reader.note("layer_types", JSON(types))
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

    /// `layer_types` of `layers` layers.
    static func names(_ layers: Int, _ slides: (Int) -> Bool) -> [String] {
        (0..<layers).map { slides($0) ? "sliding_attention" : "full_attention" }
    }

    /// The windows of Qwen's models: where `use_sliding_window` is set, the layers from `max_window_layers` on have one.
    static func lastWindows(_ reader: inout ConfigurationReader, layers: Int) throws -> [Int?] {
        let slides = try reader.flag("use_sliding_window", default: false)
        let window = try reader.optionalSize("sliding_window", default: 4096, in: ConfigurationRange.positions)
        let first = try reader.size("max_window_layers", default: 28, in: 0...ConfigurationRange.layers.upperBound)
        if !slides { reader.forget("sliding_window") }
        return try windows(&reader, layers: layers, window: slides ? window : nil) { slides && window != nil && $0 >= first }
    }
}
