#!/usr/bin/env python3
"""Writes Tests/Reference/sampling/cases.json: probabilities of tokens after transformers' logits processors, for SamplingTests.

    python3 Tests/Reference/make_sampling.py      (needs torch and transformers; 5.24.0 wrote the file)

Each case has logits, the tokens before them, the settings, and the probabilities by id: those that are left above 0.
"""
import json
import os

import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import (LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
                                                    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)


def processors(s):
    """In the order of GenerationMixin._get_logits_processor."""
    out = LogitsProcessorList()
    if s.get("repetition_penalty", 1.0) != 1.0:
        out.append(RepetitionPenaltyLogitsProcessor(penalty=s["repetition_penalty"]))
    if s["temperature"] != 1.0:
        out.append(TemperatureLogitsWarper(s["temperature"]))
    if "top_k" in s:
        out.append(TopKLogitsWarper(top_k=s["top_k"]))
    if s.get("top_p", 1.0) < 1.0:
        out.append(TopPLogitsWarper(top_p=s["top_p"]))
    if "min_p" in s:
        out.append(MinPLogitsWarper(min_p=s["min_p"]))
    return out


def order_is_the_library_s():
    """Fails where the library has come to apply them in another order."""
    from transformers import LlamaConfig, LlamaForCausalLM
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    config = GenerationConfig(do_sample=True, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, repetition_penalty=1.3, eos_token_id=0)
    model._prepare_special_tokens(config, False, device="cpu")
    theirs = model._get_logits_processor(generation_config=config, input_ids_seq_length=3)
    ours = processors(dict(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, repetition_penalty=1.3))
    assert [type(p) for p in theirs] == [type(p) for p in ours], [type(p) for p in theirs]


def case(name, logits, seen, **settings):
    ids = torch.tensor([seen], dtype=torch.long)
    scores = processors(settings)(ids, logits[None].clone())
    p = torch.softmax(scores.double(), dim=-1)[0]
    kept = [i for i in range(len(p)) if torch.isfinite(scores[0, i])]
    return {"name": name, "logits": [round(float(x), 4) for x in logits], "seen": seen, "settings": settings, "ids": kept, "probabilities": [round(float(p[i]), 9) for i in kept]}


def main():
    order_is_the_library_s()
    g = torch.Generator().manual_seed(11)
    short = lambda x: torch.tensor([round(float(v), 4) for v in x])
    wide = torch.randn(150, generator=g) * 3
    flat = torch.randn(48, generator=g) * 0.1
    wide, flat = short(wide), short(flat)
    ties = torch.tensor([1.0, 2.0, 2.0, 0.5, 2.0, 1.0, 3.0, 1.0, 0.5, 2.0])
    negative = short(-torch.rand(40, generator=g) * 8)
    seen = [3, 17, 3, 120, 149, 0]
    cases = [
        case("temperature 1", wide, seen, temperature=1.0),
        case("temperature below 1", wide, seen, temperature=0.7),
        case("temperature above 1", wide, seen, temperature=1.9),
        case("penalty", wide, seen, temperature=1.0, repetition_penalty=1.3),
        case("penalty below 1", wide, seen, temperature=0.8, repetition_penalty=0.6),
        case("penalty of negative logits", negative, [1, 2, 39], temperature=1.0, repetition_penalty=1.5),
        case("top-k", wide, seen, temperature=1.0, top_k=40),
        case("top-k of 1", wide, seen, temperature=1.3, top_k=1),
        case("top-k of more than there are", flat, [], temperature=1.0, top_k=1000),
        case("top-k, equals of the last stay", ties, [], temperature=1.0, top_k=3),
        case("top-p", wide, seen, temperature=1.0, top_p=0.9),
        case("top-p, small", wide, seen, temperature=1.0, top_p=0.05),
        case("top-p of 0 keeps one", wide, seen, temperature=1.0, top_p=0.0),
        case("top-p, nearly all", wide, seen, temperature=1.0, top_p=0.999),
        case("top-p of nearly equal tokens", flat, [], temperature=1.0, top_p=0.5),
        case("top-p, equals are cut by id", ties, [], temperature=1.0, top_p=0.6),
        case("min-p", wide, seen, temperature=1.0, min_p=0.05),
        case("min-p, hot", wide, seen, temperature=2.5, min_p=0.1),
        case("min-p of 1", ties, [], temperature=1.0, min_p=1.0),
        case("min-p of 0", flat, [], temperature=1.0, min_p=0.0),
        case("all", wide, seen, temperature=0.8, top_k=50, top_p=0.95, min_p=0.02, repetition_penalty=1.1),
        case("all, hot", wide, seen, temperature=1.7, top_k=60, top_p=0.8, min_p=0.05, repetition_penalty=1.2),
        case("top-k then top-p", wide, seen, temperature=1.0, top_k=20, top_p=0.9),
        case("top-p then min-p", flat, [5, 6], temperature=0.3, top_p=0.7, min_p=0.6),
    ]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sampling", "cases.json")
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    print(f"{path}: {len(cases)} cases")


main()
