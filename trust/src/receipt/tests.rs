//! Tests of receipts, with keys of both kinds.

use ed25519_dalek::Signer as _;
use proptest::prelude::*;

use super::chain::{ChainFault, order};
use super::*;
use crate::key::PublicKey;

/// Keys made of one byte.
enum TestKey {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl TestKey {
    fn both(byte: u8) -> [Self; 2] {
        let p256 = p256::ecdsa::SigningKey::from_slice(&[byte; 32]).expect("below the order");
        [Self::ed25519(byte), Self::P256(p256)]
    }

    fn ed25519(byte: u8) -> Self {
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[byte; 32]))
    }
}

impl DeviceSigner for TestKey {
    fn device_key(&self) -> DeviceKey {
        match self {
            Self::Ed25519(key) => {
                DeviceKey::Ed25519(PublicKey::new(key.verifying_key().to_bytes()))
            }
            Self::P256(key) => DeviceKey::P256(*key.verifying_key()),
        }
    }

    fn sign_receipt(&self, message: &[u8]) -> Result<[u8; 64], String> {
        match self {
            Self::Ed25519(key) => Ok(key.sign(message).to_bytes()),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Ok(signature.to_bytes().into())
            }
        }
    }
}

fn receipt(sequence: u64, previous: Option<Digest>) -> Receipt {
    Receipt {
        device: "radar-7".into(),
        sequence,
        previous,
        hardware: "mk2".into(),
        product: "radar".into(),
        version: "1.5.0".into(),
        from: Some([1; 32]),
        to: Some([2; 32]),
        read_back: Some([2; 32]),
        outcome: Outcome::Committed,
        exit: 0,
        detail: String::new(),
        at: Timestamp::constant(1_795_000_000, 0),
        at_source: Source::Signed,
        stale_s: 86_400,
        timestamp_version: 41,
        carrier: Carrier::Stick,
        carrier_id: "stick-3".into(),
        approvals: vec!["master".into()],
    }
}

fn signed(key: &TestKey, sequence: u64, previous: Option<Digest>) -> Verified {
    let bytes = receipt(sequence, previous).sign(key).expect("signed");
    Receipt::verify(&bytes, &key.device_key()).expect("verified")
}

#[test]
fn signed_receipt_says_what_was_signed() {
    for key in TestKey::both(7) {
        let bytes = receipt(1, None).sign(&key).expect("signed");
        let verified = Receipt::verify(&bytes, &key.device_key()).expect("verified");
        assert_eq!(verified.receipt, receipt(1, None));
        assert_eq!(verified.digest, *blake3::hash(&bytes).as_bytes());
        assert!(bytes.len() < 400, "{} bytes are sent over a costly link", bytes.len());
    }
}

// A byte that no check covers could be changed on the way.
#[test]
fn every_changed_bit_is_seen() {
    for key in TestKey::both(7) {
        let bytes = receipt(1, None).sign(&key).expect("signed");
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(Receipt::verify(&changed, &key.device_key()).is_err(), "bit {at}");
        }
    }
}

#[test]
fn receipts_of_another_device_are_refused() {
    let [ed25519, p256] = TestKey::both(7);
    let bytes = receipt(1, None).sign(&ed25519).expect("signed");
    for other in [&p256, &TestKey::ed25519(8)] {
        let refused = Receipt::verify(&bytes, &other.device_key());
        assert!(matches!(refused, Err(ReceiptError::OtherKey { .. })), "{refused:?}");
    }
}

#[test]
fn fields_out_of_bounds_are_neither_signed_nor_read() {
    let long = || "x".repeat(Receipt::TEXT_LEN_MAX + 1);
    let wrong = [
        (Receipt { device: String::new(), ..receipt(1, None) }, "device"),
        (Receipt { sequence: 0, ..receipt(1, None) }, "sequence"),
        (receipt(2, None), "previous"),
        (receipt(1, Some([3; 32])), "previous"),
        (Receipt { detail: long(), ..receipt(1, None) }, "detail"),
        (Receipt { detail: "\u{1b}[2J".into(), ..receipt(1, None) }, "detail"),
        (Receipt { approvals: vec!["a".into(); 9], ..receipt(1, None) }, "approvals"),
        (Receipt { approvals: vec![long()], ..receipt(1, None) }, "approvals"),
    ];
    for (receipt, field) in wrong {
        let refused = receipt.sign(&TestKey::ed25519(7)).expect_err("refused");
        assert!(refused.contains(&format!("`{field}`")), "{field}: {refused}");
        assert_eq!(
            cbor::decode(&cbor::encode(&receipt)),
            Err(ReceiptError::Field { name: field }),
            "{field}"
        );
    }
}

#[test]
fn chain_without_gaps_has_no_faults() {
    let key = TestKey::ed25519(7);
    let first = signed(&key, 1, None);
    let second = signed(&key, 2, Some(first.digest));
    let third = signed(&key, 3, Some(second.digest));
    let known = Some((first.receipt.sequence, first.digest));
    let mut receipts = vec![third.clone(), first, second, third];
    assert_eq!(order("radar-7", None, &mut receipts), []);
    assert_eq!(receipts.len(), 3, "copies are dropped");
    assert_eq!(order("radar-7", known, &mut receipts), []);
}

#[test]
fn missing_forked_broken_and_foreign_receipts_are_named() {
    let key = TestKey::ed25519(7);
    let first = signed(&key, 1, None);
    let second = signed(&key, 2, Some(first.digest));
    let other_second = signed(&key, 2, Some([9; 32]));
    let fifth = signed(&key, 5, Some([5; 32]));
    let faults = |receipts: &[&Verified]| {
        order("radar-7", None, &mut receipts.iter().map(|v| (*v).clone()).collect())
    };
    assert_eq!(faults(&[&first, &fifth]), [ChainFault::Missing { first: 2, last: 4 }]);
    assert_eq!(faults(&[&second]), [ChainFault::Missing { first: 1, last: 1 }]);
    assert_eq!(faults(&[&first, &other_second]), [ChainFault::Broken { sequence: 2 }]);
    let forked = faults(&[&first, &second, &other_second]);
    assert!(forked.contains(&ChainFault::Fork { sequence: 2 }), "{forked:?}");
    let foreign = order("sonar", None, &mut vec![first]);
    assert_eq!(foreign, [ChainFault::OtherDevice { sequence: 1, device: "radar-7".into() }]);
}

#[test]
fn tables_hold_what_devices_write_as_text() {
    let mut verified = signed(&TestKey::ed25519(7), 1, None);
    verified.receipt.detail = r#"=cmd|"calc",A0"#.into();
    let table = export::csv(&[verified.clone()]);
    assert!(table.contains(r#""'=cmd|""calc"",A0""#), "{table}");
    assert_eq!(table.lines().count(), 2);
    verified.receipt.device = "../../etc".into();
    assert_eq!(export::folder(&verified.receipt), None);
    let report = export::service_report(&verified, Timestamp::constant(1_795_000_100, 0));
    assert!(report.contains("Digest read back         0202"), "{report}");
}

proptest! {
    // Depth, lengths and numbers of CBOR are chosen by whoever wrote the stick.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let key = TestKey::ed25519(7).device_key();
        prop_assert!(Receipt::verify(&bytes, &key).is_err());
        if let Ok(receipt) = cbor::decode(&bytes) {
            prop_assert_eq!(cbor::encode(&receipt), bytes);
        }
    }
}
