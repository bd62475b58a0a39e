//! The queue of slow removals: one thread of low priority, a bounded number of
//! waiting jobs. What is lost when the daemon dies is found again as intents.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// More waiting jobs than this are done by whoever brings them.
const QUEUE_LIMIT: usize = 1024;
/// Below everything that a container start waits for.
const NICENESS: i32 = 10;

/// A removal.
pub type Job = Box<dyn FnOnce() + Send>;

/// The queue; its thread starts with the first job.
#[derive(Debug, Default)]
pub struct Teardown {
    worker: Mutex<Option<Worker>>,
}

#[derive(Debug)]
struct Worker {
    queue: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl Teardown {
    /// Does a job later; at once if there is no room or no thread.
    pub fn run(&self, job: Job) {
        if let Some(job) = self.enqueue(job) {
            job();
        }
    }

    /// Waits until all jobs are done.
    pub fn finish(&self) {
        let worker = self
            .worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Worker { queue, thread }) = worker {
            drop(queue);
            if thread.join().is_err() {
                tracing::error!("the teardown thread panicked");
            }
        }
    }

    fn enqueue(&self, job: Job) -> Option<Job> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker
            .as_ref()
            .is_none_or(|worker| worker.thread.is_finished())
        {
            *worker = start();
        }
        let Some(worker) = worker.as_ref() else {
            return Some(job);
        };
        match worker.queue.try_send(job) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job),
        }
    }
}

fn start() -> Option<Worker> {
    let (queue, jobs) = sync_channel::<Job>(QUEUE_LIMIT);
    let work = move || {
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::warn!(%error, "teardown runs at normal priority");
        }
        for job in jobs {
            job();
        }
    };
    match std::thread::Builder::new()
        .name("teardown".to_owned())
        .spawn(work)
    {
        Ok(thread) => Some(Worker { queue, thread }),
        Err(error) => {
            tracing::warn!(%error, "no thread for teardown");
            None
        }
    }
}
