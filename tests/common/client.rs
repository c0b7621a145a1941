//! A client that says lines and reads replies, nothing more: what is odd on the wire is said by the test itself.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait::PATIENCE;

/// What is spoken over: a socket, or TLS over one.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A reply: its code and its lines without code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The texts.
    pub lines: Vec<String>,
}

/// A connection.
pub struct Client {
    reader: BufReader<Box<dyn Stream>>,
    /// The greeting.
    pub greeting: Reply,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Client::over(stream)
    }

    /// Reads the greeting on a connection that is there.
    pub fn over(stream: impl Stream + 'static) -> Result<Client> {
        let mut reader: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
        let greeting = read(&mut reader)?;
        Ok(Client { reader, greeting })
    }

    /// On a connection over which a greeting came before.
    pub fn without_greeting(stream: impl Stream + 'static) -> Client {
        let greeting = Reply { code: 220, lines: Vec::new() };
        Client { reader: BufReader::new(Box::new(stream)), greeting }
    }

    /// Connects and says EHLO.
    pub fn hello(address: SocketAddr) -> Result<(Client, Reply)> {
        let mut client = Client::connect(address)?;
        let reply = client.say("EHLO client.test")?;
        Ok((client, reply))
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(octets)?;
        self.reader.get_mut().flush()
    }

    /// Reads the next reply.
    pub fn reply(&mut self) -> Result<Reply> {
        read(&mut self.reader)
    }

    /// Sends a line and reads the reply.
    pub fn say(&mut self, line: &str) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// A whole transaction with DATA, each command in a write of its own; the reply that ended it.
    pub fn transaction(&mut self, mail: &str, rcpts: &[&str], entity: &[u8]) -> Result<Reply> {
        let mut commands = vec![format!("MAIL FROM:{mail}")];
        commands.extend(rcpts.iter().map(|rcpt| format!("RCPT TO:{rcpt}")));
        commands.push("DATA".to_owned());
        for command in commands {
            let reply = self.say(&command)?;
            if reply.code >= 400 {
                let reset = self.say("RSET")?;
                return if reset.code == 250 { Ok(reply) } else { Ok(reset) };
            }
        }
        self.send(entity)?;
        self.send(b".\r\n")?;
        self.reply()
    }

    /// The connection, for whoever goes on with it.
    pub fn into_reader(self) -> BufReader<Box<dyn Stream>> {
        self.reader
    }

    /// Says QUIT.
    pub fn quit(mut self) -> Result<Reply> {
        self.say("QUIT")
    }
}

/// A short entity in 7-bit lines.
pub fn entity(from: &str, to: &str, id: &str, text: &str) -> Vec<u8> {
    let date = "Mon, 23 Nov 2026 10:00:00 +0000";
    let head = format!("From: <{from}>\r\nTo: <{to}>\r\nDate: {date}\r\nMessage-ID: <{id}>\r\n\r\n");
    format!("{head}{text}\r\n").into_bytes()
}

fn read(reader: &mut impl BufRead) -> Result<Reply> {
    let mut reply = Reply { code: 0, lines: Vec::new() };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        let (code, text) = line.trim_end().split_at_checked(3).unwrap_or(("", ""));
        reply.code = code.parse().map_err(|_| Error::new(ErrorKind::InvalidData, format!("no reply: {line:?}")))?;
        reply.lines.push(text.get(1..).unwrap_or_default().to_owned());
        if !text.starts_with('-') {
            return Ok(reply);
        }
    }
}
