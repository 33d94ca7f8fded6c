"""A small Llama as a GGUF whose rotary frequencies are divided by the factors of a tensor (`rope_freqs.weight`), and its loss.

    pip install gguf numpy
    python make_rope_factors.py rope_factors

Writes OUT/model.gguf and OUT/expected.json: token ids, the mean loss over all of them but the first, computed here in float64, with the
factors and without. The factors are those of Llama 3.1's scaling as llama.cpp's convert_hf_to_gguf.py computes them.
"""
import json, math, os, sys
import gguf, numpy as np

H, I, L, N, K, D, V, THETA, EPS = 64, 96, 2, 4, 2, 16, 160, 500000.0, 1e-5
SCALING = dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)


def factors():
    result = []
    for i in range(0, D, 2):
        wavelength = 2 * math.pi * THETA ** (np.float32(i) / np.float32(D))
        low = SCALING["original_max_position_embeddings"] / SCALING["low_freq_factor"]
        high = SCALING["original_max_position_embeddings"] / SCALING["high_freq_factor"]
        if wavelength < high:
            result.append(1.0)
        elif wavelength > low:
            result.append(SCALING["factor"])
        else:
            smooth = (SCALING["original_max_position_embeddings"] / wavelength - SCALING["low_freq_factor"]) / (
                SCALING["high_freq_factor"] - SCALING["low_freq_factor"])
            result.append(1 / ((1 - smooth) / SCALING["factor"] + smooth))
    return np.array(result, np.float32)


def tensors():
    r = np.random.default_rng(3)
    f = lambda *s: (r.standard_normal(s) * 0.15).astype(np.float32)
    t = {"token_embd": f(V, H), "output_norm": 1 + f(H)}
    for l in range(L):
        t |= {f"blk.{l}.attn_q": 3 * f(N * D, H), f"blk.{l}.attn_k": 3 * f(K * D, H), f"blk.{l}.attn_v": f(K * D, H), f"blk.{l}.attn_output": f(H, N * D),
              f"blk.{l}.ffn_gate": f(I, H), f"blk.{l}.ffn_up": f(I, H), f"blk.{l}.ffn_down": f(H, I), f"blk.{l}.attn_norm": 1 + f(H),
              f"blk.{l}.ffn_norm": 1 + f(H)}
    return t


def interleaved(w, heads):
    """llama.cpp's order of q's and k's rows."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def loss(t, ids, divisors):
    t = {k: v.astype(np.float64) for k, v in t.items()}
    norm = lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w
    angles = np.arange(len(ids))[:, None] * (1 / THETA ** (np.arange(0, D, 2) / D) / divisors)[None]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def rotate(x):
        a, b = x[..., : D // 2], x[..., D // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = t["token_embd"][ids]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for l in range(L):
        p = f"blk.{l}."
        h = norm(x, t[p + "attn_norm"])
        q, k, v = [(h @ t[p + n].T).reshape(len(ids), -1, D) for n in ("attn_q", "attn_k", "attn_v")]
        q, k = rotate(q), rotate(k)
        k, v = [np.repeat(a, N // K, 1) for a in (k, v)]
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(D) + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + np.einsum("hts,shd->thd", weights, v).reshape(len(ids), -1) @ t[p + "attn_output"].T
        h = norm(x, t[p + "ffn_norm"])
        gate = h @ t[p + "ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ t[p + "ffn_up"].T)) @ t[p + "ffn_down"].T
    logits = norm(x, t["output_norm"]) @ t["token_embd"].T
    top = logits.max(-1, keepdims=True)
    logp = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return float(-logp[np.arange(len(ids) - 1), ids[1:]].mean())


def main(out):
    os.makedirs(out, exist_ok=True)
    t = tensors()
    w = gguf.GGUFWriter(os.path.join(out, "model.gguf"), "llama")
    w.add_block_count(L); w.add_context_length(131072); w.add_embedding_length(H); w.add_feed_forward_length(I)
    w.add_head_count(N); w.add_head_count_kv(K); w.add_layer_norm_rms_eps(EPS); w.add_rope_freq_base(THETA)
    w.add_rope_dimension_count(D); w.add_vocab_size(V); w.add_file_type(0)
    for name, values in t.items():
        if name.endswith("attn_q"): values = interleaved(values, N)
        if name.endswith("attn_k"): values = interleaved(values, K)
        w.add_tensor(name + ".weight", np.ascontiguousarray(values))
    w.add_tensor("rope_freqs.weight", factors())
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    ids = np.random.default_rng(4).integers(0, V, 300)
    json.dump(dict(ids=ids.tolist(), loss=loss(t, ids, factors().astype(np.float64)), loss_without_factors=loss(t, ids, np.ones(D // 2)),
                   factors=factors().tolist(), rope_scaling=SCALING), open(os.path.join(out, "expected.json"), "w"))


if __name__ == "__main__":
    main(sys.argv[1])
