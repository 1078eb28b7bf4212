// SPDX-License-Identifier: MPL-2.0
//! A thread beside the streaming threads that loads something, runs jobs with it and
//! drops it.

use crate::lock;
use crate::watch::{Watched, watch};
use gst::{glib, prelude::*};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Answers that nobody has taken are kept up to this number.
const MAX_ANSWERS: usize = 16;
/// How long the end of a worker waits for its thread. A run that is called off ends within
/// milliseconds, and so do most loads. What does not is left to itself: a pipeline stops its
/// elements one after the other, and two of them shall be stopped within half a second whatever
/// their threads do.
const END_PATIENCE: Duration = Duration::from_millis(200);

/// What a worker's thread does with its jobs. It is made, run and dropped on that thread.
pub trait Task {
    /// What is handed to the thread.
    type Job: Send + 'static;
    /// What comes back.
    type Answer: Send + 'static;

    /// Called before the first job after [`Worker::restart`] or a flush: it does not continue
    /// the jobs before it (a seek, other caps).
    fn restart(&mut self);

    /// Does one job; `None` where it was called off, see [`Watched`].
    ///
    /// # Errors
    /// [`Stop`] where no further job can be done; what is wrong has been posted before.
    fn run(&mut self, job: Self::Job) -> Result<Option<Self::Answer>, Stop>;

    /// Called before an answer is handed out, unless a restart has made it void. No lock is
    /// held, so that it may post messages.
    fn deliver(&mut self, answer: &Self::Answer) {
        let _ = answer;
    }
}

/// The worker's thread can do nothing more. An error message with the reason was posted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// The state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The task is being made.
    Loading,
    /// Jobs are run.
    Ready,
    /// The task could not be made, returned [`Stop`] or panicked. No job is run any more.
    Failed,
    /// Loading took too long, or several jobs in a row: no job is done any more, and nobody
    /// waits for one. A warning has said so.
    GivenUp,
}

/// A job of [`Worker::begin`], for [`Worker::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    number: u64,
    generation: u64,
}

pub(crate) struct Mailbox<J, A> {
    pub(crate) phase: Phase,
    pub(crate) stop: bool,
    flushing: bool,
    /// Grows whenever what follows does not continue what came before.
    generation: u64,
    job: Option<(Ticket, J)>,
    /// The newest ticket given out.
    ticket: u64,
    /// The thread that is doing a job; not while it hands the answer out.
    busy: Option<std::thread::ThreadId>,
    /// The number of the job that was begun last.
    pub(crate) ticket_in_hand: u64,
    /// The number of the job that was done last.
    ticket_done: u64,
    /// The answers and their jobs' numbers.
    answers: VecDeque<(u64, A)>,
    dropped: u64,
    /// The number of the last job of which a step took too long.
    pub(crate) late: Option<u64>,
    pub(crate) late_in_a_row: u32,
    pub(crate) timeouts: u64,
    /// The thread has ended, and has dropped its task.
    pub(crate) ended: bool,
    /// Nobody waits for the end of the thread.
    left: bool,
}

impl<J, A> Mailbox<J, A> {
    /// The job that is void now, for the caller to drop without the lock.
    fn restart(&mut self) -> Option<J> {
        self.generation += 1;
        self.answers.clear();
        self.job.take().map(|(_, job)| job)
    }

    /// Puts `job` into the mailbox; the number of its ticket, and the job it replaces.
    fn put(&mut self, job: J) -> (Ticket, Option<J>) {
        self.ticket += 1;
        let ticket = Ticket {
            number: self.ticket,
            generation: self.generation,
        };
        let replaced = self.job.replace((ticket, job));
        self.dropped += u64::from(replaced.is_some());
        (ticket, replaced.map(|(_, job)| job))
    }

    /// No answer is to be expected now: the job in hand has taken too long, or no job is done
    /// any more.
    fn is_late(&self) -> bool {
        self.phase == Phase::GivenUp || self.late.is_some_and(|ticket| self.is_in_hand(ticket))
    }

