use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};
use datafusion::prelude::SessionContext;

use super::*;
use crate::stop::Stop;

async fn answer(stop: &Stop, pool: Arc<dyn MemoryPool>, sql: &str) -> Result<usize> {
    let context = SessionContext::new();
    context.register_udf(credit_function(stop.flag(), pool));
    let batches = context.sql(sql).await?.collect().await?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

/// One person: a touch of a campaign of its own each second, then as many conversions.
fn crowd(model: &str, count: usize) -> String {
    format!(
        "SELECT unnest(credit_touches('{model}', 1000000, 1, touches, conversions)) FROM (SELECT
            array_agg(named_struct('time_us', v, 'sequence', v, 'channel', 'email', 'campaign', CAST(v AS VARCHAR),
                'utm_source', NULL)) AS touches,
            array_agg(named_struct('time_us', v + {count}, 'event_id', CAST(v AS VARCHAR),
                'value', CAST(1 AS DECIMAL(18, 6)), 'currency', 'EUR')) AS conversions
        FROM generate_series(1, {count}) AS t(v)) AS person"
    )
}

#[tokio::test]
async fn credits_that_do_not_fit_are_refused_before_they_are_made() {
    let pool = || Arc::new(GreedyMemoryPool::new(1 << 20));
    let error = answer(&Stop::default(), pool(), &crowd("linear", 1_000)).await.unwrap_err();
    assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    assert!(error.to_string().contains("1000000 credits at once"), "{error}");
    // Of a last touch there is one a conversion, however many came before.
    assert_eq!(answer(&Stop::default(), pool(), &crowd("last_touch", 1_000)).await.unwrap(), 1_000);
    let unbounded = Arc::new(UnboundedMemoryPool::default());
    assert_eq!(answer(&Stop::default(), unbounded, &crowd("linear", 100)).await.unwrap(), 10_000);
}

#[tokio::test]
async fn a_question_nobody_waits_for_stops_between_persons() {
    let stop = Stop::default();
    stop.now();
    let error = answer(&stop, Arc::new(UnboundedMemoryPool::default()), &crowd("linear", 2)).await.unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
}
