//! Prints `docs/event.md`. `cargo xtask docs` runs this, so that xtask itself need not build arrow.

fn main() {
    print!("{}", tributary_schemas::docs::event_markdown());
}
