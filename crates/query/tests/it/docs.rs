//! Each question in `docs/sql.md`, asked.

use crate::definitions::with_examples;
use crate::world;

/// Statements of a block, without comments: a semicolon ends one, unless it stands in quotes.
pub(crate) fn statements(block: &str) -> Vec<String> {
    let (mut statements, mut statement) = (Vec::new(), String::new());
    for line in block.lines() {
        let mut is_quoted = false;
        let mut before = ' ';
        for letter in line.chars() {
            is_quoted ^= letter == '\'';
            if !is_quoted && before == '-' && letter == '-' {
                statement.pop();
                break;
            }
            if !is_quoted && letter == ';' {
                statements.push(std::mem::take(&mut statement));
            } else {
                statement.push(letter);
            }
            before = letter;
        }
        statement.push('\n');
    }
    statements.push(statement);
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

/// All that can be asked of tables alone.
pub(crate) fn questions() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql.md")).unwrap();
    let blocks = text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // A live table needs the tail of a stream job: `live.rs`.
    blocks.flat_map(statements).filter(|statement| !statement.contains("_live")).collect()
}

#[tokio::test]
async fn each_question_in_the_documentation_is_answered() {
    let world = world::planted().await;
    let engine = world.engine(with_examples());
    let questions = questions();
    for question in &questions {
        if let Err(error) = engine.query(question).await {
            panic!("{error}\n{question}");
        }
    }
    assert!(12 < questions.len(), "{} questions were found", questions.len());
}
