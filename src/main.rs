//! The one binary: reads settings, makes the parts, starts and stops the roles.
//!
//! In:       a command line.
//! Out:      an exit code: 0 done, 1 it failed, 2 the user must change something first.
//! Promise:  no business word stands in this crate outside `demo` and what an import guesses columns by (`import/propose`).
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
    keep_memory();
    cli::main()
}

/// Memory that was given back is kept for ten seconds, not one; then the system may have it when it wants some, and is not
/// made to take it.
///
/// A question asks for hundreds of megabytes and gives them back, and so does the next. Clearing each page anew was a fifth
/// of a funnel over ten million events: 0.46 s of the system's time each, and 0.09 s when it is kept; of questions twelve
/// seconds apart the system's time fell by half, and page faults from 10,000 a question to 2,500.
#[allow(unsafe_code, reason = "the allocator's settings have no other door; see above for what it is worth")]
fn keep_memory() {
    const PURGE_DECOMMITS: i32 = 5;
    const PURGE_DELAY: i32 = 15;
    const MILLISECONDS: std::ffi::c_long = 10_000;
    unsafe extern "C" {
        fn mi_option_set(option: i32, value: std::ffi::c_long);
    }
    // SAFETY: the function is linked with the allocator; it takes any option and value, and no other thread runs yet.
    unsafe {
        mi_option_set(PURGE_DECOMMITS, 0);
        mi_option_set(PURGE_DELAY, MILLISECONDS);
    }
}
