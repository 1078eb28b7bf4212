// SPDX-License-Identifier: MPL-2.0
use super::Error;
use ort::session::{RunOptions, builder::LoadCanceler};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What ONNX Runtime does with a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// A session is made of it.
    Loading,
    /// The same, and TensorRT builds an engine for it, which takes minutes.
    Building,
    /// It computes.
    Running,
}

/// One load or run that is in progress.
#[derive(Debug, Clone)]
pub struct Step {
    /// Grows with every step of the same [`Control`].
    pub number: u64,
    /// The name of the graph's [`ModelSource`](crate::ModelSource).
    pub graph: Arc<str>,
    /// What is done with the graph.
    pub doing: Doing,
    /// When it began.
    pub since: Instant,
}

/// Shows another thread what sessions are doing, and ends it.
///
/// Sessions that are made with the same control in their
/// [`SessionOptions`](crate::SessionOptions) shall be used by one thread.
/// What ends, ends with [`Error::Cancelled`]. ONNX Runtime looks between the operators of a
/// graph whether it shall end, and at some places of a load: one operator that takes hours is
/// not interrupted.
///
/// ```
/// let control = onnx::Control::default();
/// assert!(control.step().is_none());
/// control.cancel();
/// assert!(control.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct Control(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cancelled: bool,
    number: u64,
    current: Option<Current>,
}

struct Current {
    step: Step,
    ends: Ends,
    called_off: Option<Instant>,
}

/// What ends a step.
pub(crate) enum Ends {
    Load(LoadCanceler),
    Run(Arc<RunOptions>),
    #[cfg(test)]
    Nothing,
}

impl Current {
    fn end(&mut self) {
        self.called_off.get_or_insert_with(Instant::now);
        // Either fails only for an invalid handle, which these types cannot hold.
        match &self.ends {
            Ends::Load(load) => {
                let _ = load.cancel();
            }
            Ends::Run(options) => {
                let _ = options.terminate();
            }
            #[cfg(test)]
            Ends::Nothing => {}
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Control").field(&self.step()).finish()
    }
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load or run in progress.
    pub fn step(&self) -> Option<Step> {
        self.state().current.as_ref().map(|c| c.step.clone())
    }

    /// Ends the step of this number; false where it has ended already.
    pub fn call_off(&self, number: u64) -> bool {
        let mut state = self.state();
        let current = state.current.as_mut().filter(|c| c.step.number == number);
        current.map(Current::end).is_some()
    }

    /// Ends the step in progress; no other can begin.
    pub fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        if let Some(current) = &mut state.current {
            current.end();
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// For how long the step in progress should have ended.
    pub(crate) fn overdue(&self) -> Option<Duration> {
        let state = self.state();
        let since = state.current.as_ref().and_then(|c| c.called_off);
        since.map(|since| since.elapsed())
    }

    /// Begins a step, which lasts as long as what is returned.
    pub(crate) fn begin(&self, graph: &str, doing: Doing, ends: Ends) -> Result<Going<'_>, Error> {
        let mut state = self.state();
        if state.cancelled {
            return Err(cancelled(graph));
        }
        state.number += 1;
        let number = state.number;
        state.current = Some(Current {
            step: Step {
                number,
                graph: graph.into(),
                doing,
                since: Instant::now(),
            },
            ends,
            called_off: None,
        });
        Ok(Going {
            control: self,
            number,
        })
    }
}

/// A step in progress.
pub(crate) struct Going<'a> {
    control: &'a Control,
    number: u64,
}

impl Going<'_> {
    /// Whether it has been asked to end. ONNX Runtime tells this from a failure by its text
    /// alone, and does not tell it where the last operator was in progress.
    pub(crate) fn is_called_off(&self) -> bool {
        let state = self.control.state();
        let current = state.current.as_ref();
        current.is_some_and(|c| c.step.number == self.number && c.called_off.is_some())
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        let mut state = self.control.state();
        let ended = state.current.take_if(|c| c.step.number == self.number);
        drop(state);
        drop(ended);
    }
}

pub(crate) fn cancelled(graph: &str) -> Error {
    Error::Cancelled {
        model: graph.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_seen_while_it_lasts_and_only_that_one_is_called_off() {
        let control = Control::default();
        let first = control.begin("a.onnx", Doing::Loading, Ends::Nothing);
        let first = first.expect("not cancelled");
        let step = control.step().expect("in progress");
        assert_eq!((&*step.graph, step.doing), ("a.onnx", Doing::Loading));
        assert!(!first.is_called_off());
        drop(first);
        assert!(control.step().is_none() && !control.call_off(step.number));
        let second = control.begin("b.onnx", Doing::Running, Ends::Nothing);
        let second = second.expect("not cancelled");
        assert!(!control.call_off(step.number), "the first has ended");
        assert!(!second.is_called_off());
        let step = control.step().expect("in progress");
        assert!(control.call_off(step.number) && second.is_called_off());
        drop(second);
        let third = control.begin("c.onnx", Doing::Running, Ends::Nothing);
        assert!(!third.expect("only a step was called off").is_called_off());
    }

    #[test]
    fn nothing_begins_after_a_cancel() {
        let control = Control::default();
        let going = control.begin("a.onnx", Doing::Running, Ends::Nothing);
        let going = going.expect("not cancelled");
        control.clone().cancel();
        assert!(going.is_called_off() && control.overdue().is_some());
        drop(going);
        let next = control.begin("b.onnx", Doing::Running, Ends::Nothing);
        assert!(matches!(next, Err(Error::Cancelled { model }) if model == "b.onnx"));
    }
}
