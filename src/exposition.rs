//! Metrics as text, read back: what `/metrics` says, for commands that ask a server how it is.
//!
//! In:      Prometheus' text format, as our own recorder prints it.
//! Out:     values by name and labels.
//! Promise: a line that cannot be read is left out; nothing here fails.

use std::collections::BTreeMap;

#[derive(Debug, Default, Clone)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// Every sample of that name.
    pub(crate) fn of<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of all samples of that name which bear these labels; `None` when there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let bears = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        let mut found = self.of(name).filter(bears).peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// `name{label="value",...} number`; comments are none.
fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (head, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, BTreeMap::new(), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: head.to_owned(), labels, value })
}

/// The labels up to the closing brace, and what follows it. Values are in quotes, with `\\`, `\"` and `\n`.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, char) => value.push(char),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_recorder_prints_is_read_back() {
        let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total{source=\"we\\\"b\",kind=\"x,}\"} 3\na_total{source=\"app\"} 4\n\
                    plain 1.5\nbroken{source=\"web\nnumberless x\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total", &[]), Some(7.0));
        assert_eq!(metrics.sum("a_total", &[("source", "we\"b"), ("kind", "x,}")]), Some(3.0));
        assert_eq!(metrics.sum("a_total", &[("source", "none")]), None);
        assert_eq!(metrics.sum("plain", &[]), Some(1.5));
        assert_eq!(metrics.of("a_total").map(|sample| sample.label("source")).collect::<Vec<_>>(), ["we\"b", "app"]);
    }
}
