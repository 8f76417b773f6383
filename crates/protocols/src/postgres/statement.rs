//! A text as statements, and what kind each is.
//!
//! In:       the text of a Query or Parse.
//! Out:      its statements, one by one; for each, whether it is about the session or a question.
//! Promise:  a semicolon or `$1` in a literal, a quoted name or a comment is none; any text is gone over once. Nothing is parsed
//!           here: what is a question is judged by the engine.

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Empty,
    /// The engine's, with the highest number of its parameters.
    Question {
        sql: String,
        parameters: usize,
    },
    Begin,
    Commit,
    Rollback,
    /// What a client waits to hear done, though there is nothing to do.
    Done(&'static str),
    /// `None`: back to what it was.
    Set {
        name: String,
        value: Option<String>,
    },
    ResetAll,
    /// `all` is all of them.
    Show(String),
    /// Of prepared statements; `None`: all.
    Deallocate(Option<String>),
    /// Everything of the session.
    DiscardAll,
    /// What is PostgreSQL's and not offered here.
    Unsupported(&'static str),
}

impl Command {
    /// The statements of a text, without the empty ones.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        let tokens = tokens(text);
        let statements = tokens.split(|token| token.kind == Kind::Semicolon);
        statements.filter(|tokens| !tokens.is_empty()).map(|tokens| Self::of(text, tokens)).collect()
    }

    fn of(text: &str, tokens: &[Token]) -> Self {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Self::Empty };
        let sql = &text[first.begin..last.end];
        let words: Vec<String> =
            tokens.iter().take(WORDS_MAX).map(|token| text[token.begin..token.end].to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // A value as it was written, without its quotes.
        let value = |index: usize| tokens.get(index).map(|token| unquoted(&text[token.begin..token.end]));
        match words.as_slice() {
            ["begin", ..] | ["start", "transaction", ..] => Self::Begin,
            ["commit" | "end", ..] => Self::Commit,
            ["rollback", "to", ..] | ["rollback", "work" | "transaction", "to", ..] => Self::Done("ROLLBACK"),
            ["rollback" | "abort", ..] => Self::Rollback,
            ["savepoint", ..] => Self::Done("SAVEPOINT"),
            ["release", ..] => Self::Done("RELEASE"),
            ["set", "session" | "local", "time", "zone", ..] => set("timezone", value(4)),
            ["set", "time", "zone", ..] => set("timezone", value(3)),
            ["set", "transaction", ..] | ["set", "session", "characteristics", ..] | ["set", "constraints", ..] => {
                Self::Done("SET")
            }
            ["set", "session", "authorization", ..] | ["set", "role", ..] => Self::Done("SET"),
            ["set", "names", ..] => set("client_encoding", value(2)),
            ["set", "session" | "local", name, "=" | "to", ..] => set(name, list(text, &tokens[4..])),
            ["set", name, "=" | "to", ..] => set(name, list(text, &tokens[3..])),
            // A setting of an extension, such as `a.b`.
            ["set", first, ".", second, "=" | "to", ..] => set(&format!("{first}.{second}"), list(text, &tokens[5..])),
            ["reset", "all"] => Self::ResetAll,
            ["reset", "session", "authorization"] | ["reset", "role"] => Self::Done("RESET"),
            ["reset", name] => Self::Set { name: unquoted(name), value: None },
            ["show", "time", "zone"] => Self::Show("timezone".to_owned()),
            ["show", "transaction", "isolation", "level"] => Self::Show("transaction_isolation".to_owned()),
            ["show", "session", "authorization"] => Self::Show("session_authorization".to_owned()),
            // The engine has SHOWs of its own.
            ["show", name] if !["tables", "functions", "databases", "schemas"].contains(name) => {
                Self::Show(unquoted(name))
            }
            ["show", first, ".", second] => Self::Show(format!("{first}.{second}")),
            ["deallocate", "all"] | ["deallocate", "prepare", "all"] => Self::Deallocate(None),
            ["deallocate", "prepare", _] => Self::Deallocate(value(2)),
            ["deallocate", _] => Self::Deallocate(value(1)),
            ["discard", "all"] => Self::DiscardAll,
            ["discard", ..] => Self::Done("DISCARD"),
            ["close", ..] => Self::Done("CLOSE CURSOR"),
            ["unlisten", ..] => Self::Done("UNLISTEN"),
            ["listen", ..] => Self::Unsupported("LISTEN"),
            ["declare", ..] => Self::Unsupported("cursors of SQL (DECLARE); a portal with a row limit does the same"),
            ["fetch" | "move", ..] => Self::Unsupported("cursors of SQL (FETCH)"),
            ["prepare", ..] | ["execute", ..] => {
                Self::Unsupported("PREPARE and EXECUTE as SQL; prepare by the protocol, as drivers do")
            }
            ["copy", ..] => Self::Unsupported("COPY; ask with SELECT"),
            _ => {
                let of = |token: &Token| text[token.begin + 1..token.end].parse().unwrap_or(usize::MAX);
                let parameters = tokens.iter().filter(|token| token.kind == Kind::Parameter).map(of);
                Self::Question { sql: sql.to_owned(), parameters: parameters.max().unwrap_or(0) }
            }
        }
    }
}

