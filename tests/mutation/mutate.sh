#!/bin/bash
# mutate.sh: do the suites notice deliberate faults in lowering and legality?
#
#   tests/mutation/mutate.sh check            each fault of faults.txt fits the tree in exactly one place
#   tests/mutation/mutate.sh run [FAULT...]   builds and tests a copy of the tree with each fault in turn
#   tests/mutation/mutate.sh matrix [FAULT..] the same, but every suite runs on every fault
#
# `run` copies the tree to a temporary folder, builds the suites below there and has them pass. Then, fault
# by fault, it puts the fault in, builds and runs suite after suite until one fails, and takes it out again.
# It prints a line a fault (the suite that found it, seconds) and fails if two or more are not found, if one
# fits nowhere or twice, or if one does not compile. QUERN_MUTATION_JOBS: copies at work side by side.
# The tree is the one this script is in; `check ROOT` takes another.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$(dirname "$here")")

say() { printf '%s\n' "$*"; }
die() { printf 'mutate: %s\n' "$*" >&2; exit 1; }

# ---- the list -----------------------------------------------------------------------------------

names() { awk '$1 == "fault" { print $2 }' "$list"; }

field() { # FAULT KEY -> the rest of that line
    FAULT=$1 KEY=$2 awk '
        $1 == "fault" { mine = $2 == ENVIRON["FAULT"]; next }
        mine && $1 == ENVIRON["KEY"] { sub(/^[a-z]+[ \t]+/, ""); sub(/[ \t]+$/, ""); print; exit }' "$list"
}

# The file with the fault in it on stdout; fails if the old code is not there exactly once.
mutated() { # FILE AFTER OLD NEW
    AFTER=$2 OLD=$3 NEW=$4 awk '
        function squeeze(s) { gsub(/[ \t\r\n]+/, "", s); return s }
        { text = text $0 "\n" }
        END {
            n = split(text, line, "\n")
            for (i = 1; i <= n; i++) {
                whole[i] = squeeze(line[i]); start[i] = length(dense) + 1; dense = dense whole[i]
            }
            after = squeeze(ENVIRON["AFTER"]); old = squeeze(ENVIRON["OLD"])
            for (rest = dense; (at = index(rest, after old)) > 0; rest = substr(rest, at + 1)) {
                found++
                first = length(dense) - length(rest) + at + length(after)
            }
            if (found != 1) exit found ? 4 : 3
            last = first + length(old) - 1
            for (i = 1; i < n; i++) { # line by line: what is before the code, the new code, what is behind it
                end = start[i] + length(whole[i]) - 1
                if (whole[i] == "" || end < first || start[i] > last) { print line[i]; continue }
                if (start[i] <= first) printf "%s%s", head(line[i], first - start[i]), ENVIRON["NEW"]
                if (end >= last) print tail(line[i], last - start[i] + 1)
            }
        }
        function head(s, k,    i) { # up to and with its k-th character that is not blank, and the blanks behind it
            for (i = 1; i <= length(s); i++) {
                if (substr(s, i, 1) ~ /[ \t]/) continue
                if (k-- == 0) break
            }
            return substr(s, 1, i - 1)
        }
        function tail(s, k) { return substr(s, length(head(s, k)) + 1) }' "$1"
}

apply() { # TREE FAULT: puts it in; says why not
    local file old new after code=0
    file=$(field "$2" file) old=$(field "$2" old) new=$(field "$2" new) after=$(field "$2" after)
    [ -n "$file" ] && [ -n "$old" ] && [ -n "$new" ] && [ -n "$(field "$2" breaks)" ] || {
        say "$2: breaks, file, old and new are needed"; return 1; }
    [ "$old" != "$new" ] || { say "$2: old and new are the same"; return 1; }
    [ -f "$1/$file" ] || { say "$2: there is no $file"; return 1; }
    mutated "$1/$file" "$after" "$old" "$new" >"$1/mutated" || code=$?
    case $code in
        0) ;;
        3) say "$2: not in $file: $old"; return 1 ;;
        4) say "$2: more than once in $file: $old"; return 1 ;;
        *) say "$2: awk failed on $file"; return 1 ;;
    esac
    cat "$1/mutated" >"$1/$file"
}

check() { # every fault fits, alone
    local fault file bad=0 n=0 tmp
    tmp=$(mktemp -d) || die "no temporary folder"
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    for fault in $(names); do
        n=$((n + 1))
        file=$(field "$fault" file)
        mkdir -p "$tmp/$(dirname "${file:-x}")"
        [ ! -f "$root/$file" ] || cat "$root/$file" >"$tmp/$file"
        apply "$tmp" "$fault" || bad=$((bad + 1))
    done
    names | sort | uniq -d | grep . && bad=$((bad + 1)) && say "stand there twice"
    [ $n -ge "${1:-20}" ] || { say "$n faults, at least ${1:-20} are wanted"; bad=$((bad + 1)); }
    [ $bad = 0 ] || return 1
    say "$n faults, each fits one place"
}

# ---- suites -------------------------------------------------------------------------------------

