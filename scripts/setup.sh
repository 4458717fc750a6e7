#!/bin/sh
# Checks what building (`build`) and checking (`all`) need, and installs what it may: repository-local
# tools under target/tools, and the dependencies' sources. Changes nothing outside of target/ and
# cargo's own cache. Every refusal is one line that says what to install.
set -eu
cd "$(dirname "$0")/.."

# The oldest Rust that our dependencies allow; Cargo.toml says it too (rust-version).
RUST_MINOR=88
DENY_VERSION=0.20.2

refuse() {
	echo "setup: $*" >&2
	exit 1
}

for tool in cc make; do
	command -v "$tool" >/dev/null 2>&1 || refuse "$tool is missing: apt-get install build-essential"
done
command -v cargo >/dev/null 2>&1 ||
	refuse "cargo is missing: install Rust 1.$RUST_MINOR or newer with rustup (https://rustup.rs)"

# "cargo 1.95.0 (…)" -> "1 95"
version=$(cargo --version | sed -n 's/^cargo \([0-9]*\)\.\([0-9]*\)\..*/\1 \2/p')
major=${version% *}
minor=${version#* }
[ -n "$version" ] || refuse "cannot read the version in '$(cargo --version)'"
[ "$major" -gt 1 ] || [ "$minor" -ge "$RUST_MINOR" ] ||
	refuse "Rust $major.$minor is too old: 1.$RUST_MINOR or newer is needed (rustup update stable)"

[ "${1:-all}" = build ] && exit 0

for component in fmt clippy; do
	cargo "$component" --version >/dev/null 2>&1 ||
		refuse "cargo $component is missing: rustup component add rustfmt clippy"
done

tools=$PWD/target/tools
deny=$tools/bin/cargo-deny
pinned() { [ "$("$1" --version 2>/dev/null)" = "cargo-deny $DENY_VERSION" ]; }
if ! pinned "$deny"; then
	found=$(command -v cargo-deny || true)
	if [ -n "$found" ] && pinned "$found"; then
		mkdir -p "$tools/bin"
		ln -sf "$found" "$deny"
	else
		echo "setup: building cargo-deny $DENY_VERSION into target/tools (once, about two minutes)" >&2
		# Lightly optimised: it reads a few hundred manifests, and its build is waited for.
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
			CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
			cargo install cargo-deny --version "=$DENY_VERSION" --locked --quiet --root "$tools" --force ||
			refuse "cargo-deny $DENY_VERSION did not build: cargo install cargo-deny --version =$DENY_VERSION --locked"
	fi
fi

# The checks run offline and look at every platform's dependencies, so all sources must be here.
cargo fetch --locked --quiet --offline 2>/dev/null || cargo fetch --locked --quiet ||
	refuse "the dependencies' sources cannot be fetched: is Cargo.lock up to date, and is there a network?"
