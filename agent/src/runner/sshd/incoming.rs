//! What a client sends on a channel, taken off the connection at once.
//!
//! russh hands a channel's messages over one by one and stops reading the connection while one is not taken. A
//! program that does not read its input would so stop its own output, for good if it waits for that, and every
//! other channel with it. So nothing here waits: bytes queue up, are counted, and while there are too many of them
//! the connection grants the client a window of almost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::{ChannelMsg, ChannelReadHalf};
use tokio::sync::mpsc;

/// Beyond this the client is slowed down; what it has been granted may still come.
const ENOUGH: usize = 4 << 20;
/// The window of a connection with room.
pub const WINDOW: u32 = 2 << 20;
/// One that grants the client two bytes at a time, and asks again after each.
const ALMOST_NONE: u32 = 2;
/// How long each of these answers takes.
pub const SLOWLY: Duration = Duration::from_millis(5);

/// Bytes that one connection has brought and no program has taken.
#[derive(Debug, Default)]
pub struct Backlog(AtomicUsize);

impl Backlog {
    pub fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) > ENOUGH
    }

    pub fn window(&self) -> u32 {
        if self.is_long() { ALMOST_NONE } else { WINDOW }
    }
}

/// The messages of one channel, in order.
pub struct Incoming {
    queue: mpsc::UnboundedReceiver<ChannelMsg>,
    backlog: Arc<Backlog>,
    /// The message given out last; when the next is asked for, it has been dealt with.
    taken: usize,
}

impl Incoming {
    pub fn new(channel: ChannelReadHalf, backlog: Arc<Backlog>) -> Self {
        let (sender, queue) = mpsc::unbounded_channel();
        tokio::spawn(collect(channel, sender, backlog.clone()));
        Self {
            queue,
            backlog,
            taken: 0,
        }
    }

    /// `None` when the channel or the connection is gone.
    pub async fn next(&mut self) -> Option<ChannelMsg> {
        self.settle();
        let message = self.queue.recv().await?;
        self.taken = weight(&message);
        Some(message)
    }

    fn settle(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.backlog.0.fetch_sub(taken, Ordering::Relaxed);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.settle();
        self.queue.close();
        while let Ok(message) = self.queue.try_recv() {
            self.backlog
                .0
                .fetch_sub(weight(&message), Ordering::Relaxed);
        }
    }
}

fn weight(message: &ChannelMsg) -> usize {
    match message {
        ChannelMsg::Data { data } => data.len(),
        _ => 0,
    }
}

async fn collect(
    mut channel: ChannelReadHalf,
    queue: mpsc::UnboundedSender<ChannelMsg>,
    backlog: Arc<Backlog>,
) {
    while let Some(message) = channel.wait().await {
        let bytes = weight(&message);
        backlog.0.fetch_add(bytes, Ordering::Relaxed);
        // When nobody listens any more, the rest is taken off the connection all the same.
        if queue.send(message).is_err() {
            backlog.0.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
