//! The shell: a prompt, a history, a few words of its own.
//!
//! In:      lines of a person at a terminal.
//! Out:     answers.
//! Promise: Ctrl-C stops the question under way, not the shell; a question that fails does not end it either; a
//!          question is sent at the `;` that ends it, not at one in a text or a comment.

use std::path::PathBuf;

use anyhow::Context;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{DefaultEditor, Editor};
use tributary_query::{Usage, usages};

use super::asker::{Asker, TRUNCATED};
use super::split::split;
use super::{Format, print, tell};

const HELP: &str = "  a question ends with ;
  \\d         lists the tables        \\d NAME    lists the columns of one
  \\df        lists the functions     \\df NAME   tells how one is called
  \\timing    shows how long it took  \\q         leaves (exit, quit and Ctrl-D do too)
  Ctrl-C stops a question under way";

/// What a word of the shell stands for.
enum Word<'w> {
    Help,
    Tables,
    Columns(&'w str),
    Functions,
    Function(&'w str),
    Timing,
    Leave,
}

/// * `typed`: begins with a backslash.
fn word(typed: &str) -> Option<Word<'_>> {
    let typed = typed.trim().trim_end_matches(';').trim_end();
    let (word, name) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    match (word, name.trim()) {
        ("\\?" | "\\h" | "\\help", "") => Some(Word::Help),
        ("\\d", "") => Some(Word::Tables),
        ("\\d", name) if is_name(name) => Some(Word::Columns(name)),
        ("\\df", "") => Some(Word::Functions),
        ("\\df", name) if is_name(name) => Some(Word::Function(name)),
        ("\\timing", "") => Some(Word::Timing),
        ("\\q", "") => Some(Word::Leave),
        _ => None,
    }
}

fn help() -> String {
    let names: Vec<&str> = usages().iter().map(|usage| usage.name).collect();
    format!("{HELP}\n  functions: {}", names.join(", "))
}

/// How a function is called; of all, where none is named.
fn functions(name: Option<&str>) -> String {
    let usages = usages();
    let wanted = |usage: &&Usage| name.is_none_or(|name| usage.name.eq_ignore_ascii_case(name));
    let told = |usage: &Usage| match name {
        Some(_) => format!("{}\n  example: {}", usage.call, usage.example),
        None => format!("{:<18}{}", usage.name, usage.example),
    };
    let told: Vec<String> = usages.iter().filter(wanted).map(told).collect();
    match (told.is_empty(), name) {
        (true, Some(name)) => format!("there is no table function {name}; \\df lists them"),
        _ => told.join("\n"),
    }
}

/// The questions of a pipe, with SQL in place of the words of the shell where no question is under way.
///
/// * `tell`: takes what a word answers without a question.
pub(crate) fn piped(text: &str, mut tell: impl FnMut(&str)) -> Result<String, String> {
    let mut questions = String::with_capacity(text.len());
    for line in text.lines() {
        let typed = line.trim();
        if typed.starts_with('\\') && split(&questions).1.is_empty() {
            match word(typed) {
                Some(Word::Tables) => questions.push_str(&format!("{TABLES};")),
                Some(Word::Columns(name)) => questions.push_str(&format!("{};", columns_of(name))),
                Some(Word::Help) => tell(&help()),
                Some(Word::Functions) => tell(&functions(None)),
                Some(Word::Function(name)) => tell(&functions(Some(name))),
                // The time goes with the table already.
                Some(Word::Timing) => {}
                Some(Word::Leave) => break,
                None => return Err(format!("{typed} is not known here\n{}", help())),
            }
        } else {
            questions.push_str(line);
        }
        questions.push('\n');
    }
    Ok(questions)
}

enum Input {
    Line(String),
    Cleared,
    End,
}

pub(crate) async fn run(asker: &Asker, format: Format) -> anyhow::Result<()> {
    let mut editor =
        DefaultEditor::new().context("this terminal cannot be used for a shell; give the question as an argument")?;
    let history = history_file();
    // There is no history the first time.
    drop(history.as_ref().map(|file| editor.load_history(file)));
    println!("Ask in SQL. \\d lists the tables, \\? helps.");
    let mut is_timed = false;
    let mut question = String::new();
    loop {
        let prompt = if question.is_empty() { "tributary> " } else { "       ...> " };
        let (back, input) = read_line(editor, prompt).await?;
        editor = back;
        let line = match input {
            Input::Line(line) => line,
            Input::Cleared => {
                question.clear();
                continue;
            }
            Input::End => break,
        };
        let typed = line.trim();
        if is_leave(typed, question.is_empty()) {
            break;
        }
        if question.is_empty() && is_word(typed, "help") {
            println!("{}", help());
            continue;
        }
        if question.is_empty() && typed.starts_with('\\') {
            remember(&mut editor, typed.trim_end_matches(';').trim());
            match word(typed) {
                Some(Word::Help) => println!("{}", help()),
                Some(Word::Timing) => {
                    is_timed = !is_timed;
                    println!("timing is {}", if is_timed { "on" } else { "off" });
                }
                Some(Word::Tables) => answer(asker, TABLES, format, is_timed, None).await?,
                Some(Word::Columns(name)) => {
                    let none = format!("there is no table {name}; \\d lists them");
                    answer(asker, &columns_of(name), format, is_timed, Some(&none)).await?;
                }
                Some(Word::Functions) => println!("{}", functions(None)),
                Some(Word::Function(name)) => println!("{}", functions(Some(name))),
                Some(Word::Leave) => break,
                None => eprintln!("{typed} is not known here\n{}", help()),
            }
            continue;
        }
        if typed.is_empty() && question.is_empty() {
            continue;
        }
        if !question.is_empty() {
            question.push('\n');
        }
        question.push_str(&line);
        // A line that was pasted may end several.
        let (ended, rest) = split(&question);
        if !ended.is_empty() {
            remember(&mut editor, &format!("{};", ended.join("; ")));
        }
        for sql in &ended {
            answer(asker, sql, format, is_timed, None).await?;
        }
        question = rest.to_owned();
    }
    if let Some(file) = history
        && let Err(error) = editor.save_history(&file)
    {
        eprintln!("the history cannot be kept in {}: {error}", file.display());
    }
    Ok(())
}

