"""GGUFs of small models by llama.cpp's own converter, for the tests that hold them to the directories they were made from.

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36      the converter lies in its vendor/llama.cpp
    pip install torch transformers tokenizers sentencepiece gguf
    python make_gguf.py LLAMA_CPP DIRECTORY …        (folders of make_reference.py; writes DIRECTORY/model.gguf)

LLAMA_CPP holds convert_hf_to_gguf.py, conversion/ and gguf-py/. The models have no tokenizer: a byte-level or SentencePiece one of as many
tokens as the model's embedding has rows is added to a copy of the directory. The converter knows a pre-tokenizer by a hash of what it does;
a made-up one is given the name "gpt-2" from outside.
"""
import json, os, shutil, sys, tempfile

def byte_level(path, size):
    """tokenizer.json: letters, no merges, and the special tokens that some converters ask for."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    special = ["<|endoftext|>", "<|user|>", "<s>", "</s>"]
    vocab = {chr(c): i for i, c in enumerate(range(33, 33 + size - len(special)))}
    t = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True) for s in special])
    t.save(os.path.join(path, "tokenizer.json"))
    json.dump(dict(tokenizer_class="GPT2Tokenizer", bos_token="<s>", eos_token="</s>"), open(os.path.join(path, "tokenizer_config.json"), "w"))

def sentencepiece(path, size):
    import sentencepiece as spm
    text = os.path.join(path, "text")
    open(text, "w").write("\n".join(f"{a}{b} {b}{a}{a} the {a}bc of {b}de" for a in "abcdefghijkl" for b in "mnopqrstuvwxyz"))
    spm.SentencePieceTrainer.train(input=text, model_prefix=os.path.join(path, "tokenizer"), vocab_size=size, model_type="bpe", minloglevel=2,
                                   pad_id=0, eos_id=1, bos_id=2, unk_id=3)
    for name in (text, os.path.join(path, "tokenizer.vocab")): os.remove(name)

def main(llama_cpp, directories):
    sys.path[:0] = [llama_cpp, os.path.join(llama_cpp, "gguf-py")]
    import conversion, convert_hf_to_gguf
    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    for directory in directories:
        with tempfile.TemporaryDirectory() as copy:
            for name in ("config.json", "model.safetensors"): shutil.copy(os.path.join(directory, name), copy)
            config = json.load(open(os.path.join(copy, "config.json")))
            size = config.get("text_config", config)["vocab_size"]
            # These two know SentencePiece alone.
            if config["model_type"] in ("gemma", "gemma2"): sentencepiece(copy, size)
            else: byte_level(copy, size)
            sys.argv = ["convert_hf_to_gguf.py", copy, "--outtype", "f32", "--outfile", os.path.join(directory, "model.gguf"), "--model-name", "small"]
            convert_hf_to_gguf.main()

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
