//! A device that is attached: the server's side of a connection whose roles were reversed, answered by the test itself.

use std::io::{BufRead, BufReader, Read, Write};

use super::client::{Client, Stream};

/// What was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The line of MAIL.
    pub mail: String,
    /// The line of RCPT.
    pub rcpt: String,
    /// The entity.
    pub entity: String,
}

impl Delivery {
    /// The text after the header.
    pub fn text(&self) -> &str {
        self.entity.split_once("\r\n\r\n").map_or("", |(_, text)| text.trim_end())
    }
}

/// A device.
pub struct Device {
    reader: BufReader<Box<dyn Stream>>,
    shows: &'static [&'static str],
    mail: String,
    rcpt: String,
    entity: Vec<u8>,
}

impl Device {
    /// Attaches by this line, and greets.
    pub fn attach(mut client: Client, line: &str) -> Device {
        let reply = client.say(line).expect("an answer to ATRN");
        assert_eq!(reply.code, 250, "{reply:?}");
        client.send(b"220 device ready\r\n").expect("a connection");
        let shows = &["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "IMPP IM NOOP=60"];
        Device { reader: client.into_reader(), shows, mail: String::new(), rcpt: String::new(), entity: Vec::new() }
    }

    fn answer(&mut self, reply: &str) -> Option<()> {
        self.reader.get_mut().write_all(format!("{reply}\r\n").as_bytes()).ok()?;
        self.reader.get_mut().flush().ok()
    }

    /// Goes on until a message is complete, which is not answered; `None` when the session or the connection has ended.
    pub fn unanswered(&mut self) -> Option<Delivery> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split(' ').next()? {
                "EHLO" => {
                    let shown: String = self.shows.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
                    self.answer(&format!("250-device\r\n{shown}250 HELP"))?;
                    continue;
                }
                "MAIL" => line.clone_into(&mut self.mail),
                "RCPT" => line.clone_into(&mut self.rcpt),
                "BDAT" => {
                    let mut chunk = vec![0; line.split(' ').nth(1)?.parse().ok()?];
                    self.reader.read_exact(&mut chunk).ok()?;
                    self.entity.append(&mut chunk);
                    if line.ends_with(" LAST") {
                        let entity = String::from_utf8_lossy(&std::mem::take(&mut self.entity)).into_owned();
                        return Some(Delivery { mail: self.mail.clone(), rcpt: self.rcpt.clone(), entity });
                    }
                }
                "QUIT" => {
                    self.answer("221 bye")?;
                    return None;
                }
                _ => {}
            }
            self.answer("250 ok")?;
        }
    }

    /// The answer to what was not answered.
    pub fn say(&mut self, reply: &str) {
        self.answer(reply).expect("a connection");
    }

    /// The next message, answered by this.
    pub fn next_with(&mut self, reply: &str) -> Option<Delivery> {
        let delivery = self.unanswered()?;
        self.answer(reply)?;
        Some(delivery)
    }

    /// The text of the next message, accepted.
    pub fn text(&mut self) -> Option<String> {
        self.next_with("250 2.0.0 shown").map(|delivery| delivery.text().to_owned())
    }
}
