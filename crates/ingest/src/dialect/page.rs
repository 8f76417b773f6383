//! The page an event happened on, as a dialect's members name it.
//!
//! In:      JSON values of addresses, title and referrer.
//! Out:     the url, campaign and referrer columns of the event.
//! Promise: only columns that are still empty are filled.

use tributary_schemas::Event;

use super::reading::Reading;
use crate::landing;
use crate::text::{NAME_BYTES_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX, TITLE_BYTES_MAX};

#[derive(Default)]
pub(crate) struct Page<'a> {
    pub url: Option<&'a str>,
    pub path: Option<&'a str>,
    pub title: Option<&'a str>,
    pub referrer: Option<&'a str>,
    pub search: Option<&'a str>,
}

impl Page<'_> {
    pub(crate) fn fill(&self, event: &mut Event, reading: &mut Reading) {
        // Addresses are read whole and cut column by column, so that a long query does not cost its path.
        const WHOLE: usize = usize::MAX;
        if let Some(url) = reading.text("url", self.url, WHOLE) {
            put_address(event, &url, reading);
        }
        if event.url_path.is_none() {
            event.url_path = reading.text("path", self.path, PATH_BYTES_MAX);
        }
        if event.url_query.is_none()
            && let Some(search) = reading.text("search", self.search, QUERY_BYTES_MAX)
        {
            landing::fill_from_query(event, &search, &mut |text, bytes_max| reading.fit(text, bytes_max));
        }
        if event.title.is_none() {
            event.title = reading.text("title", self.title, TITLE_BYTES_MAX);
        }
        if let Some(referrer) = reading.text("referrer", self.referrer, WHOLE) {
            put_referrer(event, &referrer, reading);
        }
    }
}

/// The address of the page, as text.
pub(crate) fn put_address(event: &mut Event, url: &str, reading: &mut Reading) {
    landing::fill(event, url, &mut |text, bytes_max| reading.fit(text, bytes_max));
}

/// The address it was reached from, as text.
pub(crate) fn put_referrer(event: &mut Event, referrer: &str, reading: &mut Reading) {
    if event.referrer_host.is_none() {
        let (host, term) = landing::referrer_of(referrer);
        event.referrer_host = host.and_then(|host| reading.fit(&host, NAME_BYTES_MAX));
        event.referrer_term = term.and_then(|term| reading.fit(&term, NAME_BYTES_MAX));
    }
}