const TABLES: &str = "SELECT table_name AS name, lower(table_type) AS kind FROM information_schema.tables \
                      WHERE table_schema <> 'information_schema' ORDER BY name";

/// Names are small letters: SQL makes them so where nobody quotes them.
fn columns_of(table: &str) -> String {
    let table = table.to_ascii_lowercase();
    format!(
        "SELECT column_name AS column, CASE WHEN starts_with(data_type, 'Utf8') THEN 'text' ELSE lower(data_type) END AS type, \
         lower(is_nullable) AS may_be_null FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
    )
}

/// Whether somebody wants to leave: with `\q` also out of a question that was not ended; the bare words of other shells
/// only where no question is under way, of which they might be a part.
fn is_leave(typed: &str, is_first_line: bool) -> bool {
    is_word(typed, "\\q") || (is_first_line && (is_word(typed, "exit") || is_word(typed, "quit")))
}

fn is_word(typed: &str, word: &str) -> bool {
    typed.trim_end_matches(';').trim_end().eq_ignore_ascii_case(word)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// * `none`: what to say in place of an answer without rows.
async fn answer(asker: &Asker, sql: &str, format: Format, is_timed: bool, none: Option<&str>) -> anyhow::Result<()> {
    let answer = tokio::select! {
        answer = asker.ask(sql, format) => answer,
        _ = tokio::signal::ctrl_c() => {
            // Dropping the question stops the work behind it.
            eprintln!("stopped");
            return Ok(());
        }
    };
    match answer {
        Err(error) => eprintln!("{error:#}"),
        Ok(answer) => {
            if answer.row_count == 0
                && let Some(none) = none
            {
                eprintln!("{none}");
                return Ok(());
            }
            print(&answer)?;
            tell(&answer.notes);
            if answer.truncated {
                eprintln!("{TRUNCATED}");
            }
            if is_timed {
                eprintln!("{:.1} ms", answer.elapsed.as_secs_f64() * 1_000.0);
            }
        }
    }
    Ok(())
}

/// Waits for a line on a thread of its own: the terminal blocks.
async fn read_line(
    mut editor: DefaultEditor,
    prompt: &'static str,
) -> anyhow::Result<(Editor<(), FileHistory>, Input)> {
    let reading = tokio::task::spawn_blocking(move || {
        let line = editor.readline(prompt);
        (editor, line)
    });
    let (editor, line) = reading.await.context("reading from the terminal broke off")?;
    let input = match line {
        Ok(line) => Input::Line(line),
        Err(ReadlineError::Interrupted) => Input::Cleared,
        Err(ReadlineError::Eof) => Input::End,
        Err(error) => return Err(error).context("the terminal cannot be read"),
    };
    Ok((editor, input))
}

fn remember(editor: &mut DefaultEditor, text: &str) {
    // A history that takes no more lines is no reason to refuse a question.
    drop(editor.add_history_entry(text));
}

fn history_file() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".tributary_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_other_shells_lead_out_and_help_but_are_no_part_of_a_question() {
        for typed in ["\\q", "\\q;", "exit", "EXIT;", "quit ;"] {
            assert!(is_leave(typed, true), "{typed}");
        }
        assert!(is_leave("\\q", false));
        assert!(!is_leave("exit", false) && !is_leave("exit_reason", true) && !is_leave("SELECT 1;", true));
        assert!(is_word("help;", "help"));
    }

    #[test]
    fn words_of_the_shell_are_words_in_a_pipe_too_but_not_within_a_question() {
        let mut told = String::new();
        let text = "\\d\nSELECT '\n\\d\n';\n\\d events;\n\\?\n\\df funnel\n\\q\nSELECT 2";
        let questions = piped(text, |words| told.push_str(words)).unwrap();
        let (questions, rest) = split(&questions);
        assert_eq!((questions.len(), rest), (3, ""));
        assert_eq!(questions[0], TABLES);
        assert!(questions[1].starts_with("SELECT '") && questions[1].contains("\\d"));
        assert_eq!(questions[2], columns_of("events"));
        assert!(
            told.contains("functions: funnel, funnel_trend,") && told.contains("funnel(steps => (needed),"),
            "{told}"
        );
        assert!(piped("\\x", |_| {}).unwrap_err().contains("is not known here"));
    }

    #[test]
    fn names_may_be_typed_in_any_case() {
        assert_eq!(columns_of("Events"), columns_of("events"));
        assert!(columns_of("Events").contains("= 'events'"));
    }
}
