//! The shop: a published data set, imported as any user would import it.
//!
//! In:      the data that comes with the program (`demo-data/README.md` names its authors and licence).
//! Out:     events through the door; sessions and a funnel, checked against the publication.
//! Promise: the same import code and the same mapping format as `tributary import`.

use tributary_query::Engine;

use super::answers::{number, parse, rows};
use super::report::{Checks, Report};
use crate::import::{Door, ImportOptions, Mapping, Source, Summary, grouped, progress_bar, run};

pub(crate) const SOURCE: &str = "shop";

/// Rows of the data set, as its authors state them.
pub(crate) const EVENTS: u64 = 165_474;
/// Sessions, as the shop itself numbered them.
const SESSIONS: u64 = 24_026;
/// Sessions that saw page 1, then 2, then 3 ... in this order, each click used once; counted over the file by a
/// separate script.
const FUNNEL: [u64; 5] = [21_127, 9_035, 4_327, 1_806, 503];

const DATA: &[u8] = include_bytes!("../../demo-data/eshop_clothing_2008.csv.gz");
const MAPPING: &str = include_str!("../../demo-data/eshop.mapping.toml");

pub(crate) async fn send(url: &str, write_key: &str) -> anyhow::Result<Summary> {
    let source = Source::Bytes { name: "eshop_clothing_2008.csv.gz".to_owned(), bytes: DATA.into() };
    let mapping = Mapping::parse(MAPPING)?;
    let door = Door::new(url, write_key)?;
    run(source, mapping, door, ImportOptions::default(), progress_bar("sending"), Default::default()).await
}

pub(crate) async fn tell(engine: &Engine, report: &mut Report, checks: &mut Checks) -> anyhow::Result<()> {
    let events = number(engine, "SELECT count(*) FROM events WHERE source = 'shop'").await?;
    checks.equal("shop: events in the lake", EVENTS, events as u64);
    let sessions = number(engine, "SELECT count(*) FROM sessions WHERE source = 'shop'").await?;
    checks.equal("shop: sessions", SESSIONS, sessions as u64);
    report.line(&format!(
        "{} sessions; the shop itself numbered {} (each under an id of its own)",
        grouped(sessions as u64),
        grouped(SESSIONS)
    ));
    report.line("how far do visits get? pages 1 to 5 in this order:");
    let steps = rows(
        engine,
        "SELECT step, units_reached, rate_from_first, rate_from_previous FROM funnel(
            steps => [url_path = '/page/1', url_path = '/page/2', url_path = '/page/3', url_path = '/page/4',
                      url_path = '/page/5'],
            names => ['page 1', 'page 2', 'page 3', 'page 4', 'page 5'],
            window => '1 day', key => session_key, source => 'shop') ORDER BY position",
    )
    .await?;
    let mut table = Vec::new();
    for (index, row) in steps.iter().enumerate() {
        let reached = parse(&row[1])? as u64;
        if let Some(expected) = FUNNEL.get(index) {
            checks.equal(&format!("shop: funnel step {}", index + 1), *expected, reached);
        }
        let percent =
            |cell: &str| cell.parse::<f64>().map_or_else(|_| String::new(), |rate| format!("{:.1} %", 100.0 * rate));
        table.push(vec![row[0].clone(), grouped(reached), percent(&row[2]), percent(&row[3])]);
    }
    checks.equal("shop: funnel steps", FUNNEL.len(), steps.len());
    report.table(&["step", "sessions", "of all", "of the step before"], &table);
    Ok(())
}
