//! Files of the repository editor that come from other people: signatures, and metadata to sign.

use neap_trust::repo::request::Request;
use neap_trust::repo::signature::SignatureFile;

/// A signature file that is accepted says the same after it was encoded again.
pub fn signature(bytes: &[u8]) {
    if let Ok(read) = SignatureFile::parse("fuzz", bytes) {
        let again = SignatureFile::parse("fuzz", &read.bytes());
        assert_eq!(again.expect("what was accepted once is accepted again"), read);
    }
}

/// So does metadata to sign, and nothing that is said of it can steer a terminal.
pub fn staged(bytes: &[u8]) {
    let Ok(read) = Request::parse("fuzz", bytes) else { return };
    let again = read.bytes();
    let twice = Request::parse("fuzz", &again).expect("what was accepted once is accepted again");
    assert_eq!(twice.bytes(), again);
    assert_eq!(twice.staged().canonical(), read.staged().canonical());
    let now = "2026-06-01T00:00:00Z".parse().expect("a time");
    if let Ok(changes) = read.judge(None, now) {
        for change in changes {
            assert!(!change.text.contains(char::is_control), "{:?}", change.text);
        }
    }
}
