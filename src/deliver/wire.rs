//! A session and the socket under it: octets go to and fro until there is news. Every wait here has an end.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::net::Stream;
use crate::smtp::client::{Event, Fault, Session};

/// Octets read at a time.
const READ: usize = 8 * 1024;

/// The two.
#[derive(Debug)]
pub struct Wire {
    /// The socket.
    pub stream: Stream,
    /// The session.
    pub session: Session,
    input: BytesMut,
    unflushed: bool,
}

impl Wire {
    /// A session over a socket.
    pub fn new(stream: Stream, session: Session) -> Self {
        Wire { stream, session, input: BytesMut::new(), unflushed: false }
    }

    /// Moves octets both ways until the session has an event. Dropping the future loses nothing.
    pub async fn move_octets(&mut self) {
        if let Err(error) = poll_fn(|cx| self.poll(cx)).await {
            self.session.lost(Fault::Disconnected(words(&error)));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Reading comes first, all that is there: what a hop has said before it closed the connection is worth more than
        // the error, and what it asks for goes out in one write.
        while !self.session.has_events() && self.poll_read(cx)?.is_ready() {
            self.session.input(&mut self.input, Instant::now().into_std());
        }
        // The driver's answer to an event goes out together with what waits: one write, one wake-up of the hop.
        if self.session.has_events() {
            return Poll::Ready(Ok(()));
        }
        self.poll_write(cx)?;
        if self.session.has_events() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // On the stack: a connection that waits holds no buffer.
        let mut room = [const { MaybeUninit::uninit() }; READ];
        let mut read = ReadBuf::uninit(&mut room);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(())) => {
                self.input.extend_from_slice(read.filled());
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    /// Gives back the memory that an idle connection does not need.
    pub fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.session.rest();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let now = Instant::now().into_std();
        loop {
            let output = self.session.output(now);
            if output.is_empty() {
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => self.session.wrote(result?, now),
                Poll::Pending => return Ok(()),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(result) => {
                    result?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Goes on until the session has news for the driver. A deadline that passes is news.
    pub async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.session.poll() {
                return event;
            }
            let deadline = self.session.deadline().map(Instant::from_std);
            match deadline {
                None => self.move_octets().await,
                Some(deadline) => {
                    tokio::select! {
                        biased;
                        () = self.move_octets() => {}
                        () = sleep_until(deadline) => {
                            // Writing may have moved it.
                            let still = self.session.deadline().is_some_and(|at| Instant::from_std(at) <= Instant::now());
                            if still {
                                self.session.timed_out();
                            }
                        }
                    }
                }
            }
        }
    }

    /// Says QUIT where that makes sense, and closes the connection.
    pub async fn close(mut self) {
        let now = Instant::now().into_std();
        self.session.quit(now);
        while !matches!(self.event_unless_over().await, None | Some(Event::Over(_))) {}
        // It is closed either way; TLS says so to the hop.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.stream.shutdown()).await;
    }

    async fn event_unless_over(&mut self) -> Option<Event> {
        if self.session.is_quitting() { Some(self.event().await) } else { self.session.poll() }
    }
}

/// An error of the system in words.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed by the other side".to_owned(),
        io::ErrorKind::ConnectionReset => "reset by the other side".to_owned(),
        _ => error.to_string(),
    }
}
