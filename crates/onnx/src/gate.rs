// SPDX-License-Identifier: MPL-2.0
//! One load at a time, where more crash.

use super::Error;
use super::control::{Control, cancelled};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whoever waits looks this often whether it still has to.
const LOOK: Duration = Duration::from_millis(100);
/// A load that has been called off for so long does not end.
const LOST: Duration = Duration::from_secs(5);

/// Lets one load through at a time.
pub(crate) struct Gate {
    inside: Mutex<Option<Inside>>,
    left: Condvar,
}

struct Inside {
    control: Control,
    graph: String,
}

/// Leaves the gate when it is dropped.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(crate) const fn new() -> Self {
        Self {
            inside: Mutex::new(None),
            left: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Inside>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the load of another graph has ended.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Provider`] for `provider` where that other load was
    /// called off and does not end: it holds the device until the process ends.
    pub(crate) fn enter(
        &self,
        control: &Control,
        graph: &str,
        provider: &'static str,
    ) -> Result<Pass<'_>, Error> {
        let mut inside = self.lock();
        while let Some(other) = inside.as_ref() {
            if control.is_cancelled() {
                return Err(cancelled(graph));
            }
            if other.control.overdue().is_some_and(|t| t > LOST) {
                return Err(Error::Provider {
                    provider,
                    reason: format!(
                        "{} was called off while it was loaded, and its load does not end; \
                         the GPU is free again when this process has ended",
                        other.graph
                    ),
                });
            }
            (inside, _) = self
                .left
                .wait_timeout(inside, LOOK)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *inside = Some(Inside {
            control: control.clone(),
            graph: graph.to_string(),
        });
        Ok(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let left = self.0.lock().take();
        drop(left);
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::{Doing, Ends};
    use super::*;
    use std::time::Instant;

    #[test]
    fn one_at_a_time_and_nobody_waits_for_a_load_that_does_not_end() {
        let gate = Gate::new();
        let (first, second) = (Control::default(), Control::default());
        let pass = gate.enter(&first, "a.onnx", "cuda").expect("free");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(&second, "b.onnx", "cuda").map(drop));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            drop(pass);
            assert!(waiting.join().expect("no panic").is_ok());

            let _pass = gate.enter(&first, "a.onnx", "cuda").expect("free");
            let going = first.begin("a.onnx", Doing::Loading, Ends::Nothing);
            let _going = going.expect("not cancelled");
            first.cancel();
            let begun = Instant::now();
            let error = gate.enter(&second, "b.onnx", "cuda").map(drop);
            let error = error.expect_err("the first never ends").to_string();
            assert!(
                error.contains("a.onnx") && error.contains("cuda"),
                "{error}"
            );
            assert!((LOST..2 * LOST).contains(&begun.elapsed()));

            second.cancel();
            let error = gate.enter(&second, "b.onnx", "cuda").map(drop);
            assert!(matches!(error, Err(Error::Cancelled { .. })), "{error:?}");
        });
    }
}
