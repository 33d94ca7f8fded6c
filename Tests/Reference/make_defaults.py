"""The defaults of the configuration classes of transformers, for the families that are read.

    pip install transformers
    python make_defaults.py > defaults.json
"""
import json, transformers as t

CLASSES = dict(llama=t.LlamaConfig, mistral=t.MistralConfig, ministral3=t.Ministral3Config, qwen2=t.Qwen2Config, qwen3=t.Qwen3Config,
               smollm3=t.SmolLM3Config, gemma=t.GemmaConfig, gemma2=t.Gemma2Config, gemma3_text=t.Gemma3TextConfig, phi3=t.Phi3Config,
               granite=t.GraniteConfig, olmo2=t.Olmo2Config, olmo3=t.Olmo3Config, glm4=t.Glm4Config)

if __name__ == "__main__":
    result = {}
    for name, kind in CLASSES.items():
        c = kind()
        values = c.to_dict()
        values.setdefault("head_dim", c.hidden_size // c.num_attention_heads)
        for key in ("transformers_version", "architectures", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "initializer_range"):
            values.pop(key, None)
        result[name] = values
    print(json.dumps(result, indent=1, sort_keys=True))
