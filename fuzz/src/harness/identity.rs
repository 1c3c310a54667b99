//! Requests, certificates, lists, ledgers and receipts: any bytes, and any bytes that were signed,
//! are refused, or mean something that is spelled in one way.

use std::sync::LazyLock;

use neap_trust::device_key::DeviceSigner;
use neap_trust::device_key::file::{DeviceFileKey, Kind};
use neap_trust::fixture::identity::{
    Ca, at, device, payload, receipts, request, sealed, sealed_receipt, unsealed,
};
use neap_trust::identity::ledger::{KeyDigest, Leave, Ledger};
use neap_trust::identity::{Authority, Certificate, Reason, Request, Revocation, standing};
use neap_trust::receipt::chain::order;
use neap_trust::receipt::{Receipt, Verified, export};

/// An authority and a device of its fleet.
struct Honest {
    ca: Ca,
    key: DeviceFileKey,
    asked: Request,
    certificate: Certificate,
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    let (ca, key) = (Ca::new(1), device(Kind::Ed25519, 7));
    let asked = request("radar-7", &key);
    let certificate = ca.certificate(&asked, 1);
    Honest { ca, key, asked, certificate }
});

/// What the first byte makes of the others.
const FORMS: u8 = 8;

/// Whatever is read is in its one encoding, and says the same when it is read again.
pub fn identity(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let Honest { ca, key, .. } = &*HONEST;
    let authority = &ca.authority;
    match form % FORMS {
        0 => asked(rest, rest),
        1 => {
            let whole = sealed(key, rest);
            asked(&whole, &whole);
        }
        2 => certified(rest, rest),
        3 => {
            let whole = ca.sealed(rest);
            certified(&whole, &whole);
        }
        4 | 5 => {
            let whole = if form % FORMS == 4 { rest.to_vec() } else { ca.sealed(rest) };
            if let Ok(crl) = authority.crl(&whole) {
                assert!(!whole.starts_with(&[0x30]) || crl.der() == whole);
                assert_eq!(authority.crl(crl.pem().as_bytes()).ok(), Some(crl));
            }
        }
        6 => {
            let whole = ca.sealed(rest);
            if let Ok(found) = Authority::read(&whole) {
                assert_eq!(found.der(), whole);
                assert_eq!(Authority::read(found.pem().as_bytes()).ok(), Some(found));
            }
        }
        _ => recorded(rest),
    }
}

fn asked(bytes: &[u8], der: &[u8]) {
    let Ok(found) = Request::read(bytes) else { return };
    assert!(!der.starts_with(&[0x30]) || found.der() == der);
    assert_eq!(Request::read(found.pem().as_bytes()).ok().as_ref(), Some(&found));
    // What can be asked for can be certified, with no more than a name and a key from the request.
    let certificate = HONEST.ca.certificate(&found, 2);
    assert_eq!(certificate.device(), found.device());
    assert_eq!(certificate.key(), found.key());
}

fn certified(bytes: &[u8], der: &[u8]) {
    let authority = &HONEST.ca.authority;
    let Ok(found) = authority.certificate(bytes) else { return };
    assert!(!der.starts_with(&[0x30]) || found.der() == der);
    assert_eq!(authority.certificate(found.pem().as_bytes()).ok().as_ref(), Some(&found));
    assert!(found.validity().1 <= authority.validity().1);
    assert!(found.device().dns(authority.fleet()).len() <= 253);
}

/// A ledger that is read decides about any request without a panic, and comes back as it was.
fn recorded(bytes: &[u8]) {
    let authority = &HONEST.ca.authority;
    let Ok(mut ledger) = Ledger::parse(bytes, authority) else { return };
    assert_eq!(Ledger::parse(&ledger.bytes(), authority).ok().as_ref(), Some(&ledger));
    for leave in [Leave::default(), Leave { accepted: true, replace: true, renew: true }] {
        drop(ledger.decide(&HONEST.asked, leave, at(0)));
    }
    drop(ledger.wait(&HONEST.asked, at(0)));
    drop(ledger.record(&HONEST.certificate, at(0)));
    let why = Revocation { at: at(0), reason: Reason::Unspecified };
    drop(ledger.revoke("radar-7", why));
    assert!(!KeyDigest::of(HONEST.asked.key()).as_str().is_empty());
}