/// More are looked at by nobody.
const WORDS_MAX: usize = 8;

fn set(name: &str, value: Option<String>) -> Command {
    Command::Set { name: unquoted(name), value: value.filter(|value| !value.eq_ignore_ascii_case("default")) }
}

/// `a, b` as it was written, a single value without its quotes.
fn list(text: &str, tokens: &[Token]) -> Option<String> {
    match tokens {
        [] => None,
        [one] => Some(unquoted(&text[one.begin..one.end])),
        [first, .., last] => Some(text[first.begin..last.end].to_owned()),
    }
}

fn unquoted(word: &str) -> String {
    for (quote, twice) in [('\'', "''"), ('"', "\"\"")] {
        if let Some(inner) = word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.replace(twice, &quote.to_string());
        }
    }
    word.to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    /// A literal or a quoted name.
    Quoted,
    /// `$1`
    Parameter,
    Semicolon,
    Sign,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    begin: usize,
    end: usize,
    kind: Kind,
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let run = |of: fn(u8) -> bool| at + rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len());
        let (end, kind) = match (byte, rest.get(1)) {
            _ if byte.is_ascii_whitespace() => (at + 1, None),
            (b'-', Some(b'-')) => (run(|byte| byte != b'\n'), None),
            (b'/', Some(b'*')) => (comment(bytes, at), None),
            (b'e' | b'E', Some(b'\'')) => (quoted(bytes, at + 1, b'\'', true), Some(Kind::Quoted)),
            (b'\'', _) => (quoted(bytes, at, b'\'', false), Some(Kind::Quoted)),
            (b'"', _) => (quoted(bytes, at, b'"', false), Some(Kind::Quoted)),
            (b'$', Some(b'0'..=b'9')) => {
                let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                (at + 1 + digits, Some(Kind::Parameter))
            }
            (b'$', _) => (dollar_quoted(text, at).unwrap_or(at + 1), Some(Kind::Quoted)),
            (b';', _) => (at + 1, Some(Kind::Semicolon)),
            _ if is_word(byte) => (run(is_word), Some(Kind::Word)),
            _ => (at + 1, Some(Kind::Sign)),
        };
        found.extend(kind.map(|kind| Token { begin: at, end, kind }));
        at = end;
    }
    found
}

/// A name may hold a dollar sign, but not begin with one.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || 0x7f < byte
}

