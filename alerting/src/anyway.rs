//! What is begun goes on to its end, whether or not anybody still waits for it. Without a task of its own: each costs a wake-up of another
//! thread, and between an alert and its page that is time.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

type Begun<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Driven by whoever awaits it and, where that one goes away, by the runtime.
pub(crate) struct Anyway<T: Send + 'static>(Option<Begun<T>>);

impl<T: Send + 'static> Anyway<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Anyway(Some(Box::pin(future)))
    }
}

impl<T: Send + 'static> Future for Anyway<T> {
    type Output = T;

    /// # Panics
    /// After it has given its value, as futures may.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out: one that panics is not driven any further.
        let mut future = self.0.take().expect("it has given its value");
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(future);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Anyway<T> {
    fn drop(&mut self) {
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn(future));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_goes_on_to_its_end() {
        let ((go, gone), (done, told)) = (oneshot::channel::<()>(), oneshot::channel());
        let begun = Anyway::new(async move {
            gone.await.unwrap();
            done.send(7).unwrap();
        });
        // It is polled once, and then given up.
        let waits = tokio::time::timeout(std::time::Duration::ZERO, begun);
        assert!(waits.await.is_err());
        go.send(()).unwrap();
        assert_eq!(told.await.unwrap(), 7);
        // Nor need it ever be polled.
        let (done, told) = oneshot::channel();
        drop(Anyway::new(async move { done.send(8).unwrap() }));
        assert_eq!(told.await.unwrap(), 8);
    }

    #[tokio::test]
    async fn it_gives_its_value_to_whoever_waits() {
        assert_eq!(Anyway::new(async { 9 }).await, 9);
    }
}