# The suites that look at the language, lowering and legality, cheap ones first; of machine code last.
suites() { # TREE
    local pattern path
    for pattern in unit/test_dsl\*.c error/test_dsl_errors.c unit/test_lower\*.c \
        unit/test_sched\*.c unit/test_ir\*.c prop/test_region.c prop/test_lower\*.c \
        prop/test_sched\*.c unit/test_codegen.c unit/test_codegen_mem.c prop/test_blob.c prop/test_ops.c; do
        for path in "$1"/tests/$pattern; do
            [ -f "$path" ] || continue
            path=${path#"$1/tests/"} path=${path%.c}
            say "${path/\/test_/.}"
        done
    done
}

programs() { # SUITE -> what must be built for it
    say "t_${1/./_}"
    [ "$1" != prop.ops ] || say 'quern-worker quern-runner'
}

build() { # TREE TARGET...
    local tree=$1; shift
    cmake --build "$tree/build" -j 1 --target "$@" >>"$tree/log" 2>&1
}

# An endless loop counts as noticed. Fewer cases than these suites have alone: a minute in all.
passes() { # TREE SUITE
    (cd "$1" && QUERN_PROP_SECONDS=20 QUERN_PROP_CASES=$([ "$2" = prop.ops ] && echo 1 || echo 12000) QUERN_PROP_C=100 \
        timeout -k 5 200 "build/tests/t_${2/./_}" >>"$1/log" 2>&1)
}

# ---- run ----------------------------------------------------------------------------------------

prepare() { # TREE: a copy, configured and built, whose suites pass
    local suite
    mkdir -p "$1" && cp -R "$root/CMakeLists.txt" "$root/src" "$root/tests" "$root/schedules" "$root/targets" \
        "$root/tuning-db" "$1/" || return 1
    cmake -G Ninja -S "$1" -B "$1/build" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS=-O2 >>"$1/log" 2>&1 || {
        tail -20 "$1/log"; say "mutate: configuring failed"; return 1; }
    for suite in $(suites "$1"); do
        # shellcheck disable=SC2046
        build "$1" $(programs "$suite") || { tail -40 "$1/log"; say "mutate: building $suite failed"; return 1; }
        passes "$1" "$suite" || { tail -40 "$1/log"; say "mutate: $suite fails without any fault"; return 1; }
    done
}

try() { # TREE FAULT: prints its line
    local file suite found='' begin=$SECONDS verdict=
    file=$(field "$2" file)
    : >"$1/log"
    cat "$1/$file" >"$1/saved"
    if ! apply "$1" "$2" >"$1/why"; then
        verdict="DOES NOT FIT: $(cat "$1/why")"
    else
        for suite in $(suites "$1"); do
            # shellcheck disable=SC2046
            if ! build "$1" $(programs "$suite"); then
                verdict="DOES NOT COMPILE: $(grep -m 1 'error:' "$1/log")"
                break
            fi
            passes "$1" "$suite" && continue
            found="$found $suite"
            [ "$mode" = matrix ] || break
        done
    fi
    cat "$1/saved" >"$1/$file"
    [ -z "$found" ] || verdict="found by$found"
    printf '%-26s %5d s  %s\n' "$2" $((SECONDS - begin)) "${verdict:-NOT FOUND: $(field "$2" breaks)}"
}

worker() { # NUMBER OF: its share of the faults, in a copy of its own
    local tree=$tmp/$1 i=0 fault
    prepare "$tree" || { touch "$tmp/failed"; return; }
    for fault in $(cat "$tmp/faults"); do
        i=$((i + 1))
        [ $((i % $2)) = "$1" ] || continue
        [ ! -e "$tmp/failed" ] || return
        try "$tree" "$fault" | tee -a "$tmp/table"
    done
}

run() {
    local jobs=${QUERN_MUTATION_JOBS:-$(nproc)} k n found begin=$SECONDS pids=''
    unset ${!QUERN_*} ${!QN_*} ${!CK_*}
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/quern-mutation-XXXXXX") || die "no temporary folder"
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM
    if [ $# -gt 0 ]; then printf '%s\n' "$@"; else names; fi >"$tmp/faults"
    n=$(wc -l <"$tmp/faults")
    [ "$jobs" -le 4 ] || jobs=4
    : >"$tmp/table"
    for ((k = 0; k < jobs; k++)); do
        worker $k "$jobs" &
        pids="$pids $!"
    done
    # shellcheck disable=SC2086
    wait $pids
    [ ! -e "$tmp/failed" ] || return 1
    found=$(grep -c 'found by' "$tmp/table")
    say "$found of $n faults found, $((SECONDS - begin)) s"
    grep -q 'DOES NOT' "$tmp/table" && return 1
    [ "$(wc -l <"$tmp/table")" = "$n" ] && [ "$found" -ge $((n - 1)) ]
}

mode=${1:-}
[ $# = 0 ] || shift
case $mode in
    check) root=${1:-$root} ;;
    run | matrix) ;;
    *) die "usage: mutate.sh check [ROOT] | run [FAULT...] | matrix [FAULT...]" ;;
esac
list=$root/tests/mutation/faults.txt
case $mode in check) check "${2:-20}" ;; *) run "$@" ;; esac
