"""Compiles every kernel source as a card would, without a card: NVRTC from PyPI, fetched once to .work/nvrtc-VERSION.

Every .cu of Sources/CUDAKernels/kernels for float32, float16 and bfloat16 (from 8.0 on; what loads a model everywhere) and compute capabilities 7.5, 8.0 and 9.0.
`--fetch` only downloads NVRTC and prints its folder.
A line a source and capability: kernels, most registers, bytes spilled (of all types). Errors and warnings fail: exit 1; no NVRTC: 4.
"""
import concurrent.futures, ctypes, glob, os, re, shutil, subprocess, sys, tempfile, time, zipfile

PACKAGE, VERSION = "nvidia-cuda-nvrtc-cu12", "12.6.85"
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SOURCES = os.path.join(ROOT, "Sources", "CUDAKernels", "kernels")
# A card without bfloat16 still loads files of it.
LOADING = ("convert.cu", "quantise.cu")
TYPES = {0: "f32", 1: "f16", 2: "bf16"}


def library():
    """The library's path, downloaded where it is not there yet."""
    folder = os.path.join(ROOT, ".work", "nvrtc-" + VERSION)
    found = glob.glob(os.path.join(folder, "libnvrtc.so.*"))
    if found:
        return found[0]
    os.makedirs(os.path.join(ROOT, ".work"), exist_ok=True)
    scratch = tempfile.mkdtemp(prefix="nvrtc.", dir=os.path.join(ROOT, ".work"))
    try:
        print("kernels: downloading NVRTC %s (24 MB)" % VERSION, file=sys.stderr)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        if subprocess.run(command + ["--dest", scratch, "%s==%s" % (PACKAGE, VERSION)]).returncode != 0:
            print("kernels: NVRTC could not be downloaded; check the network (or PIP_INDEX_URL) and run 'make kernels' again", file=sys.stderr)
            sys.exit(4)
        unpacked = os.path.join(scratch, "lib")
        os.mkdir(unpacked)
        with zipfile.ZipFile(glob.glob(os.path.join(scratch, "*.whl"))[0]) as wheel:
            for name in wheel.namelist():
                if "/lib/libnvrtc" in name:
                    with wheel.open(name) as packed, open(os.path.join(unpacked, os.path.basename(name)), "wb") as plain:
                        shutil.copyfileobj(packed, plain)
        os.rename(unpacked, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return glob.glob(os.path.join(folder, "libnvrtc.so.*"))[0]


def compiled(path, name, architecture, element):
    """Status and log of one compilation, with the options of Sources/Devices/CUDA/KernelCompiler.swift and ptxas' report."""
    nvrtc = ctypes.CDLL(path)
    with open(os.path.join(SOURCES, name), "rb") as file:
        source = file.read()
    program = ctypes.c_void_p()
    included = sorted(n for n in os.listdir(SOURCES) if n.endswith(".cuh"))
    texts = [open(os.path.join(SOURCES, n), "rb").read() for n in included]
    headers, names = (ctypes.c_char_p * len(included))(*texts), (ctypes.c_char_p * len(included))(*[n.encode() for n in included])
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), len(included), headers, names)
    options = ["-arch=sm_%d%s" % (architecture, "a" if architecture == 90 else ""), "-DTYPE=%d" % element, "-DARCH=%d" % architecture, "-std=c++17", "--ptxas-options=-v"]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*[o.encode() for o in options]))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log.value.decode(errors="replace")


def main():
    path = library()
    if sys.argv[1:] == ["--fetch"]:
        return print(os.path.dirname(path))
    jobs = [
        (name, architecture, element)
        for name in sorted(n for n in os.listdir(SOURCES) if n.endswith(".cu"))
        for architecture in (75, 80, 90)
        for element in TYPES
        if element < 2 or architecture >= 80 or name in LOADING
    ]
    begin = time.time()
    # Processes: NVRTC compiles one program at a time in each.
    with concurrent.futures.ProcessPoolExecutor() as pool:
        results = dict(zip(jobs, pool.map(compiled, [path] * len(jobs), *zip(*jobs))))
    failed, reports = 0, {}
    for (name, architecture, element), (status, log) in results.items():
        if status != 0 or re.search(r"\b(warning|error)\b", log, re.IGNORECASE):
            failed += 1
            print("kernels: %s, %s, sm_%d: status %d\n%s" % (name, TYPES[element], architecture, status, log[:4000]), file=sys.stderr)
        reports.setdefault((name, architecture), []).append(log)
    for (name, architecture), logs in reports.items():
        log = "\n".join(logs)
        registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", log))
        if registers:
            print("%-20s sm_%d  %3d kernels  %3d registers at most  %d bytes spilled" % (name, architecture, len(registers), max(registers), spilled))
    print("%d compilations in %.0f s, %d with errors or warnings" % (len(jobs), time.time() - begin, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
