# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC2034
#
# Common ground of configure, lay, export and the series checks: where things
# stand, git kept apart from the user's configuration, the series file, and
# the building of one commit for each step.  Sourced, never run; the sourcing
# script sets $me and $top (the repository's root) before.

: "${me:?}" "${top:?}"

series_dir=patches/7.2
build=$top/build
laid=$top/build/qemu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qemu-inorder-svq

# Debian's tools come first: a python3 of pyenv or conda, earlier in the
# user's PATH, has not the modules that Debian's meson needs.  ccache's folder
# of compiler links is harmless when it does not exist.
PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
# Objects may be shared by build/qemu, build/series, the unmodified base and
# another clone: what ccache compares must not hold the directory's name.
CCACHE_NOHASHDIR=1
CCACHE_BASEDIR=${CCACHE_BASEDIR:-$top}
LC_ALL=C.UTF-8
export PATH CCACHE_NOHASHDIR CCACHE_BASEDIR LC_ALL

# The user's git configuration (signing, prefixes, hooks, templates) must not
# change what is written, nor an enclosing git command's environment.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_PREFIX
GIT_CONFIG_GLOBAL=/dev/null
GIT_CONFIG_NOSYSTEM=1
GIT_CONFIG_COUNT=4
GIT_CONFIG_KEY_0=safe.directory
GIT_CONFIG_VALUE_0='*'
GIT_CONFIG_KEY_1=gc.auto
GIT_CONFIG_VALUE_1=0
GIT_CONFIG_KEY_2=advice.detachedHead
GIT_CONFIG_VALUE_2=false
# Some hundred small objects; lay syncs once before it relies on them.
GIT_CONFIG_KEY_3=core.fsync
GIT_CONFIG_VALUE_3=none
export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_CONFIG_COUNT \
    GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 GIT_CONFIG_KEY_1 GIT_CONFIG_VALUE_1 \
    GIT_CONFIG_KEY_2 GIT_CONFIG_VALUE_2 GIT_CONFIG_KEY_3 GIT_CONFIG_VALUE_3

die() {
    echo "$me: $*" >&2
    exit 1
}

say() {
    echo "$me: $*"
}

