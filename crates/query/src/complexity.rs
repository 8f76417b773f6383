//! How intricate a text may be.
//!
//! In:       SQL text; then its tree.
//! Out:      nothing, or which bound it breaks.
//! Promise:  what passes is planned and run within the 2 MiB stack of a worker thread, and is planned in seconds.
//!
//! Why: the parser bounds brackets, but a chain (`a AND b AND ...`), a list of joins or a row of WITHs makes a tree
//! as deep as it is long, the planner walks it by recursion, and a stack that overflows ends the process with
//! everything in it. Measured with an unoptimised build: 400 operators, 130 WITHs and 200 relations pass,
//! 800, 200 and 400 do not. A chain of JSON arrows doubles the time of planning with every two links:
//! 17 took a second.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Select, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::bounded;

const OPERATORS_MAX: usize = 1_000;
const DEPTH_MAX: usize = 150;
const SELECTS_MAX: usize = 64;
const RELATIONS_MAX: usize = 64;
const JSON_ARROWS_MAX: usize = 12;

/// Before the tree is built: even to walk or drop a tree takes stack.
pub(crate) fn check_text(text: &str) -> Result<(), String> {
    // What is no SQL at all is told better by the parser.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return Ok(()) };
    let count = tokens.iter().filter(|token| makes_deeper(token)).count();
    if count <= OPERATORS_MAX {
        return Ok(());
    }
    Err(format!("the question has {count} operators, {OPERATORS_MAX} are allowed; IN (...) takes lists of any length"))
}

fn makes_deeper(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::RArrow
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

/// Before it is planned, our table functions written out.
pub(crate) fn check_tree(tree: &impl Visit) -> Result<(), String> {
    match tree.visit(&mut Gauge::default()) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn too_intricate(bound: &str) -> ControlFlow<String> {
    ControlFlow::Break(format!("the question is too intricate: {bound}; cut it into several"))
}

#[derive(Default)]
struct Gauge {
    depth: usize,
    json_arrows: usize,
    selects: usize,
    relations: usize,
}

fn is_json_arrow(expression: &Expr) -> bool {
    use BinaryOperator as B;
    matches!(expression, Expr::BinaryOp { op: B::Arrow | B::LongArrow | B::HashArrow | B::HashLongArrow, .. })
}

impl Visitor for Gauge {
    type Break = String;

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        self.depth += 1;
        if DEPTH_MAX < self.depth {
            return too_intricate(&format!("more than {DEPTH_MAX} operators in one chain"));
        }
        if let Expr::Cast { data_type, .. } = expression
            && bounded::has_fixed_length(data_type)
        {
            return ControlFlow::Break(format!("{data_type} is a list of a fixed length: leave the length out"));
        }
        if is_json_arrow(expression) {
            self.json_arrows += 1;
            if JSON_ARROWS_MAX < self.json_arrows {
                let advice = "json_get(properties, 'a', 'b', ...) goes as deep in one call";
                return too_intricate(&format!("more than {JSON_ARROWS_MAX} JSON arrows in a chain ({advice})"));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        self.depth -= 1;
        self.json_arrows -= usize::from(is_json_arrow(expression));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<String> {
        self.selects += 1;
        if SELECTS_MAX < self.selects {
            return too_intricate(&format!("more than {SELECTS_MAX} SELECTs"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<String> {
        self.relations += 1;
        if RELATIONS_MAX < self.relations {
            return too_intricate(&format!("more than {RELATIONS_MAX} tables and subqueries"));
        }
        ControlFlow::Continue(())
    }
}
