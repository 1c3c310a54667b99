//! Tests of requests, certificates and lists. What an authority never makes is made by changing
//! what it does make and signing that again.

use proptest::prelude::*;

use super::ledger::{Allowed, Decision, Denied, KeyDigest, Leave, Ledger};
use super::*;
use crate::device_key::file::{DeviceFileKey, Kind};
use crate::device_key::{DeviceKey, DeviceSigner};
use crate::fixture::identity::{Ca, at, device, element, receipts, request, sealed, unsealed};
use crate::limits::{
    ALLOWED_MAX, CERTIFICATE_LEN_MAX, EXTENSIONS_MAX, REQUEST_DER_LEN_MAX, WAITING_PER_DEVICE_MAX,
};

const KINDS: [Kind; 2] = [Kind::Ed25519, Kind::P256];

/// The bytes with one run replaced by another, which must be there once.
fn with(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<_> =
        (0..bytes.len()).filter(|place| bytes[*place..].starts_with(from)).collect();
    assert_eq!(places.len(), 1, "{} is there once", hex::encode(from));
    [&bytes[..places[0]], to, &bytes[places[0] + from.len()..]].concat()
}

/// The content of an element of our own.
fn content(der: &[u8]) -> Vec<u8> {
    let start = match der[1] {
        0..128 => 2,
        long => 2 + usize::from(long & 0x7f),
    };
    der[start..].to_vec()
}

/// What an authority says of a device's certificate after its signed part was changed.
fn told(ca: &Ca, certificate: &Certificate, from: &[u8], to: &[u8]) -> String {
    let part = element(0x30, &with(&content(&unsealed(certificate.der())), from, to));
    let refused = ca.authority.certificate(&ca.sealed(&part));
    refused.expect_err("it is refused").to_string()
}

/// An extension as a certificate has it.
fn extension(id: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    let id = [6, 3, 0x55, 0x1d, id];
    element(0x30, &[&id[..], critical, &element(4, value)].concat())
}

/// A certificate with these extensions in place of its own.
fn extended(certificate: &Certificate, extensions: &[Vec<u8>]) -> Vec<u8> {
    let part = content(&unsealed(certificate.der()));
    let marker = [6, 3, 0x55, 0x1d, 0x13];
    let first = part.windows(5).position(|bytes| bytes == marker).expect("basicConstraints");
    // Before it: two heads of the list, of 2 or 3 bytes, and one of the extension.
    let start = part[..first].iter().rposition(|byte| *byte == 0xa3).expect("the tag of the list");
    let list = element(0xa3, &element(0x30, &extensions.concat()));
    element(0x30, &[&part[..start], &list].concat())
}

