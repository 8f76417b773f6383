//! Who asks, and what they may see and take.
//!
//! In:       the settings; a token.
//! Out:      `Asker`, which goes with each question.
//! Promise:  an asker is made of a token that was compared whole, or is the owner of the folder; nobody else is one, so no question
//!           comes without. What an access may not see is left out where its tables are scanned, below everything its SQL says.
//! Not here: how a token is shown (HTTP, PostgreSQL's protocol, Flight: each in its own way). Why so: `docs/adr/0017-who-may-see-what.md`.

mod exec;
mod mask;
mod pool;
mod rows;
mod schema;
mod settings;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest as hashes, rand};
use datafusion::common::Result;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::error::QueryError;
use crate::identity::Identities;
use crate::settings::QuerySettings;

pub(crate) use mask::Masks;
pub(crate) use rows::RowRule;
pub(crate) use schema::SeenSchema;
pub(crate) use settings::faults;
pub use settings::{AccessSettings, Personal};
pub(crate) use table::SeenTable;

/// Who asks a question. Only an engine makes one.
#[derive(Clone)]
pub struct Asker(Arc<Access>);

/// What goes with a token.
pub(crate) struct Access {
    name: String,
    /// None: all may be seen.
    pub(crate) rights: Option<Rights>,
    /// The server's, with the limits that are its own.
    pub(crate) settings: Arc<QuerySettings>,
    /// Of its own: rows of an answer that is not cut but streamed.
    pub(crate) rows_max: Option<usize>,
    pub(crate) turns: Option<Arc<Semaphore>>,
    /// With a pool of its own.
    pub(crate) base: Option<SessionState>,
    rate: Option<Rate>,
}

/// How often it may ask.
struct Rate {
    per_minute: NonZeroU32,
    asked: DefaultDirectRateLimiter,
    described: DefaultDirectRateLimiter,
}

impl Rate {
    fn new(per_minute: NonZeroU32) -> Self {
        let [asked, described] = [(); 2].map(|()| RateLimiter::direct(Quota::per_minute(per_minute)));
        Self { per_minute, asked, described }
    }
}

/// What is not to be seen.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) rows: Option<RowRule>,
    pub(crate) masks: Option<Arc<Masks>>,
    pub(crate) tables: Option<Arc<BTreeSet<String>>>,
    /// Persons as the links on seen rows tell them.
    pub(crate) identities: Arc<Identities>,
}

/// A question too often waits so long at most, by what it is told.
const WAIT_S_MIN: u64 = 1;

impl Asker {
    /// As it is called in the settings; `full` or `owner`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether all may be seen: only then may rows be told that no question leads to.
    pub fn sees_all(&self) -> bool {
        self.0.rights.is_none()
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.name() == settings::OWNER
    }

    /// How long one of its questions may take.
    pub fn time_max(&self) -> Duration {
        Duration::from_millis(self.0.settings.time_ms_max)
    }

    pub(crate) fn access(&self) -> &Access {
        &self.0
    }

    /// Counts a question, or says when the next may come.
    pub(crate) fn admit(&self) -> Result<(), QueryError> {
        self.admit_by(|rate| &rate.asked)
    }

    /// The same for one that is described and not worked on. Drivers describe what they ask next: as one count each would halve
    /// what an access may ask.
    pub(crate) fn admit_description(&self) -> Result<(), QueryError> {
        self.admit_by(|rate| &rate.described)
    }

    fn admit_by(&self, of: impl Fn(&Rate) -> &DefaultDirectRateLimiter) -> Result<(), QueryError> {
        let Some(rate) = &self.0.rate else { return Ok(()) };
        let per_minute = rate.per_minute;
        of(rate).check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let wait_s = wait.as_secs().saturating_add(u64::from(0 < wait.subsec_nanos())).max(WAIT_S_MIN);
            QueryError::TooOften { access: self.0.name.clone(), per_minute: per_minute.get(), wait_s }
        })
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asker({})", self.0.name)
    }
}

/// All who may ask one engine.
pub(crate) struct Askers {
    pub(crate) owner: Asker,
    /// By digests of their tokens.
    known: Vec<([u8; 32], Asker)>,
    /// Those whose token is known itself.
    pub(crate) by_token: Vec<(String, Asker)>,
}

