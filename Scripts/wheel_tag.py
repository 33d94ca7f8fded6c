"""What a binary asks of the machine it runs on, and whether a wheel's platform tag promises no more than that.

    python3 Scripts/wheel_tag.py FILE...        each an ELF file or a wheel; exit 1 where one needs more than manylinux_2_35 has

manylinux_2_35 (PEP 600): every Linux with glibc 2.35 or newer, whose libstdc++ is that of GCC 12. A binary may name the libraries
below and no others, and no symbol of them that is newer. Read from the file itself: the names it needs (DT_NEEDED) and the versions
of their symbols (.gnu.version_r), which the linker wrote.
"""
import re, struct, sys, zipfile

TAG = "manylinux_2_35_x86_64"
# The newest version of each name that glibc 2.35 and the libraries of GCC 12 define.
NEWEST = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0)}
LIBRARIES = {
    "libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libnsl.so.1", "libresolv.so.2",
    "libgcc_s.so.1", "libstdc++.so.6", "ld-linux-x86-64.so.2",
}


class NotELF(ValueError):
    pass


def requirements(data):
    """The libraries of an x86-64 ELF file and the versions that it needs of them: (names, [(library, version)])."""
    if data[:4] != b"\x7fELF" or data[4:6] != b"\x02\x01" or struct.unpack_from("<H", data, 18)[0] != 62:
        raise NotELF("not an ELF file for x86-64")
    sections_at, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    # sh_type, sh_offset, sh_size, sh_link, sh_info.
    sections = []
    for i in range(count):
        _, kind, _, _, offset, length, link, info = struct.unpack_from("<IIQQQQII", data, sections_at + i * size)
        sections.append((kind, offset, length, link, info))

    def text(section, at):
        start = sections[section][1] + at
        return data[start:data.index(b"\0", start)].decode()

    names, versions = [], []
    for kind, offset, length, link, info in sections:
        if kind == 6:  # SHT_DYNAMIC
            for at in range(offset, offset + length, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == 0:
                    break
                if tag == 1:  # DT_NEEDED
                    names.append(text(link, value))
        if kind == 0x6FFFFFFE:  # SHT_GNU_verneed
            at = offset
            for _ in range(info):
                _, entries, library, first, following = struct.unpack_from("<HHIII", data, at)
                entry = at + first
                for _ in range(entries):
                    _, _, _, name, next_entry = struct.unpack_from("<IHHII", data, entry)
                    versions.append((text(link, library), text(link, name)))
                    entry += next_entry
                at += following
    return names, versions


def faults(data):
    """A sentence for each thing that manylinux_2_35 does not promise."""
    names, versions = requirements(data)
    if not names:
        return ["names no library at all: not what the build makes"]
    found = ["needs %s, which is not among the libraries of every Linux" % name for name in names if name not in LIBRARIES]
    for library, version in versions:
        name, _, number = version.partition("_")
        newest = NEWEST.get(name)
        parts = tuple(int(part) for part in number.split(".")) if re.fullmatch(r"[0-9.]+", number) else None
        if newest is None or parts is None:
            found.append("needs %s of %s, a version that no tag promises" % (version, library))
        elif parts > newest:
            found.append("needs %s of %s; %s_%s is the newest" % (version, library, name, ".".join(map(str, newest))))
    return found


def newest(data):
    """The newest version needed of each name: {"GLIBC": "2.35"}."""
    result = {}
    for _, version in requirements(data)[1]:
        name, _, number = version.partition("_")
        parts = tuple(int(part) for part in number.split(".")) if re.fullmatch(r"[0-9.]+", number) else ()
        result[name] = max(result.get(name, ()), parts)
    return {name: ".".join(map(str, parts)) for name, parts in sorted(result.items())}


def binaries(path):
    """The ELF files in a wheel, or the file itself: [(name, bytes)]."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            return [(path, file.read())]
    with zipfile.ZipFile(path) as wheel:
        files = [(name, wheel.read(name)) for name in wheel.namelist()]
    return [(name, data) for name, data in files if data[:4] == b"\x7fELF"]


def main():
    bad = 0
    for path in sys.argv[1:]:
        found = binaries(path)
        if not found:
            print("%s: no binary in it" % path, file=sys.stderr)
            bad += 1
        if path.endswith(".whl") and not path.endswith("-%s.whl" % TAG):
            print("%s: its tag is not %s" % (path, TAG), file=sys.stderr)
            bad += 1
        for name, data in found:
            problems = faults(data)
            for problem in problems:
                print("%s: %s" % (name, problem), file=sys.stderr)
            bad += len(problems)
            if not problems:
                print("%s: %s holds; newest symbols %s; libraries %s" % (
                    name, TAG, ", ".join("%s %s" % item for item in newest(data).items()), " ".join(requirements(data)[0])))
    sys.exit(1 if bad or len(sys.argv) < 2 else 0)


if __name__ == "__main__":
    main()
