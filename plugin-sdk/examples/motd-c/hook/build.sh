#!/bin/sh
# usage: build.sh OUTPUT.wasm
#
# Compiles the hook to a core module by clang, wasm-ld and wasi-libc, whose allocator needs nothing of WASI.
# `wasm-tools component new OUTPUT.wasm -o hook.wasm` makes the component of it.
#
# stage.c, stage.h and stage_component_type.o were made once of the interface, which is frozen:
#     cargo install wit-bindgen-cli --version 0.61.1 --no-default-features --features c
#     wit-bindgen c --world stage wit/v0.1.0/stage.wit
set -eu
here=$(dirname "$0")
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for file in hook stage; do
    clang --target=wasm32-wasi -Os -Wall -Werror -c "$here/$file.c" -o "$objects/$file.o"
done
libc=$(clang --target=wasm32-wasi --print-file-name=libc.a)
wasm-ld --no-entry --strip-debug --gc-sections "$objects/hook.o" "$objects/stage.o" "$here/stage_component_type.o" "$libc" -o "$1"