impl Askers {
    /// * `base`: the session of the engine, without tables. The settings were checked.
    pub(crate) fn new(settings: &Arc<QuerySettings>, base: &SessionState) -> Result<Self, QueryError> {
        let unlimited = |name: &str| {
            let (name, settings) = (name.to_owned(), Arc::clone(settings));
            Asker(Arc::new(Access {
                name,
                rights: None,
                settings,
                rows_max: None,
                turns: None,
                base: None,
                rate: None,
            }))
        };
        let full = unlimited(settings::FULL);
        let mut known: Vec<_> = settings.tokens.iter().map(|token| (digest(token), full.clone())).collect();
        let mut by_token: Vec<_> = settings.tokens.iter().map(|token| (token.clone(), full.clone())).collect();
        let secret = secret(settings)?;
        for own in &settings.access {
            let wrong =
                |reason: String| QueryError::Settings { faults: vec![format!("access {:?}: {reason}", own.name)] };
            let digest = settings::token(own).map_err(wrong)?;
            let asker = Asker(Arc::new(Access::new(own, settings, base, &secret)?));
            if !own.token.is_empty() {
                by_token.push((own.token.clone(), asker.clone()));
            }
            known.push((digest, asker));
        }
        Ok(Self { owner: unlimited(settings::OWNER), known, by_token })
    }

    /// Whose token that is. Each is compared, and each whole, so that time tells nothing.
    pub(crate) fn of(&self, token: &str) -> Option<Asker> {
        let shown = digest(token);
        let mut found = None;
        for (digest, asker) in &self.known {
            if bool::from(digest.ct_eq(&shown)) {
                found = Some(asker.clone());
            }
        }
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Access {
    fn new(
        own: &AccessSettings,
        settings: &Arc<QuerySettings>,
        base: &SessionState,
        secret: &[u8],
    ) -> Result<Self, QueryError> {
        let limited = QuerySettings {
            time_ms_max: own.time_ms_max.unwrap_or(settings.time_ms_max),
            rows_max: own.rows_max.unwrap_or(settings.rows_max),
            queries_max: own.queries_max.unwrap_or(settings.queries_max),
            memory_bytes_max: own.memory_bytes_max.unwrap_or(settings.memory_bytes_max),
            ..QuerySettings::clone(settings)
        };
        let broke = |error| QueryError::from_datafusion(error, settings.memory_bytes_max);
        let base = own.memory_bytes_max.map(|bytes_max| with_own_memory(base, bytes_max)).transpose().map_err(broke)?;
        let purposes = own.purpose_mask().filter(|mask| *mask != 0);
        let granted = match &own.personal {
            Personal::All(true) => None,
            Personal::All(false) => Some(BTreeSet::new()),
            Personal::Columns(columns) => Some(columns.iter().cloned().collect()),
        };
        let rights = Rights {
            rows: purposes.map(|purposes| RowRule::new(purposes, own.unasked)),
            masks: granted.map(|granted| Arc::new(Masks::new(secret, &own.name, granted))),
            tables: own.tables.clone().map(|tables| Arc::new(tables.into_iter().collect())),
            identities: Arc::new(Identities::new(&limited)),
        };
        let limit = own.queries_per_minute.and_then(NonZeroU32::new);
        Ok(Self {
            name: own.name.clone(),
            // Even with all rows and columns its plans are looked at below: it is no full access.
            rights: Some(rights),
            rows_max: own.rows_max,
            turns: own.queries_max.map(|max| Arc::new(Semaphore::new(max))),
            rate: limit.map(Rate::new),
            base,
            settings: Arc::new(limited),
        })
    }
}

fn with_own_memory(base: &SessionState, bytes_max: usize) -> Result<SessionState> {
    let runtime = base.runtime_env();
    let own = pool::OwnPool::new(bytes_max, Arc::clone(&runtime.memory_pool));
    let runtime = RuntimeEnvBuilder::from_runtime_env(runtime).with_memory_pool(Arc::new(own)).build_arc()?;
    Ok(SessionStateBuilder::new_from_existing(base.clone()).with_runtime_env(runtime).build())
}

/// What pseudonyms are made with. A server has one in its keys file; an engine of a folder nobody served needs none that stays.
fn secret(settings: &QuerySettings) -> Result<Vec<u8>, QueryError> {
    if !settings.mask_secret.is_empty() {
        return Ok(settings.mask_secret.as_bytes().to_vec());
    }
    let mut random = vec![0; 32];
    rand::fill(&mut random).map_err(|_| QueryError::broke("the system has no random numbers"))?;
    Ok(random)
}

fn digest(token: &str) -> [u8; 32] {
    hashes::digest(&hashes::SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
