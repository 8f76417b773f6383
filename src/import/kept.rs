//! Fields of a mapping that the door would not keep.
//!
//! In:      the paths a mapping fills, and the kind of call it makes of a row.
//! Out:     a fault for each that would be lost, with where to write it instead.
//! Promise: what a mapping fills is in the event, or is told before a row is read.
//!
//! Source: `tributary_ingest`'s dialect of Segment; what it reads of `context` is `CONTEXT_KEPT`.

use tributary_ingest::CONTEXT_KEPT;

/// * `paths`: the leaves a mapping fills, from the event on: `context.page.url`.
/// * `call`: track, page ...; `None` when the rows say it.
pub(crate) fn lost(paths: &[String], call: Option<&str>) -> Vec<String> {
    let has = |table: &str| paths.iter().any(|path| path.split('.').next() == Some(table));
    let mut faults = Vec::new();
    for path in paths {
        if let Some(of_context) = path.strip_prefix("context.")
            && !is_kept(of_context, call, has("traits") || has("properties"))
        {
            let name = of_context.rsplit('.').next().unwrap_or(of_context);
            faults.push(format!(
                "event.{path} would not be kept: write it as properties.{name}, or as traits.{name} of an event with type = \
                 \"identify\"; of context there is: {}",
                CONTEXT_KEPT.join(", ")
            ));
        }
    }
    let Some(call) = call else { return faults };
    let about_somebody = matches!(call, "identify" | "group");
    if has("traits") && has("properties") {
        let (kept, lost) = if about_somebody { ("traits", "properties") } else { ("properties", "traits") };
        faults.push(format!(
            "event.{lost} would not be kept: of a {call} the door takes event.{kept}; write all of it there"
        ));
    }
    for (field, kept) in
        [("event", call == "track"), ("name", is_page(call)), ("category", is_page(call)), ("channel", false)]
    {
        if has(field) && !kept {
            let instead = match field {
                "event" => "what happened is its type; write it as properties.event, or leave type away for a track",
                "name" => "write it as event (what happened), or as properties.name",
                "category" => "write it as properties.category",
                _ => "write it as properties.channel",
            };
            faults.push(format!("event.{field} of a {call} would not be kept: {instead}"));
        }
    }
    faults
}

fn is_page(call: &str) -> bool {
    matches!(call, "page" | "screen")
}

fn is_kept(path: &str, call: Option<&str>, has_own: bool) -> bool {
    let listed = CONTEXT_KEPT.iter().any(|kept| match kept.strip_suffix(".*") {
        Some(above) => path.strip_prefix(above).is_some_and(|rest| rest.starts_with('.')),
        // A list stands as a whole.
        None => *kept == path || path.strip_prefix(kept).is_some_and(|rest| rest.starts_with('[')),
    });
    let traits_of_identify = path.starts_with("traits.") && call.is_none_or(|call| call == "identify") && !has_own;
    listed || traits_of_identify
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(paths: &[&str], call: Option<&str>) -> String {
        lost(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>(), call).join("\n")
    }

    #[test]
    fn what_the_door_would_not_keep_is_told_with_where_to_write_it() {
        for (paths, call, words) in [
            (
                &["userId", "context.traits.email"][..],
                Some("track"),
                "event.context.traits.email would not be kept: write it as properties.email",
            ),
            (&["context.traits.email", "traits.plan"], Some("identify"), "event.context.traits.email"),
            (&["context.device.model"], None, "event.context.device.model"),
            (&["traits.a", "properties.b"], Some("track"), "event.traits would not be kept"),
            (&["traits.a", "properties.b"], Some("identify"), "event.properties would not be kept"),
            (&["name"], Some("track"), "event.name of a track"),
            (&["channel"], Some("track"), "properties.channel"),
            (&["event"], Some("page"), "properties.event"),
        ] {
            assert!(told(paths, call).contains(words), "{paths:?}: {}", told(paths, call));
        }
    }

    #[test]
    fn what_it_keeps_is_not_told() {
        for (paths, call) in [
            (&["userId", "event", "properties.a", "context.page.url", "context.campaign.source"][..], Some("track")),
            (&["name", "category", "context.consent.categoryPreferences.ads"], Some("page")),
            (&["context.traits.email"], Some("identify")),
            (&["traits.a", "properties.b", "name", "event"], None),
            (&["context.consentManagement.allowedConsentIds[0]"], Some("track")),
        ] {
            assert_eq!(told(paths, call), "");
        }
    }
}
