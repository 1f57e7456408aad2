//! Ends the program if a case hangs in the tester itself: over a lock that a dead process left taken, say.

use std::time::{Duration, Instant};
use std::{process, thread};

use parking_lot::Mutex;

/// Longer than any case waits in vain.
const LIMIT: Duration = Duration::from_secs(120);

static CASE: Mutex<Option<(String, Instant)>> = Mutex::new(None);

/// Says which case begins now. The first call starts the watch.
pub(crate) fn watch(case: &str) {
    let before = CASE.lock().replace((case.to_owned(), Instant::now()));
    if before.is_none() {
        let started = thread::Builder::new().name("watchdog".into()).spawn(|| {
            loop {
                thread::sleep(Duration::from_secs(1));
                if let Some((case, since)) = CASE.lock().as_ref()
                    && since.elapsed() > LIMIT
                {
                    println!("FAILED {case}: it hangs");
                    println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
                    process::exit(1);
                }
            }
        });
        // Without it a hang lasts until somebody ends the program.
        drop(started);
    }
}
