#!/usr/bin/env bash
# Builds librocksdb.a once per machine, so that no cargo profile, target directory or RUSTFLAGS change
# compiles RocksDB again (about half an hour on two cores by the crate's own build script).
#
#   scripts/rocksdb.sh                 build if needed, point this checkout at the archive (.cargo/config.toml)
#   eval "$(scripts/rocksdb.sh)"       the same, and set the variables in this shell too
#   scripts/rocksdb.sh --smoke         the same, then open, write, checkpoint and reopen a database with it
#
# The sources are those of the librocksdb-sys crate that Cargo.lock names, with the defines of its build.rs.
# They are compiled in unity groups (one translation unit that includes many files): most of RocksDB's
# compile time is its headers. Files that cannot share a translation unit are put aside and compiled in
# smaller groups, at the end one by one.
#
# Nothing here is required: without it plain `cargo build` compiles RocksDB from source.
set -euo pipefail

readonly RECIPE=2 # raise when this script would build something else from the same inputs
readonly GROUP_SIZES=(22 8 1)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

log() { printf 'rocksdb.sh: %s\n' "$*" >&2; }
die() { log "$*"; exit 1; }

# --- what to build, and with what -------------------------------------------------------------------

locked_version() { # crate name -> version in Cargo.lock
    awk -v want="\"$1\"" '$1 == "name" { name = $3 } $1 == "version" && name == want { gsub(/"/, "", $3); print $3 }' \
        "$root/Cargo.lock"
}

crate_dir() { # crate name -> its unpacked sources, fetched if they are not there
    local version dir try
    version=$(locked_version "$1")
    [[ -n $version ]] || die "Cargo.lock names no $1; run this in a checkout whose storage crate depends on rocksdb"
    for try in 1 2; do
        for dir in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$version"; do
            if [[ -d $dir ]]; then
                echo "$dir"
                return
            fi
        done
        if [[ $try == 1 ]]; then
            log "fetching $1 $version"
            (cd "$root" && cargo fetch --locked >&2) || die "cargo fetch --locked failed; see above"
        fi
    done
    die "$1 $version is not under ${CARGO_HOME:-$HOME/.cargo}/registry/src even after cargo fetch"
}

have_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib*/libclang*.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null
}

require_compiler() {
    local packages=()
    command -v clang++ >/dev/null || packages+=(clang)
    have_libclang || packages+=(libclang-dev) # bindgen reads RocksDB's C header with it, archive or not
    command -v flock >/dev/null || packages+=(util-linux)
    command -v ar >/dev/null || packages+=(binutils)
    ((${#packages[@]})) || return 0
    if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
        log "installing ${packages[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >&2
    else
        die "missing: ${packages[*]}. Run: sudo apt-get install -y ${packages[*]}"
    fi
}

compile_flags() { # $1 crate directory, $2 lz4 headers; one flag a line. Keep in step with the crate's build.rs.
    local flags=(
        -std=c++20 -O2 -fPIC -ffunction-sections -fdata-sections -fno-omit-frame-pointer -w
        -include cstdint
        "-I$1/rocksdb/include" "-I$1/rocksdb" "-I$1" "-I$2"
        -DNDEBUG=1 -DLZ4=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION
        -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX
    )
    case $(uname -s) in
        Linux) flags+=(-DOS_LINUX -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT
            -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT) ;;
        *) die "only Linux is covered; build without this script and the crate compiles RocksDB itself" ;;
    esac
    case $(uname -m) in
        x86_64) flags+=(-msse4.2 -mpclmul) ;; # hardware CRC32C: every CPU since 2010
        aarch64) flags+=(-march=armv8-a+crc+aes+crypto) ;;
    esac
    printf '%s\n' "${flags[@]}"
}

# --- compiling --------------------------------------------------------------------------------------

# Compiles one group. Files the compiler names in errors leave the group (into NAME.rest, for the next
# round) until the others compile together.
compile_group() { # $1 NAME.list; $WORK and $SOURCES from the environment
    local list=$1 name=${1%.list} bad
    while [[ -s $list ]]; do
        sed 's|.*|#include "&"|' "$list" >"$name.cc"
        if clang++ "@$WORK/flags" -ferror-limit=0 -c "$name.cc" -o "$name.o" 2>"$name.log"; then
            return 0
        fi
        if [[ $(wc -l <"$list") == 1 ]]; then
            cat "$name.log" >&2
            return 255 # xargs stops at 255
        fi
        # The first file cannot collide with what came before it, so it stays and the loop ends.
        bad=$(grep -E ': (fatal )?error: ' "$name.log" | cut -d: -f1 | sed "s|^$SOURCES/||" | sort -u |
            grep -Fxf <(tail -n +2 "$list") || true)
        # An error told only inside a header names nobody: halve the group.
        [[ -n $bad ]] || bad=$(tail -n "$(($(wc -l <"$list") / 2))" "$list")
        printf '%s\n' "$bad" >>"$name.rest"
        grep -Fvxf <(printf '%s\n' "$bad") "$list" >"$list.kept"
        mv "$list.kept" "$list"
    done
}
export -f compile_group