/// Where a quoted text ends; one that does not ends with the text.
fn quoted(bytes: &[u8], begin: usize, quote: u8, escapes: bool) -> usize {
    let mut at = begin + 1;
    while let Some(&byte) = bytes.get(at) {
        if escapes && byte == b'\\' {
            at += 2;
        } else if byte != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    bytes.len()
}

/// Comments may hold others.
fn comment(bytes: &[u8], begin: usize) -> usize {
    let (mut at, mut depth) = (begin, 0_usize);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Where `$tag$...$tag$` ends, if it is that.
fn dollar_quoted(text: &str, begin: usize) -> Option<usize> {
    let tag_end = begin + 1 + text[begin + 1..].find(|char: char| !(char.is_alphanumeric() || char == '_'))?;
    let inside = text[tag_end..].strip_prefix('$')?;
    let tag = &text[begin..=tag_end];
    Some(inside.find(tag).map_or(text.len(), |end| tag_end + 1 + end + tag.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn questions(text: &str) -> Vec<(String, usize)> {
        let of = |command| match command {
            Command::Question { sql, parameters } => (sql, parameters),
            other => panic!("{other:?}"),
        };
        Command::all(text).into_iter().map(of).collect()
    }

    #[test]
    fn semicolons_and_parameters_count_only_where_they_are_some() {
        let text =
            "SELECT ';$9', E'\\';$9', \"a;$9\", $$;$9$$, $t$;$$$t$, /* ; /* ; */ $9 */ $2 -- ;$9\n, a$9; ;SELECT 1;";
        let found = questions(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].1, found[1].1), (2, 0));
        assert!(found[0].0.starts_with("SELECT ';") && found[0].0.ends_with("a$9"), "{found:?}");
        assert_eq!(found[1].0, "SELECT 1");
        assert_eq!(Command::all(" ; -- nothing\n /* */ ;"), []);
        // What has no end ends with the text.
        for text in ["SELECT 'a;b", "SELECT \"a;b", "SELECT $$a;b", "SELECT $x$a;b", "SELECT /* ;"] {
            assert_eq!(questions(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_is_about_the_session_is_known() {
        let set = |name: &str, value: &str| Command::Set { name: name.to_owned(), value: Some(value.to_owned()) };
        let cases = [
            ("BEGIN READ ONLY", Command::Begin),
            ("start transaction isolation level serializable", Command::Begin),
            ("COMMIT", Command::Commit),
            ("ROLLBACK", Command::Rollback),
            ("ROLLBACK TO SAVEPOINT a", Command::Done("ROLLBACK")),
            ("SET extra_float_digits = 3", set("extra_float_digits", "3")),
            ("SET SESSION application_name TO 'It''s'", set("application_name", "It's")),
            ("set search_path to a, b", set("search_path", "a, b")),
            ("SET TIME ZONE 'Europe/Berlin'", set("timezone", "Europe/Berlin")),
            ("SET a.b = 1", set("a.b", "1")),
            ("SET x TO DEFAULT", Command::Set { name: "x".to_owned(), value: None }),
            ("RESET x", Command::Set { name: "x".to_owned(), value: None }),
            ("/* ping */ SHOW TRANSACTION ISOLATION LEVEL", Command::Show("transaction_isolation".to_owned())),
            ("SHOW \"TimeZone\"", Command::Show("timezone".to_owned())),
            ("DEALLOCATE \"S_1\"", Command::Deallocate(Some("S_1".to_owned()))),
            ("DISCARD ALL", Command::DiscardAll),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::Done("SET")),
        ];
        for (text, expected) in cases {
            assert_eq!(Command::all(text), [expected], "{text}");
        }
        for text in ["SHOW TABLES", "SELECT 1", "EXPLAIN SELECT 1", "INSERT INTO a VALUES (1)", "(SELECT 1)"] {
            assert!(matches!(&Command::all(text)[..], [Command::Question { .. }]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_gone_over(text in "[ ;'\"$a1é*/\\-\\\\eE_\n]{0,40}") {
            for command in Command::all(&text) {
                prop_assert!(command != Command::Empty);
            }
        }
    }
}
