//! The beginning of a connection: hellos both ways, and who the peer is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use quinn::Connection;
use tokio::sync::mpsc;

use super::super::answer::{Asker, answer_all};
use super::super::door::{Origin, coming, is_near};
use super::super::error::DialError;
use super::super::notices::{self, Broken};
use super::{Inner, MISTAKEN, Peer, SUPERFLUOUS, listen};
use crate::congestion::tell_rate;
use crate::limits::TELLS_MAX;
use crate::link::{Class, Profile};
use crate::wire::{Hello, Notice};

/// Says hello both ways, enters the peer and begins to listen to it. Over a link with a long way
/// the other's hello is not waited for: it takes a round trip and tells nothing that matters there.
pub(in crate::quic) async fn greet(
    inner: &Arc<Inner>,
    connection: Connection,
    dialled: Option<&Profile>,
    expected: Option<&str>,
) -> Result<Arc<Peer>, DialError> {
    let greeted = hellos(inner, &connection, dialled, expected);
    let greeted = tokio::time::timeout(inner.patience.hello, greeted).await;
    let greeted = greeted.unwrap_or_else(|_| Err(DialError::Protocol("no hello came".into())));
    let (peer, mut said, heard) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            let code = match error {
                DialError::Superfluous => SUPERFLUOUS,
                _ => MISTAKEN,
            };
            connection.close(code, error.to_string().as_bytes());
            return Err(error);
        }
    };
    if !inner.enter(&peer.0) {
        connection.close(SUPERFLUOUS, b"");
        return Err(DialError::Superfluous);
    }
    let (peer, mut tells) = peer;
    tokio::spawn(async move {
        while let Some(notice) = tells.recv().await {
            if !notices::send(&mut said, &notice).await {
                return;
            }
        }
    });
    let asker = Asker {
        name: peer.name.clone(),
        quota: inner.quota.clone().filter(|_| !peer.same_site),
        same_site: peer.same_site,
        admission: Arc::clone(&inner.settings.admission),
        patience: inner.patience.request,
    };
    let (shelf, served) = (inner.shelf.clone(), Arc::clone(&inner.served));
    tokio::spawn(answer_all(connection, shelf, served, asker));
    tokio::spawn(listen(Arc::clone(inner), Arc::clone(&peer), heard));
    Ok(peer)
}

type Greeted = ((Arc<Peer>, mpsc::Receiver<Notice>), quinn::SendStream, Option<quinn::RecvStream>);

async fn hellos(
    inner: &Arc<Inner>,
    connection: &Connection,
    dialled: Option<&Profile>,
    expected: Option<&str>,
) -> Result<Greeted, DialError> {
    let mistaken = |why: &dyn fmt::Display| DialError::Protocol(why.to_string());
    let identity = connection.peer_identity();
    let shown =
        identity.and_then(|any| any.downcast::<Vec<rustls::pki_types::CertificateDer<'_>>>().ok());
    let shown = shown.ok_or_else(|| mistaken(&"it showed no certificate"))?;
    let der = shown.first().ok_or_else(|| mistaken(&"it showed no certificate"))?;
    let certificate = inner.settings.admission.admit(der).map_err(|refused| mistaken(&refused))?;
    let name = certificate.device().to_string();
    if let Some(expected) = expected.filter(|expected| **expected != name) {
        return Err(DialError::OtherDevice { found: name, expected: expected.to_owned() });
    }
    if name == inner.me {
        return Err(mistaken(&"it has our own name"));
    }
    let counted = coming(inner, Origin::Device(name.clone())).ok_or(DialError::Superfluous)?;
    let from = connection.remote_address();
    let near = dialled.is_some_and(|link| link.class == Class::Lan);
    let class = match dialled {
        Some(link) => link.class,
        None if is_near(from.ip()) => Class::Lan,
        None => inner.settings.incoming.class,
    };
    let mut said = connection.open_uni().await.map_err(|error| mistaken(&error))?;
    if !notices::send(&mut said, &inner.hello(dialled)).await {
        return Err(mistaken(&"the connection ended"));
    }
    let (mut heard, mut same_site, mut port) = (None, false, 0);
    if near || dialled.is_none() {
        let (stream, hello) = hello_of(inner, connection).await?;
        heard = Some(stream);
        same_site =
            (near || hello.same_site) && hello.site == inner.settings.site && is_near(from.ip());
        port = hello.port;
        if dialled.is_none() && hello.rate_kbit > 0 {
            tell_rate(connection.congestion_state(), u64::from(hello.rate_kbit) * 1000);
        }
    }
    drop(counted);
    let (tell, tells) = mpsc::channel(TELLS_MAX);
    let peer = Arc::new(Peer {
        id: u32::try_from(inner.next.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX),
        name,
        same_site,
        class,
        is_dialled: dialled.is_some(),
        listens: (port > 0).then(|| SocketAddr::new(from.ip().to_canonical(), port)),
        connection: connection.clone(),
        certificate: der.to_vec(),
        tell,
        told: Mutex::default(),
    });
    Ok(((peer, tells), said, heard))
}

/// The stream of a peer's notices, and the hello that it begins with.
pub(super) async fn hello_of(
    inner: &Inner,
    connection: &Connection,
) -> Result<(quinn::RecvStream, Hello), DialError> {
    let mistaken = |why: &dyn fmt::Display| DialError::Protocol(why.to_string());
    let coming = async {
        let mut heard = connection.accept_uni().await.map_err(|error| mistaken(&error))?;
        match notices::next(&mut heard).await {
            Ok(Notice::Hello(hello)) => Ok((heard, hello)),
            Ok(_) => Err(mistaken(&"it did not begin with a hello")),
            Err(Broken::Wire(error)) => Err(mistaken(&error)),
            Err(Broken::Ended) => Err(mistaken(&"the connection ended")),
        }
    };
    let came = tokio::time::timeout(inner.patience.hello, coming).await;
    came.unwrap_or_else(|_| Err(mistaken(&"no hello came")))
}
