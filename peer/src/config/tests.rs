//! What a configuration may say, what is refused, and how layers make one.

use proptest::prelude::*;

use super::*;
use crate::link::Price;

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn layer(file: &str, text: &str) -> Layer {
    Layer { file: PathBuf::from(file), text: text.to_owned() }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(&[layer("a.toml", text)])
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn example_says_what_it_is_meant_to_say() {
    let config = parse(EXAMPLE).expect("the example");
    assert_eq!(config.site, "MV Aurora");
    assert_eq!(config.groups, ["bridge", "engine-room"]);
    assert_eq!(config.peers.len(), 2);
    assert_eq!(config.peers[0].address.to_string(), "depot.example.com:4747");
    assert_eq!(config.peers[0].device.as_ref().map(DeviceName::as_str), Some("shore-1"));
    let vsat = &config.links["vsat"];
    assert_eq!(&config.peers[0].link, vsat);
    assert_eq!((vsat.class, vsat.rate_bps, vsat.rtt_ms), (Class::Sat, Some(2_000_000), Some(600)));
    assert_eq!(vsat.price, Price::parse("5 USD/MB").ok());
    assert_eq!((vsat.day_bytes, vsat.month_bytes), (Some(40_000_000), Some(200_000_000)));
    assert_eq!((vsat.hours.len(), vsat.metered), (2, true));
    assert_eq!(config.peers[1].link.class, Class::Port);
    assert!(config.peers[1].link.metered);
    assert!(matches!(&config.mirrors[0].place, MirrorPlace::Web(_)));
    assert_eq!(config.metrics.listen, "127.0.0.1:9102".parse().ok());
    assert_eq!(config.approval.keys, [PathBuf::from("/etc/neap/captain.pem")]);
    assert_eq!(config.stick.when_plugged, WhenPlugged::InstallAfterApproval);
    assert!(config.stick.led.is_some() && config.stick.console.is_some());
    assert!(config.identity.is_some_and(|identity| identity.crl.is_some()));
}

#[test]
fn every_key_of_the_example_is_in_the_reference() {
    let reference = include_str!("../../../docs/links.md");
    for line in EXAMPLE.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, _)) = line.split_once(" = ") {
            let documented = reference.contains(&format!("`{key}`"));
            assert!(documented, "docs/links.md does not name `{key}`");
        }
    }
}

#[test]
fn sticks_are_announced_unless_more_is_said_and_all_that_it_needs() {
    let none = parse("").expect("defaults");
    assert_eq!((none.stick, none.approval.threshold), (Stick::default(), 1));
    assert_eq!(Stick::default().when_plugged, WhenPlugged::Announce);
    let said = "[approval]\nkeys = ['/a', '/b']\nthreshold = 2\n[stick]\n\
                when_plugged = 'install-after-approval'\nsource = '/dev/a'\ntarget = '/dev/b'\n";
    let config = parse(said).expect("all of it");
    assert_eq!((config.approval.keys.len(), config.approval.threshold), (2, 2));
    assert_eq!(config.stick.when_plugged, WhenPlugged::InstallAfterApproval);
    assert_eq!(config.stick.places, Some(("/dev/a".into(), "/dev/b".into())));
    for (text, part) in [
        ("[approval]\nkeys = ['/a']\nthreshold = 2", "`threshold` is 2, and there are 1 keys"),
        ("[approval]\nkeys = ['/a']\nthreshold = 0", "`threshold` is 0"),
        ("[approval]\nthreshold = 1", "there are 0 keys"),
        ("[approval]\nkeys = ['a']", "begins with `/`"),
        ("[stick]\nwhen_plugged = 'install'", "`announce`"),
        ("[stick]\nwhen_plugged = 'install-after-approval'", "`source` and `target` are missing"),
        (
            "[stick]\nwhen_plugged = 'install-after-approval'\nsource = '/a'\ntarget = '/b'",
            "an install needs `keys`",
        ),
        ("[stick]\nsource = '/a'", "`target` is missing"),
        ("[stick]\ntarget = '/a'", "`source` is missing"),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{error}: no {part}");
    }
    let keys = |count: usize| format!("[approval]\nkeys = [{}]", "'/k', ".repeat(count));
    assert!(parse(&keys(8)).is_ok());
    assert!(refused(&keys(9)).contains("9 keys, 8 allowed"));
}