    /// Whether the job of this number is being done.
    pub(crate) fn is_in_hand(&self, ticket: u64) -> bool {
        self.busy.is_some() && self.ticket_in_hand == ticket
    }
}

pub(crate) struct Shared<J, A> {
    mailbox: Mutex<Mailbox<J, A>>,
    /// There is a job, or the end.
    pub(crate) work: Condvar,
    /// The phase changed, a job is done, or nobody shall wait any longer.
    pub(crate) done: Condvar,
    /// The watch over the thread shall end.
    pub(crate) watch: Condvar,
    pub(crate) watched: Arc<dyn Watched>,
    /// Tells the element, without a lock, what `done` tells whoever waits here.
    changed: Box<dyn Fn() + Send + Sync>,
}

impl<J, A> Shared<J, A> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Mailbox<J, A>> {
        lock(&self.mailbox)
    }

    pub(crate) fn tell(&self) {
        self.done.notify_all();
        (self.changed)();
    }

    /// The load has ended. Not so where it was given up before.
    fn loaded(&self, phase: Phase) {
        {
            let mut mailbox = self.lock();
            if mailbox.phase == Phase::Loading {
                mailbox.phase = phase;
            }
        }
        self.tell();
    }
}

/// What the thread may ask its worker while it makes the task.
pub struct Loading<J, A> {
    shared: Arc<Shared<J, A>>,
}

impl<J, A> Loading<J, A> {
    /// Whether nobody wants the load any more: what fails now is no failure, and nothing is
    /// to be told of it.
    pub fn is_over(&self) -> bool {
        let mailbox = self.shared.lock();
        mailbox.stop || mailbox.phase != Phase::Loading
    }
}

