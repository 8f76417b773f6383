//! The first of many regular expressions that matches, without trying them all.
//!
//! In:      lines of the list: expression, four words, the texts of which one is in whatever it matches.
//! Out:     the four words of the first expression that matches, filled from its groups.
//! Promise: the same as trying one after the other: a test does. An expression is compiled when a text first may match it, so
//!          a start costs nothing; matching is linear in the text.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use regex::{Captures, Regex};

pub(super) struct Expressions {
    expressions: Vec<Expression>,
    needed: AhoCorasick,
    /// By needed text: the expressions that need it.
    needed_by: Vec<Vec<usize>>,
    /// Those that need no text in particular.
    always: Vec<usize>,
}

struct Expression {
    source: &'static str,
    compiled: OnceLock<Regex>,
    words: [Option<&'static str>; 4],
}

impl Expressions {
    pub(super) fn new(lines: impl Iterator<Item = &'static str>) -> Self {
        let (mut expressions, mut always) = (Vec::new(), Vec::new());
        let (mut texts, mut needed_by): (Vec<&str>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
        for (index, line) in lines.enumerate() {
            let mut cells = line.split('\t');
            let source = cells.next().unwrap_or_default();
            let words = [(); 4].map(|()| cells.next().filter(|word| !word.is_empty()));
            expressions.push(Expression { source, compiled: OnceLock::new(), words });
            let mut is_always = true;
            for text in cells {
                is_always = false;
                match texts.iter().position(|known| *known == text) {
                    Some(at) => needed_by[at].push(index),
                    None => {
                        texts.push(text);
                        needed_by.push(vec![index]);
                    }
                }
            }
            if is_always {
                always.push(index);
            }
        }
        let needed = AhoCorasick::new(texts).expect("a thousand short texts fit any automaton");
        Self { expressions, needed, needed_by, always }
    }

    /// The words of the first expression that matches; a word that comes out empty is none.
    pub(super) fn find(&self, text: &str) -> Option<[Option<String>; 4]> {
        let mut candidates = self.always.clone();
        for found in self.needed.find_overlapping_iter(text) {
            candidates.extend(&self.needed_by[found.pattern().as_usize()]);
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().find_map(|index| self.expressions[index].read(text))
    }
}

impl Expression {
    fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| {
            Regex::new(self.source).expect("agents.tsv is part of the program, and a test compiles all of it")
        })
    }

    fn read(&self, text: &str) -> Option<[Option<String>; 4]> {
        let groups = self.regex().captures(text)?;
        Some([0, 1, 2, 3].map(|index| {
            let word = match self.words[index] {
                Some(word) if word.contains('$') => filled(word, &groups),
                Some(word) => word.to_owned(),
                None => groups.get(index + 1).map_or("", |group| group.as_str()).to_owned(),
            };
            let word = word.trim();
            (!word.is_empty()).then(|| word.to_owned())
        }))
    }
}

/// `word` with `$1` to `$9` replaced by the groups.
fn filled(word: &str, groups: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = match after.as_bytes().first() {
            Some(digit @ b'1'..=b'9') => {
                out.push_str(groups.get(usize::from(digit - b'0')).map_or("", |group| group.as_str()));
                &after[1..]
            }
            _ => {
                out.push('$');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::super::{agent, machine};
    use super::*;

    #[test]
    fn it_is_the_same_as_trying_one_after_the_other() {
        let crawlers = machine::LIST.lines().filter_map(|line| line.rsplit('\t').next());
        let texts: Vec<String> =
            crawlers.map(|name| format!("Mozilla/5.0 (Linux; {name}/2.1) Chrome/1.2.3.4")).collect();
        for kind in ["browser\t", "os\t"] {
            let all = Expressions::new(agent::LIST.lines().filter_map(|line| line.strip_prefix(kind)));
            assert!(all.expressions.len() > 200 && all.always.len() < 10);
            // Every expression is compiled by the first text.
            for text in texts.iter().step_by(7) {
                let slow = all.expressions.iter().filter_map(|expression| expression.read(text)).next();
                assert_eq!(all.find(text), slow, "{text}");
                all.expressions.iter().for_each(|expression| _ = expression.regex());
            }
        }
    }

    #[test]
    fn words_are_filled_from_groups() {
        let lines = ["(a+)-(b+)?\tx $1$3 $$\t\t$2\t\ta-", "(c)\t\t9\t\t\tc"];
        let few = Expressions::new(lines.into_iter());
        let words = |text: &str| few.find(text).map(|words| words.map(Option::unwrap_or_default));
        assert_eq!(words("aa-b").unwrap(), ["x aa $$", "b", "b", ""].map(str::to_owned));
        assert_eq!(words("aa-").unwrap(), ["x aa $$", "", "", ""].map(str::to_owned));
        assert_eq!(words("c").unwrap(), ["c", "9", "", ""].map(str::to_owned));
        assert_eq!(words("d"), None);
    }
}
