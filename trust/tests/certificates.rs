//! Our certificates, requests and lists as others read them, and theirs as we do: openssl, and the
//! verifier of the TLS that peers speak.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use neap_trust::device_key::file::{DeviceFileKey, Kind};
use neap_trust::device_key::{DeviceKey, DeviceSigner};
use neap_trust::fixture::identity::{Ca, NOW_S, at, device, request};
use neap_trust::identity::{Authority, IdentityError, Reason, Request, Revocation};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use tempfile::TempDir;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

const KINDS: [Kind; 2] = [Kind::Ed25519, Kind::P256];

/// A folder in which openssl runs.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("written");
    }

    /// What openssl says, and whether it is content.
    fn run(&self, arguments: &str) -> (bool, String) {
        let mut openssl = Command::new("openssl");
        // A no-break space stays within a word.
        let words = arguments.split(' ').map(|word| word.replace('\u{a0}', " "));
        let run = openssl.args(words).current_dir(&self.0).output();
        let run = run.expect("openssl is installed");
        let text = [run.stdout, run.stderr].concat();
        (run.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn openssl(&self, arguments: &str) -> String {
        let (is_content, text) = self.run(arguments);
        assert!(is_content, "openssl {arguments}: {text}");
        text
    }
}

#[test]
fn openssl_reads_and_verifies_what_we_make() {
    let ca = Ca::new(1);
    for kind in KINDS {
        let desk = Desk::new();
        let asked = request("radar-7", &device(kind, 7));
        let certificate = ca.certificate(&asked, 1);
        desk.write("ca.pem", ca.authority.pem());
        desk.write("device.csr", asked.pem());
        desk.write("device.pem", certificate.pem());
        desk.write("key.pem", device(kind, 7).pem().as_bytes());
        desk.openssl("req -in device.csr -verify -noout");
        let at = format!("-attime {NOW_S}");
        let verify = format!("verify -x509_strict {at} -CAfile ca.pem");
        desk.openssl(&format!("{verify} -purpose sslclient device.pem"));
        desk.openssl(&format!("{verify} -purpose sslserver device.pem"));
        let name = "-verify_hostname radar-7.coast.neap.invalid";
        desk.openssl(&format!("{verify} {name} device.pem"));
        let shown = desk.openssl("x509 -in device.pem -noout -subject -serial -nameopt RFC2253");
        assert!(shown.contains("serialNumber=radar-7,O=coast"), "{shown}");
        let number = certificate.number().to_string().to_uppercase();
        assert!(shown.contains(&number), "{shown}");
        let public = desk.openssl("x509 -in device.pem -noout -pubkey");
        assert_eq!(public, desk.openssl("pkey -in key.pem -pubout"));
        assert_eq!(DeviceKey::from_pem(&public), Some(device(kind, 7).device_key()));
        let later = format!("verify -attime {} -CAfile ca.pem device.pem", NOW_S + 400 * 86_400);
        assert!(desk.run(&later).1.contains("expired"));
    }
}

#[test]
fn openssl_reads_our_list_and_refuses_the_revoked() {
    let ca = Ca::new(1);
    let desk = Desk::new();
    let certificate = ca.certificate(&request("radar-7", &device(Kind::P256, 7)), 1);
    let other = ca.certificate(&request("sonar", &device(Kind::P256, 8)), 2);
    let why = Revocation { at: at(-5), reason: Reason::KeyCompromise };
    let crl = ca.crl(42, &[(certificate.number(), why)]);
    desk.write("ca.pem", ca.authority.pem());
    desk.write("device.pem", certificate.pem());
    desk.write("other.pem", other.pem());
    desk.write("crl.pem", crl.pem());
    desk.write("crl.der", crl.der());
    let shown = desk.openssl("crl -inform DER -in crl.der -text -noout -CAfile ca.pem");
    for expected in ["verify OK", "Key Compromise", "X509v3 CRL Number", "42"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let verify = format!("verify -attime {NOW_S} -CAfile ca.pem -crl_check -CRLfile crl.pem");
    let (is_content, text) = desk.run(&format!("{verify} device.pem"));
    assert!(!is_content && text.contains("revoked"), "{text}");
    desk.openssl(&format!("{verify} other.pem"));
    desk.write("empty.pem", ca.crl(1, &[]).pem());
    desk.openssl("crl -in empty.pem -noout -CAfile ca.pem");
}

/// A request as openssl makes it, with all that people put into one.
#[test]
fn request_that_openssl_makes_is_read_and_gets_a_certificate() {
    let ca = Ca::new(1);
    for algorithm in ["ed25519", "EC -pkeyopt ec_paramgen_curve:P-256"] {
        let desk = Desk::new();
        desk.openssl(&format!("genpkey -algorithm {algorithm} -out key.pem"));
        let subject = "-subj /C=NO/O=Coast/CN=Radar/serialNumber=radar-7";
        let more = "-addext subjectAltName=DNS:a.example -addext keyUsage=critical,keyCertSign";
        desk.openssl(&format!("req -new -key key.pem {subject} {more} -out device.csr"));
        let asked = fs::read(desk.path("device.csr")).expect("it is there");
        let asked = Request::read(&asked).expect("read");
        assert_eq!(asked.device().as_str(), "radar-7");
        let pem = fs::read_to_string(desk.path("key.pem")).expect("it is there");
        let key = DeviceFileKey::from_pem(&pem).expect("a key of openssl");
        assert_eq!(key.device_key(), *asked.key());
        // What it asked for beside its name is not the authority's business.
        desk.write("ca.pem", ca.authority.pem());
        desk.write("device.pem", ca.certificate(&asked, 1).pem());
        desk.openssl(&format!("verify -attime {NOW_S} -CAfile ca.pem device.pem"));
        let shown = desk.openssl("x509 -in device.pem -noout -text");
        assert!(!shown.contains("a.example") && !shown.contains("Certificate Sign"), "{shown}");
    }
}

#[test]
fn weak_keys_of_openssl_are_refused_by_name() {
    for (algorithm, told) in [
        ("RSA -pkeyopt rsa_keygen_bits:2048", "RSA is not taken"),
        ("EC -pkeyopt ec_paramgen_curve:P-384", "an elliptic curve other than P-256"),
        ("ed448", "Ed448"),
    ] {
        let desk = Desk::new();
        desk.openssl(&format!("genpkey -algorithm {algorithm} -out key.pem"));
        desk.openssl("req -new -key key.pem -subj /serialNumber=radar-7 -out device.csr");
        let bytes = fs::read(desk.path("device.csr")).expect("it is there");
        let refused = Request::read(&bytes).expect_err("refused");
        assert!(matches!(refused, IdentityError::Algorithm { .. }), "{refused}");
        assert!(refused.to_string().contains(told), "{refused}");
    }
}

/// The authority of a fleet that keeps to openssl: of our shape, it is as good as ours.
#[test]
fn authority_and_certificate_that_openssl_makes_are_read() {
    let desk = Desk::new();
    let config = "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:true,\
        pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n[device]\nbasicConstraints=critical,\
        CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n\
        subjectAltName=DNS:radar-7.coast.neap.invalid\n";
    desk.openssl("genpkey -algorithm ed25519 -out ca.key");
    desk.openssl("genpkey -algorithm ed25519 -out key.pem");
    let id = |file: &str| {
        let public = desk.openssl(&format!("pkey -in {file} -pubout"));
        let digest = DeviceKey::from_pem(&public).expect("a key").digest();
        digest[..20].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    // openssl's own key ids are SHA-1; these are RFC 7093's.
    let ids = |subject: &str| {
        let authority = format!("DER:30168014{}", id("ca.key"));
        format!("subjectKeyIdentifier={}\n2.5.29.35={authority}\n", id(subject))
    };
    let config = config.replace("[device]\n", &format!("{}[device]\n", ids("ca.key")));
    desk.write("config", format!("{config}{}", ids("key.pem")));
    let make = "req -x509 -new -key ca.key -config config -extensions ca -days 3650 -out ca.pem";
    desk.openssl(&format!("{make} -utf8 -subj /O=coast/CN=device\u{a0}authority"));
    let ask = "req -new -key key.pem -config config -out device.csr";
    desk.openssl(&format!("{ask} -utf8 -subj /O=coast/serialNumber=radar-7"));
    let issue = "x509 -req -in device.csr -CA ca.pem -CAkey ca.key -days 365 -out device.pem";
    desk.openssl(&format!("{issue} -extfile config -extensions device"));
    let authority = fs::read(desk.path("ca.pem")).expect("it is there");
    let authority = Authority::read(&authority).expect("an authority");
    assert_eq!(authority.fleet().as_str(), "coast");
    let certificate = fs::read(desk.path("device.pem")).expect("it is there");
    let certificate = authority.certificate(&certificate).expect("a certificate");
    assert_eq!(certificate.device().as_str(), "radar-7");
}

/// What TLS makes of a certificate, as a server's and as a client's.
fn tls(ca: &Ca, certificate: &[u8], crl: Option<&[u8]>, now: i64) -> Result<(), webpki::Error> {
    let root = CertificateDer::from(ca.authority.der());
    let anchors = [anchor_from_trusted_cert(&root).expect("an anchor")];
    let end = CertificateDer::from(certificate);
    let end = EndEntityCert::try_from(&end)?;
    let algorithms = [webpki::ring::ED25519, webpki::ring::ECDSA_P256_SHA256];
    let now = u64::try_from(now).expect("after 1970");
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let der = crl.map(CertificateRevocationListDer::from);
    let list = der.as_ref().map(|der| BorrowedCertRevocationList::from_der(der)).transpose()?;
    let list = list.map(CertRevocationList::from);
    let lists: Vec<_> = list.iter().collect();
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let revocation: Option<RevocationOptions<'_>> = RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|options| options.with_status_policy(UnknownStatusPolicy::Deny).build());
        end.verify_for_usage(&algorithms, &anchors, &[], time, usage, revocation, None)?;
    }
    let name = ServerName::try_from("radar-7.coast.neap.invalid").expect("a name");
    end.verify_is_valid_for_subject_name(&name)
}

#[test]
fn tls_takes_our_certificates_until_they_are_revoked_or_run_out() {
    let (ca, other) = (Ca::new(1), Ca::new(2));
    for kind in KINDS {
        let asked = request("radar-7", &device(kind, 7));
        let certificate = ca.certificate(&asked, 1);
        let clean = ca.crl(1, &[]);
        assert_eq!(tls(&ca, certificate.der(), None, NOW_S), Ok(()));
        assert_eq!(tls(&ca, certificate.der(), Some(clean.der()), NOW_S), Ok(()));
        let why = Revocation { at: at(-5), reason: Reason::KeyCompromise };
        let crl = ca.crl(2, &[(certificate.number(), why)]);
        let refused = tls(&ca, certificate.der(), Some(crl.der()), NOW_S);
        assert_eq!(refused, Err(webpki::Error::CertRevoked));
        let late = tls(&ca, certificate.der(), None, NOW_S + 400 * 86_400);
        assert!(matches!(late, Err(webpki::Error::CertExpired { .. })), "{late:?}");
        let foreign = tls(&ca, other.certificate(&asked, 1).der(), None, NOW_S);
        assert!(foreign.is_err(), "{foreign:?}");
        let forged = tls(&ca, certificate.der(), Some(other.crl(3, &[]).der()), NOW_S);
        assert!(forged.is_err(), "{forged:?}");
    }
}
