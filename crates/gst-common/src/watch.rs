// SPDX-License-Identifier: MPL-2.0
//! What a worker's thread may do for so long only.

use super::worker::{Mailbox, Phase, Shared};
use gst::glib;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// After so many steps in a row that took too long the worker does no further job.
const GIVE_UP: u32 = 3;
/// How long a step that was called off may take to end before nobody waits for its job.
const CALL_OFF_PATIENCE: Duration = Duration::from_millis(200);

/// A part of a load or a job that is in progress.
#[derive(Debug, Clone)]
pub struct Step {
    /// Grows from step to step.
    pub number: u64,
    /// For warnings: `running fusion.onnx`.
    pub what: String,
    /// When it began.
    pub since: Instant,
    /// How long it may take; `None`: as long as it wants.
    pub limit: Option<Duration>,
}

impl Step {
    fn is_late(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.since.elapsed() >= limit)
    }
}

/// What follows from a step that takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing is loaded, so no job is done.
    NotLoaded,
    /// Its job has no answer.
    NoAnswer,
    /// It was one too many: no further job is done.
    NoMore,
}

/// What a worker's thread is doing, seen from another thread. Called with and without the
/// worker's lock; calls nothing of the worker.
pub trait Watched: Send + Sync + 'static {
    /// The step in progress.
    fn step(&self) -> Option<Step>;

    /// The shortest limit that a step can have; `None`: none has one.
    fn shortest(&self) -> Option<Duration>;

    /// Asks the step of this number to end; what it is part of then has no answer.
    fn call_off(&self, number: u64);

    /// Asks the step in progress to end, and every later one.
    fn cancel(&self);

    /// Tells, on the bus of `element`, that the step takes too long and what follows.
    fn tell(&self, element: &gst::Element, step: &Step, then: Then);
}

/// Where nothing can take too long.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watched for Unwatched {
    fn step(&self) -> Option<Step> {
        None
    }

    fn shortest(&self) -> Option<Duration> {
        None
    }

    fn call_off(&self, _number: u64) {}

    fn cancel(&self) {}

    fn tell(&self, _element: &gst::Element, _step: &Step, _then: Then) {}
}

impl<J, A> Mailbox<J, A> {
    /// What follows from a step in progress that takes too long.
    fn judge(&mut self) -> Then {
        self.timeouts += 1;
        self.late_in_a_row += 1;
        match self.phase {
            Phase::Loading => Then::NotLoaded,
            _ if self.late_in_a_row >= GIVE_UP => Then::NoMore,
            _ => Then::NoAnswer,
        }
    }

    /// Nobody waits for the job `ticket` any longer.
    fn go_on_without(&mut self, ticket: u64, then: Then) {
        self.late = Some(ticket);
        if then != Then::NoAnswer && self.phase != Phase::Failed {
            self.phase = Phase::GivenUp;
        }
    }
}

