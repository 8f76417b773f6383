//! The OpenAPI document and the server agree, as schemathesis finds by trying.

use crate::outside;
use crate::server::{Home, QUERY_TOKEN, WRITE_KEY};

/// Of each route; beside them come the cases at the edges, of which each has dozens.
const EXAMPLES: &str = "5";
const EXAMPLES_EXTENDED: &str = "200";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_answers_as_its_openapi_document_says() {
    let Some(mut schemathesis) = outside::python("the_server_answers_as_its_openapi_document_says", "openapi.py")
    else {
        return;
    };
    let home = Home::embedded();
    let server = home.start().await;
    let examples = if outside::is_extended() { EXAMPLES_EXTENDED } else { EXAMPLES };
    let keys = std::fs::read_to_string(home.data_dir().join("keys.toml")).unwrap();
    let replay_token = keys.split('"').find(|text| text.starts_with("replay_") && *text != "replay_tokens").unwrap();
    schemathesis.args([&server.address().to_string(), WRITE_KEY, QUERY_TOKEN, replay_token, examples]);
    let output = tokio::task::spawn_blocking(move || schemathesis.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.matches("No issues found").count(), 4, "each run tried something: {told}");
    assert!(server.stop().await.success());
}
