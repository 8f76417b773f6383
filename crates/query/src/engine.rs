//! The engine: one question, one answer, within the limits.
//!
//! In:       settings, a lake, SQL text.
//! Out:      `Answer` or `AnswerStream`.
//! Promise:  read-only; each table at one version, the newest when the question's turn came; over the time the asker
//!           is answered and the work stopped (`stop.rs` says how soon); memory of sorts, joins, groups and
//!           credits is one pool for all questions, and what does not fit spills; nothing is computed on the
//!           asker's threads (`workers.rs`).
//! Not here: who may ask and see what (`access`), how a token is shown (`http.rs`, `protocols`).

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::ToDFSchema;
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{FunctionRegistry, SendableRecordBatchStream};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tributary_lake::{Lake, Snapshot};
use tributary_schemas::Table;

use crate::access::{Asker, Askers};
use crate::answer::{Answer, AnswerStream, Started, Tally};
use crate::definitions::{self, Definitions};
use crate::distributed::{self, Head};
use crate::error::{self, Advice, QueryError};
use crate::facts::{self, Freshness, Look, Named, Understood, Working};
use crate::fold::{FoldNode, FoldPlanner};
use crate::identity::{Identities, PersonOf, Persons, asks_for_persons};
use crate::lake_table::LAKE_URL;
use crate::live::{self, Live, LiveSources, Wants};
use crate::question::{Beside, Described, Question, Relation};
use crate::settings::QuerySettings;
use crate::statement::FoldOf;
use crate::stop::{self, Stop};
use crate::table_function::Checker;
use crate::workers::Workers;
use crate::{attribution, bounded, catalog, experiment, funnel, metric, statement, telling, told, window_funnel};

/// Answers questions about one lake.
pub struct Engine {
    planner: Arc<Planner>,
    askers: Askers,
    turns: Arc<Semaphore>,
    workers: Arc<Workers>,
}

/// What makes a plan of a statement; shared with the threads that do it.
struct Planner {
    settings: Arc<QuerySettings>,
    lake: Lake,
    /// Settings and functions, without tables: a copy is made for each question.
    base: SessionState,
    identities: Arc<Identities>,
    live: LiveSources,
    /// A question keeps to those it began with.
    defined: RwLock<Arc<Defined>>,
    freshness: Freshness,
    /// Where workers help.
    head: Option<Head>,
}

/// What a worker takes from the engine of its process.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) base: SessionState,
    pub(crate) settings: Arc<QuerySettings>,
    pub(crate) lake: Lake,
    pub(crate) identities: Arc<Identities>,
}

/// Definitions, and the table that tells them.
struct Defined {
    definitions: Arc<Definitions>,
    table: Arc<dyn TableProvider>,
}

impl Defined {
    fn new(definitions: Definitions) -> datafusion::error::Result<Arc<Self>> {
        let table = Arc::new(definitions::table(&definitions)?);
        Ok(Arc::new(Self { definitions: Arc::new(definitions), table }))
    }
}

/// Named in an error when memory runs out.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

impl Engine {
    pub fn new(settings: QuerySettings, lake: Lake) -> Result<Self, QueryError> {
        Self::with_live(settings, lake, LiveSources::default())
    }

    /// One that can be asked for live tables.
    pub fn with_live(settings: QuerySettings, lake: Lake, live: LiveSources) -> Result<Self, QueryError> {
        settings.check()?;
        let settings = Arc::new(settings);
        let definitions = match &settings.metrics_dir {
            Some(folder) => Definitions::read(folder).map_err(|faults| QueryError::Definitions { faults })?,
            None => Definitions::default(),
        };
        let broke = |error| QueryError::from_datafusion(error, settings.memory_bytes_max);
        let runtime = runtime(&settings, &lake).map_err(broke)?;
        let base = base_session(&settings, runtime).map_err(broke)?;
        let turns = Arc::new(Semaphore::new(settings.queries_max));
        let workers = Workers::start().map_err(|error| QueryError::Engine(Box::new(error.into())))?;
        let identities = Arc::new(Identities::new(&settings));
        let defined = RwLock::new(Defined::new(definitions).map_err(broke)?);
        let askers = Askers::new(&settings, &base)?;
        let freshness = Freshness::default();
        let head = settings.is_head().then(|| Head::new(Arc::clone(&settings), &base)).transpose().map_err(broke)?;
        let planner = Planner { settings, lake, base, identities, live, defined, freshness, head };
        Ok(Self { planner: Arc::new(planner), askers, turns, workers: Arc::new(workers) })
    }