/// Looks after a worker's thread until it ends or shall end.
pub(super) fn watch<J, A>(
    shared: &Arc<Shared<J, A>>,
    element: &glib::WeakRef<gst::Element>,
    shortest: Duration,
) {
    let watched = &shared.watched;
    let mut told = 0;
    let mut mailbox = shared.lock();
    while !(mailbox.stop || mailbox.ended) {
        // Under the lock: a job that is in hand stays so, and the step is a part of it.
        let step = watched.step().filter(|step| step.number != told);
        let Some(step) = step.clone().filter(Step::is_late) else {
            // A step that begins later is not late earlier.
            let pause = step
                .and_then(|s| s.limit?.checked_sub(s.since.elapsed()))
                .map_or(shortest, |rest| rest.min(shortest));
            (mailbox, _) = shared
                .watch
                .wait_timeout(mailbox, pause.max(Duration::from_millis(1)))
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        told = step.number;
        let then = mailbox.judge();
        let ticket = mailbox.ticket_in_hand;
        drop(mailbox);
        if let Some(element) = element.upgrade() {
            watched.tell(&element, &step, then);
        }
        // Only now: who goes on without an answer does so after the warning.
        if then != Then::NoAnswer {
            shared.lock().go_on_without(ticket, then);
        }
        watched.call_off(step.number);
        if then == Then::NoAnswer {
            // Most steps end now, and whoever waits learns that their job has no answer.
            let in_hand = |m: &mut Mailbox<J, A>| m.is_in_hand(ticket) && !m.stop;
            let (mut mailbox, _) = shared
                .done
                .wait_timeout_while(shared.lock(), CALL_OFF_PATIENCE, in_hand)
                .unwrap_or_else(PoisonError::into_inner);
            mailbox.go_on_without(ticket, then);
        }
        shared.work.notify_all();
        shared.tell();
        mailbox = shared.lock();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Stop, Task, Worker, lock};
    use super::*;
    use gst::prelude::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Condvar, Mutex};

    const LIMIT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(10);

    /// Steps of a test: in progress until it is let go, or called off where it listens.
    #[derive(Default)]
    struct Steps {
        state: Mutex<(u64, Option<Step>, bool, bool)>,
        changed: Condvar,
        deaf: bool,
    }

    impl Steps {
        /// A step until `free`; false where it was called off.
        fn step(&self) -> bool {
            let mut state = lock(&self.state);
            state.0 += 1;
            state.1 = Some(Step {
                number: state.0,
                what: format!("step {}", state.0),
                since: Instant::now(),
                limit: Some(LIMIT),
            });
            state.2 = false;
            let wait = |s: &mut (u64, Option<Step>, bool, bool)| !(s.3 || (s.2 && !self.deaf));
            let (mut state, _) = self
                .changed
                .wait_timeout_while(state, LONG, wait)
                .expect("no panic");
            state.1 = None;
            !state.2
        }

        fn free(&self, free: bool) {
            lock(&self.state).3 = free;
            self.changed.notify_all();
        }
    }

    impl Watched for Steps {
        fn step(&self) -> Option<Step> {
            lock(&self.state).1.clone()
        }

        fn shortest(&self) -> Option<Duration> {
            Some(LIMIT)
        }

        fn call_off(&self, number: u64) {
            let mut state = lock(&self.state);
            state.2 |= state.1.as_ref().is_some_and(|s| s.number == number);
            self.changed.notify_all();
        }

        fn cancel(&self) {
            lock(&self.state).2 = true;
            self.changed.notify_all();
        }

        fn tell(&self, element: &gst::Element, step: &Step, then: Then) {
            let text = format!("{}: {then:?}", step.what);
            gst::element_warning!(element, gst::CoreError::Failed, ("{text}"));
        }
    }

    struct Stepper(Arc<Steps>, Sender<u32>);

    impl Task for Stepper {
        type Job = u32;
        type Answer = u32;

        fn restart(&mut self) {}

        fn run(&mut self, job: u32) -> Result<Option<u32>, Stop> {
            let done = self.0.step();
            let _ = self.1.send(job);
            Ok(done.then_some(job))
        }
    }

    struct Bench {
        steps: Arc<Steps>,
        worker: Worker<u32, u32>,
        done: Receiver<u32>,
        bus: gst::Bus,
        _pipeline: gst::Pipeline,
    }

    fn bench(deaf: bool, endless_load: bool) -> Bench {
        gst::init().expect("gst");
        let pipeline = gst::Pipeline::new();
        let element = gst::ElementFactory::make("identity").build().expect("core");
        pipeline.add(&element).expect("added");
        let steps = Arc::new(Steps {
            deaf,
            ..Steps::default()
        });
        let (tell, done) = channel();
        let task = Stepper(steps.clone(), tell);
        let loading = steps.clone();
        let worker = Worker::spawn(
            &element,
            "steps",
            steps.clone(),
            || (),
            move |_| match endless_load && !loading.step() {
                true => Err(Stop),
                false => Ok(task),
            },
        );
        Bench {
            steps,
            worker: worker.expect("thread"),
            done,
            bus: pipeline.bus().expect("bus"),
            _pipeline: pipeline,
        }
    }

    impl Bench {
        /// A job after the one that was called off has ended.
        fn run(&self, job: u32) -> Result<Option<u32>, gst::FlowError> {
            let begun = Instant::now();
            while self.worker.is_late() && begun.elapsed() < LONG {
                std::thread::yield_now();
            }
            self.worker.run(job)
        }

        fn warnings(&self) -> Vec<String> {
            let mut texts = Vec::new();
            while let Some(message) = self.bus.pop() {
                match message.view() {
                    gst::MessageView::Warning(w) => texts.push(w.error().to_string()),
                    gst::MessageView::Error(e) => panic!("{e:?}"),
                    _ => {}
                }
            }
            texts
        }
    }

    #[test]
    fn a_job_that_takes_too_long_has_no_answer_and_the_next_one_has() {
        let b = bench(false, false);
        assert_eq!(b.run(1), Ok(None));
        assert_eq!(b.warnings(), ["step 1: NoAnswer"]);
        assert_eq!(b.run(2), Ok(None));
        // One in time begins the count again.
        b.steps.free(true);
        assert_eq!(b.run(3), Ok(Some(3)));
        b.steps.free(false);
        assert_eq!(b.run(4), Ok(None));
        assert_eq!(b.run(5), Ok(None));
        assert_eq!(
            b.warnings(),
            ["step 2: NoAnswer", "step 4: NoAnswer", "step 5: NoAnswer"]
        );
        assert_eq!(b.run(6), Ok(None));
        assert_eq!(b.warnings(), ["step 6: NoMore"]);
        assert_eq!((b.worker.phase(), b.worker.timeouts()), (Phase::GivenUp, 5));
        // Nobody waits any more.
        let begun = Instant::now();
        assert_eq!(b.worker.run(7), Ok(None));
        assert!(begun.elapsed() < LIMIT);
    }

    #[test]
    fn nobody_waits_for_a_step_that_does_not_end() {
        let b = bench(true, false);
        assert_eq!(b.worker.run(1), Ok(None));
        let begun = Instant::now();
        assert_eq!(b.worker.run(2), Ok(None));
        b.worker.rest();
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(b.warnings(), ["step 1: NoAnswer"]);
        // It returns after all; the job that was left meanwhile is done.
        b.steps.free(true);
        assert_eq!(b.done.recv_timeout(LONG), Ok(1));
        assert_eq!(b.run(3), Ok(Some(3)));
    }

    #[test]
    fn a_load_that_takes_too_long_is_given_up_without_an_error() {
        for deaf in [false, true] {
            let b = bench(deaf, true);
            assert!(b.worker.await_load(LONG), "not a failure");
            assert_eq!(b.worker.phase(), Phase::GivenUp);
            assert_eq!(b.worker.await_ready(), Ok(false));
            assert_eq!(b.worker.run(1), Ok(None));
            b.worker.submit(2);
            assert_eq!(b.warnings(), ["step 1: NotLoaded"]);
            b.steps.free(true);
        }
    }

    #[test]
    fn the_end_does_not_wait_for_what_does_not_end() {
        for endless_load in [false, true] {
            let b = bench(true, endless_load);
            b.worker.submit(1);
            let begun = Instant::now();
            while Watched::step(&*b.steps).is_none() && begun.elapsed() < LONG {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            b.worker.stop();
            let took = begun.elapsed();
            assert!(took < Duration::from_millis(400), "{took:?}");
            // The thread is alone with what it has, and ends when it can.
            b.steps.free(true);
            while Arc::strong_count(&b.steps) > 2 && begun.elapsed() < LONG {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(Arc::strong_count(&b.steps) <= 2);
            assert!(b.warnings().is_empty());
        }
    }
}
