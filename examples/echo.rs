//! A bot that answers with what it was told: `cargo run --example echo` after `impart login ADDRESS`.

use impart::client::{Account, Client, ClientError, Incoming, Link, Message};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    let client = Client::connect(Account::configured(None)?).await?;
    let mut listener = client.listen()?;
    while let Some(incoming) = listener.next().await {
        match incoming {
            // Programs that answer programs would never end (RFC 3834 §2).
            Incoming::Message(message) if !message.automatic => {
                let answer = Message::answer(&message, &*message.text);
                client.send(Message { automatic: true, ..answer }).await?;
            }
            Incoming::State(Link::Refused(reason)) => eprintln!("echo: {reason}"),
            Incoming::State(link) => eprintln!("echo: {link:?}"),
            _ => {}
        }
    }
    Ok(())
}
