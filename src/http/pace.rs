//! How fast submissions are taken in while much waits already: so that a flood of them does not take the processors from the jobs.
//!
//! A submission costs about as much as a small job, and what is let in behind a long queue ends no earlier for being let in at once.
//! While more than [`PACED_BEHIND_TASKS`] tasks go before a new job of its class, submissions of that class get turns, in the order in
//! which they came. Nobody is refused: a client notices a slower answer. Otherwise, and in better classes than those that are so long,
//! nobody waits.

use crate::job::Priority;
use crate::limits::{PACED_BEHIND_TASKS, PACED_SUBMITS_PER_SECOND};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Turns that are late are made up for within this time; timers are no finer than a millisecond.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Of all classes.
#[derive(Debug, Default)]
pub struct Pace([Class; 3]);

#[derive(Debug, Default)]
struct Class {
    /// Tasks that the last new job of this class found before it.
    ahead: AtomicU64,
    /// When the next turn is. Whoever holds this is the first in the line, and who gives up waiting leaves it.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Waits for the turn of a submission, where it needs one.
    pub async fn turn(&self, priority: Priority) {
        let class = &self.0[priority as usize];
        if !class.is_long() {
            return;
        }
        let mut next = class.next.lock().await;
        // It may have become short while this one stood in the line.
        if !class.is_long() {
            return;
        }
        let at = turn_at(*next, Instant::now());
        tokio::time::sleep_until(at).await;
        *next = Some(at + Duration::from_secs(1) / PACED_SUBMITS_PER_SECOND);
    }

    /// A new job found this many tasks before it.
    pub fn found(&self, priority: Priority, ahead: u64) {
        self.0[priority as usize].ahead.store(ahead, Ordering::Relaxed);
    }
}

impl Class {
    fn is_long(&self) -> bool {
        self.ahead.load(Ordering::Relaxed) > PACED_BEHIND_TASKS
    }
}

/// Turns that nobody took are not saved up.
fn turn_at(next: Option<Instant>, now: Instant) -> Instant {
    let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
    next.map_or(now, |next| next.max(earliest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn turns_follow_each_other_and_are_not_saved_up() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        assert_eq!(turn_at(None, now), now);
        assert_eq!(turn_at(Some(later), now), later);
        assert_eq!(turn_at(Some(now), later), later - CATCH_UP);
    }

    #[tokio::test]
    async fn only_what_is_behind_a_long_queue_stands_in_line_and_leaves_it_when_it_gives_up() {
        let pace = Pace::default();
        let waits = |priority| pace.turn(priority).now_or_never().is_none();
        pace.found(Priority::Normal, PACED_BEHIND_TASKS);
        assert!((0..100).all(|_| !waits(Priority::Normal)));
        pace.found(Priority::Normal, PACED_BEHIND_TASKS + 1);
        *pace.0[Priority::Normal as usize].next.lock().await = Some(Instant::now() + Duration::from_secs(3600));
        assert!(!waits(Priority::Interactive));
        // Each of them gives up at once.
        assert!((0..100).all(|_| waits(Priority::Normal)));
        *pace.0[Priority::Normal as usize].next.lock().await = None;
        pace.turn(Priority::Normal).await;
        // Those in the line go on when the queue has become short.
        *pace.0[Priority::Normal as usize].next.lock().await = Some(Instant::now() + Duration::from_secs(3600));
        let first = pace.0[Priority::Normal as usize].next.lock().await;
        let second = pace.turn(Priority::Normal);
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        pace.found(Priority::Normal, 3);
        drop(first);
        second.await;
    }
}
