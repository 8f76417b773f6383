//! The one binary: reads settings, makes the parts, starts and stops the roles.
//!
//! In:       a command line.
//! Out:      an exit code: 0 done, 1 it failed, 2 the user must change something first.
//! Promise:  no business word stands in this crate outside `demo`.
//! Not here: how anything is done; that is the crates below.

mod cli;
mod settings;
mod telemetry;

mod definitions;
mod exposition;
mod http;
mod ops;
mod schema;
mod serve;
mod server;

mod import;
mod lake;
mod link;
mod sql;
mod tail;

mod bench;
mod dead_letters;
mod demo;

/// glibc's allocator took a fifth of the door's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
