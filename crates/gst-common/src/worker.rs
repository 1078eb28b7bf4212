// SPDX-License-Identifier: MPL-2.0
//! A thread beside the streaming threads that loads something, runs jobs with it and
//! drops it.

use crate::lock;
use gst::{glib, prelude::*};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Answers that nobody has taken are kept up to this number.
const MAX_ANSWERS: usize = 16;

/// What a worker's thread does with its jobs. It is made, run and dropped on that thread.
pub trait Task {
    /// What is handed to the thread.
    type Job: Send + 'static;
    /// What comes back.
    type Answer: Send + 'static;

    /// Called before the first job after [`Worker::restart`] or a flush: it does not continue
    /// the jobs before it (a seek, other caps).
    fn restart(&mut self);

    /// Does one job.
    ///
    /// # Errors
    /// [`Stop`] where no further job can be done; what is wrong has been posted before.
    fn run(&mut self, job: Self::Job) -> Result<Self::Answer, Stop>;

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
}

/// A job of [`Worker::begin`], for [`Worker::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    number: u64,
    generation: u64,
}

struct Mailbox<J, A> {
    phase: Phase,
    stop: bool,
    flushing: bool,
    /// Grows whenever what follows does not continue what came before.
    generation: u64,
    job: Option<(Ticket, J)>,
    /// The newest ticket given out.
    ticket: u64,
    /// The thread that is doing a job; not while it hands the answer out.
    busy: Option<std::thread::ThreadId>,
    /// The number of the job that was begun last.
    ticket_in_hand: u64,
    /// The answers and their jobs' numbers.
    answers: VecDeque<(u64, A)>,
    dropped: u64,
    on_stop: Option<Arc<dyn Fn() + Send + Sync>>,
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
}

struct Shared<J, A> {
    mailbox: Mutex<Mailbox<J, A>>,
    /// There is a job, or the end.
    work: Condvar,
    /// The phase changed, a job is done, or nobody shall wait any longer.
    done: Condvar,
    /// Tells the element, without a lock, what `done` tells whoever waits here.
    changed: Box<dyn Fn() + Send + Sync>,
}

impl<J, A> Shared<J, A> {
    fn lock(&self) -> MutexGuard<'_, Mailbox<J, A>> {
        lock(&self.mailbox)
    }

    fn tell(&self) {
        self.done.notify_all();
        (self.changed)();
    }

    fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
        self.tell();
    }
}

/// What the thread may ask its worker while it makes the task.
pub struct Loading<J, A> {
    shared: Arc<Shared<J, A>>,
}

impl<J, A> Loading<J, A> {
    /// Whether the worker has been told to end: then what fails is not to be posted.
    pub fn is_stopping(&self) -> bool {
        self.shared.lock().stop
    }

    /// Sets what [`Worker::interrupt`] calls to end a job in progress. It is called from another
    /// thread, and at once where the worker has been told to end already.
    pub fn on_stop(&self, cancel: impl Fn() + Send + Sync + 'static) {
        let cancel = Arc::new(cancel);
        let stop = {
            let mut mailbox = self.shared.lock();
            mailbox.on_stop = Some(cancel.clone());
            mailbox.stop
        };
        if stop {
            cancel();
        }
    }
}

