//! `site-liar`: a member of a site that says it has everything and gives wrong bytes, for
//! `site-bench --liar`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use neap_depot::limits::GROUP_LEN;
use neap_depot::tree;
use neap_peer::config::{Config, Layer};
use neap_peer::groups::Groups;
use neap_peer::limits::{FRAME_LEN_MAX, REQUEST_LEN_MAX};
use neap_peer::tls::{self, Admission, Identity};
use neap_peer::wire::{Hello, Notice, Request, Status, VERSION};
use neap_trust::device_key::file::DeviceFileKey;
use neap_trust::identity::certificate::Authority;
use neap_trust::time::Timestamp;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};

type Failure = Box<dyn Error + Send + Sync>;

/// Listen as a device of a configuration says, claim to have every blob, and answer with bytes that
/// are wrong, as fast as they are asked for.
#[derive(Parser)]
struct Options {
    /// The device's configuration
    config: PathBuf,
    /// Bytes of the blob that is fetched
    len: u64,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lie(&options))
}

async fn lie(options: &Options) -> Result<(), Failure> {
    let layer = Layer { file: options.config.clone(), text: fs::read_to_string(&options.config)? };
    let config = Config::parse(&[layer])?;
    let listen = config.listen.ok_or("it does not listen")?;
    let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto(&config)?)), listen)?;
    while let Some(incoming) = server.accept().await {
        let hello = Hello {
            version: VERSION,
            same_site: true,
            site: config.site.clone(),
            port: listen.port(),
            rate_kbit: 0,
        };
        let len = options.len;
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            // Whoever has had enough of it ends the connection.
            drop(speak(connection, Notice::Hello(hello), len).await);
        });
    }
    Ok(())
}

fn crypto(config: &Config) -> Result<QuicServerConfig, Failure> {
    let files = config.identity.as_ref().ok_or("no identity")?;
    let authority = Authority::read(&fs::read(&files.authority)?)?;
    let certificate = authority.certificate(&fs::read(&files.certificate)?)?;
    let key = DeviceFileKey::from_pem(&fs::read_to_string(&files.key)?)?;
    let identity = Identity { certificate, signer: Arc::new(key) };
    let admission = Admission::new(authority, None, Box::new(Timestamp::now), Box::new(|_| {}));
    Ok(QuicServerConfig::try_from(tls::server(&identity, &Arc::new(admission))?)?)
}

async fn speak(connection: Connection, hello: Notice, len: u64) -> Result<(), Failure> {
    let mut said = connection.open_uni().await?;
    said.write_all(&hello.encode()).await?;
    let heard = connection.accept_uni().await?;
    tokio::spawn(boast(said, heard, len));
    loop {
        let (send, asked) = connection.accept_bi().await?;
        tokio::spawn(answer(send, asked, len));
    }
}

/// Says of each blob that it is told of that all of it is here.
async fn boast(mut said: SendStream, mut heard: RecvStream, len: u64) -> Result<(), Failure> {
    let mut told = Vec::new();
    loop {
        let mut head = [0; 4];
        heard.read_exact(&mut head).await?;
        let mut frame = vec![0; Notice::frame_len(head)?.min(FRAME_LEN_MAX)];
        heard.read_exact(&mut frame).await?;
        let Notice::Have { blob, .. } = Notice::decode(&frame)? else { continue };
        if !told.contains(&blob) {
            told.push(blob);
            let groups = Groups::of(0..tree::groups(len));
            let all = Notice::Have { blob, may_fetch: false, groups };
            said.write_all(&all.encode()).await?;
        }
    }
}

async fn answer(mut send: SendStream, mut asked: RecvStream, len: u64) -> Result<(), Failure> {
    let request = Request::decode(&asked.read_to_end(REQUEST_LEN_MAX).await?)?;
    let answer = match request {
        Request::Blob { groups, .. } => {
            let mut answer = vec![Status::Ok.byte()];
            answer.extend_from_slice(&len.to_le_bytes());
            let bytes = usize::try_from(groups.count())?.saturating_mul(GROUP_LEN);
            answer.resize(answer.len() + bytes, 0x5a);
            answer
        }
        _ => vec![Status::None.byte()],
    };
    send.write_all(&answer).await?;
    send.finish()?;
    Ok(())
}
