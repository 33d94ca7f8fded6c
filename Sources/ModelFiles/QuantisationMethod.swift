import LorikeetGround
import LorikeetJSON

/// Which ways of quantising a safetensors directory are read, by `quantization_config` and by the tensors' names.
enum QuantisationMethod {
    private static let fix = "give the model in float16, bfloat16 or float32, or a GGUF of it"

    /// Endings of tensors that other methods write, and the methods.
    private static let endings: [(ending: String, method: String)] = [
        (".quant_state.bitsandbytes__fp4", "bitsandbytes' FP4 (bnb_4bit_quant_type fp4)"), (".SCB", "bitsandbytes' LLM.int8() (load_in_8bit)"),
        (".weight_format", "bitsandbytes' LLM.int8() (load_in_8bit)"), (".qweight", "GPTQ or AWQ"), (".qzeros", "GPTQ or AWQ"), (".g_idx", "GPTQ"),
        (".W_q", "HQQ"), (".codebooks", "AQLM"), (".weight_packed", "compressed-tensors' packed integers"), (".qscale", "EETQ"),
        ("_blocks", "MXFP4"), (".Qidxs", "QuIP#"), (".suh", "EXL3"), (".q_weight", "EXL2"), (".weight._data", "quanto"), (".weight_scale_2", "NVFP4"),
        (".weight_zero_point", "compressed-tensors' integers with zero points"),
    ]

    /// - Parameters:
    ///   - quantisation: `quantization_config`; nil where there is none.
    ///   - configuration: all of `config.json`.
    /// - Throws: exit 2 naming the method.
    static func check(_ quantisation: JSON?, _ configuration: JSON, _ names: [String], _ directory: String) throws {
        func refusal(_ what: String, _ fix: String = fix) -> LorikeetError {
            .input("the weights are quantised with \(what), which is not read", at: directory + "/config.json: quantization_config", fix: fix)
        }
        let mlx = "MLX"
        if let own = configuration["quantization"], own["group_size"] != nil, own["bits"] != nil { throw refusal(mlx) }
        if names.contains(where: { $0.hasSuffix(".scales") }), names.contains(where: { $0.hasSuffix(".biases") }) { throw refusal(mlx) }
        for (ending, method) in endings {
            if let name = names.first(where: { $0.hasSuffix(ending) }) { throw refusal("\(method) ('\(name)')") }
        }
        guard let quantisation else { return }
        let method = quantisation["quant_method"]?.string
        func has(_ key: String) -> Bool { quantisation[key]?.bool == true }
        if method == "bitsandbytes" || method == nil && (has("load_in_4bit") || has("load_in_8bit")) {
            if has("load_in_8bit") || has("_load_in_8bit") { throw refusal("bitsandbytes' LLM.int8() (load_in_8bit)") }
            let type = quantisation["bnb_4bit_quant_type"]?.string ?? "fp4"
            guard type == "nf4" else { throw refusal("bitsandbytes' \(type.uppercased()) (bnb_4bit_quant_type \(type))") }
            return
        }
        switch method {
        case "fp8", "fbgemm_fp8": break
        case "compressed-tensors":
            let format = quantisation["format"]?.string ?? ""
            guard ["float-quantized", "naive-quantized"].contains(format) else { throw refusal("compressed-tensors ('format' is '\(format)')") }
        case "modelopt":
            let algorithm = quantisation["quant_algo"]?.string ?? quantisation["quantization"]?["quant_algo"]?.string ?? ""
            guard algorithm == "FP8" else { throw refusal("modelopt ('quant_algo' is '\(algorithm)')") }
        case let method?: throw refusal("\(method.utf8.count <= 5 ? method.uppercased() : method) (quantization_config says '\(method)')")
        case nil: throw refusal("a method that 'quantization_config' does not name")
        }
    }
}
