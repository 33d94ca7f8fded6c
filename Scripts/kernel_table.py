"""Writes Sources/CUDAKernels/sources.c, the table of embedded kernel sources, from the folder's files."""
import os
folder = os.path.join(os.path.dirname(__file__), "..", "Sources", "CUDAKernels")
names = sorted(f for f in os.listdir(folder) if f.endswith(".cuh")) + sorted(f for f in os.listdir(folder) if f.endswith(".cu"))
text = '// Written by Scripts/kernel_table.py; a test compares folder and table.\n#include "CUDAKernels.h"\n\n'
for name in names:
    text += 'static const unsigned char %s[] = {\n#embed "%s"\n};\n' % (name.split(".")[0], name)
text += "\nstatic const struct {\n    const char *name;\n    const unsigned char *text;\n    size_t length;\n} table[] = {\n"
for name in names:
    short = name.split(".")[0]
    text += '    {"%s", %s, sizeof %s},\n' % (name, short, short)
text += """};

size_t lorikeet_kernel_source_count(void) { return sizeof table / sizeof *table; }
const char *lorikeet_kernel_source_name(size_t index) { return index < lorikeet_kernel_source_count() ? table[index].name : NULL; }
const unsigned char *lorikeet_kernel_source_text(size_t index, size_t *length) {
    if (index >= lorikeet_kernel_source_count()) return NULL;
    *length = table[index].length;
    return table[index].text;
}
"""
with open(os.path.join(folder, "sources.c"), "w") as file:
    file.write(text)