/// A thread of an element that runs one job at a time.
///
/// Jobs are left with [`submit`](Self::submit), which never waits and keeps only the
/// newest, or done with [`run`](Self::run), which waits. The thread holds no reference to
/// the element. A panic in it becomes an element error, and whoever waits is let go. What
/// takes longer than it may is told by a warning; then nobody waits for it either.
pub struct Worker<J: Send + 'static, A: Send + 'static> {
    name: &'static str,
    shared: Arc<Shared<J, A>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl<J: Send + 'static, A: Send + 'static> Worker<J, A> {
    /// Starts the thread `name`. `load` makes the task on it, or posts what is wrong.
    /// `watched` says what the thread is doing; a second thread looks whether that takes too
    /// long. `changed` is called, without a lock, when the phase changes and after every job.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn spawn<E, T, L>(
        element: &E,
        name: &'static str,
        watched: Arc<dyn Watched>,
        changed: impl Fn() + Send + Sync + 'static,
        load: L,
    ) -> std::io::Result<Self>
    where
        E: IsA<gst::Element>,
        T: Task<Job = J, Answer = A>,
        L: FnOnce(&Loading<J, A>) -> Result<T, Stop> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            mailbox: Mutex::new(Mailbox {
                phase: Phase::Loading,
                stop: false,
                flushing: false,
                generation: 0,
                job: None,
                ticket: 0,
                busy: None,
                ticket_in_hand: 0,
                ticket_done: 0,
                answers: VecDeque::new(),
                dropped: 0,
                late: None,
                late_in_a_row: 0,
                timeouts: 0,
                ended: false,
                left: false,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            watch: Condvar::new(),
            watched: watched.clone(),
            changed: Box::new(changed),
        });
        let element = element.upcast_ref::<gst::Element>().downgrade();
        let thread = std::thread::Builder::new().name(name.into()).spawn({
            let shared = shared.clone();
            let element = element.clone();
            move || {
                let _ending = Ending {
                    shared: &shared,
                    element: &element,
                    name,
                };
                match load(&Loading {
                    shared: shared.clone(),
                }) {
                    Ok(task) => {
                        shared.loaded(Phase::Ready);
                        work(&shared, task);
                    }
                    // Only now: who waits gives up with an error that is already posted.
                    Err(Stop) => shared.loaded(Phase::Failed),
                }
            }
        })?;
        let worker = Self {
            name,
            shared,
            thread: Mutex::new(Some(thread)),
        };
        if let Some(shortest) = watched.shortest() {
            let shared = worker.shared.clone();
            // It ends by itself, soon after the other; nothing waits for it.
            std::thread::Builder::new()
                .name(format!("{name}-watch"))
                .spawn(move || watch(&shared, &element, shortest))?;
        }
        Ok(worker)
    }

    /// Blocks up to `patience` until the load ends; false if it has failed.
    pub fn await_load(&self, patience: Duration) -> bool {
        let loading = |m: &mut Mailbox<J, A>| m.phase == Phase::Loading && !m.stop;
        let (mailbox, _) = self
            .shared
            .done
            .wait_timeout_while(self.shared.lock(), patience, loading)
            .unwrap_or_else(PoisonError::into_inner);
        mailbox.phase != Phase::Failed
    }

    /// Waits until the load has ended; false where the worker has given up.
    ///
    /// # Errors
    /// `Flushing` when the wait was called off, `Error` after a failure, which is posted.
    pub fn await_ready(&self) -> Result<bool, gst::FlowError> {
        let mut mailbox = self.shared.lock();
        loop {
            self.may_wait(&mailbox)?;
            if mailbox.phase != Phase::Loading {
                return Ok(mailbox.phase == Phase::Ready);
            }
            mailbox = self.wait(mailbox);
        }
    }

    /// Whether no answer is to be expected now: the job in hand has taken too long, or the
    /// worker has given up.
    pub fn is_late(&self) -> bool {
        self.shared.lock().is_late()
    }

    /// How many loads and jobs took too long.
    pub fn timeouts(&self) -> u64 {
        self.shared.lock().timeouts
    }

    /// The state of the thread.
    pub fn phase(&self) -> Phase {
        self.shared.lock().phase
    }

    /// Jobs that a newer one replaced before they were begun.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// The answers since the last call, oldest first; the newest 16 are kept.
    pub fn take_answers(&self) -> Vec<A> {
        let mut mailbox = self.shared.lock();
        mailbox
            .answers
            .drain(..)
            .map(|(_, answer)| answer)
            .collect()
    }

    /// Hands over a job and returns. A job that was not begun yet is dropped for it, and the job
    /// itself is dropped while flushing and after the end.
    pub fn submit(&self, job: J) {
        let replaced = {
            let mut mailbox = self.shared.lock();
            if mailbox.flushing || mailbox.stop || mailbox.phase == Phase::GivenUp {
                Some(job)
            } else {
                mailbox.put(job).1
            }
        };
        drop(replaced);
        self.shared.work.notify_one();
    }

    /// Waits until the task is loaded; then has `job` done and waits for its answer. `None`
    /// where there is none: the job takes too long, or the one in hand does, or the worker has
    /// given up.
    ///
    /// # Errors
    /// `Flushing` when the wait was called off, `Error` after a failure, which is posted.
    pub fn run(&self, job: J) -> Result<Option<A>, gst::FlowError> {
        if !self.await_ready()? || self.is_late() {
            return Ok(None);
        }
        let ticket = self.begin(job);
        self.answer(ticket)
    }

    /// Hands over a job for [`answer`](Self::answer) and returns. A caller may hold a lock of its
    /// own, to make sure that no restart comes between its decision and the job.
    pub fn begin(&self, job: J) -> Ticket {
        let (ticket, replaced) = self.shared.lock().put(job);
        drop(replaced);
        self.shared.work.notify_one();
        ticket
    }

    /// Waits for the answer to a job of [`begin`](Self::begin); `None` as in
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// As [`run`](Self::run); `Flushing` too where a restart has made the job void.
    pub fn answer(&self, ticket: Ticket) -> Result<Option<A>, gst::FlowError> {
        let mut mailbox = self.shared.lock();
        loop {
            self.may_wait(&mailbox)?;
            if ticket.generation != mailbox.generation {
                // A restart has made the job void.
                return Err(gst::FlowError::Flushing);
            }
            if let Some(at) = mailbox.answers.iter().position(|a| a.0 == ticket.number) {
                let answer = mailbox.answers.remove(at).map(|(_, answer)| answer);
                mailbox.answers.clear();
                return Ok(answer);
            }
            if mailbox.is_late() || mailbox.ticket_done >= ticket.number {
                return Ok(None);
            }
            mailbox = self.wait(mailbox);
        }
    }

    fn may_wait(&self, mailbox: &Mailbox<J, A>) -> Result<(), gst::FlowError> {
        if mailbox.flushing || mailbox.stop {
            Err(gst::FlowError::Flushing)
        } else if mailbox.phase == Phase::Failed {
            Err(gst::FlowError::Error)
        } else {
            Ok(())
        }
    }

    fn wait<'a>(&self, mailbox: MutexGuard<'a, Mailbox<J, A>>) -> MutexGuard<'a, Mailbox<J, A>> {
        self.shared
            .done
            .wait(mailbox)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes earlier jobs and their answers void: what follows does not continue them.
    pub fn restart(&self) {
        let void = self.shared.lock().restart();
        drop(void);
        self.shared.done.notify_all();
    }

    /// Waits until the task reads nothing more for the job in hand; a newer one may begin
    /// meanwhile. A job that takes too long is not waited for: it ends without an answer.
    pub fn rest(&self) {
        let own = Some(std::thread::current().id());
        let mut mailbox = self.shared.lock();
        let job = mailbox.ticket_in_hand;
        while mailbox.busy.is_some()
            && mailbox.busy != own
            && mailbox.ticket_in_hand == job
            && !(mailbox.stop || mailbox.is_late())
        {
            mailbox = self.wait(mailbox);
        }
    }

    /// While flushing all waits end with `Flushing` and no job is accepted. Earlier jobs are void
    /// either way.
    pub fn set_flushing(&self, flushing: bool) {
        let void = {
            let mut mailbox = self.shared.lock();
            mailbox.flushing = flushing;
            mailbox.restart()
        };
        drop(void);
        self.shared.done.notify_all();
    }

    /// Ends all waits with `Flushing`, for good, and cancels the job in progress. Does not block.
    pub fn interrupt(&self) {
        let void = {
            let mut mailbox = self.shared.lock();
            mailbox.stop = true;
            mailbox.job.take()
        };
        drop(void);
        self.shared.watched.cancel();
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        self.shared.watch.notify_all();
    }

    /// Ends the thread. One that does not end soon is left to itself: it holds nothing of the
    /// element, and ends when the code that it is in returns.
    pub fn stop(&self) {
        self.interrupt();
        let thread = lock(&self.thread).take();
        // A bus handler may change the state from the worker's own thread, which then ends
        // by itself.
        let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) else {
            return;
        };
        let (mut mailbox, _) = self
            .shared
            .done
            .wait_timeout_while(self.shared.lock(), END_PATIENCE, |m| !m.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if !mailbox.ended {
            mailbox.left = true;
            host::leave_thread();
            drop(mailbox);
            gst::warning!(
                gst::CAT_RUST,
                "the thread '{}' does not end within {END_PATIENCE:?}, and is left to itself",
                self.name
            );
            return;
        }
        drop(mailbox);
        if thread.join().is_err() {
            gst::error!(gst::CAT_RUST, "the thread '{}' panicked", self.name);
        }
    }
}

