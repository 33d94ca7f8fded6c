"""Writes the two lists of the files in Sources/CUDAKernels/kernels: sources.c (the texts, embedded in the binary) and the emulator's includes.

`make build` and `make test-build` run it, so that adding a kernel is adding a file. A file whose text would stay is not touched.
--check writes nothing: exit 1 where a list is not what the folder says.
"""
import os, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
KERNELS = os.path.join(ROOT, "Sources", "CUDAKernels", "kernels")
NOTE = "// Written by Scripts/kernel_table.py from the folder Sources/CUDAKernels/kernels; do not edit.\n"


def names(suffix):
    return sorted(name for name in os.listdir(KERNELS) if name.endswith(suffix))


def identifier(name):
    return name.replace(".", "_")


def embedded():
    """sources.c: headers first, then kernels, each with its name and text."""
    files = names(".cuh") + names(".cu")
    text = NOTE + '#include "CUDAKernels.h"\n\n'
    for name in files:
        text += 'static const unsigned char %s[] = {\n#embed "kernels/%s"\n};\n' % (identifier(name), name)
    text += "\nstatic const struct {\n    const char *name;\n    const unsigned char *text;\n    size_t length;\n} table[] = {\n"
    for name in files:
        text += '    {"%s", %s, sizeof %s},\n' % (name, identifier(name), identifier(name))
    return text + """};

size_t lorikeet_kernel_source_count(void) { return sizeof table / sizeof *table; }
const char *lorikeet_kernel_source_name(size_t index) { return index < lorikeet_kernel_source_count() ? table[index].name : NULL; }
const unsigned char *lorikeet_kernel_source_text(size_t index, size_t *length) {
    if (index >= lorikeet_kernel_source_count()) return NULL;
    *length = table[index].length;
    return table[index].text;
}
"""


def emulated():
    """The emulator's includes: headers for all, then each kernel in a namespace of its own, as each is compiled alone for a card.

    What takes its products from tiles.cuh comes a second time with a warpgroup's, which a card of capability 9.0 runs, and in float16 a
    third time with the tile sizes and stages of 7.5.
    """
    path = "../../Sources/CUDAKernels/kernels/"

    def included(name, suffix):
        return 'namespace %s {\n#include "%s%s"\n}\n' % (identifier(name) + suffix, path, name)

    def has_tiles(name):
        with open(os.path.join(KERNELS, name)) as file:
            return '#include "tiles.cuh"' in file.read()

    text = NOTE + "".join('#include "%s%s"\n' % (path, name) for name in names(".cuh")) + "\nnamespace {\n"
    text += "".join(included(name, "") for name in names(".cu"))
    text += '\n// Registered as hopper_NAME.\n#undef HOPPER\n#define HOPPER 1\n#undef EMULATED_PREFIX\n#define EMULATED_PREFIX "hopper_"\n'
    tiled = [name for name in names(".cu") if has_tiles(name)]
    text += "".join(included(name, "_hopper") for name in tiled)
    text += '\n// Registered as turing_NAME.\n#undef HOPPER\n#define HOPPER 0\n#undef EMULATED_PREFIX\n#define EMULATED_PREFIX "turing_"\n'
    text += "#undef ARCH\n#define ARCH 75\n#if TYPE == 1\n"
    return text + "".join(included(name, "_turing") for name in tiled) + "#endif\n}\n"


LISTS = {"Sources/CUDAKernels/sources.c": embedded, "Tests/KernelEmulator/sources.h": emulated}


def main():
    stale = []
    for name, content in LISTS.items():
        path, text = os.path.join(ROOT, name), content()
        if os.path.exists(path):
            with open(path) as file:
                if file.read() == text:
                    continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            with open(path, "w") as file:
                file.write(text)
            print("kernels: wrote " + name)
    if stale and "--check" in sys.argv[1:]:
        print("kernels: out of date: %s; run 'python3 Scripts/kernel_table.py' and commit" % ", ".join(stale), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
