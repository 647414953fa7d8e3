//! A bound on the memory of one piece of work: the global allocator counts what the threads of a bounded piece allocate, and the thread
//! that goes past the bound stops for good, in the middle of its allocation.
//!
//! It exists for compilers that read a stranger's text: the constant evaluator of naga writes out every value that a text asks for, and a
//! text of one line can ask for more than the machine has. An allocator may neither unwind nor (without ending the process) fail, so the
//! thread is parked, its caller is told, and the process that it is in should end soon: the memory up to the bound stays taken.
//!
//! Threads without a bound pay one look at a thread-local variable.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the threads of one bounded piece of work share.
#[derive(Debug)]
pub struct Budget {
    bytes_max: isize,
    /// Allocated and not freed, by the threads of the piece. What others free of it is not noticed, which errs on the safe side.
    bytes: AtomicIsize,
    exceeded: AtomicBool,
}

impl Budget {
    /// Of this many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let bytes_max = isize::try_from(bytes_max).unwrap_or(isize::MAX);
        Arc::new(Self { bytes_max, bytes: AtomicIsize::new(0), exceeded: AtomicBool::new(false) })
    }

    /// True once a thread has stopped at the bound; it never goes on.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }
}

thread_local! {
    /// The bound of this thread. Points into the [`Arc`] that its [`Bounded`] holds.
    static BUDGET: Cell<*const Budget> = const { Cell::new(std::ptr::null()) };
}

/// While it lives, this thread allocates from a budget.
pub struct Bounded {
    budget: Arc<Budget>,
    before: *const Budget,
}

impl Bounded {
    /// Binds this thread to a budget. Threads that it starts are not bound by themselves.
    pub fn enter(budget: Arc<Budget>) -> Self {
        let before = BUDGET.replace(Arc::as_ptr(&budget));
        Self { budget, before }
    }

    /// The budget of this thread, for a thread that it starts.
    pub fn current() -> Option<Arc<Budget>> {
        let budget = BUDGET.get();
        if budget.is_null() {
            return None;
        }
        // SAFETY: a pointer that is not null comes from `Arc::as_ptr` of the `Bounded` that this thread holds, so that it lives.
        unsafe {
            Arc::increment_strong_count(budget);
            Some(Arc::from_raw(budget))
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        debug_assert!(
            std::ptr::eq(BUDGET.get(), Arc::as_ptr(&self.budget)),
            "bounds are left in the order of their entering"
        );
        BUDGET.set(self.before);
    }
}

/// Counts for those threads that have a budget.
struct Counting;

impl Counting {
    fn charge(bytes: isize) {
        // A thread that is being torn down has no budget any more.
        let Ok(budget) = BUDGET.try_with(Cell::get) else { return };
        if budget.is_null() {
            return;
        }
        // SAFETY: as in `Bounded::current`.
        let budget = unsafe { &*budget };
        let now = budget.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes > 0 && now > budget.bytes_max {
            budget.exceeded.store(true, Ordering::Release);
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
    }
}

/// The bytes of a layout, which are at most `isize::MAX` by its own rules.
fn signed(bytes: usize) -> isize {
    bytes as isize
}

// SAFETY: everything is passed on to `System` as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::charge(signed(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::charge(-signed(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::charge(signed(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::charge(signed(bytes) - signed(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stops_at_its_bound_and_no_other_does() {
        let budget = Budget::new(64 << 20);
        let (sender, done) = std::sync::mpsc::channel();
        let inner = Arc::clone(&budget);
        std::thread::spawn(move || {
            let _bound = Bounded::enter(inner);
            // Within the bound, as often as it likes.
            for _ in 0..100 {
                std::hint::black_box(vec![1_u8; 32 << 20]);
            }
            let _ = sender.send("within");
            std::hint::black_box(vec![1_u8; 65 << 20]);
            let _ = sender.send("past the bound");
        });
        assert_eq!(done.recv(), Ok("within"));
        while !budget.is_exceeded() {
            std::thread::yield_now();
        }
        std::hint::black_box(vec![1_u8; 65 << 20]);
        assert!(done.try_recv().is_err(), "the thread went on");
    }
}
