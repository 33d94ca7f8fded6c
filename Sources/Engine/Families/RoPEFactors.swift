import Glibc
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// What divides a model's rotary frequencies, one number a pair, as a GGUF holds it in a tensor (`rope_freqs.weight`).
struct RoPEFactors {
    let values: [Float]

    /// - Parameter configuration: the keys that the metadata gave: how many pairs there are.
    /// - Throws: exit 2 where the tensor is not one positive float32 a pair.
    init(_ view: TensorView, _ configuration: JSON) throws {
        let size = configuration["head_dim"]?.int ?? 0
        let pairs = Int(Double(size) * (configuration["partial_rotary_factor"]?.double ?? 1)) / 2
        guard view.type == .f32, view.shape == [pairs] else {
            throw LorikeetError.input(
                "'\(view.name)' is \(view.type.rawValue) of shape \(view.shape) where float32 of shape [\(pairs)] is needed", at: view.file.path,
                fix: "download the model again")
        }
        let bytes = view.bytes
        values = (0..<pairs).map { Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self))) }
        guard values.allSatisfy({ $0.isFinite && $0 > 0 }) else {
            throw LorikeetError.input("'\(view.name)' holds a factor that is no positive number", at: view.file.path, fix: "download the model again")
        }
    }

    init(values: [Float]) { self.values = values }

    /// The factors of Llama 3.1's scaling, 1 / (scaled frequency / frequency), in the float32 steps of llama.cpp's converter: torch divides a
    /// number by a tensor as the number times the tensor's reciprocal.
    init(_ scaling: Llama3Scaling, theta: Double, rotated: Int) {
        let original = Float(scaling.originalPositions)
        let (low, high) = (Float(scaling.lowFrequencyFactor), Float(scaling.highFrequencyFactor))
        values = (0..<rotated / 2).map { pair in
            let frequency = 1 / powf(Float(theta), Float(2 * pair) / Float(rotated))
            let wavelength = (1 / frequency) * Float(2 * Double.pi)
            if Double(wavelength) < Double(scaling.originalPositions) / scaling.highFrequencyFactor { return 1 }
            if Double(wavelength) > Double(scaling.originalPositions) / scaling.lowFrequencyFactor { return Float(scaling.factor) }
            let smooth = ((1 / wavelength) * original - low) / (high - low)
            return 1 / ((1 - smooth) / Float(scaling.factor) + smooth)
        }
    }

    /// `rope_scaling` of type llama3 that gives these factors; nil where none does.
    ///
    /// llama.cpp's converter writes only the factors. `factor` is the largest of them. `low_freq_factor` and `high_freq_factor` are taken as
    /// 1 and 4, as in every published model. `original_max_position_embeddings` follows from one pair in the blended range. Without such a
    /// pair, every length that puts the same pairs on either side computes the same: 8192, that of the published models, is tried first, then
    /// the powers of two.
    func scaling(_ configuration: JSON) -> JSON? {
        guard let theta = configuration["rope_theta"]?.double, let factor = values.max(), factor >= 1 else { return nil }
        var lengths = [8192] + (1...20).map { 1 << $0 }
        for (pair, value) in values.enumerated() where value > 1 && value < factor && factor > 1 {
            // value = 1 / ((1 - s) / factor + s), s = (length / wave - 1) / (4 - 1)
            let smooth = (1 / Double(value) - 1 / Double(factor)) / (1 - 1 / Double(factor))
            let wave = 2 * Double.pi * pow(theta, Double(pair) / Double(values.count))
            let length = (wave * (1 + 3 * smooth)).rounded()
            if (1...1e9).contains(length) { lengths.insert(Int(length), at: 1) }
        }
        for length in lengths.prefix(32) {
            let scaling = Llama3Scaling(factor: Double(factor), lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: length)
            let expected = RoPEFactors(scaling, theta: theta, rotated: 2 * values.count).values
            // The converter's frequencies are float32.
            guard zip(values, expected).allSatisfy({ abs($0 - $1) <= Self.tolerance * $1 }) else { continue }
            return scaling.json
        }
        return nil
    }

    /// Largest relative deviation of a factor that comes from the converter's float32 frequencies.
    private static let tolerance: Float = 1e-5
}

/// Llama 3.1's scaling (`rope_type` llama3): long waves are slowed by `factor`, short ones kept, those between blended.
struct Llama3Scaling: Sendable, Equatable {
    let factor: Double
    let lowFrequencyFactor: Double
    let highFrequencyFactor: Double
    let originalPositions: Int

    /// transformers' `_compute_llama3_parameters` for one inverse frequency.
    func scaled(_ frequency: Double) -> Double {
        let wavelength = 2 * Double.pi / frequency
        let original = Double(originalPositions)
        if wavelength > original / lowFrequencyFactor { return frequency / factor }
        if wavelength < original / highFrequencyFactor { return frequency }
        let smooth = (original / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }

    var json: JSON {
        [
            "rope_type": "llama3", "factor": .number(factor), "low_freq_factor": .number(lowFrequencyFactor),
            "high_freq_factor": .number(highFrequencyFactor), "original_max_position_embeddings": JSON(originalPositions),
        ]
    }
}