/// A receipt that is read is spelled as its device would have spelled it, and can be shown.
pub fn receipt(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let Honest { key, certificate, .. } = &*HONEST;
    let is_sealed = form % 2 == 1;
    let whole = if is_sealed { sealed_receipt(rest, key) } else { rest.to_vec() };
    let verified = Receipt::verify(&whole, &key.device_key());
    if let Ok(claimed) = Receipt::claimed(&whole) {
        assert!(export::folder(&claimed).is_none_or(|name| !name.contains(['/', '\\'])));
        assert!(!is_sealed || verified.is_ok());
        let again = claimed.sign(key).expect("what was read can be written");
        assert!(!is_sealed || again == whole);
    }
    drop(Receipt::key_id(&whole));
    drop(standing::verify(&whole, certificate, None));
    let Ok(verified) = verified else { return };
    shown(&verified);
}

fn shown(verified: &Verified) {
    let device = verified.receipt.device.clone();
    let mut twice = vec![verified.clone(), verified.clone()];
    drop(order(&device, None, &mut twice));
    assert_eq!(twice.len(), 1);
    let table = export::csv(&twice);
    assert_eq!(table.lines().count(), 2, "a text does not break a line");
    assert!(!export::service_report(verified, at(0)).contains('\u{1b}'));
    drop(export::json(verified));
}

/// Honest inputs, by name.
#[must_use]
#[allow(dead_code, reason = "the seeds are made of them")]
pub fn honest() -> Vec<(&'static str, Vec<u8>)> {
    let Honest { ca, asked, certificate, .. } = &*HONEST;
    let why = |reason| Revocation { at: at(-5), reason };
    let revoked = [(certificate.number(), why(Reason::KeyCompromise))];
    let crl = ca.crl(3, &revoked);
    let other = request("sonar.2", &device(Kind::P256, 8));
    let mut ledger = Ledger::new(ca.authority.fleet());
    drop(ledger.wait(&other, at(0)));
    drop(ledger.record(certificate, at(0)));
    let form = |form: u8, bytes: &[u8]| [&[form], bytes].concat();
    vec![
        ("request", form(0, asked.der())),
        ("request-p256", form(0, other.der())),
        ("request-pem", form(0, asked.pem().as_bytes())),
        ("request-part", form(1, &unsealed(asked.der()))),
        ("certificate", form(2, certificate.der())),
        ("certificate-part", form(3, &unsealed(certificate.der()))),
        ("certificate-p256-part", form(3, &unsealed(ca.certificate(&other, 2).der()))),
        ("list", form(4, crl.der())),
        ("list-part", form(5, &unsealed(crl.der()))),
        ("list-empty-part", form(5, &unsealed(ca.crl(1, &[]).der()))),
        ("authority-part", form(6, &unsealed(ca.authority.der()))),
        ("ledger", form(7, &ledger.bytes())),
    ]
}

/// Honest receipts, by name.
#[must_use]
#[allow(dead_code, reason = "the seeds are made of them")]
pub fn honest_receipts() -> Vec<(&'static str, Vec<u8>)> {
    let [first, second] = receipts("radar-7", &HONEST.key);
    let [p256, _] = receipts("radar-7", &device(Kind::P256, 8));
    let form = |form: u8, bytes: &[u8]| [&[form], bytes].concat();
    vec![
        ("first", form(0, &first)),
        ("second", form(0, &second)),
        ("p256", form(0, &p256)),
        ("first-payload", form(1, &payload(&first))),
        ("second-payload", form(1, &payload(&second))),
    ]
}