/// A thread of an element that runs one job at a time.
///
/// The thread makes a [`Task`], runs jobs with it and drops it. [`submit`](Self::submit) hands
/// over a job without waiting; the mailbox holds one, so that a newer job replaces one that was
/// not begun. [`run`](Self::run) waits for the answer. The thread holds no reference to the
/// element. A panic on it becomes an error message of the element, and all waits end. Dropping
/// the worker stops it.
pub struct Worker<J: Send + 'static, A: Send + 'static> {
    name: &'static str,
    shared: Arc<Shared<J, A>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl<J: Send + 'static, A: Send + 'static> Worker<J, A> {
    /// Starts the thread `name` and returns. `load` makes the task on that thread, or posts an
    /// error message. `changed` is called on it, without a lock, when the phase changes and
    /// after every job.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn spawn<E, T, L>(
        element: &E,
        name: &'static str,
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
                answers: VecDeque::new(),
                dropped: 0,
                on_stop: None,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            changed: Box::new(changed),
        });
        let thread = std::thread::Builder::new().name(name.into()).spawn({
            let shared = shared.clone();
            let element = element.upcast_ref::<gst::Element>().downgrade();
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
                        shared.set_phase(Phase::Ready);
                        work(&shared, task);
                    }
                    // Only now: who waits gives up with an error that is already posted.
                    Err(Stop) => shared.set_phase(Phase::Failed),
                }
            }
        })?;
        Ok(Self {
            name,
            shared,
            thread: Mutex::new(Some(thread)),
        })
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

    /// Blocks until the load has ended.
    ///
    /// # Errors
    /// `Flushing` after [`set_flushing`](Self::set_flushing) or [`interrupt`](Self::interrupt),
    /// `Error` after a failure, which is posted.
    pub fn await_ready(&self) -> Result<(), gst::FlowError> {
        let mut mailbox = self.shared.lock();
        loop {
            self.may_wait(&mailbox)?;
            if mailbox.phase == Phase::Ready {
                return Ok(());
            }
            mailbox = self.wait(mailbox);
        }
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
            if mailbox.flushing || mailbox.stop {
                Some(job)
            } else {
                mailbox.put(job).1
            }
        };
        drop(replaced);
        self.shared.work.notify_one();
    }

    /// Blocks until the task is loaded and `job` is answered.
    ///
    /// # Errors
    /// As [`await_ready`](Self::await_ready) and [`answer`](Self::answer).
    pub fn run(&self, job: J) -> Result<A, gst::FlowError> {
        self.await_ready()?;
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

    /// Blocks until a job of [`begin`](Self::begin) is answered.
    ///
    /// # Errors
    /// As [`await_ready`](Self::await_ready); `Flushing` too where a restart has made the job
    /// void.
    pub fn answer(&self, ticket: Ticket) -> Result<A, gst::FlowError> {
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
                return answer.ok_or(gst::FlowError::Error);
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

    /// Blocks until the job in progress has run; a newer one may begin meanwhile. Returns at
    /// once on the worker's own thread.
    pub fn rest(&self) {
        let own = Some(std::thread::current().id());
        let mut mailbox = self.shared.lock();
        let job = mailbox.ticket_in_hand;
        while mailbox.busy.is_some() && mailbox.busy != own && mailbox.ticket_in_hand == job {
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
        let (void, cancel) = {
            let mut mailbox = self.shared.lock();
            mailbox.stop = true;
            let void = mailbox.job.take();
            (void, mailbox.on_stop.clone())
        };
        drop(void);
        if let Some(cancel) = cancel {
            cancel();
        }
        self.shared.work.notify_all();
        self.shared.done.notify_all();
    }

    /// Ends the thread and blocks until it has ended. A load in progress is not cancelled. On the
    /// worker's own thread it does not block: the thread ends by itself afterwards.
    pub fn stop(&self) {
        self.interrupt();
        let thread = lock(&self.thread).take();
        // A bus handler may change the state from the worker's own thread, which then ends
        // by itself.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
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
        self.shared.lock().busy = None;
        self.shared.tell();
    }
}

fn work<T: Task>(shared: &Shared<T::Job, T::Answer>, mut task: T) {
    let mut known = 0;
    loop {
        let (ticket, job) = {
            let mut mailbox = shared.lock();
            loop {
                if mailbox.stop {
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
            mailbox.busy = None;
            mailbox.generation == ticket.generation
        };
        shared.tell();
        if let (true, Ok(answer)) = (wanted, &answer) {
            task.deliver(answer);
        }
        let mut mailbox = shared.lock();
        match answer {
            Ok(answer) if ticket.generation == mailbox.generation => {
                if mailbox.answers.len() == MAX_ANSWERS {
                    mailbox.answers.pop_front();
                }
                mailbox.answers.push_back((ticket.number, answer));
            }
            Ok(_) => {}
            Err(Stop) => {
                if !mailbox.stop {
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

        fn run(&mut self, job: u32) -> Result<u32, Stop> {
            let _ = self.begun.send(job);
            let _ = self.go.recv();
            assert_ne!(job, 99, "asked to panic");
            if job == 98 { Err(Stop) } else { Ok(job) }
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
        let worker = Worker::spawn(&element, "echo", || (), move |_| Ok(task)).expect("thread");
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
        assert_eq!(b.worker.run(6), Ok(6));
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
        assert_eq!(b.worker.run(3), Ok(3));
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
            fn run(&mut self, (): ()) -> Result<(), Stop> {
                Ok(())
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
        let worker = Worker::spawn(&element, "own", changed, move |_| Ok(Suicide(weak)));
        lock(&slot).insert(worker.expect("thread")).submit(());
        while Arc::strong_count(&slot) > 0 && lock(&slot).is_some() {
            told.recv_timeout(LONG).expect("the worker ends");
        }
    }
}