/// Those that our certificates have.
fn own_extensions(ca: &Ca, key: &DeviceKey) -> Vec<Vec<u8>> {
    let id = |key: &DeviceKey| key.digest()[..20].to_vec();
    let authority = DeviceKey::Ed25519(ca.authority.key().clone());
    let purposes = [0x30, 0x14, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    vec![
        extension(0x13, true, &[0x30, 0]),
        extension(0x0f, true, &[3, 2, 7, 0x80]),
        extension(0x0e, false, &element(4, &id(key))),
        extension(0x23, false, &element(0x30, &element(0x80, &id(&authority)))),
        extension(0x25, false, &purposes),
        extension(0x11, false, &element(0x30, &element(0x82, b"radar-7.coast.neap.invalid"))),
    ]
}

#[test]
fn request_becomes_a_certificate_that_says_who_has_which_key() {
    let ca = Ca::new(1);
    for kind in KINDS {
        let key = device(kind, 7);
        let asked = request("radar-7", &key);
        assert_eq!(Request::read(asked.pem().as_bytes()).expect("PEM"), asked);
        let certificate = ca.certificate(&asked, 1);
        assert_eq!(certificate.device().as_str(), "radar-7");
        assert_eq!(*certificate.key(), key.device_key());
        let read = ca.authority.certificate(certificate.pem().as_bytes()).expect("PEM");
        assert_eq!(read, certificate);
        assert!(certificate.der().len() < 600, "{} bytes", certificate.der().len());
        assert_eq!(Authority::read(ca.authority.pem().as_bytes()).expect("PEM"), ca.authority);
    }
}

// A byte that no check covers could be changed on the way.
#[test]
fn every_changed_bit_is_seen() {
    let ca = Ca::new(1);
    for kind in KINDS {
        let asked = request("radar-7", &device(kind, 7));
        let certificate = ca.certificate(&asked, 1);
        let why = Revocation { at: at(0), reason: Reason::KeyCompromise };
        let crl = ca.crl(3, &[(certificate.number(), why)]);
        for (bytes, read) in [
            (asked.der(), &(|b: &[u8]| Request::read(b).is_ok()) as &dyn Fn(&[u8]) -> bool),
            (certificate.der(), &|b| ca.authority.certificate(b).is_ok()),
            (ca.authority.der(), &|b| Authority::read(b).is_ok()),
            (crl.der(), &|b| ca.authority.crl(b).is_ok()),
        ] {
            assert!(read(bytes));
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!read(&changed), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(!read(&bytes[..len]), "{len} bytes");
            }
            assert!(!read(&[bytes, &[0]].concat()), "a byte more");
        }
    }
}

// The signature is checked over what is encoded again, which would be the honest bytes: one
// certificate would have had two spellings, and two digests.
#[test]
fn other_spelling_of_an_honest_certificate_is_refused() {
    let ca = Ca::new(1);
    let certificate = ca.certificate(&request("radar-7", &device(Kind::Ed25519, 7)), 1);
    let part = unsealed(certificate.der());
    let short = [element(0x17, b"260531000000Z"), element(0x17, b"270601000000Z")].concat();
    let long = [element(0x18, b"20260531000000Z"), element(0x18, b"20270601000000Z")].concat();
    let (short, long) = (element(0x30, &short), element(0x30, &long));
    let other = element(0x30, &with(&content(&part), &short, &long));
    let whole = content(certificate.der());
    let whole = element(0x30, &[&other, &whole[part.len()..]].concat());
    let refused = ca.authority.certificate(&whole).expect_err("refused").to_string();
    assert!(refused.contains("one encoding that DER allows"), "{refused}");
}

#[test]
fn what_another_authority_of_the_same_name_signed_is_refused() {
    let (ca, other) = (Ca::new(1), Ca::new(2));
    let asked = request("radar-7", &device(Kind::Ed25519, 7));
    let theirs = other.certificate(&asked, 1);
    let refused = ca.authority.certificate(theirs.der());
    assert!(matches!(refused, Err(IdentityError::Signature(What::Certificate))), "{refused:?}");
    let refused = ca.authority.crl(other.crl(1, &[]).der());
    assert!(matches!(refused, Err(IdentityError::Signature(What::Crl))), "{refused:?}");
    let refused = issuer::Issuer::new(&ca.authority, &other.key);
    assert!(matches!(refused, Err(IdentityError::OtherKey)));
}

