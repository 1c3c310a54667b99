//! `neap key`: makes, lists and shows the keys that sign what devices may install.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use neap_trust::key::sealed::FileKey;
use neap_trust::key::token::TokenKey;
use neap_trust::key::uri::TokenUri;
use neap_trust::key::{KeyError, PublicKey, Signer, key_file};
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::keyring::{self, KEY_HELP, of_key};
use crate::outcome::Outcome;
use crate::secret::Secrets;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make an Ed25519 key, sealed with a passphrase or on a token
    #[command(after_help = "Examples:\n  neap key new alice\n  \
        neap key new --output alice.pem --passphrase-file secret\n  neap key new alice --token \
        'pkcs11:token=release;object=alice?module-path=/usr/lib/softhsm/libsofthsm2.so'\n\n\
        The public half goes beside it, as NAME.pub: that is what others need.")]
    New(New),
    /// List the keys that have a name
    #[command(after_help = "Example:\n  neap key list\n\n\
        They lie in $NEAP_KEYS, else in ~/.config/neap/keys.")]
    List(List),
    /// Show the id and the public half of a key
    #[command(after_help = "Example:\n  neap key show alice.pub")]
    Show(Show),
    /// Write the public half of a key
    #[command(after_help = "Examples:\n  neap key export-public alice --output alice.pub\n  \
        neap key export-public alice.pem --form tuf")]
    ExportPublic(ExportPublic),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::New(args) => &args.common,
            Self::List(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::ExportPublic(args) => &args.common,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("place").required(true).multiple(true))]
pub(crate) struct New {
    /// Name of the key, in the folder of keys
    #[arg(group = "place", conflicts_with = "output", value_parser = name)]
    name: Option<String>,
    /// File of the key instead; its public half goes beside it
    #[arg(long, short, value_name = "FILE.pem", group = "place")]
    output: Option<PathBuf>,
    /// Make it on this token, which it will never leave
    #[arg(long, value_name = "URI", group = "place", conflicts_with = "output")]
    token: Option<String>,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[arg(help = KEY_HELP)]
    key: String,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportPublic {
    #[arg(help = KEY_HELP)]
    key: String,
    /// Where it goes [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    form: Form,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    common: Common,
}

/// How a public key is written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Form {
    /// PEM, as openssl reads it
    #[default]
    Pem,
    /// The JSON object of TUF metadata
    Tuf,
    /// 64 hexadecimal digits
    Hex,
}

pub(crate) fn run(verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::New(args) => new(args),
        Verb::List(_) => list(),
        Verb::Show(args) => {
            let key = public_half(&args.key, &args.secrets)?;
            Ok(Outcome { text: shown(&args.key, &key), json: fields(&args.key, &key) })
        }
        Verb::ExportPublic(args) => export_public(args),
    }
}

fn new(args: &New) -> Result<Outcome, Failure> {
    let place = match (&args.output, &args.name) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(name)) => Some(folder_made()?.join(format!("{name}.pem"))),
        (None, None) => None,
    };
    let (key, object) = match &args.token {
        Some(uri) => (on_token(uri, &args.secrets)?, uri.clone()),
        None => {
            let path = place.as_ref().expect("clap asks for a name or a file");
            (in_file(path, &args.secrets)?, path.display().to_string())
        }
    };
    let mut text = shown(&object, &key);
    if let Some(place) = place {
        let public = place.with_extension("pub");
        key_file::write_public(&public, &key).map_err(|error| {
            let state = format!("the key was made; its public half is {}", hex_of(&key));
            Failure { state, ..of_key(&public.display().to_string(), error) }
        })?;
        text += &format!("public half  {}\n", public.display());
        if let Some(uri) = &args.token {
            let path = place.with_extension("uri");
            fs::write(&path, format!("{uri}\n")).map_err(|error| of_file(&path, &error))?;
        }
    }
    Ok(Outcome { text, json: fields(&object, &key) })
}

