#!/usr/bin/env bash
# Checks what building, testing and the demos need; installs what is missing with apt-get (as root or through sudo),
# else prints the one line to run and exits 2. Does nothing where everything is there.
set -euo pipefail

packages=()
need() { # need PACKAGE CHECK...: the package is wanted when the check fails
    local package=$1
    shift
    "$@" > /dev/null 2>&1 || packages+=("$package")
}
is_file() { compgen -G "$1"; }

if ! command -v swift > /dev/null; then
    echo "setup: Swift is missing; install 6.1 or newer from https://www.swift.org/install/linux" >&2
    exit 2
fi
version=$(swift --version 2> /dev/null | grep -oE 'Swift version [0-9]+\.[0-9]+' | head -1 | grep -oE '[0-9]+\.[0-9]+' || true)
if [ -z "$version" ] || [ "$(printf '6.1\n%s\n' "$version" | sort -V | head -1)" != 6.1 ]; then
    echo "setup: Swift ${version:-of unknown version} is too old; install 6.1 or newer from https://www.swift.org/install/linux" >&2
    exit 2
fi

need git command -v git
need python3 command -v python3
need python3-pip python3 -m pip --version
need python3-venv python3 -c 'import ensurepip, venv'
need g++ is_file '/usr/include/c++/*/vector'
need libc6-dev is_file '/usr/include/stdio.h'
need binutils command -v ld
need rapidjson-dev test -e /usr/include/rapidjson/reader.h
need libpcre2-dev is_file '/usr/lib/*/libpcre2-8.a'
need zlib1g-dev is_file '/usr/lib/*/libz.a'
need libzstd-dev is_file '/usr/lib/*/libzstd.a'
# The build with threads: the serial one has no locks and must not be called from two threads.
need libopenblas-pthread-dev is_file '/usr/lib/*/openblas-pthread/libopenblas.a'
need dpkg command -v dpkg-deb

if [ ${#packages[@]} -gt 0 ]; then
    line="apt-get install -y --no-install-recommends ${packages[*]}"
    if ! command -v apt-get > /dev/null; then
        echo "setup: missing, by Debian's names: ${packages[*]}; install them with this system's package manager" >&2
        exit 2
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=()
    elif command -v sudo > /dev/null && { sudo -n true 2> /dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    else
        echo "setup: missing: ${packages[*]}; as root, run:  apt-get update && $line" >&2
        exit 2
    fi
    echo "setup: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $line; } > "$log" 2>&1; then
        tail -5 "$log" >&2
        echo "setup: apt-get failed; as root, run:  apt-get update && $line" >&2
        exit 2
    fi
    rm -f "$log"
fi

# Where both builds of OpenBLAS are installed, an administrator may have chosen the serial one.
for library in /usr/lib/*/libopenblas.a; do
    case $(readlink -f "$library") in
        */openblas-serial/*)
            name=libopenblas.a-$(basename "$(dirname "$library")")
            echo "setup: $library is the serial build, which allows one thread; as root, run:  update-alternatives --auto $name" >&2 ;;
    esac
done
echo "setup: everything is there (Swift $version)"
