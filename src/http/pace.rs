//! How fast submissions are taken in while much waits already: so that a flood of them does not take the processors from the jobs.
//!
//! A submission costs about as much as a small job, and what is let in behind a long queue ends no earlier for being let in at once.
//! While more than [`PACED_BEHIND_TASKS`] tasks wait before a new job of its class, submissions of that class get turns, one after the
//! other in the order in which they came (a leaky bucket as a meter is for refusing; this one is a queue: nobody is refused, and a
//! client notices a slower answer). Below that, and in the classes that a flood is not in, nobody waits.

use crate::job::Priority;
use crate::limits::{PACED_BEHIND_TASKS, PACED_SUBMITS_PER_SECOND};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Of all classes.
#[derive(Debug, Default)]
pub struct Pace(Mutex<[Class; 3]>);

#[derive(Debug, Default, Clone, Copy)]
struct Class {
    /// Tasks that the last new job of this class found before it.
    ahead: u64,
    /// When the next turn is.
    next: Option<Instant>,
}

impl Pace {
    /// Waits for the turn of a submission, where it needs one.
    pub async fn turn(&self, priority: Priority) {
        let at = self.book(priority, Instant::now());
        if let Some(at) = at {
            tokio::time::sleep_until(at).await;
        }
    }

    /// A new job found this many tasks before it.
    pub fn found(&self, priority: Priority, ahead: u64) {
        self.classes()[priority as usize].ahead = ahead;
    }

    fn book(&self, priority: Priority, now: Instant) -> Option<Instant> {
        let class = &mut self.classes()[priority as usize];
        if class.ahead <= PACED_BEHIND_TASKS {
            return None;
        }
        let turn = class.next.map_or(now, |next| next.max(now));
        class.next = Some(turn + Duration::from_secs(1) / PACED_SUBMITS_PER_SECOND);
        Some(turn)
    }

    fn classes(&self) -> std::sync::MutexGuard<'_, [Class; 3]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_submissions_behind_a_long_queue_of_their_class_wait_for_turns() {
        let (pace, now) = (Pace::default(), Instant::now());
        let turns = |priority| (0..3).map(|_| pace.book(priority, now)).collect::<Vec<_>>();
        pace.found(Priority::Normal, PACED_BEHIND_TASKS);
        assert_eq!(turns(Priority::Normal), [None; 3]);
        pace.found(Priority::Normal, PACED_BEHIND_TASKS + 1);
        let step = Duration::from_secs(1) / PACED_SUBMITS_PER_SECOND;
        assert_eq!(turns(Priority::Normal), [Some(now), Some(now + step), Some(now + 2 * step)]);
        assert_eq!(turns(Priority::Interactive), [None; 3]);
        // A turn that nobody took is not saved up.
        let later = now + 100 * step;
        assert_eq!(
            [pace.book(Priority::Normal, later), pace.book(Priority::Normal, later)],
            [Some(later), Some(later + step)]
        );
        pace.found(Priority::Normal, 3);
        assert_eq!(turns(Priority::Normal), [None; 3]);
    }
}
