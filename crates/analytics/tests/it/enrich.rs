//! Enrichment against what others found out by hand: devices of real traffic, reference parses, lists of crawlers.

use std::collections::HashMap;
use std::path::PathBuf;

use tributary_analytics::enrich::built_in;

fn lines(name: &str) -> Vec<String> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect();
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn cells(line: &str) -> [&str; 5] {
    let mut cells = line.split('\t');
    [(); 5].map(|()| cells.next().unwrap_or_default())
}

#[test]
fn no_browser_of_real_traffic_is_called_a_machine() {
    let lines = lines("enrich_browsers.tsv");
    assert_eq!(lines.len(), 952);
    for line in &lines {
        let agent = cells(line)[2];
        assert_eq!(built_in().crawlers.find(agent), None, "{agent}");
    }
}

#[test]
fn devices_of_real_traffic_are_what_their_screens_say() {
    // The list says desktop, mobile or tablet by what the browser reported besides its user agent.
    let (mut right, mut all, mut right_weight, mut all_weight) = (0, 0, 0.0, 0.0);
    let mut wrong: HashMap<(String, &str), Vec<String>> = HashMap::new();
    for line in lines("enrich_browsers.tsv") {
        let [kind, weight, agent, ..] = cells(&line);
        let weight: f64 = weight.parse().unwrap();
        let read = built_in().agents.read(agent);
        assert!(read.browser.is_some() && read.os.is_some(), "{agent}");
        all += 1;
        all_weight += weight;
        if read.device == kind {
            right += 1;
            right_weight += weight;
        } else {
            wrong.entry((kind.to_owned(), read.device)).or_default().push(agent.to_owned());
        }
    }
    println!("{right} of {all} agents, {:.4} of the traffic", right_weight / all_weight);
    for ((kind, said), agents) in &wrong {
        println!("{kind} was called {said}: {} agents, such as {}", agents.len(), agents[0]);
    }
    assert!(wrong.is_empty(), "{right} of {all} are right");
}

#[test]
fn systems_are_read_as_the_reference_reads_them() {
    // All 483 cases, where the variable names a file that `data/make.py` wrote.
    let cases = match std::env::var("TRIBUTARY_TEST_OS") {
        Ok(path) => std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect(),
        Err(_) => lines("enrich_os.tsv"),
    };
    for line in &cases {
        let [agent, family, parts @ ..] = cells(line);
        let read = built_in().agents.read(agent);
        let version = parts.into_iter().take_while(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        assert_eq!(read.os.as_deref().unwrap_or("Other"), family, "{agent}");
        assert_eq!(read.os_version.as_deref().unwrap_or_default(), version, "{agent}");
    }
    println!("{} cases", cases.len());
}

#[test]
fn crawlers_that_are_listed_are_found() {
    let lines = lines("enrich_crawlers.txt");
    let missed: Vec<&String> = lines.iter().filter(|agent| built_in().crawlers.find(agent).is_none()).collect();
    assert!(missed.is_empty(), "of {} these are not found: {missed:#?}", lines.len());
}
