//! An SMTP catcher: keeps the mails, refuses or breaks off on request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong with one mail.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// This answer to the first recipient.
    Refuse(&'static str),
    /// The mail is kept, and the connection ends before the answer.
    LostAnswer,
    /// The connection ends at once.
    HangUp,
    /// Nobody speaks.
    Hang,
    /// The greeting is none.
    Garbage,
    /// The mail is kept; half of the answer comes, the rest never.
    SlowAnswer,
    /// The mail is kept, and the answer is two megabytes long.
    Huge,
    /// STARTTLS is offered, and what follows it is this server's.
    StartTls(SocketAddr),
}

/// The catcher. It ends with the test's runtime.
#[derive(Clone)]
pub struct SmtpCatcher {
    pub port: u16,
    mails: Arc<Mutex<Vec<String>>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl SmtpCatcher {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let catcher = SmtpCatcher { port: listener.local_addr().unwrap().port(), mails: Arc::default(), faults: Arc::default() };
        let served = catcher.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let catcher = served.clone();
                tokio::spawn(async move { catcher.serve(stream).await });
            }
        });
        catcher
    }
    pub fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }
    /// All mails, as sent.
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let fault = self.faults.lock().unwrap().pop_front();
        if matches!(fault, Some(Fault::HangUp)) {
            return None;
        }
        let mut stream = BufReader::new(stream);
        match fault {
            Some(Fault::Hang) => return hold(stream).await,
            Some(Fault::Garbage) => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok()?,
            _ => stream.write_all(b"220 catcher\r\n").await.ok()?,
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match (word.as_str(), fault) {
                ("EHLO", Some(Fault::StartTls(_))) => "250-catcher\r\n250 STARTTLS\r\n".to_owned(),
                ("STARTTLS", Some(Fault::StartTls(server))) => {
                    stream.write_all(b"220 go ahead\r\n").await.ok()?;
                    let mut server = TcpStream::connect(server).await.ok()?;
                    return tokio::io::copy_bidirectional(&mut stream, &mut server).await.ok().map(drop);
                }
                ("EHLO", _) => "250-catcher\r\n250 8BITMIME\r\n".to_owned(),
                ("RCPT", Some(Fault::Refuse(answer))) => format!("{answer}\r\n"),
                ("DATA", _) => {
                    stream.write_all(b"354 go\r\n").await.ok()?;
                    let mut mail = String::new();
                    while !mail.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut mail).await.ok()?;
                    }
                    self.mails.lock().unwrap().push(mail);
                    match fault {
                        Some(Fault::LostAnswer) => return None,
                        Some(Fault::SlowAnswer) => {
                            stream.write_all(b"250 ke").await.ok()?;
                            return hold(stream).await;
                        }
                        Some(Fault::Huge) => format!("250 {}\r\n", "x".repeat(2 << 20)),
                        _ => "250 kept\r\n".to_owned(),
                    }
                }
                ("QUIT", _) => {
                    stream.write_all(b"221 bye\r\n").await.ok()?;
                    return None;
                }
                _ => "250 ok\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// Until the client goes away.
async fn hold(mut stream: BufReader<TcpStream>) -> Option<()> {
    let mut rest = String::new();
    let gone = async { while matches!(stream.read_line(&mut rest).await, Ok(read) if read > 0) {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.ok()
}
