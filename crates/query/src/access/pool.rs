//! The memory of one access, within that of all.
//!
//! In:       the pool of the engine, a bound.
//! Out:      a pool.
//! Promise:  what is taken is taken of both, or of neither; so an access that takes all of its own leaves the rest to the others.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

#[derive(Debug)]
pub(super) struct OwnPool {
    own: FairSpillPool,
    of_all: Arc<dyn MemoryPool>,
}

impl OwnPool {
    pub(super) fn new(bytes_max: usize, of_all: Arc<dyn MemoryPool>) -> Self {
        Self { own: FairSpillPool::new(bytes_max), of_all }
    }
}

impl fmt::Display for OwnPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own")
    }
}

impl MemoryPool for OwnPool {
    fn name(&self) -> &str {
        "own"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.of_all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.of_all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.of_all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.of_all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.of_all.try_grow(reservation, additional).inspect_err(|_| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_taken_of_both_or_of_neither() {
        let of_all: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        let own: Arc<dyn MemoryPool> = Arc::new(OwnPool::new(60, Arc::clone(&of_all)));
        let others = MemoryConsumer::new("others").register(&of_all);
        let mine = MemoryConsumer::new("mine").register(&own);
        mine.try_grow(50).unwrap();
        assert_eq!((own.reserved(), of_all.reserved()), (50, 50));
        assert!(mine.try_grow(20).is_err(), "60 are all it has");
        others.try_grow(45).unwrap();
        assert!(mine.try_grow(10).is_err(), "all have 100");
        assert_eq!((own.reserved(), of_all.reserved()), (50, 95));
        drop(mine);
        assert_eq!((own.reserved(), of_all.reserved()), (0, 45));
    }
}
