//! The least of SMTP that a client needs: replies read from a buffer.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Octets read at once.
const READ: usize = 64 * 1024;

/// Replies as they come.
pub struct Replies<R> {
    reader: R,
    buffer: Vec<u8>,
    taken: usize,
}

impl<R: AsyncRead + Unpin> Replies<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Replies { reader, buffer: Vec::new(), taken: 0 }
    }

    /// Gives the reader back; what was read and not taken is dropped.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next reply that has arrived in whole: its code and its last line.
    pub fn ready(&mut self) -> Option<(u16, &[u8])> {
        let mut at = self.taken;
        loop {
            let length = self.buffer[at..].iter().position(|byte| *byte == b'\n')?;
            let line = at..at + length;
            at += length + 1;
            if self.buffer.get(line.start + 3) != Some(&b'-') {
                self.taken = at;
                let line = &self.buffer[line];
                let digit = |at: usize| line.get(at).map_or(0, |byte| u16::from(byte.wrapping_sub(b'0')));
                return Some((digit(0) * 100 + digit(1) * 10 + digit(2), line));
            }
        }
    }

    /// Waits for more octets.
    pub async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(READ);
        match self.reader.read_buf(&mut self.buffer).await? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }

    /// Waits for the next reply, which must be of class 2 or 3.
    pub async fn good(&mut self) -> Result<u16> {
        self.reply().await.map(|(code, _)| code)
    }

    /// The same, with its last line.
    pub async fn reply(&mut self) -> Result<(u16, Vec<u8>)> {
        loop {
            if let Some((code, line)) = self.ready() {
                return match code {
                    200..400 => Ok((code, line.to_vec())),
                    _ => Err(Error::other(format!("refused: {}", String::from_utf8_lossy(line).trim()))),
                };
            }
            self.fill().await?;
        }
    }
}