fn in_file(path: &Path, secrets: &Secrets) -> Result<PublicKey, Failure> {
    let shown = path.display().to_string();
    let failed = |error| of_key(&shown, error);
    for taken in [path.to_owned(), path.with_extension("pub")] {
        if taken.exists() {
            return Err(of_key(&taken.display().to_string(), KeyError::Exists));
        }
    }
    let key = FileKey::generate().map_err(failed)?;
    let passphrase = secrets.new_passphrase(&shown).map_err(failed)?;
    let sealed = key.seal(&passphrase).map_err(failed)?;
    key_file::write_private(path, &sealed).map_err(failed)?;
    Ok(key.public().clone())
}

fn on_token(uri: &str, secrets: &Secrets) -> Result<PublicKey, Failure> {
    let failed = |error| of_key(uri, error);
    let parsed = TokenUri::parse(uri).map_err(failed)?;
    let mut pin = |token: &str| secrets.pin(token, parsed.pin_source.as_deref());
    let key = TokenKey::generate(&parsed, &mut pin).map_err(failed)?;
    Ok(key.public().clone())
}

fn list() -> Result<Outcome, Failure> {
    let folder = keyring::folder()?;
    let mut names = Vec::new();
    match fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(|error| of_file(&folder, &error))?.file_name();
                let name = name.to_string_lossy().into_owned();
                names.extend(name.strip_suffix(".pub").map(str::to_owned));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(of_file(&folder, &error)),
    }
    names.sort();
    let (mut text, mut keys) = (String::new(), Vec::new());
    for name in names {
        let path = |end: &str| folder.join(format!("{name}.{end}"));
        let kept = match (path("pem").exists(), path("uri").exists()) {
            (true, _) => "file",
            (false, true) => "token",
            (false, false) => "public half alone",
        };
        let key = keyring::public(&path("pub").display().to_string())?;
        text += &format!("{name:<20} {} {kept}\n", key.id());
        keys.push(json!({"name": name, "id": key.id().as_str(), "kept": kept}));
    }
    Ok(Outcome { text, json: json!({"schema": "neap.key-list.v1", "keys": keys}) })
}

fn export_public(args: &ExportPublic) -> Result<Outcome, Failure> {
    let key = public_half(&args.key, &args.secrets)?;
    let text = match args.form {
        Form::Pem => key.pem().map_err(|error| of_key(&args.key, error))?,
        Form::Tuf => format!("{}\n", key.tuf()),
        Form::Hex => format!("{}\n", hex_of(&key)),
    };
    let json = fields(&args.key, &key);
    let Some(path) = &args.output else { return Ok(Outcome { text, json }) };
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| of_file(path, &error))?;
    Ok(Outcome { text: format!("wrote {}\n", path.display()), json })
}

/// The public half of anything that `--key` or a public key's option takes.
fn public_half(name: &str, secrets: &Secrets) -> Result<PublicKey, Failure> {
    if Path::new(name).extension().is_some_and(|end| end == "pub") {
        return keyring::public(name);
    }
    Ok(keyring::signer(name, secrets)?.public().clone())
}

fn shown(object: &str, key: &PublicKey) -> String {
    format!("key          {object}\nid           {}\npublic       {}\n", key.id(), hex_of(key))
}

fn fields(object: &str, key: &PublicKey) -> Value {
    json!({
        "schema": "neap.key.v1",
        "key": object,
        "id": key.id().as_str(),
        "public": hex_of(key),
        "tuf": key.tuf(),
    })
}

fn hex_of(key: &PublicKey) -> String {
    key.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of keys, made if it is missing: for its owner alone.
fn folder_made() -> Result<PathBuf, Failure> {
    let folder = keyring::folder()?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| of_file(&folder, &error))?;
    Ok(folder)
}

fn of_file(path: &Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    let exit = if io_exit(error) == Exit::DeviceIo { Exit::DeviceIo } else { Exit::Error };
    Failure::new(exit, format!("{shown}: {error}"), format!("check {shown}"))
}

/// Names of keys are names of files, and are shown before anything is signed.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_@".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 64 letters, digits, `-`, `_`, `@`".into()),
    }
}
