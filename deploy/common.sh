# common.sh - what the scripts of this folder and tests/run share: packages, the cache folder, building.
# Sourced by bash scripts that have set root= to the top of the tree.  To add a dependency, name its Debian
# package in a list below and, when it can be had otherwise too, say in have() how to see it.

packages_build="gcc libc6-dev meson ninja-build pkg-config libmicrohttpd-dev libjansson-dev libopenblas-dev libuv1-dev
    libpcre2-dev libutf8proc-dev zlib1g-dev"
packages_fetch="ca-certificates python3 python3-pip curl"
packages_tests="check clang libclang-rt-14-dev llvm clang-format python3-venv xz-utils"

cache_folder=${LOQUAT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/loquat}

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

usage_error() {
    say "${0##*/}: $*; --help lists the options"
    exit 2
}

# have PACKAGE: is what the package brings here, from whatever source?
have() {
    case $1 in
    gcc | meson | curl | clang | clang-format | pkg-config) command -v "$1" ;;
    ninja-build) command -v ninja ;;
    llvm) command -v llvm-symbolizer || command -v llvm-symbolizer-14 ;;
    xz-utils) command -v xz ;;
    libc6-dev) test -e /usr/include/stdio.h ;;
    libmicrohttpd-dev) pkg-config --exists libmicrohttpd ;;
    libjansson-dev) pkg-config --exists jansson ;;
    libopenblas-dev) pkg-config --exists openblas ;;
    libuv1-dev) pkg-config --exists libuv ;;
    libpcre2-dev) pkg-config --exists libpcre2-8 ;;
    libutf8proc-dev) pkg-config --exists libutf8proc ;;
    zlib1g-dev) pkg-config --exists zlib ;;
    check) pkg-config --exists check ;;
    libclang-rt-14-dev) clang_has_sanitizers ;;
    ca-certificates) test -s /etc/ssl/certs/ca-certificates.crt ;;
    python3) command -v python3 ;;
    python3-pip) python3 -m pip --version ;;
    python3-venv) python3 -c 'import ensurepip, venv' ;;
    *) dpkg-query -W -f '${Status}\n' "$1" | grep -q '^install ok installed' ;;
    esac >/dev/null 2>&1
}

clang_has_sanitizers() {
    local program
    program=$(mktemp) || return 1
    echo 'int main(void) { return 0; }' | clang -x c -fsanitize=address -o "$program" - 2>/dev/null
    local status=$?
    rm -f "$program"
    return $status
}

# need_packages PACKAGE...: installs what is missing when root may, else names it and ends the script.
need_packages() {
    local missing=() p
    for p in "$@"; do
        have "$p" || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if ! command -v apt-get >/dev/null; then
        die "missing here, by their Debian names: ${missing[*]}"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "${0##*/}: missing packages; install them, then run this again:"
        die "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    fi
    say "installing: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! { apt-get -q -o Acquire::Retries=3 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
            install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: ${missing[*]}"
    fi
    rm -f "$log"
}

# build_into FOLDER [meson option...] [-- target...]: configures when needed and builds.
build_into() {
    local folder=$1 options=() stamp
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    # A folder configured for another place or with other options cannot be built again as it is.
    stamp="$root ${CC:-cc} ${options[*]:-}"
    if [ ! -f "$folder/build.ninja" ]; then
        meson setup "$folder" "$root" "${options[@]}" || return 1
    elif [ "$(cat "$folder/configured-as" 2>/dev/null)" != "$stamp" ]; then
        meson setup --wipe "$folder" "$root" "${options[@]}" || return 1
    fi
    printf '%s' "$stamp" >"$folder/configured-as"
    ninja -C "$folder" "$@"
}

# program_in FOLDER: the server's binary.
program_in() {
    local p
    for p in "$1/loquat" "$1/server/loquat"; do
        [ -x "$p" ] && [ ! -d "$p" ] && printf '%s\n' "$p" && return 0
    done
    return 1
}

# free_port: one that nobody listens on just now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