impl<J: Send + 'static, A: Send + 'static> Drop for Worker<J, A> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends all waits when the thread ends, also by a panic.
struct Ending<'a, J, A> {
    shared: &'a Shared<J, A>,
    element: &'a glib::WeakRef<gst::Element>,
    name: &'static str,
}

impl<J, A> Drop for Ending<'_, J, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(element) = self.element.upgrade() {
                gst::element_error!(
                    element,
                    gst::CoreError::Failed,
                    (
                        "The thread '{}' panicked; this is a bug in the plugin",
                        self.name
                    )
                );
            }
            self.shared.lock().phase = Phase::Failed;
        }
        {
            let mut mailbox = self.shared.lock();
            mailbox.busy = None;
            mailbox.ended = true;
            if mailbox.left {
                host::thread_returned();
            }
        }
        self.shared.watch.notify_all();
        self.shared.tell();
    }
}

fn work<T: Task>(shared: &Shared<T::Job, T::Answer>, mut task: T) {
    let mut known = 0;
    loop {
        let (ticket, job) = {
            let mut mailbox = shared.lock();
            loop {
                if mailbox.stop || mailbox.phase == Phase::GivenUp {
                    return;
                }
                if let Some(job) = mailbox.job.take() {
                    mailbox.ticket_in_hand = job.0.number;
                    mailbox.busy = Some(std::thread::current().id());
                    break job;
                }
                mailbox = shared
                    .work
                    .wait(mailbox)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
        if ticket.generation != known {
            task.restart();
            known = ticket.generation;
        }
        let answer = task.run(job);
        let wanted = {
            let mut mailbox = shared.lock();
            if matches!(answer, Ok(Some(_))) && !mailbox.is_late() {
                mailbox.late_in_a_row = 0;
            }
            mailbox.busy = None;
            mailbox.generation == ticket.generation && !mailbox.stop
        };
        shared.tell();
        if let (true, Ok(Some(answer))) = (wanted, &answer) {
            task.deliver(answer);
        }
        let mut mailbox = shared.lock();
        mailbox.ticket_done = ticket.number;
        match answer {
            Ok(Some(answer)) if ticket.generation == mailbox.generation => {
                if mailbox.answers.len() == MAX_ANSWERS {
                    mailbox.answers.pop_front();
                }
                mailbox.answers.push_back((ticket.number, answer));
            }
            Ok(_) => {}
            Err(Stop) => {
                if !mailbox.stop && mailbox.phase == Phase::Ready {
                    mailbox.phase = Phase::Failed;
                }
                drop(mailbox);
                shared.tell();
                return;
            }
        }
        drop(mailbox);
        shared.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Answers with its job; panics at 99, fails at 98, waits for a go before each job.
    struct Echo {
        go: Receiver<()>,
        begun: Sender<u32>,
        restarts: Arc<AtomicUsize>,
    }

    impl Task for Echo {
        type Job = u32;
        type Answer = u32;

        fn restart(&mut self) {
            self.restarts.fetch_add(1, Ordering::SeqCst);
        }

        fn run(&mut self, job: u32) -> Result<Option<u32>, Stop> {
            let _ = self.begun.send(job);
            let _ = self.go.recv();
            assert_ne!(job, 99, "asked to panic");
            if job == 98 { Err(Stop) } else { Ok(Some(job)) }
        }
    }

    struct Bench {
        worker: Arc<Worker<u32, u32>>,
        go: Sender<()>,
        begun: Receiver<u32>,
        restarts: Arc<AtomicUsize>,
        bus: gst::Bus,
        _pipeline: gst::Pipeline,
    }

    fn bench() -> Bench {
        gst::init().expect("gst");
        let pipeline = gst::Pipeline::new();
        let element = gst::ElementFactory::make("identity").build().expect("core");
        pipeline.add(&element).expect("added");
        let (go, gone) = channel();
        let (begin, begun) = channel();
        let restarts = Arc::new(AtomicUsize::new(0));
        let task = Echo {
            go: gone,
            begun: begin,
            restarts: restarts.clone(),
        };
        let worker = Worker::spawn(
            &element,
            "echo",
            Arc::new(Unwatched),
            || (),
            move |_| Ok(task),
        )
        .expect("thread");
        worker.await_ready().expect("ready");
        Bench {
            worker: Arc::new(worker),
            go,
            begun,
            restarts,
            bus: pipeline.bus().expect("bus"),
            _pipeline: pipeline,
        }
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn the_newest_job_wins_and_the_others_are_counted() {
        let b = bench();
        b.worker.submit(1);
        assert_eq!(b.begun.recv_timeout(LONG), Ok(1));
        for job in 2..=5 {
            b.worker.submit(job);
        }
        b.go.send(()).expect("thread");
        assert_eq!(b.begun.recv_timeout(LONG), Ok(5));
        b.go.send(()).expect("thread");
        b.go.send(()).expect("thread");
        assert_eq!(b.worker.dropped(), 3);
        // `run` waits for its own answer and voids the earlier ones.
        assert_eq!(b.worker.run(6), Ok(Some(6)));
        assert!(b.worker.take_answers().is_empty());
    }

    #[test]
    fn a_restart_voids_what_is_under_way() {
        let b = bench();
        b.worker.submit(1);
        assert_eq!(b.begun.recv_timeout(LONG), Ok(1));
        b.worker.restart();
        b.worker.submit(2);
        b.go.send(()).expect("thread");
        assert_eq!(b.begun.recv_timeout(LONG), Ok(2));
        assert_eq!(b.restarts.load(Ordering::SeqCst), 1);
        b.go.send(()).expect("thread");
        b.go.send(()).expect("thread");
        assert_eq!(b.worker.run(3), Ok(Some(3)));
    }

    #[test]
    fn whoever_waits_is_let_go_by_a_flush_a_restart_and_the_end() {
        for how in [
            |w: &Worker<u32, u32>| w.set_flushing(true),
            |w: &Worker<u32, u32>| w.interrupt(),
        ] {
            let b = bench();
            let waiting = std::thread::spawn({
                let worker = b.worker.clone();
                move || worker.run(1)
            });
            assert_eq!(b.begun.recv_timeout(LONG), Ok(1));
            how(&b.worker);
            assert_eq!(
                waiting.join().expect("no panic"),
                Err(gst::FlowError::Flushing)
            );
            b.go.send(()).expect("thread");
        }
        let b = bench();
        let waiting = std::thread::spawn({
            let worker = b.worker.clone();
            move || worker.run(1)
        });
        assert_eq!(b.begun.recv_timeout(LONG), Ok(1));
        b.worker.restart();
        b.go.send(()).expect("thread");
        assert_eq!(
            waiting.join().expect("no panic"),
            Err(gst::FlowError::Flushing)
        );
    }

    #[test]
    fn a_panic_is_an_error_on_the_bus_and_holds_nobody() {
        let b = bench();
        b.go.send(()).expect("thread");
        assert_eq!(b.worker.run(99), Err(gst::FlowError::Error));
        assert_eq!(b.worker.phase(), Phase::Failed);
        let message = b
            .bus
            .timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Error])
            .expect("an error");
        let gst::MessageView::Error(e) = message.view() else {
            panic!("{message:?}");
        };
        assert!(e.error().to_string().contains("'echo' panicked"), "{e:?}");
        assert_eq!(b.worker.run(1), Err(gst::FlowError::Error));
    }

    #[test]
    fn a_failed_job_ends_the_worker() {
        let b = bench();
        b.go.send(()).expect("thread");
        assert_eq!(b.worker.run(98), Err(gst::FlowError::Error));
        assert!(!b.worker.await_load(LONG));
    }

    #[test]
    fn it_can_be_stopped_from_its_own_thread() {
        struct Suicide(std::sync::Weak<Mutex<Option<Worker<(), ()>>>>);
        impl Task for Suicide {
            type Job = ();
            type Answer = ();
            fn restart(&mut self) {}
            fn run(&mut self, (): ()) -> Result<Option<()>, Stop> {
                Ok(Some(()))
            }
            fn deliver(&mut self, (): &()) {
                let worker = self.0.upgrade().and_then(|w| lock(&w).take());
                worker.expect("still there").stop();
            }
        }
        gst::init().expect("gst");
        let element = gst::ElementFactory::make("identity").build().expect("core");
        let slot = Arc::new(Mutex::new(None));
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let weak = Arc::downgrade(&slot);
        let changed = move || {
            let _ = lock(&tell).send(());
        };
        let worker = Worker::spawn(&element, "own", Arc::new(Unwatched), changed, move |_| {
            Ok(Suicide(weak))
        });
        lock(&slot).insert(worker.expect("thread")).submit(());
        while Arc::strong_count(&slot) > 0 && lock(&slot).is_some() {
            told.recv_timeout(LONG).expect("the worker ends");
        }
    }
}