#[test]
fn nothing_said_is_a_node_with_defaults() {
    let config = Config::parse(&[]).expect("defaults");
    assert_eq!(config, parse("").expect("defaults"));
    assert_eq!(config.depot, PathBuf::from("/var/lib/neap/depot"));
    assert_eq!(config.listen, "[::]:4747".parse().ok());
    assert!(config.mdns && config.identity.is_none() && config.peers.is_empty());
    let links: Vec<_> = config.links.keys().map(String::as_str).collect();
    assert_eq!(links, ["lan", "port", "sat"]);
    assert_eq!(config.links["sat"], Profile::of_class("sat", Class::Sat));
}

#[test]
fn later_layers_override_key_by_key_and_replace_arrays() {
    let below = "groups = ['a', 'b']\nsite = 'one'\n[link.x]\nclass = 'sat'\nday_bytes = 1\n\
                 [[peer]]\naddress = 'p:1'\nlink = 'x'\n[[peer]]\naddress = 'q:1'\nlink = 'x'\n";
    let above = "groups = ['c']\nlisten = 'none'\n[link.x]\nday_bytes = '2kB'\nrtt_ms = 7\n\
                 [[peer]]\naddress = 'r:1'\nlink = 'x'\n";
    let config = Config::parse(&[layer("a", below), layer("b", above)]).expect("both");
    assert_eq!((&*config.site, config.groups), ("one", vec!["c".to_owned()]));
    assert_eq!(config.listen, None);
    let x = &config.links["x"];
    assert_eq!((x.class, x.day_bytes, x.rtt_ms), (Class::Sat, Some(2000), Some(7)));
    assert_eq!(config.peers.iter().map(|p| &*p.address.host).collect::<Vec<_>>(), ["r"]);
}

#[test]
fn refusals_name_file_line_key_and_what_is_allowed() {
    for (text, parts) in [
        ("\nlisen = 'none'", ["a.toml: line 2", "lisen", "unknown field", "`listen`"]),
        ("[link.a]\nclas = 'sat'", ["line 2", "clas", "unknown field", "`class`"]),
        ("[link.a]\nclass = 'sea'", ["line 2", "`sea`", "`lan`", "`sat`"]),
        ("listen = '4747'", ["line 1", "listen = ", "found `4747`", "ADDRESS:PORT"]),
        ("state = 'var'", ["line 1", "state", "found `var`", "begins with `/`"]),
        ("[link.sat]\nday_bytes = '20MO'", ["line 2", "day_bytes", "found `20MO`", "MiB"]),
        ("[link.sat]\nday_bytes = -1", ["line 2", "day_bytes", "-1 bytes", "at least 0"]),
        ("[link.sat]\nhours = ['6-7']", ["line 2", "hours", "`6-7`", "HH:MM-HH:MM"]),
        ("[link.sat]\nprice = '5'", ["line 2", "price", "`5`", "/MB"]),
        ("[link.sat]\nrate_kbit = 0", ["line 2", "rate_kbit", "0 kbit/s", "1 to"]),
        ("[link.sat]\nmetered = 1", ["line 2", "metered", "integer `1`", "boolean"]),
        ("[link.a]\nmetered = true", ["a.toml: link.a", "`class`", "missing", "port"]),
        ("[link.sat]\nclass = 'lan'", ["a.toml: link.sat", "`class`", "is sat", "not lan"]),
        ("[[peer]]\naddress = 'p:1'\nlink = 'x'", ["peer.link", "`x`", "lan", "port, sat"]),
        ("[[peer]]\naddress = 'p:1'", ["line 1", "peer", "missing", "`link`"]),
        ("[[mirror]]\nurl = '/a'\nlink = 'y'", ["mirror.link", "`y`", "lan", "port, sat"]),
        ("[identity]\nkey = '/k'", ["a.toml: identity", "`certificate`", "is", "missing"]),
        ("site = \"\\u0007\"", ["line 1", "site", "`\\u{7}`", "control characters"]),
        ("groups = ['A']", ["line 1", "groups", "`A`", "a-z"]),
        ("a = ", ["a.toml: line 1", "a =", "", ""]),
    ] {
        let error = refused(text);
        for part in parts {
            assert!(error.contains(part), "{error}: no {part}");
        }
        assert!(!error.contains('\n'), "{error}: one line");
    }
}

