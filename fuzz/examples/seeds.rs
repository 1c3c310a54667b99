//! Writes the committed seeds: small real patches, whole and in parts, and short runs of choices.

use std::fs;
use std::io;
use std::path::Path;

use neap_depot::name::Device;
use neap_engine::diff::Coder;
use neap_engine::digest::Digest;
use neap_engine::format::Header;
use neap_engine::io::drive;
use neap_engine::io::memory::PatchBytes;
use neap_fuzz::harness::choices::Choices;
use neap_fuzz::harness::{HARNESSES, build, roundtrip, seal, whole};
use neap_peer::groups::Groups;
use neap_peer::wire::{Address, Hello, Notice, Request, encode_receipts};
use neap_sim::executable::Arch;
use neap_trust::approval::{Approval, Scope};
use neap_trust::fixture::identity::payload;
use neap_trust::key::Signer;
use neap_trust::key::sealed::FileKey;
use neap_trust::repo::document::{NamedKey, TargetFile};
use neap_trust::repo::edit::{RoleSetup, Setup};
use neap_trust::repo::request::Request as SigningRequest;
use neap_trust::repo::signature::SignatureFile;
use neap_trust::repo::{Repo, When};
use neap_trust::time::Timestamp;
use neap_usb_sideload::code::Code;
use neap_usb_sideload::manifest::{Manifest, Sealed};
use neap_usb_sideload::seal::seal_short;

fn main() -> io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, _) in HARNESSES {
        fs::create_dir_all(seeds.join(name))?;
    }
    let source = build::image(200_001);
    for (name, target, restart_len) in targets(source) {
        let (patch, header) = roundtrip::patch_of(source, &target, 9, restart_len);
        let parts = unsealed(&patch, &header);
        let (fields, bodies) = parts.split_at(header.header_len as usize - 46);
        fs::write(seeds.join("patch_apply").join(name), &patch)?;
        fs::write(seeds.join("patch_sealed").join(name), &parts)?;
        fs::write(seeds.join("header").join(name), fields)?;
        fs::write(seeds.join("frame").join(name), &bodies[bodies.len().min(4)..])?;
    }
    for coder in [Coder::Zstd, Coder::Cm] {
        for arch in Arch::ALL {
            let (source, target) = build::program(arch);
            let (patch, header) = roundtrip::coded_by(coder, &source, &target, 6, u64::MAX);
            let name = format!("program-{arch:?}-{coder:?}").to_lowercase();
            fs::write(seeds.join("patch_sealed").join(name), unsealed(&patch, &header))?;
        }
    }
    for (name, bytes) in [("small", &[0x7f][..]), ("large", &[0xff; 9]), ("two", &[0x80, 1])] {
        fs::write(seeds.join("varint").join(name), bytes)?;
    }
    for target in ["cm", "journal", "regions", "roundtrip"] {
        for seed in 0..4 {
            fs::write(seeds.join(target).join(format!("choices-{seed}")), noise(seed))?;
        }
    }
    repository(&seeds).map_err(io::Error::other)?;
    trust(&seeds)?;
    identity(&seeds)?;
    let built = (0..).filter_map(|seed| built(&noise(seed)).map(|parts| (seed, parts)));
    for (seed, parts) in built.take(6) {
        let name = format!("choices-{seed}");
        fs::write(seeds.join("fast_vs_reference").join(&name), noise(seed))?;
        fs::write(seeds.join("patch_sealed").join(&name), parts)?;
    }
    peer(&seeds)?;
    stick(&seeds)?;
    depot(&seeds)
}

