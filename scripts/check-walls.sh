#!/bin/sh
# Holds the walls between the crates, and keeps IO out of those that decide.
#
# 1. Direction: each crate of the workspace may depend on those named below and on no other.
# 2. Purity, dependencies: nothing under the pure crates can reach the network, a disk or the
#    operating system's randomness, with any features, on any platform.
# 3. Purity, sources: the pure crates name no clock, file, socket, thread, process, environment or
#    terminal. Their tests are held to it too. Comments are not looked at.
set -eu
cd "$(dirname "$0")/.."

# Which crates of the workspace a crate may depend on, in any way: normal, build or dev.
allowed() {
	case $1 in
	lapwing-protocol) echo ;;
	lapwing-core) echo lapwing-protocol ;;
	lapwing-store | lapwing-net | lapwing-api) echo lapwing-core lapwing-protocol ;;
	# Apps, as anybody could write one: the protocol and HTTP.
	lapwing-client | lapwing-web) echo lapwing-protocol ;;
	lapwing-testnet) echo lapwing-protocol lapwing-client ;;
	# The node, and with the client the commands by which people book from a shell.
	lapwing) echo lapwing-protocol lapwing-core lapwing-store lapwing-net lapwing-api lapwing-client ;;
	# Measures nodes that the testnet starts, and knows no more of them than it does; its baselines put
	# through the same store and committer, so that the comparison is with the bare work on them.
	lapwing-bench) echo lapwing-protocol lapwing-client lapwing-testnet lapwing-core lapwing-store ;;
	lapwing-tests) echo '*' ;;
	*) return 1 ;;
	esac
}

PURE='lapwing-protocol:protocol lapwing-core:node/core'
IMPURE_CRATES='tokio|libp2p|sled|axum|getrandom|mio|socket2|hyper|reqwest|async-std|async-io|smol|quinn|rustix|nix|tempfile|chrono|time'

failed=0
complain() {
	echo "walls: $*" >&2
	failed=1
}

# Prints the tree of dependencies, every feature and platform included.
tree() { cargo tree --locked --all-features --target all --no-dedupe "$@"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree --workspace --depth 1 --prefix depth -e normal,build,dev -f ' {p}' >"$work/direct"
crates=$(sed -n 's/^0 \([^ ]*\) .*/\1/p' "$work/direct" | sort -u)
for crate in $crates; do
	if ! may=$(allowed "$crate"); then
		complain "$crate is new: say in scripts/check-walls.sh which crates it may depend on"
		continue
	fi
	[ "$may" = '*' ] && continue
	uses=$(awk -v crate="$crate" '$1 == 0 { mine = $2 == crate } $1 == 1 && mine { print $2 }' "$work/direct" | sort -u)
	for used in $uses; do
		echo "$crates" | grep -qx -e "$used" || continue
		case " $may " in
		*" $used "*) ;;
		*) complain "$crate depends on $used; it may depend on: ${may:-no crate of the workspace}" ;;
		esac
	done
done

# Prints a Rust file without its line comments, on one line, so that a `use` that spans lines is one.
flatten() { sed -E 's,(^|[[:space:]])//.*$,,' "$1" | tr -s '\n\t ' ' '; }

# Names in the source that reach out of a pure crate: paths, then members of a `std::{…}` group.
named() {
	flatten "$1" | sed -E 's/ ?:: ?/::/g' >"$work/flat"
	grep -oE '\bstd::(fs|net|thread|env|process|io|os)\b|\bstd::(time::)?\*|\buse std( as\b|;)|\bextern crate std\b|\b(SystemTime|Instant|UNIX_EPOCH)\b|\be?print(ln)?!|\bdbg!|\b(thread_rng|from_os_rng|OsRng|SysRng|getrandom)\b|\brand::rng\b' "$work/flat" || true
	{ grep -oE '\bstd::\{[^;]*' "$work/flat" || true; } |
		{ grep -oE '[{,] ?(fs|net|thread|env|process|io|os)\b' || true; } | sed -E 's/[{,] ?/std::/'
}

for pair in $PURE; do
	crate=${pair%%:*}
	dir=${pair#*:}
	tree -p "$crate" -e normal --prefix none -f '{p}' | sort -u >"$work/tree"
	bad=$(sed -nE "s/^(($IMPURE_CRATES)([-_][^ ]*)?) v.*/\1/p" "$work/tree" | sort -u | tr '\n' ' ')
	[ -z "$bad" ] ||
		complain "$crate must do no IO, but has under it: $bad(cargo tree --all-features --target all -p $crate -i NAME)"
	find "$dir" -name '*.rs' | sort >"$work/files"
	[ -s "$work/files" ] || complain "$dir has no Rust source: was $crate moved?"
	while IFS= read -r file; do
		names=$(named "$file" | sort -u | tr '\n' ' ')
		[ -z "$names" ] || complain "$file must do no IO, but names: $names"
	done <"$work/files"
done

[ "$failed" -eq 0 ] || exit 1
echo "walls: the crates depend in one direction, and the pure ones are pure"