#[test]
fn key_that_fits_no_other_is_blamed_on_the_last_file_that_sets_it() {
    let layers = [
        layer("a", "[link.x]\nclass = 'sat'\nprice = '5/MB'"),
        layer("b", "[link.x]\nmetered = false"),
        layer("c", "[link.y]\nclass = 'lan'"),
    ];
    let error = Config::parse(&layers).expect_err("a price that is not metered").to_string();
    assert_eq!(error, "b: link.x: a link with a price cannot be `metered = false`");
}

#[test]
fn price_makes_a_link_metered() {
    let metered = |text: &str| parse(text).expect(text).links["port"].metered;
    assert!(!metered("[link.port]\nrtt_ms = 5"));
    assert!(!metered("[link.port]\nprice = '0/MB'"));
    assert!(metered("[link.port]\nprice = '0.01/MB'"));
    let flat = parse("[link.sat]\nmetered = false").expect("a flat rate");
    assert!(!flat.links["sat"].metered);
}

#[test]
fn one_more_than_the_limit_is_refused() {
    let peers = |count: usize| "[[peer]]\naddress = 'p:1'\nlink = 'lan'\n".repeat(count);
    assert_eq!(parse(&peers(64)).expect("64 peers").peers.len(), 64);
    assert!(refused(&peers(65)).contains("65 peers, 64 allowed"));
    let links = |count: usize| {
        (0..count).map(|n| format!("[link.l{n}]\nclass = 'lan'\n")).collect::<String>()
    };
    assert_eq!(parse(&links(16)).expect("16 links").links.len(), 19);
    assert!(refused(&links(17)).contains("17 links, 16 allowed"));
    let mirrors = |count: usize| "[[mirror]]\nurl = '/m'\nlink = 'lan'\n".repeat(count);
    assert!(parse(&mirrors(16)).is_ok());
    assert!(refused(&mirrors(17)).contains("17 mirrors, 16 allowed"));
    let hours = |count: usize| format!("[link.sat]\nhours = [{}]", "'01:00-02:00', ".repeat(count));
    assert!(parse(&hours(24)).is_ok());
    assert!(refused(&hours(25)).contains("25 entries, 24 allowed"));
    let full = format!("#{}", " ".repeat((1 << 20) - 1));
    assert!(parse(&full).is_ok());
    assert_eq!(refused(&format!("{full} ")), "a.toml: more than 1048576 bytes");
    let many = vec![layer("a", ""); 65];
    assert!(matches!(Config::parse(&many), Err(ConfigError::TooMany { found: 65 })));
}

#[test]
fn files_are_read_in_order_and_those_that_are_missing_are_left_out() {
    let root = tempfile::tempdir().expect("a folder");
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    };
    let load = || file::load_from(root.path());
    assert_eq!(load(), Config::parse(&[]));
    put("etc/neap/config.d/20-b.toml", "site = 'second'");
    put("etc/neap/config.d/10-a.toml", "site = 'first'\nproduct = 'radar'");
    put("etc/neap/config.d/.30.toml", "site = 'hidden'");
    put("etc/neap/config.d/30.toml.bak", "site = 'a copy'");
    put("usr/lib/neap/config.toml", "site = 'vendor'\n[link.sat]\nrtt_ms = 1\nday_bytes = 1");
    put("etc/neap/config.toml", "site = 'owner'\n[link.sat]\nrtt_ms = 2");
    let config = load().expect("all of them");
    assert_eq!((&*config.site, config.product.as_deref()), ("second", Some("radar")));
    let sat = &config.links["sat"];
    assert_eq!((sat.rtt_ms, sat.day_bytes), (Some(2), Some(1)));
    let only = root.path().join("etc/neap/config.toml");
    assert_eq!(file::load(Some(&only)).expect("one").site, "owner");
    put("etc/neap/config.d/10-a.toml", "site = 1");
    let error = load().expect_err("no name").to_string();
    assert!(error.contains("10-a.toml: line 1, `site = 1`"), "{error}");
    let gone = root.path().join("none.toml");
    assert!(matches!(file::load(Some(&gone)), Err(ConfigError::Read { .. })));
    put("etc/neap/config.d/10-a.toml", &" ".repeat((1 << 20) + 1));
    assert!(matches!(load(), Err(ConfigError::TooLong { .. })));
}

proptest! {
    #[test]
    fn any_text_is_answered(text: String, at in 0..EXAMPLE.len(), byte in 0x20_u8..0x7f) {
        drop(parse(&text));
        let mut example = EXAMPLE.as_bytes().to_vec();
        example[at] = byte;
        drop(parse(&String::from_utf8(example).expect("ASCII")));
    }
}
