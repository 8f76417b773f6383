//! How it is: looking at a log and a lake without moving anything, for people and for alarms.
//!
//! In:       the parts of a running process, or a data folder nobody runs on.
//! Out:      gauges on `/metrics`, a page at `/status`, the commands `status`, `doctor` and `replay`.
//! Promise:  but for `replay`, nothing here writes rows, makes tables or topics, or moves a position.
//! Not here: what each figure means for whoever is on duty: `docs/ops.md`.
//!
//! `look` finds where everything stands, `books` whether every record of the log is accounted for, `report` puts both in
//! one shape, `observer` does it in a server again and again.

mod books;
mod look;
mod observer;
mod report;

mod doctor;
mod replay;
mod status;

pub(crate) use doctor::{DoctorArgs, command as doctor};
pub(crate) use observer::{Observer, Parts as ObserverParts};
pub(crate) use replay::{ReplayArgs, command as replay, finish_swap};
pub(crate) use report::{PartitionReport, Report};
pub(crate) use status::{StatusArgs, ask, command as status, running};
