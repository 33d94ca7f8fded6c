"""llama.cpp's quantiser by way of llama-cpp-python's libraries (0.3.36, from its sdist): what make_quantisation.py and
compare_quantisation.py share."""
import ctypes
import os
import pydoc_data.topics

import gguf
import llama_cpp
import numpy as np

_folder = os.path.dirname(llama_cpp.__file__) + "/lib/"
_ggml = ctypes.CDLL(_folder + "libggml-base.so")
_llama = ctypes.CDLL(_folder + "libllama.so")
_ggml.ggml_init.restype = _ggml.ggml_new_tensor.restype = _ggml.ggml_quantize_chunk.restype = ctypes.c_void_p

_silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))

# Python's language reference as the standard library carries it.
TEXT = "\n\n".join(pydoc_data.topics.topics.values()).encode()[:50_000]

# Lorikeet's names of the forms, and the types that it writes.
FORMS = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18, "bf16": 32}
TYPES = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_K", "q5_K", "q6_K"]


def kind(name):
    return gguf.GGMLQuantizationType[name.upper()]


def quantise(values, name):
    """Rows of float32 as llama.cpp's blocks, without an importance matrix: rows of bytes."""
    values = np.ascontiguousarray(values, np.float32)
    rows, columns = values.shape
    elements, size = gguf.GGML_QUANT_SIZES[kind(name)]
    blocks = np.zeros((rows, columns // elements * size), np.uint8)
    _ggml.ggml_quantize_chunk(
        ctypes.c_int(kind(name)), ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(blocks.ctypes.data), ctypes.c_int64(0),
        ctypes.c_int64(rows), ctypes.c_int64(columns), None)
    return blocks


def quantised(values, name):
    """Rows of float32 as llama.cpp's blocks, expanded again."""
    return gguf.dequantize(quantise(values, name), kind(name))


def sums(values, expanded, name):
    """Σ w e², Σ w, Σ e² and their number, with the weights w that llama.cpp gives a type's errors e when it searches for scales."""
    values = values.astype(np.float64).ravel()
    squares = (expanded.astype(np.float64).ravel() - values) ** 2
    weights = np.ones_like(values)
    if name in ("q4_K", "q5_K"):
        groups = values.reshape(-1, 32)
        weights = (np.sqrt((groups**2).mean(1, keepdims=True)) + np.abs(groups)).ravel()
    if name == "q6_K":
        weights = values**2
    return np.array([(weights * squares).sum(), weights.sum(), squares.sum(), len(values)])


def quantise_file(source, target, form, threads=2):
    """Writes llama.cpp's own quantisation of a whole float32 or 16-bit GGUF; `form` is a name of FORMS or llama.cpp's number."""
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = FORMS.get(form, form), threads
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(settings)):
        raise RuntimeError(f"llama.cpp did not quantise {source}")


def tensor_errors(full_path, ours_path, theirs_path):
    """Each tensor of a quantised GGUF of ours: (name, our type, llama.cpp's type, error sums of ours and of llama.cpp's as rows of an array; None
    where the type is a plain float). Needs an open file of llama.cpp's for its types alone: its blocks are made again from the same values."""
    full, ours, theirs = (gguf.GGUFReader(path) for path in (full_path, ours_path, theirs_path))
    theirs, plain = {t.name: t.tensor_type for t in theirs.tensors}, {t.name: t for t in full.tensors}
    names = {int(kind(name)): name for name in TYPES}
    for tensor in ours.tensors:
        name, found = names.get(int(tensor.tensor_type)), None
        if name is not None:
            found, values = np.zeros((2, 4)), plain[tensor.name].data
            rows = max(1, (1 << 22) // int(tensor.shape[0]))
            for first in range(0, len(values), rows):
                part = values[first : first + rows].astype(np.float32)
                expanded = gguf.dequantize(tensor.data[first : first + rows], tensor.tensor_type)
                found += [sums(part, expanded, name), sums(part, quantised(part, name), name)]
        yield tensor.name, tensor.tensor_type.name, theirs[tensor.name].name, found


def is_higher(found):
    """Whether our error is above llama.cpp's, weighted or plain."""
    return any(a > b * (1 + 1e-6) for a, b in zip(roots(found[0]), roots(found[1])))


def roots(sums):
    """Root mean square error, weighted and plain."""
    return float(np.sqrt(sums[0] / max(sums[1], 1e-300))), float(np.sqrt(sums[2] / sums[3]))


def perplexity(path, text, threads, context=512):
    """exp of the mean loss of the second half of each window, as llama.cpp's own tool takes it, and the number of tokens that count."""
    model = llama_cpp.Llama(
        path, n_ctx=context, n_batch=context, logits_all=True, verbose=False, n_threads=threads, n_threads_batch=threads)
    ids = model.tokenize(text, add_bos=False)
    loss, count, half = 0.0, 0, context // 2
    for first in range(0, len(ids) - context + 1, context - 1):
        window = [model.token_bos()] + ids[first : first + context - 1]
        model.reset()
        model.eval(window)
        for start in range(half, context - 1, 32):
            places = np.arange(start, min(start + 32, context - 1))
            logits = model.scores[places]
            largest = logits.max(1, keepdims=True)
            sums = np.log(np.exp(logits - largest).sum(1, dtype=np.float64)) + largest[:, 0]
            loss += (sums - logits[np.arange(len(places)), np.array(window)[places + 1]]).sum()
            count += len(places)
    model.close()
    return float(np.exp(loss / count)), count


class _Description(ctypes.Structure):
    _fields_ = [("architecture", ctypes.c_char_p)] + [
        (name, ctypes.c_uint32) for name in ("embedding", "feed_forward", "layers", "heads", "key_heads", "experts", "head_k", "head_v")]


class _Context(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("memory", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def mixed(architecture, layers, heads, key_heads, tensors, form):
    """The type that llama.cpp's quantiser gives each (name, shape) of a float32 file, in the order of the list."""
    def function(name, *types, result=None):
        found = getattr(_llama, name)
        found.argtypes, found.restype = types, result
        return found

    order = sorted(range(len(tensors)), key=lambda i: (_layer(tensors[i][0]), tensors[i][0]))
    context = _ggml.ggml_init(_Context(64 << 20, None, True))
    pointers = (ctypes.c_void_p * len(tensors))()
    for place, i in enumerate(order):
        name, shape = tensors[i]
        sizes = (ctypes.c_int64 * len(shape))(*reversed(shape))
        pointers[place] = _ggml.ggml_new_tensor(ctypes.c_void_p(context), 0, len(shape), sizes)
        _ggml.ggml_set_name(ctypes.c_void_p(pointers[place]), name.encode())
    pointer = ctypes.c_void_p
    description = _Description(architecture.encode(), 64, 64, layers, heads, key_heads, 0, 64, 64)
    model = function("_Z31llama_quant_model_from_metadataPK22llama_quant_model_desc", pointer, result=pointer)(ctypes.addressof(description))
    settings = llama_cpp.llama_model_quantize_default_params()
    state = function("_Z16llama_quant_initPK11llama_modelPK27llama_model_quantize_params", pointer, pointer, result=pointer)(
        model, ctypes.addressof(settings))
    types = (ctypes.c_int * len(tensors))()
    function(
        "_Z25llama_quant_compute_typesP19quantize_state_impl11llama_ftypePP11ggml_tensorP9ggml_typem",
        pointer, ctypes.c_int, pointer, pointer, ctypes.c_size_t)(
            state, FORMS[form], ctypes.addressof(pointers), ctypes.addressof(types), len(tensors))
    names = {int(kind(name)): name for name in TYPES + ["f32", "f16", "bf16"]}
    found = {order[place]: names[types[place]] for place in range(len(tensors))}
    _ggml.ggml_free(ctypes.c_void_p(context))
    return [found[i] for i in range(len(tensors))]


def _layer(name):
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blk" else -1
