//! An SMTP catcher: keeps the mails, refuses or breaks off on request.

use std::collections::VecDeque;
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
        stream.write_all(b"220 catcher\r\n").await.ok()?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match (word.as_str(), fault) {
                ("EHLO", _) => "250-catcher\r\n250 8BITMIME\r\n".to_owned(),
                ("RCPT", Some(Fault::Refuse(answer))) => format!("{answer}\r\n"),
                ("DATA", _) => {
                    stream.write_all(b"354 go\r\n").await.ok()?;
                    let mut mail = String::new();
                    while !mail.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut mail).await.ok()?;
                    }
                    self.mails.lock().unwrap().push(mail);
                    if matches!(fault, Some(Fault::LostAnswer)) {
                        return None;
                    }
                    "250 kept\r\n".to_owned()
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
