//! Devices: clients that log in, attach to their inboxes by ATRN, and take what comes as the sink does.

use std::io::Result;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::send::{numbered, open};
use crate::sink::{Shared, talk};
use crate::tls;
use crate::wire::Replies;

/// Handshakes at once.
const AT_ONCE: usize = 64;

/// What to attach.
#[derive(clap::Args)]
pub struct Options {
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// Devices.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// The account and inbox; `{}` stands for the number of the device.
    #[arg(long, default_value = "r@b.test")]
    user: String,
    /// Its password.
    #[arg(long)]
    password: String,
    /// Seconds without traffic after which the server asks for a sign of life.
    #[arg(long, default_value_t = 300)]
    noop: u16,
    /// Come back when the connection ends.
    #[arg(long)]
    again: bool,
    /// End when so many messages have come.
    #[arg(long, default_value_t = u64::MAX)]
    expect: u64,
    /// End when for so many seconds nothing has come.
    #[arg(long, default_value_t = 30.0)]
    idle: f64,
}

/// Attaches all devices, says so, and takes messages until enough have come or nothing comes any more.
pub async fn run(options: Options) -> Result<serde_json::Value> {
    let connector = tls::connector(None, None)?;
    let greeting = format!(
        "250-device.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE 0\r\n\
         250-CHUNKING\r\n250 IMPP IM PRES NOOP={}\r\n",
        options.noop
    );
    let shared = Rc::new(Shared::new(greeting.into_bytes(), options.expect));
    let places = Rc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let (attached, mut all) = tokio::sync::mpsc::unbounded_channel();
    let (started, idle, sessions) = (Instant::now(), Duration::from_secs_f64(options.idle), options.sessions);
    let options = Rc::new(options);
    for number in 0..sessions {
        let (shared, options, places) = (shared.clone(), options.clone(), places.clone());
        let (connector, attached) = (connector.clone(), attached.clone());
        tokio::task::spawn_local(async move {
            loop {
                let ended = device(number, &options, &shared, &connector, &places, &attached).await;
                if !options.again {
                    return ended.unwrap_or_else(|fault| eprintln!("load: device {number}: {fault}"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    let mut round = 0;
    let counting = async {
        loop {
            for _ in 0..sessions {
                all.recv().await;
            }
            round += 1;
            println!(
                "{}",
                serde_json::json!({ "attached": sessions, "round": round, "seconds": started.elapsed().as_secs_f64() })
            );
        }
    };
    tokio::select! {
        () = counting => {}
        done = shared.done(idle) => done?,
    }
    Ok(shared.report())
}

async fn device(
    number: usize,
    options: &Options,
    shared: &Shared,
    connector: &TlsConnector,
    places: &tokio::sync::Semaphore,
    attached: &tokio::sync::mpsc::UnboundedSender<()>,
) -> Result<()> {
    let place = places.acquire().await;
    let stream = TcpStream::connect(options.to).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(tls::name()?, stream).await?;
    let user = numbered(&options.user, number);
    let (reader, mut writer) = tokio::io::split(stream);
    let mut replies = Replies::new(reader);
    open(&mut replies, &mut writer, "load.b.test", Some((&user, &options.password))).await?;
    writer.write_all(format!("ATRN INBOX={user} DEVICE=load\r\n").as_bytes()).await?;
    writer.flush().await?;
    replies.good().await?;
    drop(place);
    let _ = attached.send(());
    talk(shared, replies.into_inner().unsplit(writer)).await
}
