//! Who is whom, from the door to the answer: a login, an alias, and both taken back.

use serde_json::json;

use crate::server::{Home, Server, WRITE_KEY};

async fn post(server: &Server<'_>, path: &str, event: serde_json::Value) {
    let (status, answer) = server.post(path, WRITE_KEY, event.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

async fn persons(server: &Server<'_>) -> Vec<String> {
    let rows = server.sql("SELECT DISTINCT person_id FROM person_events WHERE event_kind = 'page' ORDER BY 1").await;
    rows.iter().map(|row| row["person_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_and_an_alias_joined_an_unlink_takes_apart() {
    let home = Home::embedded();
    let server = home.start().await;
    let said = "SELECT count(*) FROM identities";
    post(&server, "/v1/page", json!({"anonymousId": "d", "messageId": "1"})).await;
    post(&server, "/v1/page", json!({"userId": "old", "messageId": "2"})).await;
    post(&server, "/v1/track", json!({"event": "Logged In", "anonymousId": "d", "userId": "old", "messageId": "3"}))
        .await;
    post(&server, "/v1/alias", json!({"previousId": "old", "userId": "new", "messageId": "4"})).await;
    post(&server, "/v1/identify", json!({"anonymousId": "d", "userId": "test", "messageId": "5"})).await;
    server.wait_until_queryable(said, 3).await;
    server.wait_until_queryable("SELECT count(*) FROM events", 5).await;
    assert_eq!(persons(&server).await, ["new"]);
    let junk = server.sql("SELECT user_id, reason FROM identities WHERE reason IS NOT NULL").await;
    assert_eq!((junk.len(), &junk[0]["reason"]), (1, &json!("junk_id")));

    let unlink = json!({"unlink": true});
    post(&server, "/v1/alias", json!({"previousId": "old", "userId": "new", "traits": unlink, "messageId": "6"})).await;
    server.wait_until_queryable(said, 4).await;
    assert_eq!(persons(&server).await, ["old"]);
    let taken_back = json!({"event": "identity_unlink", "anonymousId": "d", "userId": "old", "messageId": "7"});
    post(&server, "/v1/track", taken_back).await;
    server.wait_until_queryable(said, 5).await;
    assert_eq!(persons(&server).await, ["old", "shop:d"]);
    server.wait_until_at_least("SELECT count(*) FROM sessions", 2).await;
    assert_eq!(server.number("SELECT count(*) FROM person_sessions WHERE person_id = 'shop:d'").await, 0);
}
