"""The adapters of small models as GGUFs by llama.cpp's own converter, for the tests of the export.

    python make_lora_gguf.py LLAMA_CPP DIRECTORY …        (folders of make_reference.py; writes DIRECTORY/adapter.gguf)

LLAMA_CPP holds convert_lora_to_gguf.py (see make_gguf.py).
"""
import os, subprocess, sys

llama_cpp = sys.argv[1]
for directory in sys.argv[2:]:
    subprocess.run(
        [sys.executable, os.path.join(llama_cpp, "convert_lora_to_gguf.py"), "--base", directory, "--outtype", "f32",
         "--outfile", os.path.join(directory, "adapter.gguf"), os.path.join(directory, "adapter_init")],
        check=True, env={**os.environ, "PYTHONPATH": os.path.join(llama_cpp, "gguf-py")})