# A scratch folder on the same file system as build/, gone when we are.
tmp=
make_tmp() {
    mkdir -p "$top/build" ||
        die "cannot create $top/build; make the checkout writable"
    # What a killed run left behind.
    find "$top/build" -maxdepth 1 -name 'tmp.*' -mmin +120 \
        -exec rm -rf {} + 2>/dev/null || :
    tmp=$(mktemp -d "$top/build/tmp.$me.XXXXXX") ||
        die "cannot write to $top/build; free some space there"
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# One at a time may change build/qemu or write patches/; the lock goes with us.
lock_series() {
    exec 7>"$top/build/series.lock"
    flock 7
}

# series_steps: the patches of the series, in order.
series_steps() {
    sed -n 's/[[:space:]]*$//; /^[^#[:space:]+-]/p' "$top/$series_dir/series"
}

# series_files PATCH SIGN: the files that arrive (+) with a step or go (-).
series_files() {
    awk -v step="$1" -v sign="$2" '
        /^[ \t]*#/ || /^[ \t]*$/ { next }
        /^[^ \t]/ { here = ($1 == step); next }
        here && $1 == sign { print $2 }
    ' "$top/$series_dir/series"
}

# series_lint: the series file and the folder agree, and the lines are sane.
series_lint() {
    [ -f "$top/$series_dir/series" ] ||
        die "$series_dir/series is missing; restore it (git checkout $series_dir)"
    awk '
        /^[ \t]*#/ || /^[ \t]*$/ { next }
        /^[^ \t]/ {
            if (NF != 1 || $1 !~ /^[0-9][0-9][0-9][0-9]-.*\.patch$/) {
                print FILENAME ":" FNR ": not a patch name: " $0; bad = 1
            }
            if (seen[$1]++) {
                print FILENAME ":" FNR ": " $1 " stands twice"; bad = 1
            }
            step = $1
            next
        }
        step == "" || NF != 2 || $1 !~ /^[+-]$/ || $2 ~ /^\/|\.\./ {
            print FILENAME ":" FNR ": want \"    + path\" or \"    - path\"" \
                " below a patch name: " $0
            bad = 1
        }
        END { exit bad }
    ' "$top/$series_dir/series" >&2 ||
        die "$series_dir/series cannot be used; correct the lines named above"
    for s in $(series_steps); do
        [ -f "$top/$series_dir/$s" ] ||
            die "$series_dir/$s is named in series but is not there"
    done
    for s in "$top/$series_dir"/*.patch; do
        [ -e "$s" ] || continue
        series_steps | grep -qxF "$(basename "$s")" ||
            die "$series_dir/$(basename "$s") is not named in series;" \
                "add it there or remove it"
    done
}

# link_target PATH: from build/qemu/PATH to PATH in the repository.
link_target() {
    echo "../../$1" | awk -F/ '{
        up = ""
        for (i = 4; i <= NF; i++) up = up "../"
        print up $0
    }'
}

# build_commits REPO BASE MODE TIP-FILE
# One commit for each step on top of BASE, in REPO's object store only: no
# work tree, no index and no reference is touched.  The same input gives the
# same commits everywhere.  MODE is link (new files are symbolic links to the
# repository's) or copy (their content).  Writes the last commit's name to
# TIP-FILE; returns 1 with the list of what does not apply in $tmp/rejects.
build_commits() (
    repo=$1
    parent=$2
    mode=$3
    rejects=$tmp/rejects
    : >"$rejects"
    GIT_INDEX_FILE=$tmp/index.$$
    GIT_COMMITTER_NAME=qemu-inorder-svq
    GIT_COMMITTER_EMAIL=qemu-inorder-svq@localhost
    export GIT_INDEX_FILE GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
    # Called with ||, so set -e is off in here: every step says what it needs.
    cd "$repo" || exit 2
    git read-tree "$parent" || exit 2
    for step in $(series_steps); do
        git mailinfo -b "$tmp/msg" "$tmp/diff" \
            <"$top/$series_dir/$step" >"$tmp/info" ||
            die "$series_dir/$step is not in git format-patch form"
        GIT_AUTHOR_NAME=$(sed -n 's/^Author: //p' "$tmp/info")
        GIT_AUTHOR_EMAIL=$(sed -n 's/^Email: //p' "$tmp/info")
        GIT_AUTHOR_DATE=$(sed -n 's/^Date: //p' "$tmp/info")
        GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
        export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE \
            GIT_COMMITTER_DATE
        if [ -z "$GIT_AUTHOR_NAME" ] || [ -z "$GIT_AUTHOR_DATE" ]; then
            die "$series_dir/$step has no From: or Date: line"
        fi
        if grep -q '^diff --git ' "$tmp/diff" &&
            ! git apply --cached --whitespace=nowarn "$tmp/diff" \
                2>"$tmp/apply"; then
            echo "  $step" >>"$rejects"
            sed -n 's/^error: patch failed: /      /p; s/^error: \(.*\): does not exist in index$/      \1: not there/p; s/^error: \(corrupt patch.*\)$/      \1/p' \
                "$tmp/apply" >>"$rejects"
        fi
        : >"$tmp/update"
        for f in $(series_files "$step" +); do
            f=${f%/}
            [ -e "$top/$f" ] ||
                die "$f is named in $series_dir/series but is not there"
            if [ -n "$(git ls-files -- "$f")" ]; then
                echo "  $step" >>"$rejects"
                echo "      $f: new here, but the base has it" >>"$rejects"
                continue
            fi
            if [ "$mode" = link ]; then
                blob=$(link_target "$f" | tr -d '\n' |
                    git hash-object -w --stdin)
                printf '120000 %s\t%s\n' "$blob" "$f" >>"$tmp/update"
                continue
            fi
            find "$top/$f" -type f | sort | while read -r real; do
                perm=100644
                [ ! -x "$real" ] || perm=100755
                printf '%s %s\t%s\n' "$perm" \
                    "$(git hash-object -w --no-filters "$real")" \
                    "${real#"$top"/}" >>"$tmp/update"
            done
        done
        for f in $(series_files "$step" -); do
            if [ -z "$(git ls-files -- "$f")" ]; then
                echo "  $step" >>"$rejects"
                echo "      $f: goes out of use here, but is not there" \
                    >>"$rejects"
                continue
            fi
            printf '0 0000000000000000000000000000000000000000\t%s\n' "$f" \
                >>"$tmp/update"
        done
        [ ! -s "$tmp/update" ] ||
            git update-index --index-info <"$tmp/update" || exit 2
        {
            sed -n 's/^Subject: //p' "$tmp/info"
            echo
            cat "$tmp/msg"
        } | git stripspace >"$tmp/message"
        parent=$(git commit-tree -p "$parent" -F "$tmp/message" \
            "$(git write-tree)") || exit 2
    done
    rm -f "$GIT_INDEX_FILE"
    [ ! -s "$rejects" ] || exit 1
    echo "$parent" >"$4"
)

# import_base REPO TREE ID: a commit of the tree of a QEMU source folder,
# tagged base.  Version control, build results and quilt's copies stay out.
# The index is kept in REPO, so that a second time costs only a look at each
# file's stat data.
import_base() (
    repo=$1
    tree=$2
    id=$3
    GIT_DIR=$repo/.git
    GIT_WORK_TREE=$tree
    GIT_INDEX_FILE=$GIT_DIR/base-index
    export GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
    rm -f "$GIT_INDEX_FILE.lock"
    cd "$tree" || exit 2
    {
        find . \( -name .git -o -path ./build -o -path ./.pc \
            -o -path ./GNUmakefile -o -path ./config-temp \) -prune \
            -o \( -type f -o -type l \) -print0
        git ls-files -z
    } | git update-index --add --remove -z --stdin || exit 2
    t=$(git write-tree) || exit 2
    who=qemu-inorder-svq
    when='2022-12-14T00:00:00Z'
    c=$(echo "base: $id" | env GIT_AUTHOR_NAME=$who GIT_COMMITTER_NAME=$who \
        GIT_AUTHOR_EMAIL=$who@localhost GIT_COMMITTER_EMAIL=$who@localhost \
        GIT_AUTHOR_DATE=$when GIT_COMMITTER_DATE=$when \
        git commit-tree "$t") || exit 2
    git update-ref refs/tags/base "$c"
)

# explain_rejects ID: what build_commits found, as one message.
explain_rejects() {
    [ -s "$tmp/rejects" ] ||
        die "the commits of the series could not be made (message above);" \
            "free some space under $build, then run again"
    echo "$me: $1 is a base that the series in $series_dir does not fit." \
        "These do not apply (a later one may fail only because an earlier" \
        "one did):" >&2
    cat "$tmp/rejects" >&2
    die "use the base that configure gets by itself (no --base), or adapt the" \
        "patches named above"
}

# A configured build knows its base and prefix.
load_config() {
    [ -f "$build/config" ] || die "nothing is configured; run ./configure"
    # shellcheck disable=SC1091
    . "$build/config"
}

# link_firmware OBJ: a program run from its build folder looks for everything,
# the firmware path included, below qemu-bundle there; lead it to the
# machine's firmware.
link_firmware() {
    sed -n 's/^--firmwarepath=//p' "$build/config.options" | tail -n 1 |
        tr ':' '\n' | while read -r dir; do
        there=$1/qemu-bundle$dir
        if [ ! -d "$there" ]; then
            mkdir -p "$(dirname "$there")"
            ln -sfn "$dir" "$there"
        elif [ ! -L "$there" ]; then
            # With the prefix /usr, QEMU's own data stand in that folder.
            for f in "$dir"/*; do
                [ -e "$there/${f##*/}" ] || ln -sfn "$f" "$there/${f##*/}"
            done
        fi
    done
}
