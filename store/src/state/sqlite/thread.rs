//! The thread that writes: where commits wait for the disk, no task of the server does, and none has to be moved out of the way for it.

use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::runtime::{Builder, Runtime};

/// What it does next.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task sees to all commits that wait, so there are one or two at a time.
const WAITING: usize = 16;

/// A thread that ends when nobody can give it anything to do any more.
#[derive(Clone, Debug)]
pub(crate) struct Thread(SyncSender<Task>);

impl Thread {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, tasks) = sync_channel(WAITING);
        // For the waits between two tries to begin, and for the threads that carry the log over.
        let runtime = Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("state-writer".to_owned()).spawn(move || serve(&runtime, &tasks))?;
        Ok(Thread(sender))
    }

    /// Lets it do something after all else. Gives it back where too much waits, or the thread is gone.
    pub(crate) fn run(&self, task: Task) -> Result<(), Task> {
        self.0.try_send(task).map_err(|error| match error {
            TrySendError::Full(task) | TrySendError::Disconnected(task) => task,
        })
    }
}

fn serve(runtime: &Runtime, tasks: &Receiver<Task>) {
    while let Ok(task) = tasks.recv() {
        // A task that panics tells those who wait for it, and is the only one that does.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(task))).is_err() {
            tracing::error!("a write of the state panicked; those who waited for it were told");
        }
    }
}
