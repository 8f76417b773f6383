//! A server asked by Arrow Flight SQL, with ADBC's driver and Arrow's own client.

use crate::outside;
use crate::postgres::{held, with_events};
use crate::server::{Home, QUERY_TOKEN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adbc_asks_types_parameters_and_the_catalog_and_cancels() {
    let test = "adbc_asks_types_parameters_and_the_catalog_and_cancels";
    let Some(mut python) = outside::python(test, "flight.py") else { return };
    // One turn: whoever leaves work behind keeps the next from its own.
    let home = Home::embedded().with("flight.listen", "127.0.0.1:0").with("query.queries_max", "1");
    let server = home.start().await;
    with_events(&server).await;
    let told = home.told();
    let address = told.lines().rev().find_map(|line| line.strip_prefix("listening on grpc://127.0.0.1:"));
    python.args([address.expect("it says where"), QUERY_TOKEN]);
    let lines = outside::json_lines(python).await;
    assert_eq!(held(&lines), ["tokens", "types", "parameters", "catalog", "faults", "big"]);
    let metrics = reqwest::get(server.url("/metrics")).await.unwrap().bytes().await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    for name in ["tributary_flight_calls_total{method=\"DoGet\"}", "tributary_flight_refused_total"] {
        assert!(metrics.contains(name), "{name}\n{metrics}");
    }
    assert!(server.stop().await.success());
}