    /// Who shows this token; `None`: nobody we know.
    pub fn asker(&self, token: &str) -> Option<Asker> {
        self.askers.of(token)
    }

    /// Whoever has the folder: sees and takes what this process may. For questions nobody sent us.
    pub fn owner(&self) -> Asker {
        self.askers.owner.clone()
    }

    /// The tokens that are known themselves, and not by their hash, for protocols that never send one.
    pub fn tokens(&self) -> &[(String, Asker)] {
        &self.askers.by_token
    }

    /// Whether anybody may ask.
    pub fn has_tokens(&self) -> bool {
        !self.askers.is_empty()
    }

    pub fn settings(&self) -> &QuerySettings {
        &self.planner.settings
    }

    /// The sources it asks for the tail of the log.
    pub fn live(&self) -> &LiveSources {
        &self.planner.live
    }

    /// The definitions that are in force.
    pub fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.planner.defined().definitions)
    }

    /// Plans each definition in force against the tables; the error tells all that do not fit.
    pub async fn check_definitions(&self) -> Result<(), QueryError> {
        self.check(&self.planner.defined()).await
    }

    /// Puts others in force, if they fit the tables.
    pub async fn replace_definitions(&self, definitions: Definitions) -> Result<(), QueryError> {
        let defined = Defined::new(definitions).map_err(|error| self.planner.wrong(error))?;
        self.check(&defined).await?;
        *self.planner.defined.write().unwrap_or_else(PoisonError::into_inner) = defined;
        Ok(())
    }

    async fn check(&self, defined: &Arc<Defined>) -> Result<(), QueryError> {
        let mut faults = Vec::new();
        let questions = defined.definitions.questions();
        if questions.is_empty() {
            return Ok(());
        }
        // Once for all: each version is looked up in the store.
        let snapshots = catalog::pin(&self.planner.lake).await?;
        for (place, question) in questions {
            let question = Question::plain(self.owner(), question);
            match self.describe_by(question, Arc::clone(defined), Some(snapshots.clone())).await {
                Ok(_) => {}
                Err(error) if error.advice() == Advice::FixInput => {
                    let reason = error.reason();
                    // All columns there are, after each fault, would hide the faults.
                    let reason = reason.split("\nValid fields are").next().unwrap_or_default();
                    faults.push(format!("{place}: {reason}"));
                }
                Err(error) => return Err(error),
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(QueryError::Definitions { faults }) }
    }

    pub(crate) fn parts(&self) -> Parts {
        let Planner { base, settings, lake, identities, .. } = &*self.planner;
        Parts {
            base: base.clone(),
            settings: Arc::clone(settings),
            lake: lake.clone(),
            identities: Arc::clone(identities),
        }
    }

    /// Does work of another process on the threads for questions.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        self.workers.spawn(work)
    }

    /// Tasks at work on questions; 0 once all are answered or stopped.
    pub fn task_count(&self) -> usize {
        self.workers.task_count()
    }

    /// Tells the gauges of what is going on now. Asked for by whoever scrapes: between two scrapes nobody looks.
    pub fn tell(&self) {
        let runtime = self.planner.base.runtime_env();
        let running = self.settings().queries_max.saturating_sub(self.turns.available_permits());
        metrics::gauge!(telling::RUNNING).set(running as f64);
        metrics::gauge!(telling::RUNNING_MAX).set(self.settings().queries_max as f64);
        metrics::gauge!(telling::MEMORY).set(runtime.memory_pool.reserved() as f64);
        metrics::gauge!(telling::MEMORY_MAX).set(self.settings().memory_bytes_max as f64);
        metrics::gauge!(telling::SPILLED).set(runtime.disk_manager.used_disk_space() as f64);
        metrics::gauge!(telling::SPILLED_MAX).set(self.settings().spill_bytes_max as f64);
    }

    /// Does what takes long without a pause where it holds nobody up; `None` if it panicked.
    pub(crate) async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.workers.spawn_blocking(work).await.ok()
    }

    /// The first `rows_max` rows of the answer, for the owner.
    pub async fn query(&self, sql: &str) -> Result<Answer, QueryError> {
        self.query_as(self.owner(), sql).await
    }

    /// The same for somebody else.
    pub async fn query_as(&self, asker: Asker, sql: &str) -> Result<Answer, QueryError> {
        self.ask(Question::plain(asker, sql)).await?.collect().await
    }

    /// All rows of the answer, for the owner, as they come: neither `rows_max` nor `answer_bytes_max` cuts it. Time runs until the
    /// stream ends, so writing it out counts.
    ///
    /// Into any `io::Write`, a few batches at a time in memory:
    ///
    /// ```text
    /// let mut stream = engine.query_stream(sql).await?;
    /// let mut writer = render::CsvWriter::new(out, &stream.schema()); // or JsonArrayWriter::new(out), NdjsonWriter
    /// while let Some(batch) = stream.next().await { // futures::StreamExt
    ///     writer.write(&batch?)?;
    /// }
    /// writer.finish()?;
    /// ```
    pub async fn query_stream(&self, sql: &str) -> Result<AnswerStream, QueryError> {
        self.ask(Question::plain(self.owner(), sql)).await
    }

    /// The same for a question of another face.
    pub async fn ask(&self, question: Question) -> Result<AnswerStream, QueryError> {
        let asker = question.asker.clone();
        let mut tally = Tally::start(asker.clone(), question.face, &question.sql);
        let deadline = tally.started + asker.time_max();
        let started = match asker.admit() {
            Ok(()) => self.start(question, deadline).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(started) => Ok(AnswerStream::start(started, deadline, &asker, tally, Arc::clone(&self.workers))),
            Err(error) => {
                tally.outcome = error.outcome();
                tracing::debug!(%error, outcome = tally.outcome, "question not answered");
                Err(error)
            }
        }
    }

    /// What the answer will look like and what its parameters are, without working on it. It is counted and takes a turn, too; of
    /// those a minute that an access may describe there are as many as it may ask.
    pub async fn describe(&self, question: Question) -> Result<Described, QueryError> {
        let asker = question.asker.clone();
        let mut tally = Tally::start(asker.clone(), question.face, &question.sql);
        let described = match asker.admit_description() {
            Ok(()) => self.describe_by(question, self.planner.defined(), None).await,
            Err(error) => Err(error),
        };
        tally.outcome = described.as_ref().map_or_else(QueryError::outcome, |_| "described");
        described
    }

    /// * `snapshots`: of all tables, where they are pinned already.
    async fn describe_by(
        &self,
        question: Question,
        defined: Arc<Defined>,
        snapshots: Option<Vec<Snapshot>>,
    ) -> Result<Described, QueryError> {
        let deadline = Instant::now() + question.asker.time_max();
        self.in_turn(question, deadline, |planner, asked, turn| async move {
            let _turn = turn;
            let (plan, _) = planner.logical(Asked { snapshots, ..asked }, &Stop::default(), &defined).await?;
            let parameters = plan.get_parameter_types().map_err(|error| planner.wrong(error))?;
            let schema = told::schema(&Arc::new(plan.schema().as_arrow().clone()));
            Ok(Described { schema, parameters: parameters.into_iter().collect() })
        })
        .await
    }

    /// The tables and views there are, by name.
    pub async fn relations(&self) -> Result<Vec<Relation>, QueryError> {
        let planner = Arc::clone(&self.planner);
        let looking = self.workers.spawn(async move { planner.relations().await });
        looking.await.unwrap_or_else(|_| Err(QueryError::broke("the listing of the tables broke")))
    }

    async fn start(&self, question: Question, deadline: Instant) -> Result<Started, QueryError> {
        self.in_turn(question, deadline, |planner, asked, turn| async move {
            let stop = Stop::default();
            let Planned { batches, versions, live, facts, look } = planner.plan(asked, &stop).await?;
            let live_positions = match live {
                Live::Rows(rows) => Some(rows.positions.clone()),
                Live::NotAsked | Live::Away(_) => None,
            };
            Ok(Started { batches, versions, live_positions, facts, look, stop, turn })
        })
        .await
    }

    /// One of its own, where it has any, then one of all. Each waits in line.
    async fn turn(&self, asker: &Asker, deadline: Instant) -> Option<Turn> {
        let own = match &asker.access().turns {
            Some(turns) => Some(taken(Arc::clone(turns), deadline).await?),
            None => None,
        };
        Some(Turn { _own: own, _of_all: taken(Arc::clone(&self.turns), deadline).await? })
    }

    /// Judges a question, waits for its turn and does `work` on the threads for it.
    async fn in_turn<T, W>(
        &self,
        question: Question,
        deadline: Instant,
        work: impl FnOnce(Arc<Planner>, Asked, Turn) -> W + Send + 'static,
    ) -> Result<T, QueryError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let Question { asker, sql, dialect, rewrite, beside, face: _ } = question;
        let QuerySettings { sql_bytes_max, queries_max, time_ms_max, .. } = *asker.access().settings;
        // What is refused anyway need not wait for its turn.
        let mut parsed = statement::parse(&sql, dialect, sql_bytes_max)?;
        if let Some(rewrite) = rewrite {
            statement::rewrite(&mut parsed, rewrite)?;
        }
        statement::only_reads(&parsed)?;
        if !asker.sees_all() {
            statement::tells_no_work(&parsed)?;
        }
        let turn = self.turn(&asker, deadline).await.ok_or(QueryError::Busy { queries_max, time_ms_max })?;
        let asked = Asked { asker, parsed, beside, snapshots: None };
        let working = self.workers.spawn(work(Arc::clone(&self.planner), asked, turn));
        let done = timeout_at(deadline, working).await.map_err(|_| QueryError::TimedOut { time_ms_max })?;
        done.unwrap_or_else(|_| Err(QueryError::broke("the planning of the question broke")))
    }
}

