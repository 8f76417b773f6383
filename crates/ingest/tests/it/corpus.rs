//! What the fuzz targets found to be different, asked again without a fuzzer.
//!
//! In:      the files of `fuzz/corpus/`, a folder for each parser.
//! Out:     none of them breaks a promise of `fuzz/src/promises/`, nor is one no longer an input of its parser.

use std::path::Path;

#[path = "../../../../fuzz/src/promises/mod.rs"]
mod promises;

#[test]
fn no_input_of_the_corpus_breaks_a_promise() {
    for parser in promises::PARSERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(parser);
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{parser} has no corpus");
        for file in files {
            // Shown when the test fails: then the last one is it.
            println!("{}", file.display());
            assert!(promises::check(parser, &std::fs::read(&file).unwrap()), "no input of {parser}");
        }
    }
}