build_archive() { # $1 crate directory, $2 work directory
    local round=0 size
    export WORK=$2 SOURCES=$1/rocksdb
    mkdir "$WORK/obj"
    # c.cc puts its names into the global namespace and so gets a unit of its own; build_version.cc is
    # the crate's generated one, not the template's.
    grep -vx -e 'util/build_version.cc' -e 'db/c.cc' "$1/rocksdb_lib_sources.txt" | tr -d '\r' >"$WORK/todo"
    echo 'db/c.cc' >"$WORK/obj/c.list"
    echo 'build_version.cc' >"$WORK/obj/version.list"
    for size in "${GROUP_SIZES[@]}"; do
        if [[ -s $WORK/todo ]]; then
            split -l "$size" -d -a 3 --additional-suffix=.list "$WORK/todo" "$WORK/obj/r$round-"
        fi
        log "round $((round + 1)): $(wc -l <"$WORK/todo") files in groups of $size"
        compgen -G "$WORK/obj/*.list" |
            xargs -P "$(nproc)" -I{} bash -c 'compile_group "$1"' _ {} || die "a source file does not compile; see above"
        for list in "$WORK"/obj/*.list; do mv "$list" "$list.done"; done
        : >"$WORK/todo"
        if compgen -G "$WORK/obj/*.rest" >/dev/null; then
            cat "$WORK"/obj/*.rest >"$WORK/todo"
            rm "$WORK"/obj/*.rest
        fi
        round=$((round + 1))
        [[ -s $WORK/todo ]] || break
    done
    mkdir "$WORK/out" "$WORK/out/lib"
    ar crs "$WORK/out/lib/librocksdb.a" "$WORK"/obj/*.o
    cp -R "$1/rocksdb/include" "$WORK/out/include" # the bindings must come from the headers of this archive
}

# --- the checkout -----------------------------------------------------------------------------------

readonly MARK='# Written by scripts/rocksdb.sh; remove this file to compile RocksDB from source.'

write_cargo_config() { # $1 archive home
    local config=$root/.cargo/config.toml new
    new=$(printf '%s\n[env]\nROCKSDB_LIB_DIR = "%s/lib"\nROCKSDB_INCLUDE_DIR = "%s/include"\nROCKSDB_STATIC = "1"\n' \
        "$MARK" "$1" "$1")
    if [[ -e $config ]] && ! grep -qF "$MARK" "$config"; then
        log "$config is your own, so it is left alone; add these lines to it:"
        printf '%s\n' "$new" >&2
        return
    fi
    [[ -e $config && $(<"$config") == "$new" ]] && return
    mkdir -p "$root/.cargo"
    printf '%s\n' "$new" >"$config.$$"
    mv "$config.$$" "$config"
    log "wrote $config"
}

# --- main -------------------------------------------------------------------------------------------

smoke=
case ${1:-} in
    '') ;;
    --smoke) smoke=1 ;;
    *) die "unknown argument '$1'; usage: scripts/rocksdb.sh [--smoke]" ;;
esac

require_compiler
rocksdb=$(crate_dir librocksdb-sys)
lz4=$(crate_dir lz4-sys)/liblz4/lib
version=$(locked_version librocksdb-sys)
flags=$(compile_flags "$rocksdb" "$lz4")
key=$(printf '%s\n' "$RECIPE" "${GROUP_SIZES[*]}" "$(clang++ --version | head -n 2)" "$version" \
    "$(locked_version lz4-sys)" "$(sed '/^-I/d' <<<"$flags")" | sha256sum | cut -c 1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dstack-rocksdb
home=$cache/${version#*+}-$key

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { log "another build is running; waiting for it"; flock 9; }
if [[ ! -e $home/lib/librocksdb.a ]]; then
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    printf '%s\n' "$flags" >"$work/flags"
    log "building RocksDB ${version#*+} into $home"
    started=$SECONDS
    build_archive "$rocksdb" "$work"
    mv -T "$work/out" "$home"
    times >"$work/times" # not in a subshell, whose children would be none
    log "built in $((SECONDS - started)) s; CPU time (user system): $(tail -n 1 "$work/times")"
fi
exec 9>&-

write_cargo_config "$home"
printf 'export ROCKSDB_LIB_DIR=%q ROCKSDB_INCLUDE_DIR=%q ROCKSDB_STATIC=1\n' "$home/lib" "$home/include"
if [[ -n $smoke ]]; then
    (cd "$root" && cargo run -q -p dstack-storage --example smoke) >&2
fi
