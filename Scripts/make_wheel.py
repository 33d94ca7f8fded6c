"""make wheel: .work/lorikeet_qlora-VERSION-py3-none-manylinux_2_35_x86_64.whl from the static binary.

In it: the binary as a script on the path, the compiled GPU kernels where it finds them, the module of packaging/python, and of all that is
linked into the binary the licences and a list with versions (sbom.py). The version is the binary's own. The same inputs give the same bytes. Fails where a licence is missing, the tag promises more
machines than the binary runs on (wheel_tag.py), or the wheel is 40 MB or larger.

    python3 Scripts/make_wheel.py            a wheel to release: everything is compiled for it
    python3 Scripts/make_wheel.py BUILD      a wheel for checks, linked from the objects of a build that exists (.build-test)
"""
import base64, glob, hashlib, os, subprocess, sys, zipfile

import sbom, wheel_tag

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
NAME = "lorikeet_qlora"
LIMIT = 40_000_000
SUMMARY = "Lorikeet: QLoRA fine-tuning of language models as one binary, without a Python dependency"
DESCRIPTION = """# Lorikeet

QLoRA fine-tuning of language models as one binary: bring a model and a JSONL file; get back a merged, tested model.
This wheel has the command `lorikeet`, and a module that runs it from a notebook:

    import lorikeet_qlora
    summary = lorikeet_qlora.run(model="MODEL", data="train.jsonl", output="out")

Linux on x86-64 with AVX2 and glibc 2.35 or newer. For a card: an NVIDIA driver (525 or newer) and cuBLAS
(`pip install nvidia-cublas-cu12` where the machine has none). `lorikeet doctor --device cuda:0` says what it found.
"""
BUILD = ".build-static"
# Whose licences it has: a name and where the text stands.
LICENCES = [("Lorikeet", "LICENSE")] + [(component.name, component.text) for component in sbom.COMPONENTS]


def fail(message):
    print("wheel: " + message, file=sys.stderr)
    sys.exit(1)


def licences(build):
    """The text of every licence of what the build folder's binary is made of: [(name, bytes)]."""
    swift, found = sbom.swift_folder(), []
    for name, place in LICENCES:
        paths = glob.glob(os.path.join(ROOT, place.format(swift=swift, build=build)))
        if len(paths) != 1:
            fail("the licence of %s is not found (%s)" % (name, place))
        with open(paths[0], "rb") as file:
            text = file.read()
        if len(text) < 200:
            fail("%s holds no licence of %s" % (paths[0], name))
        found.append((name, text))
    return found


def version(binary):
    text = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if not text or not all(part.isdigit() for part in text.split(".")):
        fail("%s calls itself version '%s'" % (binary, text))
    return text


def contents(binary, number, build):
    """Every file of the wheel but RECORD: {path in it: (bytes, whether it may be run)}."""
    files, info, data = {}, "%s-%s.dist-info" % (NAME, number), "%s-%s.data" % (NAME, number)
    with open(binary, "rb") as file:
        files[data + "/scripts/lorikeet"] = (file.read(), True)
    kernels = os.path.join(os.path.dirname(binary), "kernels")
    for name in os.listdir(kernels):
        # pip puts them in share/lorikeet/kernels beside the folder of scripts, where the binary looks.
        with open(os.path.join(kernels, name), "rb") as file:
            files["%s/data/share/lorikeet/kernels/%s" % (data, name)] = (file.read(), False)
    module = os.path.join(ROOT, "packaging", "python", NAME)
    for name in os.listdir(module):
        if name.endswith(".py"):
            with open(os.path.join(module, name), "rb") as file:
                files["%s/%s" % (NAME, name)] = (file.read(), False)
    texts = licences(build)
    for name, text in texts:
        files["%s/licenses/%s.txt" % (info, name)] = (text, False)
    files[info + "/sboms/lorikeet.cdx.json"] = (sbom.text(os.path.join(ROOT, build), number).encode(), False)
    metadata = ["Metadata-Version: 2.1", "Name: " + NAME, "Version: " + number, "Summary: " + SUMMARY, "License: Apache-2.0"]
    metadata += ["License-File: %s.txt" % name for name, _ in texts]
    metadata += ["Requires-Python: >=3.9", "Description-Content-Type: text/markdown", "", DESCRIPTION]
    files[info + "/METADATA"] = ("\n".join(metadata).encode(), False)
    tag = "Wheel-Version: 1.0\nGenerator: Scripts/make_wheel.py\nRoot-Is-Purelib: false\nTag: py3-none-%s\n" % wheel_tag.TAG
    files[info + "/WHEEL"] = (tag.encode(), False)
    return files


def pack(files, path):
    """Writes the wheel: sorted, with fixed times, and RECORD as the last file."""
    record_path = next(name for name in files if name.endswith("/WHEEL"))[:-len("WHEEL")] + "RECORD"
    record = ""
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name][0]).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\n" % (name, digest, len(files[name][0]))
    entries = [(name, *files[name]) for name in sorted(files)] + [(record_path, (record + record_path + ",,\n").encode(), False)]
    with zipfile.ZipFile(path + ".new", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, data, runs in entries:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100755 if runs else 0o100644) << 16
            wheel.writestr(entry, data, compresslevel=9)
    os.replace(path + ".new", path)


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    binary, build = os.path.join(ROOT, ".work", "static", "lorikeet"), sys.argv[1] if len(sys.argv) > 1 else BUILD
    subprocess.run([os.path.join(ROOT, "Scripts", "static_binary.sh")] + sys.argv[1:], check=True)
    number = version(binary)
    with open(binary, "rb") as file:
        faults = wheel_tag.faults(file.read())
    if faults:
        fail("the binary does not run on every machine that %s promises: %s" % (wheel_tag.TAG, "; ".join(faults)))
    path = os.path.join(ROOT, ".work", "%s-%s-py3-none-%s.whl" % (NAME, number, wheel_tag.TAG))
    for old in glob.glob(os.path.join(ROOT, ".work", NAME + "-*.whl")):
        os.remove(old)
    files = contents(binary, number, build)
    pack(files, path)
    size = os.path.getsize(path)
    if size >= LIMIT:
        os.remove(path)
        fail("%d bytes, which is not under %d" % (size, LIMIT))
    print("wheel: %s, %.1f MB" % (os.path.relpath(path, ROOT), size / 1e6))


if __name__ == "__main__":
    main()
