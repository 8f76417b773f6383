//! Several questions, one after the other.
//!
//! In:       text in which each question ends with a `;`, the last perhaps not.
//! Out:      the questions, without it.
//! Promise:  a `;` in a text, a quoted name or a comment ends nothing; what is a comment only is no question.

/// The questions that have come to their end, and what has not: empty, or a question without its `;`.
pub(super) fn split(sql: &str) -> (Vec<&str>, &str) {
    let mut ended = Vec::new();
    let (mut start, mut has_words) = (0, false);
    let mut rest = sql.char_indices().peekable();
    while let Some((at, char)) = rest.next() {
        match char {
            // A doubled quote ends one text and begins the next.
            '\'' | '"' => {
                has_words = true;
                rest.by_ref().find(|(_, other)| *other == char);
            }
            '-' if rest.next_if(|(_, next)| *next == '-').is_some() => {
                rest.by_ref().find(|(_, char)| *char == '\n');
            }
            '/' if rest.next_if(|(_, next)| *next == '*').is_some() => {
                let mut depth = 1;
                while depth > 0 {
                    match rest.next().map(|(_, char)| char) {
                        Some('*') if rest.next_if(|(_, next)| *next == '/').is_some() => depth -= 1,
                        Some('/') if rest.next_if(|(_, next)| *next == '*').is_some() => depth += 1,
                        Some(_) => {}
                        // Open to the end: more is to come.
                        None => {
                            has_words = true;
                            break;
                        }
                    }
                }
            }
            ';' => {
                if has_words {
                    ended.push(sql[start..at].trim());
                }
                (start, has_words) = (at + 1, false);
            }
            char => has_words |= !char.is_whitespace(),
        }
    }
    (ended, if has_words { sql[start..].trim() } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_ends_at_a_semicolon_of_its_own() {
        for (whole, told) in [
            ("SELECT 1;", "SELECT 1"),
            ("SELECT 1 ;  ", "SELECT 1"),
            ("SELECT ';' ;", "SELECT ';'"),
            ("SELECT 'it''s';", "SELECT 'it''s'"),
            ("SELECT 1; -- done", "SELECT 1"),
            ("; SELECT 1 /* ; /* ; */ */;;", "SELECT 1 /* ; /* ; */ */"),
            ("SELECT \"a;b\" FROM t;", "SELECT \"a;b\" FROM t"),
            ("SELECT 4 - -1 / 2;", "SELECT 4 - -1 / 2"),
            ("-- first;\nSELECT 'ä';", "-- first;\nSELECT 'ä'"),
        ] {
            assert_eq!(split(whole), (vec![told], ""), "{whole}");
        }
        for open in [
            "SELECT 1",
            "SELECT 'a;",
            "SELECT 'a;'",
            "SELECT \"a;",
            "SELECT 1 -- not yet;",
            "SELECT 1 -- it's;\nFROM t",
            "SELECT 1 /* ;",
            "SELECT 1 /* /* */ ;",
        ] {
            assert_eq!(split(open), (Vec::new(), open), "{open}");
        }
        for nothing in ["", " ;; ", "-- only words", "/* ; */ ;"] {
            assert_eq!(split(nothing), (Vec::new(), ""), "{nothing}");
        }
    }

    #[test]
    fn several_come_in_their_order() {
        assert_eq!(split("SELECT 1; SELECT ';'\n;SELECT 3"), (vec!["SELECT 1", "SELECT ';'"], "SELECT 3"));
    }
}