#[test]
fn request_for_a_key_that_did_not_sign_it_is_refused() {
    for kind in KINDS {
        let asked = request("radar-7", &device(kind, 7));
        // Somebody else's key, put into a request of one's own.
        let thief = device(Kind::Ed25519, 8);
        let refused = Request::read(&sealed(&thief, &unsealed(asked.der())));
        assert!(
            matches!(
                refused,
                Err(IdentityError::Signature(What::Request) | IdentityError::Algorithm { .. })
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn weak_and_unknown_keys_and_signatures_are_refused_by_name() {
    let key = device(Kind::Ed25519, 7);
    let DeviceKey::Ed25519(public) = key.device_key() else { unreachable!("it is Ed25519") };
    let part = unsealed(request("radar-7", &key).der());
    let info = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], public.bytes()];
    let own = element(0x30, &content(&part));
    assert_eq!(own, part);
    let replaced = |info: &[u8]| {
        let part = element(0x30, &with(&content(&part), &own_info(&key), info));
        Request::read(&sealed(&key, &part)).expect_err("refused").to_string()
    };
    assert_eq!(own_info(&key), info.concat());
    let algorithm = |oid: &[u8], more: &[u8]| {
        let algorithm = element(0x30, &[&element(6, oid), more].concat());
        element(0x30, &[&algorithm[..], &[3, 0x21, 0], public.bytes()].concat())
    };
    let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    let ec = [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let p384 = element(6, &[0x2b, 0x81, 4, 0, 0x22]);
    assert!(replaced(&algorithm(&rsa, &[5, 0])).starts_with("RSA is not taken"));
    assert!(replaced(&algorithm(&ec, &p384)).contains("other than P-256"));
    assert!(replaced(&algorithm(&[0x2b, 0x65, 0x6e], &[])).starts_with("X25519"));
    assert!(replaced(&algorithm(&[0x2b, 1], &[])).starts_with("algorithm 1.3.1 "));
    assert!(replaced(&algorithm(&[0x2b, 0x65, 0x70], &[5, 0])).contains("one encoding"));
    let mut neutral = info.concat();
    neutral[12..].fill(0);
    neutral[12] = 1;
    assert!(replaced(&neutral).contains("small order"));
}

fn own_info(key: &DeviceFileKey) -> Vec<u8> {
    key.device_key().der().expect("a key")
}

#[test]
fn points_off_the_curve_and_compressed_ones_are_refused() {
    let key = device(Kind::P256, 7);
    let part = unsealed(request("radar-7", &key).der());
    let info = own_info(&key);
    let mut off = info.clone();
    *off.last_mut().expect("it is not empty") ^= 1;
    let refused = |info: &[u8]| {
        let part = element(0x30, &with(&content(&part), &own_info(&key), info));
        Request::read(&sealed(&device(Kind::Ed25519, 7), &part)).expect_err("refused").to_string()
    };
    assert!(refused(&off).contains("no point of the curve"), "{}", refused(&off));
    let point = &info[info.len() - 64..];
    let algorithm = &info[2..2 + 21];
    let compressed = [&[2 | point[63] & 1], &point[..32]].concat();
    let bits = element(3, &[&[0], &compressed[..]].concat());
    let compressed = element(0x30, &[algorithm, &bits].concat());
    assert!(refused(&compressed).contains("one encoding"), "{}", refused(&compressed));
}

#[test]
fn certificates_of_another_shape_are_refused_though_the_authority_signed_them() {
    let ca = Ca::new(1);
    let certificate = ca.certificate(&request("radar-7", &device(Kind::Ed25519, 7)), 1);
    let told = |from: &[u8], to: &[u8]| told(&ca, &certificate, from, to);
    // A device as an authority, a key for more, other purposes, other names.
    let usage = extension(0x0f, true, &[3, 2, 7, 0x80]);
    let more = extension(0x0f, true, &[3, 2, 2, 0x84]);
    assert!(told(&usage, &more).contains("keyUsage"), "{}", told(&usage, &more));
    let text = told(b"\x13\x07radar-7", b"\x0c\x07radar-7");
    assert!(text.contains("not that of a device"), "{text}");
    let dns = told(b"radar-7.coast", b"radar-8.coast");
    assert!(dns.contains("subjectAltName"), "{dns}");
    let subject = told(b"\x13\x07radar-7", b"\x13\x07Radar-7");
    assert!(subject.contains("names no device"), "{subject}");
    let subject = told(b"\x13\x07radar-7", b"\x13\x07radar-8");
    assert!(subject.contains("subjectAltName"), "{subject}");
}

#[test]
fn extensions_twice_unknown_missing_or_with_other_weight_are_refused() {
    let ca = Ca::new(1);
    let key = device(Kind::Ed25519, 7);
    let certificate = ca.certificate(&request("radar-7", &key), 1);
    let own = own_extensions(&ca, &key.device_key());
    let read = |extensions: &[Vec<u8>]| {
        ca.authority.certificate(&ca.sealed(&extended(&certificate, extensions)))
    };
    assert!(read(&own).is_ok(), "{:?}", read(&own));
    let told = |extensions: &[Vec<u8>]| read(extensions).expect_err("refused").to_string();
    for index in 0..own.len() {
        let mut missing = own.clone();
        let taken = missing.remove(index);
        assert!(told(&missing).contains("it is missing"), "{index}: {}", told(&missing));
        let twice = [&own[..], &[taken]].concat();
        assert!(told(&twice).contains("it is there twice"), "{index}");
    }
    let mut unknown = own.clone();
    unknown.push(extension(0x36, false, &[1, 2, 3]));
    assert!(read(&unknown).is_ok(), "who does not know it may ignore it");
    unknown[6] = extension(0x36, true, &[1, 2, 3]);
    assert_eq!(told(&unknown), "extension 2.5.29.54: critical, and not known");
    let replaced = |index: usize, by: Vec<u8>| {
        let mut list = own.clone();
        list[index] = by;
        told(&list)
    };
    assert!(replaced(0, extension(0x13, false, &[0x30, 0])).contains("not critical"));
    let authority = [0x30, 3, 1, 1, 0xff];
    assert!(replaced(0, extension(0x13, true, &authority)).contains("no authority"));
    assert!(replaced(0, extension(0x13, true, &[0x30, 1])).contains("well formed"));
    assert!(replaced(1, extension(0x0f, true, &[3, 2, 2, 0x84])).contains("digitalSignature"));
    assert!(replaced(2, extension(0x0e, false, &element(4, &[9; 20]))).contains("its key"));
    let other = element(0x30, &element(0x80, &[9; 20]));
    assert!(replaced(3, extension(0x23, false, &other)).contains("not that of the authority"));
    let any = [0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0];
    assert!(replaced(4, extension(0x25, false, &any)).contains("extKeyUsage"));
    let names = [&b"\x82\x01a"[..], b"\x82\x01b"].concat();
    assert!(replaced(5, extension(0x11, false, &element(0x30, &names))).contains("alone"));
    let many: Vec<_> =
        (0_u8..).take(EXTENSIONS_MAX + 1).map(|n| extension(n, false, &[5, 0])).collect();
    assert!(told(&many).contains("16 allowed"), "{}", told(&many));
}

#[test]
fn certificate_that_outlives_its_authority_is_neither_made_nor_read() {
    let ca = Ca::new(1);
    let asked = request("radar-7", &device(Kind::Ed25519, 7));
    let number = Number::from_random([1; 16]);
    let until = ca.authority.validity().1;
    let span = |from, until| issuer::Span { from, until };
    let last = ca.issuer().certificate(&asked, &number, span(at(0), until));
    assert_eq!(last.expect("made").validity().1, until);
    let late = jiff::Timestamp::from_second(until.as_second() + 1).expect("a time");
    let refused = ca.issuer().certificate(&asked, &number, span(at(0), late));
    assert!(matches!(refused, Err(IdentityError::Validity(_))), "{refused:?}");
    let refused = ca.issuer().certificate(&asked, &number, span(at(0), at(59)));
    assert!(matches!(refused, Err(IdentityError::Validity(_))), "{refused:?}");
    let refused = ca.issuer().certificate(&asked, &number, span(at(0), at(-1)));
    assert!(matches!(refused, Err(IdentityError::Validity(_))), "{refused:?}");
}

#[test]
fn lists_say_which_certificates_are_revoked_since_when_and_why() {
    let ca = Ca::new(1);
    let empty = ca.crl(1, &[]);
    assert!(empty.revoked().is_empty());
    let numbers: Vec<_> = (1..=6).map(|n| Number::from_random([n; 16])).collect();
    let revoked: Vec<_> = numbers
        .iter()
        .zip(Reason::ALL)
        .map(|(number, reason)| (number, Revocation { at: at(-5), reason }))
        .collect();
    let crl = ca.crl(u64::MAX >> 1, &revoked);
    assert_eq!(crl.number(), u64::MAX >> 1);
    assert_eq!(crl.revoked().len(), 6);
    for (number, revocation) in revoked {
        assert_eq!(crl.revoked()[number], revocation);
    }
    assert_eq!(ca.authority.crl(crl.pem().as_bytes()).expect("PEM"), crl);
}

#[test]
fn lists_of_another_shape_are_refused_though_the_authority_signed_them() {
    let ca = Ca::new(1);
    let (one, two) = (Number::from_random([1; 16]), Number::from_random([2; 16]));
    let why = Revocation { at: at(-5), reason: Reason::KeyCompromise };
    let crl = ca.crl(0x77, &[(&one, why), (&two, why)]);
    let part = content(&unsealed(crl.der()));
    let told = |from: &[u8], to: &[u8]| {
        let part = element(0x30, &with(&part, from, to));
        ca.authority.crl(&ca.sealed(&part)).expect_err("refused").to_string()
    };
    assert!(told(two.bytes(), one.bytes()).contains("there twice"));
    let mut negative = two.bytes().to_vec();
    negative[0] = 0xff;
    assert!(told(two.bytes(), &negative).contains("not positive"));
    // Version 1, which has no extensions, and a list of changes, which is not whole.
    assert!(told(&[2, 1, 1, 0x30, 5], &[2, 1, 0, 0x30, 5]).contains("version 2"));
    let number = [6, 3, 0x55, 0x1d, 0x14, 4, 3, 2, 1, 0x77];
    assert!(told(&number, &[6, 3, 0x55, 0x1d, 0x1b, 4, 3, 2, 1, 0x77]).contains("cRLNumber"));
    assert!(told(&number, &[6, 3, 0x55, 0x1d, 0x23, 4, 3, 2, 1, 0x77]).contains("there twice"));
}

#[test]
fn bytes_at_the_limit_are_read_and_one_more_is_not() {
    for (what, len_max) in [
        (What::Certificate, CERTIFICATE_LEN_MAX),
        (What::Request, REQUEST_DER_LEN_MAX),
        (What::Crl, crate::limits::CRL_LEN_MAX),
    ] {
        let read = |len: usize| encoding::der(&vec![0x30; len], what).map(|der| der.len());
        assert_eq!(read(len_max).expect("read"), len_max);
        assert!(matches!(read(len_max + 1), Err(IdentityError::TooLong { .. })), "{what}");
    }
    let ca = Ca::new(1);
    let text = ca.authority.pem();
    let wrong = Request::read(text.as_bytes()).expect_err("another label").to_string();
    assert!(wrong.contains("`CERTIFICATE` in its place"), "{wrong}");
}

#[test]
fn numbers_are_positive_and_spelled_in_one_way() {
    let number = Number::from_random([0xff; 16]);
    assert_eq!(number.bytes()[0], 0x7f);
    assert_eq!(Number::from_random([0; 16]).bytes()[0], 0x40);
    assert_eq!(number.to_string().parse::<Number>().expect("digits"), number);
    let high = "ff".repeat(19).parse::<Number>().expect("19 bytes take 20 with the sign");
    assert_eq!(high.bytes().len(), 19);
    let long = "ff".repeat(20);
    for bad in ["", "0", "00", "001", "FF", "-1", "0x10", &long] {
        assert!(bad.parse::<Number>().is_err(), "{bad}");
    }
    assert_ne!(Number::generate().expect("made"), Number::generate().expect("made"));
}

fn ledger_and_request(kind: Kind) -> (Ca, Ledger, Request) {
    let ca = Ca::new(1);
    let ledger = Ledger::new(ca.authority.fleet());
    (ca, ledger, request("radar-7", &device(kind, 7)))
}

fn decided(ledger: &Ledger, request: &Request, leave: Leave) -> Result<Decision, Denied> {
    ledger.decide(request, leave, at(0))
}

const NO_LEAVE: Leave = Leave { accepted: false, replace: false, renew: false };

#[test]
fn device_that_nobody_allowed_waits_until_it_is_accepted() {
    let (_, mut ledger, asked) = ledger_and_request(Kind::P256);
    assert_eq!(decided(&ledger, &asked, NO_LEAVE), Ok(Decision::Wait));
    ledger.wait(&asked, at(0)).expect("kept");
    ledger.wait(&asked, at(1)).expect("the same is kept once");
    assert_eq!(ledger.waiting().len(), 1);
    let digits = KeyDigest::of(asked.key()).to_string();
    assert!(ledger.asked("radar-7").is_ok() && ledger.asked(&digits[..8]).is_ok());
    assert!(ledger.asked(&digits[..7]).is_err() && ledger.asked("radar").is_err());
    for byte in 1..u8::try_from(WAITING_PER_DEVICE_MAX).expect("it is small") {
        ledger.wait(&request("radar-7", &device(Kind::Ed25519, byte)), at(0)).expect("kept");
    }
    assert!(matches!(ledger.asked("radar-7"), Err(Denied::Ambiguous(_))));
    let more = ledger.wait(&request("radar-7", &device(Kind::Ed25519, 99)), at(0));
    assert!(matches!(more, Err(Denied::Full(..))), "strangers cannot fill the list");
    assert!(ledger.wait(&request("sonar", &device(Kind::Ed25519, 99)), at(0)).is_ok());
    let accepted = Leave { accepted: true, ..NO_LEAVE };
    assert_eq!(decided(&ledger, &asked, accepted), Ok(Decision::Issue));
}

#[test]
fn allowance_is_for_one_certificate_and_for_its_key() {
    let (ca, mut ledger, asked) = ledger_and_request(Kind::Ed25519);
    let key = Some(KeyDigest::of(asked.key()));
    ledger.allow(Allowed { device: asked.device().clone(), key }).expect("allowed");
    let other = request("radar-7", &device(Kind::Ed25519, 8));
    let refused = decided(&ledger, &other, NO_LEAVE);
    assert!(matches!(refused, Err(Denied::NotTheAllowedKey(_))), "{refused:?}");
    assert_eq!(decided(&ledger, &asked, NO_LEAVE), Ok(Decision::Issue));
    ledger.record(&ca.certificate(&asked, 1), at(0)).expect("recorded");
    assert!(ledger.allowed().is_empty());
    // Once it ran out, the device is to be allowed again.
    let later = at(400 * 86_400);
    assert_eq!(ledger.decide(&asked, NO_LEAVE, later), Ok(Decision::Wait));
}

// A request lies around on sticks and in mail: whoever replays it must gain nothing.
#[test]
fn replayed_request_gets_the_same_certificate_and_no_other() {
    let (ca, mut ledger, asked) = ledger_and_request(Kind::Ed25519);
    let certificate = ca.certificate(&asked, 1);
    ledger.record(&certificate, at(0)).expect("recorded");
    let issued = Box::new(ledger.issued()[0].clone());
    assert_eq!(issued.certificate, certificate.pem());
    assert_eq!(decided(&ledger, &asked, NO_LEAVE), Ok(Decision::Has(issued)));
    let renew = Leave { renew: true, ..NO_LEAVE };
    assert_eq!(decided(&ledger, &asked, renew), Ok(Decision::Issue));
}

#[test]
fn request_under_another_devices_serial_is_refused_while_that_one_is_valid() {
    let (ca, mut ledger, asked) = ledger_and_request(Kind::Ed25519);
    ledger.record(&ca.certificate(&asked, 1), at(0)).expect("recorded");
    let thief = request("radar-7", &device(Kind::Ed25519, 8));
    for accepted in [false, true] {
        let refused = decided(&ledger, &thief, Leave { accepted, ..NO_LEAVE });
        assert!(matches!(refused, Err(Denied::OtherKey(_))), "{refused:?}");
    }
    // The other way round: a device with a certificate takes another name.
    let second = request("radar-8", &device(Kind::Ed25519, 7));
    let all = Leave { accepted: true, replace: true, renew: true };
    let refused = decided(&ledger, &second, all);
    assert!(matches!(refused, Err(Denied::KeyOfOther(_))), "{refused:?}");
}

#[test]
fn replaced_key_is_revoked_as_superseded_and_never_certified_again() {
    let (ca, mut ledger, asked) = ledger_and_request(Kind::Ed25519);
    let first = ca.certificate(&asked, 1);
    ledger.record(&first, at(0)).expect("recorded");
    let next = request("radar-7", &device(Kind::P256, 8));
    let replace = Leave { replace: true, ..NO_LEAVE };
    assert_eq!(decided(&ledger, &next, replace), Ok(Decision::Wait), "that alone is no leave");
    let both = Leave { accepted: true, ..replace };
    assert_eq!(decided(&ledger, &next, both), Ok(Decision::Issue));
    let revoked = ledger.record(&ca.certificate(&next, 2), at(9)).expect("recorded");
    assert_eq!(revoked, [first.number().clone()]);
    let why = Revocation { at: at(9), reason: Reason::Superseded };
    assert_eq!(ledger.revoked()[first.number()], why);
    let back = decided(&ledger, &asked, Leave { renew: true, ..both });
    assert!(matches!(back, Err(Denied::KeyRevoked(_))), "{back:?}");
}

#[test]
fn stolen_device_is_revoked_and_what_was_allowed_of_it_is_forgotten() {
    let (ca, mut ledger, asked) = ledger_and_request(Kind::Ed25519);
    let certificate = ca.certificate(&asked, 1);
    ledger.record(&certificate, at(0)).expect("recorded");
    ledger.allow(Allowed { device: asked.device().clone(), key: None }).expect("allowed");
    let why = Revocation { at: at(5), reason: Reason::KeyCompromise };
    assert_eq!(ledger.revoke("radar-7", why), Ok(vec![certificate.number().clone()]));
    assert!(ledger.allowed().is_empty());
    assert!(matches!(ledger.revoke("radar-7", why), Err(Denied::Already(_))));
    assert!(matches!(ledger.revoke("sonar", why), Err(Denied::Unknown(_))));
    let all = Leave { accepted: true, replace: true, renew: true };
    assert!(matches!(decided(&ledger, &asked, all), Err(Denied::KeyRevoked(_))));
    assert_eq!(ledger.next_crl(), 1);
    let listed: Vec<_> = ledger.revoked().into_iter().collect();
    let listed: Vec<_> = listed.iter().map(|(number, why)| (number, *why)).collect();
    assert_eq!(ca.crl(1, &listed).revoked()[certificate.number()], why);
}

#[test]
fn ledgers_come_back_and_damaged_ones_are_refused() {
    let (ca, mut ledger, asked) = ledger_and_request(Kind::P256);
    ledger.record(&ca.certificate(&asked, 1), at(0)).expect("recorded");
    ledger.wait(&request("sonar", &device(Kind::Ed25519, 8)), at(0)).expect("kept");
    ledger.allow(Allowed { device: asked.device().clone(), key: None }).expect("allowed");
    let bytes = ledger.bytes();
    assert_eq!(Ledger::parse(&bytes, &ca.authority).expect("read"), ledger);
    let text = String::from_utf8(bytes).expect("JSON");
    for (from, to) in [
        ("\"neap_ca\": 1", "\"neap_ca\": 2"),
        ("\"fleet\": \"coast\"", "\"fleet\": \"other\""),
        ("\"crl_number\"", "\"number\""),
        ("\"waiting\": [", "\"more\": 1, \"waiting\": ["),
        ("\"device\": \"sonar\"", "\"device\": \"So nar\""),
        ("\"at\": \"2026", "\"at\": \"x2026"),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);
        assert!(Ledger::parse(changed.as_bytes(), &ca.authority).is_err(), "{to}");
    }
    let mut twice = ledger.clone();
    twice.record(&ca.certificate(&asked, 1), at(0)).expect("recorded");
    let refused = Ledger::parse(&twice.bytes(), &ca.authority).expect_err("refused").to_string();
    assert!(refused.contains("issued twice"), "{refused}");
    let mut full = Ledger::new(ca.authority.fleet());
    let name = |n: usize| DeviceName::new(&format!("d{n}")).expect("a device");
    for n in 0..ALLOWED_MAX.min(50) {
        full.allow(Allowed { device: name(n), key: None }).expect("allowed");
    }
    assert!(full.allow(Allowed { device: name(0), key: None }).is_err(), "it is allowed already");
}

#[test]
fn receipt_of_the_second_of_revocation_is_refused_and_one_before_is_not() {
    let ca = Ca::new(1);
    for kind in KINDS {
        let key = device(kind, 7);
        let certificate = ca.certificate(&request("radar-7", &key), 1);
        let [receipt, _] = receipts("radar-7", &key);
        let judged = |since: i64| {
            let why = Revocation { at: at(since), reason: Reason::KeyCompromise };
            let crl = ca.crl(2, &[(certificate.number(), why)]);
            standing::verify(&receipt, &certificate, Some(&crl)).map(|(_, standing)| standing)
        };
        // It was made at 0.
        for since in [-1, 0] {
            let refused = judged(since);
            assert!(matches!(refused, Err(standing::Worthless::Revoked(_))), "{refused:?}");
        }
        let kept = judged(1).expect("it is from before");
        assert_eq!(kept.within, standing::Within::Valid);
        assert_eq!(kept.revoked_since.map(|why| why.at), Some(at(1)));
        let [foreign, _] = receipts("radar-8", &key);
        let refused = standing::verify(&foreign, &certificate, None);
        assert!(matches!(refused, Err(standing::Worthless::OtherDevice { .. })), "{refused:?}");
    }
}

proptest! {
    // Lengths, tags and numbers of DER are chosen by whoever made the file.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let ca = Ca::new(1);
        let key = device(Kind::Ed25519, 7);
        for part in [bytes.clone(), element(0x30, &bytes)] {
            prop_assert!(Request::read(&part).is_err());
            prop_assert!(Authority::read(&part).is_err());
            prop_assert!(ca.authority.certificate(&ca.sealed(&part)).is_err());
            prop_assert!(ca.authority.crl(&ca.sealed(&part)).is_err());
            prop_assert!(Request::read(&sealed(&key, &part)).is_err());
        }
        prop_assert!(Ledger::parse(&bytes, &ca.authority).is_err());
    }

    // Whatever is read says the same when it is made again.
    #[test]
    fn changed_certificates_that_are_read_encode_to_themselves(
        place in 0_usize..400, byte in any::<u8>(),
    ) {
        let ca = Ca::new(1);
        let certificate = ca.certificate(&request("radar-7", &device(Kind::Ed25519, 7)), 1);
        let mut part = unsealed(certificate.der());
        let place = place % part.len();
        part[place] = byte;
        let changed = ca.sealed(&part);
        if let Ok(read) = ca.authority.certificate(&changed) {
            prop_assert_eq!(read.der(), &changed[..]);
            prop_assert_eq!(ca.authority.certificate(read.pem().as_bytes()).ok(), Some(read));
        }
    }
}
