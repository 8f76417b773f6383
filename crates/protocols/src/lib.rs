//! The faces of the query engine that are not HTTP: protocols other tools speak already.
//!
//! In:       connections of clients (psql, JDBC, psycopg, Grafana; ADBC); an `Engine`.
//! Out:      their questions, put to the engine; its answers, in the bytes each protocol has for them.
//! Promise:  no face asks anything but the engine: its limits, its turns and its rule that questions only read hold for all. Nobody
//!           is answered who does not know one of the tokens questions over HTTP need.
//! Not here: what the words mean (`query`); listening and TLS (the binary).

pub mod postgres;

pub mod flight;

mod listening;

pub use flight::FlightSettings;
pub use postgres::PostgresSettings;
