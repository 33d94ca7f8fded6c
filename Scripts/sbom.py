"""The list of what is linked into the binary: names, versions, licences and where each is from, as CycloneDX 1.5 (JSON).

    python3 Scripts/sbom.py BUILD > lorikeet.cdx.json      BUILD is a build folder of SwiftPM (.build, .build-static)

Versions are those of the build: SwiftPM's pins with their commits, Debian's packages, Swift's own. The same inputs give the same bytes.
`make wheel` puts it into the wheel (`….dist-info/sboms/`, PEP 770), beside the licences, whose list is the same table.
"""
import collections, json, os, re, subprocess, sys, uuid

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
# kind: how the version is found. swift and icu: Swift's own; package: SwiftPM's pin; part: inside of another component; deb: a Debian package.
# text: where the licence stands; a pattern of one file. {swift} is Swift's folder, {build} the build folder.
# links: the library that Package.swift links; None for headers and for what Swift and SwiftPM link themselves.
Component = collections.namedtuple("Component", "name kind source licence text links", defaults=[None])
COMPONENTS = [
    # The runtime, Foundation and libdispatch.
    Component("Swift", "swift", "https://github.com/swiftlang/swift", "Apache-2.0 WITH Swift-exception", "{swift}/share/swift/LICENSE.txt"),
    Component("ICU", "icu", "https://github.com/swiftlang/swift-foundation-icu", "Unicode-3.0", "packaging/licences/ICU.txt"),
    Component("swift-argument-parser", "package", "swift-argument-parser", "Apache-2.0 WITH Swift-exception",
              "{build}/checkouts/swift-argument-parser/LICENSE*"),
    Component("Yams", "package", "yams", "MIT", "{build}/checkouts/Yams/LICENSE"),
    Component("libyaml", "part", "Yams", "MIT", "packaging/licences/libyaml.txt"),
    Component("OpenBLAS", "deb", "libopenblas-pthread-dev", "BSD-3-Clause", "/usr/share/doc/libopenblas-pthread-dev/copyright", "libopenblas.a"),
    Component("PCRE2", "deb", "libpcre2-dev", "BSD-3-Clause", "/usr/share/doc/libpcre2-dev/copyright", "libpcre2-8.a"),
    Component("RapidJSON", "deb", "rapidjson-dev", "MIT", "/usr/share/doc/rapidjson-dev/copyright"),
    Component("zlib", "deb", "zlib1g-dev", "Zlib", "/usr/share/doc/zlib1g-dev/copyright", "libz.a"),
    Component("Zstandard", "deb", "libzstd-dev", "BSD-3-Clause", "/usr/share/doc/libzstd-dev/copyright", "libzstd.a"),
]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def swift_folder():
    return os.path.dirname(os.path.dirname(os.path.realpath(output("which", "swift"))))


def found(pattern, text, what):
    match = re.search(pattern, text)
    if not match:
        raise SystemExit("sbom: the version of %s is not found" % what)
    return match.group(1)


def debian_name():
    with open("/etc/os-release") as file:
        return found(r'(?m)^ID="?([a-z]+)', file.read(), "the system")


def described(component, build, pins):
    """A component as CycloneDX has it."""
    entry = {"type": "library", "name": component.name, "licenses": [{"expression": component.licence}]}
    if component.kind == "swift":
        entry["version"] = found(r"Swift version (\S+)", output("swift", "--version"), "Swift")
        entry["purl"] = "pkg:github/swiftlang/swift@swift-%s-RELEASE" % entry["version"]
    elif component.kind == "icu":
        with open(os.path.join(swift_folder(), "lib", "swift_static", "_foundation_unicode", "uvernum.h")) as file:
            entry["version"] = found(r'#define U_ICU_VERSION "([^"]+)"', file.read(), "ICU")
        entry["purl"] = "pkg:generic/icu4c@" + entry["version"]
    elif component.kind == "package":
        pin = pins[component.source]
        place = pin["packageRef"]["location"]
        state = pin["state"]["checkoutState"]
        entry["version"] = state["version"]
        entry["purl"] = "pkg:swift/%s@%s" % (re.sub(r"^https://|\.git$", "", place), state["version"])
        entry["externalReferences"] = [{"type": "vcs", "url": "%s#%s" % (place, state["revision"])}]
    elif component.kind == "part":
        holder = next(other for other in COMPONENTS if other.name == component.source)
        entry["version"] = "in %s %s" % (holder.name, described(holder, build, pins)["version"])
        entry["purl"] = "pkg:generic/" + component.name.lower()
    else:
        entry["version"] = output("dpkg-query", "--show", "--showformat", "${Version}", component.source)
        architecture = output("dpkg", "--print-architecture")
        entry["purl"] = "pkg:deb/%s/%s@%s?arch=%s" % (debian_name(), component.source, entry["version"].replace(":", "%3A"), architecture)
    if component.kind in ("swift", "icu"):
        entry["externalReferences"] = [{"type": "vcs", "url": component.source}]
    entry["bom-ref"] = entry["purl"]
    return entry


def document(build, version):
    """The whole list, for the version of the binary that `build` has built."""
    with open(os.path.join(build, "workspace-state.json")) as file:
        pins = {pin["packageRef"]["identity"]: pin for pin in json.load(file)["object"]["dependencies"]}
    missing = sorted(set(pins) - {component.source for component in COMPONENTS})
    if missing:
        raise SystemExit("sbom: packages that the list does not have: " + ", ".join(missing))
    parts = [described(component, build, pins) for component in COMPONENTS]
    product = {"type": "application", "name": "lorikeet", "version": version, "licenses": [{"expression": "Apache-2.0"}], "bom-ref": "lorikeet"}
    holders = {component.name: part["bom-ref"] for component, part in zip(COMPONENTS, parts)}
    inside = {component.name: component.source for component in COMPONENTS if component.kind == "part"}
    depends = [{"ref": "lorikeet", "dependsOn": [part["bom-ref"] for part in parts if part["name"] not in inside]}]
    depends += [{"ref": holders[holder], "dependsOn": [holders[name]]} for name, holder in inside.items()]
    whole = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": product}, "components": parts, "dependencies": depends}
    # A number that follows from the content, so that the same content has the same.
    whole["serialNumber"] = "urn:uuid:%s" % uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(whole, sort_keys=True))
    return whole


def text(build, version):
    return json.dumps(document(build, version), indent=1, sort_keys=True) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    version = output(os.path.join(sys.argv[1], "release", "lorikeet"), "--version")
    sys.stdout.write(text(sys.argv[1], version))


if __name__ == "__main__":
    main()
