//! Ed25519 keys on PKCS#11 tokens (PKCS#11 3.1, 6.3): HSMs, smart cards, SoftHSM.
//!
//! The private key never leaves the token. What the token says is believed no further than its
//! signatures verify.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::uri::TokenUri;
use super::{KeyError, PublicKey, Signer};

/// The curve edwards25519 as an attribute: PrintableString "edwards25519" (PKCS#11 3.1, 6.3.6).
const CURVE: [u8; 14] = *b"\x13\x0cedwards25519";

/// A key on a token, with the session that it signs in.
pub struct TokenKey {
    public: PublicKey,
    private: ObjectHandle,
    session: Session,
}

/// Asks for the PIN of the token of this label.
pub type Pin<'a> = &'a mut dyn FnMut(&str) -> Result<Zeroizing<String>, KeyError>;

impl TokenKey {
    /// The key that a URI names.
    ///
    /// # Errors
    /// If there is not exactly one such token with one such key, or the PIN is wrong.
    pub fn open(uri: &TokenUri, pin: Pin<'_>) -> Result<Self, KeyError> {
        let session = session(uri, pin, false)?;
        let private = one(&session, uri, ObjectClass::PRIVATE_KEY, "private")?;
        let public = one(&session, uri, ObjectClass::PUBLIC_KEY, "public")?;
        Ok(Self { public: public_key(&session, public)?, private, session })
    }

    /// Makes a key on the token, with the label and id of the URI; it can never leave it.
    ///
    /// # Errors
    /// If the URI has no label, there is a key of that label or id, or the token makes none.
    pub fn generate(uri: &TokenUri, pin: Pin<'_>) -> Result<Self, KeyError> {
        let Some(label) = &uri.object else {
            return Err(KeyError::Uri("a new key needs a label: add `object=`".into()));
        };
        let session = session(uri, pin, true)?;
        let wanted = template(uri, ObjectClass::PRIVATE_KEY);
        if !session.find_objects(&wanted).map_err(refused)?.is_empty() {
            return Err(KeyError::Exists);
        }
        let id = match &uri.id {
            Some(id) => id.clone(),
            None => {
                let mut id = vec![0; 8];
                getrandom::fill(&mut id).map_err(std::io::Error::other)?;
                id
            }
        };
        let named = [Attribute::Label(label.clone().into_bytes()), Attribute::Id(id)];
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(CURVE.to_vec()),
        ];
        let mut private = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        public.extend(named.clone());
        private.extend(named);
        let (public, private) = session
            .generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
            .map_err(refused)?;
        Ok(Self { public: public_key(&session, public)?, private, session })
    }
}

impl Signer for TokenKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let eddsa = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signature = self.session.sign(&eddsa, self.private, message).map_err(refused)?;
        let len = signature.len();
        let of_64 = signature.try_into();
        of_64.map_err(|_| KeyError::Token(format!("{len} bytes are no Ed25519 signature")))
    }
}

/// A session with the one token that the URI means, logged in.
fn session(uri: &TokenUri, pin: Pin<'_>, is_writing: bool) -> Result<Session, KeyError> {
    let Some(module) = &uri.module_path else {
        return Err(KeyError::Uri("it names no library: add `?module-path=`".into()));
    };
    let library = library(module)?;
    let (slot, label) = slot(&library, uri)?;
    let session = match is_writing {
        true => library.open_rw_session(slot),
        false => library.open_ro_session(slot),
    };
    let session = session.map_err(refused)?;
    let mut pin = pin(&label)?;
    // The token's library wants the PIN in a box of its own, which is zeroed too.
    let boxed = AuthPin::from(std::mem::take(&mut *pin));
    match session.login(UserType::User, Some(&boxed)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(Error::Pkcs11(RvError::PinIncorrect, _)) => {
            Err(KeyError::Token(format!("wrong PIN for `{label}`; some lock after a few")))
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => {
            Err(KeyError::Token(format!("the PIN of `{label}` is locked")))
        }
        Err(error) => Err(refused(error)),
    }
}

fn library(module: &Path) -> Result<Pkcs11, KeyError> {
    let shown = module.display();
    let library = Pkcs11::new(module)
        .map_err(|error| KeyError::Token(format!("cannot load {shown}: {error}")))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another key of this run is on a token of the same library.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(library),
        Err(error) => Err(refused(error)),
    }
}

/// The slot of the one token that the URI means, and the token's label.
fn slot(library: &Pkcs11, uri: &TokenUri) -> Result<(Slot, String), KeyError> {
    let mut found = Vec::new();
    for slot in library.get_slots_with_initialized_token().map_err(refused)? {
        let token = library.get_token_info(slot).map_err(refused)?;
        let is_meant = |wanted: &Option<String>, has: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == has.trim_end())
        };
        if is_meant(&uri.token, token.label()) && is_meant(&uri.serial, token.serial_number()) {
            found.push((slot, token.label().trim_end().to_owned()));
        }
    }
    match (found.len(), found.pop()) {
        (1, Some(one)) => Ok(one),
        (0, _) => Err(KeyError::Token("there is no such token".into())),
        (count, _) => {
            let why = format!("{count} tokens fit: name one by `token=` or `serial=`");
            Err(KeyError::Token(why))
        }
    }
}

fn template(uri: &TokenUri, class: ObjectClass) -> Vec<Attribute> {
    let mut template = vec![Attribute::Class(class), Attribute::KeyType(KeyType::EC_EDWARDS)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.clone().map(Attribute::Id));
    template
}

fn one(
    session: &Session,
    uri: &TokenUri,
    class: ObjectClass,
    kind: &str,
) -> Result<ObjectHandle, KeyError> {
    let found = session.find_objects(&template(uri, class)).map_err(refused)?;
    match found[..] {
        [one] => Ok(one),
        [] => Err(KeyError::Token(format!("there is no such Ed25519 {kind} key"))),
        _ => Err(KeyError::Token(format!("{} {kind} keys fit: name one by `id=`", found.len()))),
    }
}

/// The 32 bytes of a public key object. Tokens give the point bare or in a DER string.
fn public_key(session: &Session, object: ObjectHandle) -> Result<PublicKey, KeyError> {
    let attributes = session.get_attributes(object, &[AttributeType::EcPoint]).map_err(refused)?;
    let Some(Attribute::EcPoint(point)) = attributes.first() else {
        return Err(KeyError::Token("the public key has no point".into()));
    };
    let bare = match &point[..] {
        [0x04, 0x20, bare @ ..] | [0x03, 0x21, 0x00, bare @ ..] => bare,
        bare => bare,
    };
    let bytes = <[u8; 32]>::try_from(bare)
        .map_err(|_| KeyError::Token(format!("{} bytes are no point", point.len())))?;
    Ok(PublicKey::new(bytes))
}

fn refused(error: Error) -> KeyError {
    KeyError::Token(match error {
        Error::Pkcs11(code, function) => format!("{function}: {code:?}"),
        other => other.to_string(),
    })
}