async fn taken(turns: Arc<Semaphore>, deadline: Instant) -> Option<OwnedSemaphorePermit> {
    let turn = timeout_at(deadline, turns.acquire_owned()).await.ok()?;
    Some(turn.expect("nobody closes the semaphore"))
}

/// A question that was judged.
struct Asked {
    asker: Asker,
    parsed: datafusion::sql::parser::Statement,
    beside: Option<Arc<Beside>>,
    /// Of all tables, where they are pinned already.
    snapshots: Option<Vec<Snapshot>>,
}

/// One of those an access may take at a time, and one of all; kept until the work has really ended.
pub(crate) struct Turn {
    _own: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Planner {
    async fn plan(&self, asked: Asked, stop: &Stop) -> Result<Planned, QueryError> {
        let wrong = |error| self.wrong(error);
        let sees_all = asked.asker.sees_all();
        let (plan, Pinned { context, person_of, persons, lake_id, versions, live, understood, named }) =
            self.logical(asked, stop, &self.defined()).await?;
        let state = context.state();
        let plan = state.optimize(&plan).and_then(|plan| stop.ask_in_joins(plan)).map_err(wrong)?;
        // Only now it is known whether a person is asked for: the optimiser drops columns nobody wants.
        let wants_persons = asks_for_persons(&plan).unwrap_or(true);
        if wants_persons {
            person_of.give(persons.map().await.map_err(wrong)?);
        }
        // What was read, and how new it is, tells of rows that are not seen.
        let reads = match sees_all {
            true => {
                let links = persons.snapshot().filter(|_| wants_persons);
                Some(facts::reads(&plan, links, &self.freshness).map_err(wrong)?)
            }
            false => None,
        };
        let plan = state.query_planner().create_physical_plan(&plan, &state).await.map_err(wrong)?;
        let plan = stop::pause_in_joins(plan).map_err(wrong)?;
        // What a token may not see is left out in this process: nothing of its question travels.
        let spread = match self.head.as_ref().filter(|_| sees_all) {
            Some(head) => {
                let links = persons.snapshot().filter(|_| wants_persons);
                head.run(&plan, &state, distributed::Pinned::of(lake_id, links, &self.settings)).await?
            }
            None => None,
        };
        let (batches, counted) = match spread {
            Some((batches, counted)) => (batches, Some(counted)),
            None => (execute_stream(Arc::clone(&plan), context.task_ctx()).map_err(wrong)?, None),
        };
        let look = Look::new(named, context, matches!(live, Live::Rows(_)), sees_all);
        // A version tells how often a table was written, by whomever.
        let versions = if sees_all { versions } else { Vec::new() };
        let facts = Working::new(understood, reads, plan, counted);
        Ok(Planned { batches: told::stream(batches), versions, live, facts, look })
    }

    /// What a statement means, with the tables it means pinned.
    async fn logical(&self, asked: Asked, stop: &Stop, defined: &Defined) -> Result<(LogicalPlan, Pinned), QueryError> {
        let wrong = |error| self.wrong(error);
        let Asked { asker, mut parsed, beside, snapshots } = asked;
        let beside = beside.as_deref();
        definitions::expand(&defined.definitions, &mut parsed)?;
        statement::check_tree(&mut parsed)?;
        let (understood, named) = (facts::understood(&parsed), Named::of(&parsed));
        let wants = Wants::of(&parsed.to_string());
        let (snapshots, live) = match snapshots.filter(|_| !wants.any) {
            Some(snapshots) => (snapshots, Live::NotAsked),
            None => live::pin(&self.lake, &self.live, wants).await?,
        };
        let versions = snapshots.iter().map(|snapshot| (snapshot.table(), snapshot.version())).collect();
        let events = snapshots.iter().find(|snapshot| snapshot.table() == Table::Events);
        let lake_id = events.map(|snapshot| snapshot.table_id().to_owned()).unwrap_or_default();
        let person_of = PersonOf::new();
        let mut base = asker.access().base.as_ref().unwrap_or(&self.base).clone();
        for function in beside.iter().flat_map(|beside| &beside.functions) {
            base.register_udf(Arc::clone(function)).map_err(wrong)?;
        }
        let world = catalog::World {
            base: &base,
            person_of: &person_of,
            snapshots,
            identities: &self.identities,
            live: &live,
            definitions: &defined.table,
            beside: beside.map(|beside| &beside.schemas),
            rights: asker.access().rights.as_ref(),
            stop: stop.flag(),
        };
        let (context, persons) = world.session().map_err(wrong)?;
        let pool = Arc::clone(&context.runtime_env().memory_pool);
        context.register_udf(attribution::credit_function(stop.flag(), pool));
        let state = context.state();
        if statement::calls_a_table_function(&mut parsed, |name| state.table_functions().contains_key(name))? {
            let person_events = context.table_provider("person_events").await;
            let person_events =
                person_events.map_err(|error| not_open(&asker, "person_events").unwrap_or_else(|| wrong(error)))?;
            let columns = person_events.schema().to_dfschema().map_err(wrong)?;
            let checker = Checker { session: &state, columns: &columns };
            let mut folds = Vec::new();
            statement::write_out(&mut parsed, &checker, &mut folds)?;
            add_folds(&context, &asker, &checker, folds, stop).await?;
        }
        let named_wrong = |error| named_wrong(&context, &asker, wrong(error));
        let plan = state.statement_to_plan(parsed).await.map_err(named_wrong)?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(wrong)?;
        each_column_has_its_own_name(&plan)?;
        Ok((plan, Pinned { context, person_of, persons, lake_id, versions, live, understood, named }))
    }

    async fn relations(&self) -> Result<Vec<Relation>, QueryError> {
        let wrong = |error| self.wrong(error);
        let defined = self.defined();
        let world = catalog::World {
            base: &self.base,
            person_of: &PersonOf::new(),
            snapshots: catalog::pin(&self.lake).await?,
            identities: &self.identities,
            live: &Live::NotAsked,
            definitions: &defined.table,
            beside: None,
            rights: None,
            stop: Stop::default().flag(),
        };
        let (context, _) = world.session().map_err(wrong)?;
        let schema = context.catalog(catalog::CATALOG).and_then(|catalog| catalog.schema(catalog::SCHEMA));
        let schema = schema.expect("`session` makes it");
        let mut relations = Vec::new();
        for name in schema.table_names() {
            if let Some(table) = schema.table(&name).await.map_err(wrong)? {
                let definition = table.get_table_definition().map(str::to_owned);
                relations.push(Relation { name, schema: told::schema(&table.schema()), definition });
            }
        }
        Ok(relations)
    }

    fn defined(&self) -> Arc<Defined> {
        Arc::clone(&self.defined.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn wrong(&self, error: DataFusionError) -> QueryError {
        QueryError::from_datafusion(error, self.settings.memory_bytes_max)
    }
}

/// What a plan reads, and in whose words it was made.
struct Pinned {
    context: SessionContext,
    person_of: PersonOf,
    persons: Persons,
    /// Of the table of events.
    lake_id: String,
    versions: Vec<(Table, u64)>,
    live: Live,
    understood: Understood,
    named: Named,
}

/// A plan that runs, and what is said of it.
struct Planned {
    batches: SendableRecordBatchStream,
    versions: Vec<(Table, u64)>,
    live: Live,
    facts: Working,
    look: Option<Look>,
}

/// Each fold as a table that stands for its plan.
async fn add_folds(
    context: &SessionContext,
    asker: &Asker,
    checker: &Checker<'_>,
    folds: Vec<FoldOf>,
    stop: &Stop,
) -> Result<(), QueryError> {
    let wrong = |error| QueryError::from_datafusion(error, 0);
    if folds.is_empty() {
        return Ok(());
    }
    let tables = Arc::new(MemorySchemaProvider::new());
    let catalog = context.catalog(catalog::CATALOG).expect("each session has it");
    catalog.register_schema(statement::FOLDS, Arc::clone(&tables) as _).map_err(wrong)?;
    for (index, FoldOf { mut input, folding }) in folds.into_iter().enumerate() {
        let mut within = Vec::new();
        statement::write_out(&mut input, checker, &mut within)?;
        if !within.is_empty() {
            let reason = "a table function stands inside an argument of another: ask it apart, and give its answer";
            return Err(QueryError::Statement { reason: reason.to_owned() });
        }
        let input = context.state().statement_to_plan(input).await;
        let input = input.map_err(|error| named_wrong(context, asker, wrong(error)))?;
        let plan = FoldNode::plan(input, folding, stop.flag()).map_err(wrong)?;
        let table = Arc::new(ViewTable::new(plan, None));
        tables.register_table(statement::fold_name(index), table).map_err(wrong)?;
    }
    Ok(())
}

/// A fault that is a table nobody has, with those there are; any other as it is. DataFusion says which name in words
/// only.
fn named_wrong(context: &SessionContext, asker: &Asker, error: QueryError) -> QueryError {
    let message = error.to_string();
    let name = message.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    let Some(name) = name.filter(|name| !name.contains('\'')) else { return error };
    let schema = context.catalog(catalog::CATALOG).and_then(|catalog| catalog.schema(catalog::SCHEMA));
    let Some(schema) = schema else { return error };
    let tables = schema.table_names();
    let known: Vec<&str> = tables.iter().map(String::as_str).collect();
    let ours = format!("{}.{}.", catalog::CATALOG, catalog::SCHEMA);
    let name = name.strip_prefix(&ours).unwrap_or(name);
    not_open(asker, name)
        .unwrap_or_else(|| QueryError::Statement { reason: error::unknown_name("table", name, &known) })
}

/// What is told of a table that is there and not open to who asks.
fn not_open(asker: &Asker, name: &str) -> Option<QueryError> {
    let open = asker.access().rights.as_ref()?.tables.as_ref()?;
    if open.contains(name) || !catalog::names().any(|known| known == name) {
        return None;
    }
    let open: Vec<&str> = open.iter().map(String::as_str).collect();
    let reason = format!("{name} is not open to the access {}: its tables are {}", asker.name(), open.join(", "));
    Some(QueryError::Forbidden { reason })
}

/// `a.channel` and `b.channel` are two columns to the engine, but both are called `channel` in the answer: as JSON one
/// would hide the other.
fn each_column_has_its_own_name(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut seen = HashSet::new();
    match plan.schema().fields().iter().find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(twice) => {
            let name = twice.name();
            let reason =
                format!("two columns of the answer are called {name:?}: name them apart, such as a.{name} AS {name}_a");
            Err(QueryError::Statement { reason })
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.planner.lake)
    }
}

fn runtime(settings: &QuerySettings, lake: &Lake) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let pool = TrackConsumersPool::new(FairSpillPool::new(settings.memory_bytes_max), CONSUMERS_NAMED);
    let mut builder = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_max_temp_directory_size(settings.spill_bytes_max);
    if let Some(folder) = &settings.spill_dir {
        builder = builder.with_temp_file_path(folder);
    }
    let runtime = builder.build_arc()?;
    runtime.register_object_store(LAKE_URL.as_ref(), lake.object_store());
    Ok(runtime)
}

fn base_session(settings: &QuerySettings, runtime: Arc<RuntimeEnv>) -> datafusion::error::Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(settings.partitions())
        .with_default_catalog_and_schema(catalog::CATALOG, catalog::SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        // The rows of our table functions come in an order that means something.
        .with_enable_subquery_sort_elimination(false);
    if settings.is_head() {
        distributed::fit(&mut config);
    }
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_query_planner(Arc::new(FoldPlanner))
        .build();
    bounded::bound(&mut state)?;
    datafusion_functions_json::register_all(&mut state)?;
    for function in window_funnel::functions() {
        state.register_udaf(Arc::new(function))?;
    }
    let scalar = [funnel::functions(), experiment::functions(), metric::functions()];
    for function in scalar.into_iter().flatten() {
        state.register_udf(Arc::new(function))?;
    }
    Ok(state)
}
