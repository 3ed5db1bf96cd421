# shellcheck shell=bash
# What scripts/quickstart and scripts/test share. They source it under
# `set -euo pipefail`.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# need COMMAND=PACKAGE... notes the Debian packages of the commands that are
# missing, for install.
missing=()
need() {
    local pair
    for pair; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
    done
}

# install fetches what need and others noted in missing, and is silent when
# that is nothing.
install() {
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null 2>&1 || die "please install: ${missing[*]} (this is no Debian, so the script does not know how)"
    local sudo=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null 2>&1 || die "please install as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing: ${missing[*]}"
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
        say "(Debian's package sets up an empty cluster of the system; it is left alone)"
    fi
    local log
    log=$(mktemp)
    # Debian's own questions and chatter are of no interest unless it fails.
    if ! { "${sudo[@]}" apt-get update -q &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
        >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        die "could not install: ${missing[*]}"
    fi
    rm -f "$log"
    missing=()
    hash -r
}

# find_go puts Go on PATH where its usual archive was unpacked without that,
# and gives it folders to work in where the machine has none.
find_go() {
    if ! command -v go >/dev/null 2>&1; then
        [[ -x /usr/local/go/bin/go ]] || die "Go is not installed; see https://go.dev/doc/install"
        PATH=$PATH:/usr/local/go/bin
    fi
    # Go names the version of the program after the checkout, and stops when
    # git will not read one that belongs to another user.
    if ! git -C "$repo" status >/dev/null 2>&1; then
        export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
    fi
    local cache path
    cache=$(go env GOCACHE 2>/dev/null || true)
    path=$(go env GOMODCACHE 2>/dev/null || true)
    if ! usable "$cache" || ! usable "$path"; then
        [[ -n ${scratch:-} ]] || die "there is no folder for Go's caches; set HOME to one that can be written"
        export GOCACHE=$scratch/go-build GOMODCACHE=$scratch/go-mod GOPATH=$scratch/go
        # Otherwise Go makes modules read-only, which rm -r cannot remove.
        export GOFLAGS="${GOFLAGS:-} -modcacherw"
    fi
}

# usable says whether a folder can be written to, or can be made.
usable() {
    local dir=$1
    [[ $dir == /* ]] || return 1
    while [[ ! -e $dir ]]; do dir=$(dirname "$dir"); done
    [[ -d $dir && -w $dir && -x $dir ]]
}

# find_postgres puts the newest PostgreSQL server's programs first on PATH, and
# fails when there is none. Debian keeps initdb and pg_ctl off PATH, and its
# pg_dump there is a wrapper that looks for clusters of the system.
find_postgres() {
    local bin
    bin=$(find /usr/lib/postgresql/*/bin -name initdb 2>/dev/null | sort -V | tail -n 1 || true)
    if [[ -n $bin ]]; then
        PATH=$(dirname "$bin"):$PATH
        hash -r
    fi
    command -v initdb >/dev/null 2>&1
}