/// What lies on sticks.
fn stick(seeds: &Path) -> io::Result<()> {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let mut manifest = Manifest::new([0x4f, 0x1c, 9, 0xab]);
    fs::write(seeds.join("stick_json").join("empty"), manifest.bytes())?;
    for (blob, to) in [(a, "0123456789abcdef"), (a, "fedcba9876543210"), (b, "0123456789abcdef")] {
        let entry = Sealed { blob, len: 70_000, sealed: b, to: to.to_owned() };
        manifest.enter(entry).map_err(io::Error::other)?;
    }
    fs::write(seeds.join("stick_json").join("three"), manifest.bytes())?;
    for (seed, text) in [("spaced", Code::of(b"t", &[a]).to_string()), ("short", "123".into())] {
        fs::write(seeds.join("stick_code").join(seed), text)?;
    }
    let approval = Approval {
        to: a.0,
        scope: Scope::Device("radar-7".into()),
        product: "radar".into(),
        version: "1.5.0".into(),
        approver: "master".into(),
        at: Timestamp::from_second(1_795_000_000).map_err(io::Error::other)?,
        expires: Timestamp::from_second(1_795_086_400).map_err(io::Error::other)?,
    };
    let signed = approval.sign(&neap_fuzz::harness::stick::approver()).map_err(io::Error::other)?;
    let form = |form: u8, bytes: &[u8]| [&[form], bytes].concat();
    fs::write(seeds.join("stick_approval").join("signed"), form(0, &signed))?;
    fs::write(seeds.join("stick_approval").join("payload"), form(1, &payload(&signed)))?;
    let key = neap_fuzz::harness::stick::key();
    let sealed = seal_short(b"a receipt", &key.recipient())?;
    fs::write(seeds.join("stick_sealed").join("short"), &sealed)?;
    let long = seal_short(&vec![7; 70_000], &key.recipient())?;
    fs::write(seeds.join("stick_sealed").join("two-chunks"), long)?;
    // Files of a folder each: which folder, its name, its content.
    let mut tree = Vec::new();
    let blob = Digest::of(b"kept").to_string();
    let tail = 4_u64.to_le_bytes();
    for (folder, name, content) in [
        (1, "timestamp.json", &br#"{"signed":{"_type":"timestamp","version":1}}"#[..]),
        (2, "3.G.FLEET.JSON", b"{}"),
        (3, &*blob, b"kept"),
        (4, &*format!("{}.OBAO", blob.to_uppercase()), &tail),
        (6, "1.cose", b"\xd2\x84"),
        (7, &*format!("{blob}.age"), &sealed),
        (0, "stick.json", &manifest.bytes()),
    ] {
        tree.push(folder);
        tree.extend_from_slice(name.as_bytes());
        tree.push(0xFE);
        tree.extend_from_slice(content);
        tree.push(0xFF);
    }
    fs::write(seeds.join("stick_tree").join("all"), tree)
}

/// What peers say, and files of a node.
fn peer(seeds: &Path) -> io::Result<()> {
    let blob = Digest([7; 32]);
    let groups: Groups = [0..3, 5..6, 900..4000].into_iter().collect();
    let at = ([10, 0, 0, 7], 4747).into();
    let site = "MV Aurora".to_owned();
    let hello = Hello { version: 1, same_site: true, site, port: 4747, rate_kbit: 2_000 };
    for (name, notice) in [
        ("hello", Notice::Hello(hello)),
        ("have", Notice::Have { blob, may_fetch: true, groups: groups.clone() }),
        ("more", Notice::More { blob, groups: Groups::default() }),
        ("claim", Notice::Claim { blob, groups: groups.clone() }),
        ("fresh", Notice::Fresh(b"{}".to_vec())),
        ("peers", Notice::Peers(vec![Address { device: "pump-1".into(), at }])),
    ] {
        fs::write(seeds.join("notice").join(name), &notice.encode()[4..])?;
    }
    let device = Device::new("pump-1").ok_or(io::ErrorKind::InvalidInput)?;
    let groups = [0..3, 5..6].into_iter().collect();
    let put = (device.clone(), 7, vec![1, 2]);
    for (name, request) in [
        ("blob", Request::Blob { blob, groups }),
        ("metadata", Request::Metadata { name: "timestamp.json".into(), len_max: 4096 }),
        ("put", Request::PutReceipt { device: put.0, sequence: put.1, bytes: put.2 }),
        ("receipts", Request::Receipts),
        ("receipt", Request::Receipt { device: device.clone(), sequence: 7 }),
        ("has", Request::Has(vec![blob, blob])),
    ] {
        fs::write(seeds.join("request").join(name), request.encode())?;
    }
    fs::write(seeds.join("request").join("list"), encode_receipts(&[(device, 7)]))?;
    for target in ["slice", "swarm"] {
        for seed in 0..8 {
            fs::write(seeds.join(target).join(format!("choices-{seed}")), noise(seed))?;
        }
    }
    let link = "[link.sat]\nrate_kbit = 2000\nprice = \"3.20 USD/MB\"\nday_bytes = \"40 MB\"\n";
    let hours = "hours = [\"22:00-06:00\"]\n";
    let peer = "[[peer]]\naddress = \"shore.example:4747\"\nlink = \"sat\"\n";
    fs::write(seeds.join("config").join("sat"), format!("{link}{hours}{peer}"))?;
    fs::write(seeds.join("config").join("site"), "site = \"MV Aurora\"\ngroups = [\"bridge\"]\n")?;
    let update = format!(r#"{{"{blob}":{{"bytes":5,"month":"2026-11-01"}}}}"#);
    let days = r#""day_bytes":{"2026-11-25":9},"month_bytes":{"2026-11-01":9}"#;
    let links = format!(r#"{{"sat":{{{days},"updates":{update}}}}}"#);
    let file = format!(r#"{{"latest_day":"2026-11-25","links":{links}}}"#);
    fs::write(seeds.join("meter").join("sealed"), format!("\x01{file}"))?;
    fs::write(seeds.join("meter").join("empty"), "\x01{\"latest_day\":null,\"links\":{}}")
}

/// Names, edits of blobs and their trees, and a small release.
fn depot(seeds: &Path) -> io::Result<()> {
    let digest = Digest::of(b"kept");
    let hex = digest.to_string();
    for (seed, file) in [
        ("role", "3.g.fleet.json".into()),
        ("root", "12.root.json".into()),
        ("blob", hex.clone()),
        ("part", format!("{hex}.007")),
        ("tree", format!("{hex}.obao")),
        ("partial", format!("{hex}.000.partial")),
        ("receipt", "42.cose".into()),
        ("temporary", "~7.tmp".into()),
        ("reserved", "con.json".into()),
        ("upper", hex.to_uppercase()),
    ] {
        fs::write(seeds.join("depot_names").join(seed), file)?;
    }
    // Groups, then edits of four bytes: what is edited and how, where, by what.
    for (seed, edits) in [
        ("whole", &[200][..]),
        ("pair", &[200, 4, 0, 70, 1]),
        ("data", &[200, 5, 64, 1, 8]),
        ("short-tree", &[200, 0, 0, 100, 0]),
        ("short-data", &[200, 1, 100, 0, 0]),
        ("length", &[200, 4, 3, 0, 1]),
        ("long-tree", &[3, 2, 0, 200, 0]),
        ("empty", &[0]),
    ] {
        fs::write(seeds.join("depot_tree").join(seed), edits)?;
    }
    let meta = r#""meta":{"snapshot.json":{"version":1}}"#;
    let timestamp = format!(r#"{{"signed":{{"_type":"timestamp","version":1,{meta}}}}}"#);
    let meta = r#""meta":{"g.a.json":{"version":1}}"#;
    let snapshot = format!(r#"{{"signed":{{"_type":"snapshot","version":1,{meta}}}}}"#);
    let target = format!(r#"{{"length":4,"custom":{{"blake3":"{hex}"}}}}"#);
    let targets = format!(r#""targets":{{"g/a/p/1/full":{target}}}"#);
    let role = format!(r#"{{"signed":{{"_type":"targets","version":1,{targets}}}}}"#);
    let root = r#"{"signed":{"_type":"root","version":1}}"#.to_owned();
    let staged = format!(r#"{{"new":["{hex}"]}}"#);
    let unnamed = timestamp.replace('1', "2");
    for (seed, files) in [
        ("release", vec![&timestamp, &snapshot, &role, &root]),
        ("staged", vec![&timestamp, &snapshot, &root, &root, &staged]),
        ("missing", vec![&unnamed, &snapshot, &role]),
    ] {
        let parts: Vec<_> = files.into_iter().map(|file| file.as_bytes()).collect();
        fs::write(seeds.join("depot_metadata").join(seed), parts.join(&0xFF))?;
    }
    Ok(())
}

/// Metadata to sign, first and later versions, and signatures over it.
fn repository(seeds: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = FileKey::from_seed(&[1; 32]);
    let named = NamedKey { key: key.public().clone(), name: "alice".into() };
    let role = RoleSetup { keys: vec![named.clone()], threshold: 1 };
    let setup = Setup {
        root: role.clone(),
        targets: role.clone(),
        snapshot: role.clone(),
        timestamp: role.clone(),
    };
    let now = "2026-01-01T00:00:00Z".parse()?;
    let when = When { now, expires: Some("2036-01-01T00:00:00Z".parse()?) };
    let mut repo = Repo::init(&setup, &when)?;
    repo.set_group("fleet", &role, &when)?;
    let custom = serde_json::json!({
        "blake3": "ab".repeat(32), "kind": "delta", "from": "cd".repeat(32),
        "to": "ef".repeat(32), "product": "display", "version": "1.5", "severity": "high",
        "advisory": "a \u{1b}[2K b",
    });
    let file = TargetFile {
        length: 1234,
        hashes: [("sha256".to_owned(), "12".repeat(32))].into(),
        custom: Some(custom),
    };
    repo.add_targets("fleet", [("g/fleet/display/1.5/from-cd".to_owned(), file)].into(), &when)?;
    for role in ["root", "targets", "g.fleet"] {
        let envelope = repo.staged(role).ok_or("nothing staged")?;
        let signature = SignatureFile::make(role, envelope, &key)?;
        fs::write(seeds.join("signature").join(role), signature.bytes())?;
        fs::write(seeds.join("staged").join(role), SigningRequest::of(&repo, role)?.bytes())?;
    }
    Ok(())
}

/// Files that a carrier or a device may hold, and members that signers may sign.
fn trust(seeds: &Path) -> io::Result<()> {
    let honest = neap_fuzz::harness::trust::files();
    for (choice, (name, bytes)) in (0_u8..).zip(&honest) {
        let seed = |choice: u8| [&[choice][..], bytes].concat();
        fs::write(seeds.join("trust_metadata").join(name), seed(choice))?;
        // What is kept begins with the root.
        fs::write(seeds.join("trust_state").join(name), seed(choice + 1))?;
    }
    let kept = r#"{"known":{"at":"2026-06-01T00:00:00Z","source":"rtc"}}"#;
    fs::write(seeds.join("trust_state").join("known-time"), format!("\x05{kept}"))?;
    for (choice, name, members) in [
        (0, "root", r#"{"consistent_snapshot":false,"expires":"2026-06-02T00:00:00Z"}"#),
        (1, "timestamp", r#"{"neap_issued":"2026-05-01T00:00:00Z","meta":{}}"#),
        (2, "snapshot", r#"{"meta":{"targets.json":{"version":2}}}"#),
        (3, "targets", r#"{"delegations":{"keys":{},"roles":[]},"targets":{}}"#),
        (4, "group", r#"{"targets":{"g/bridge/a/1/full":{"length":1,"hashes":{}}}}"#),
    ] {
        let seed = [&[choice][..], members.as_bytes()].concat();
        fs::write(seeds.join("trust_signed").join(name), seed)?;
    }
    Ok(())
}

/// Requests, certificates, lists and receipts, whole and as the part that is signed.
fn identity(seeds: &Path) -> io::Result<()> {
    for (target, inputs) in [
        ("identity", neap_fuzz::harness::identity::honest()),
        ("receipt", neap_fuzz::harness::identity::honest_receipts()),
    ] {
        for (name, bytes) in inputs {
            fs::write(seeds.join(target).join(name), bytes)?;
        }
    }
    Ok(())
}

/// Choices without a plan.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 56) as u8
    };
    (0..240).map(|_| byte()).collect()
}

/// The parts of the patch that these choices build, if it is small, is accepted, has several
/// windows and a restart, and starts from the source of the sealed patches.
fn built(choices: &[u8]) -> Option<Vec<u8>> {
    let (patch, source) = build::patch(&mut Choices::new(choices));
    whole::agreed(&patch, source)?;
    let header = drive::read_header(&mut PatchBytes::new(&patch)).ok()?;
    let parts = unsealed(&patch, &header);
    let is_rich = header.target_windows.len() > 1 && !header.restarts.is_empty();
    (is_rich && source.len() == 200_001 && parts.len() < 1500).then_some(parts)
}

/// Targets that make patches with every kind of segment, and with restarts.
fn targets(source: &[u8]) -> Vec<(&'static str, Vec<u8>, u64)> {
    let mut edited = source.to_vec();
    edited.rotate_left(8192);
    edited.splice(70_000..70_000, *b"some bytes that were not there before");
    edited[100_000..170_000].fill(0);
    for byte in edited[1000..3000].iter_mut().step_by(37) {
        *byte = byte.wrapping_add(1);
    }
    vec![
        ("edited", edited.clone(), u64::MAX),
        ("restarts", edited, 1),
        ("empty", Vec::new(), u64::MAX),
        ("short", b"a target shorter than a block".to_vec(), u64::MAX),
        ("same", source.to_vec(), u64::MAX),
    ]
}

/// A patch taken apart into the bytes that make it again.
fn unsealed(patch: &[u8], header: &Header) -> Vec<u8> {
    let header_len = header.header_len as usize;
    let mut fields = patch[..header_len - 32].to_vec();
    let mut frames = Vec::new();
    let mut at = header_len;
    while at < header.patch_size as usize {
        for (index, restart) in header.restarts.iter().enumerate() {
            if restart.patch_offset == at as u64 {
                let field = Header::FIXED_LEN + index * 16;
                fields[field..field + 8].copy_from_slice(&(frames.len() as u64).to_le_bytes());
            }
        }
        let prefix = patch[at..].first_chunk().expect("a patch of our own");
        let len = u32::from_le_bytes(*prefix) as usize;
        frames.push(&patch[at + 20..at + 20 + len]);
        at += 20 + len;
    }
    let mut out = [&fields[10..12], &[0; 8], &fields[24..]].concat();
    for body in frames {
        out.extend(seal::SEPARATOR);
        out.extend(body);
    }
    out
}
