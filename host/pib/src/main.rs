//! The binary `pib`.

use std::process::ExitCode;

/// Choosing versions makes millions of small values, which the allocator of musl takes twice as long for, and glibc's a sixth longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A stranger's hook is compiled by a child of pib, which is pib; what must end with pib is started by one.
    let arguments = std::env::args_os;
    pib::child::become_program(arguments())
        .or_else(|| pib::hooks::compiler(arguments()))
        .unwrap_or_else(pib::cli::main)
}
