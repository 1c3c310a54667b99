//! The command line: verbs, flags, and their help.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser};
use neap_engine::diff::{Options, Parts};
use neap_engine::unpack::codec::{Families, Family};

use crate::size;
use crate::tariff::{Link, Overhead, Price};

/// Where a journal is kept unless `--state` says otherwise.
pub(crate) const STATE_DIRECTORY: &str = "/var/lib/neap";

/// Least distance of restart points, in bytes: nearer ones would overfill the restart table of a
/// large patch.
const RESTART_LEN_MIN: u64 = 1 << 20;

/// [`neap_engine::limits::UNPACK_MEMORY`] and its most, as one writes them.
const UNPACK_MEMORY: &str = "36M";
const UNPACK_MEMORY_MAX: &str = "512M";

/// The effort for links where a byte costs time: a little smaller, not much slower.
const EFFORT_PORT: u8 = 7;

/// Small verified updates of system images
///
/// neap makes a small patch from one system image to the next and applies it to a file or block
/// device. Nothing unverified is written, and an apply that is cut short goes on where it stopped.
#[derive(Debug, Parser)]
#[command(name = "neap", version, after_help = "Exit codes: docs/exit-codes.md")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the patch that turns SOURCE into TARGET
    #[command(after_help = "Examples:\n  neap diff base.img new.img --output update.neap\n  \
        neap diff base.img new.img --output update.neap --for sat")]
    Diff(Diff),
    /// Make the target from the source and a patch, or go on where a cut left off
    #[command(after_help = "Examples:\n  \
        neap apply update.neap --source /dev/mmcblk0p2 --target /dev/mmcblk0p3\n  \
        fetch-update | neap apply - --source base.img --target new.img --state .\n\n\
        Killing it is safe at any moment: run the same command again.")]
    Apply(Apply),
    /// Show what a patch holds, and check it for damage
    #[command(after_help = "Example:\n  neap inspect update.neap")]
    Inspect(Inspect),
    /// Check an image or device against a patch or a digest
    #[command(after_help = "Examples:\n  neap verify /dev/mmcblk0p3 --patch update.neap\n  \
        neap verify /dev/mmcblk0p2 --patch update.neap --as source\n  \
        neap verify new.img --digest 60b6bd1c…")]
    Verify(Verify),
    /// Say what a patch costs to send, and what other ways would have cost
    #[command(after_help = "Examples:\n  \
        neap estimate update.neap --link 88kbit/s --price 5.00/MB\n  \
        neap estimate update.neap --link 1.5Mbit/s --price '0.80 USD/MB' --overhead 5%\n\n\
        MB is 1,000,000 bytes; time and cost are rounded up.")]
    Estimate(Estimate),
    /// List what a depot offers to devices, verified from the root on
    #[command(after_help = "Examples:\n  \
        neap check /media/stick --group bridge --root root.json\n  \
        neap check /srv/depot --group bridge --state /var/lib/neap/trust --json")]
    Check(crate::check::Args),
    /// Make the files of a release and stage them for a group of devices
    Release(crate::release::Args),
    /// Say which release a device should take, on which way, and what that costs
    #[command(after_help = "Examples:\n  \
        neap plan /media/stick --group bridge --root root.json --product radar \
        --image /dev/sda2\n  \
        neap plan depot --group bridge --root root.json --product radar --version 1.4.0 \
        --budget 20M\n\n\
        Exit code 3: it has the latest. 11: more than the budget, not started.")]
    Plan(crate::plan::Args),
    /// Verify, show and export what devices signed
    Receipt(crate::receipt::Args),
    /// Compare the bills of materials of two releases
    Sbom(crate::sbom::Args),
    /// Make and show the keys that sign what devices may install
    Key(crate::key::Args),
    /// Issue and revoke certificates that say which device has which key
    Ca(crate::ca::Args),
    /// Change who may sign what, and publish what is signed
    Repo(crate::repo::Args),
    /// Look after a depot: what it holds, whether it is whole, what can go
    Depot(crate::depot::Args),
    /// Give a depot to the devices of the fleet over QUIC, and take their receipts
    #[command(after_help = "Examples:\n  neap serve /srv/depot --config /etc/neap/config.toml\n  \
        systemctl enable --now neap-serve")]
    Serve(crate::net::serve::Args),
    /// Fetch one release for this device, from its site, from shore, and apply it on request
    #[command(after_help = "Examples:\n  neap fetch --version 1.4.0\n  \
        neap fetch --image /dev/mmcblk0p2 --source /dev/mmcblk0p2 --target /dev/mmcblk0p3\n\n\
        Exit code 3: it has the latest. 10: the same command goes on from there. 11: over budget.")]
    Fetch(crate::net::fetch::Args),
    /// Show which peers are there, what they have, and what they did
    #[command(after_help = "Example:\n  neap peers --json")]
    Peers(crate::net::peers::Args),
    /// Take all releases of a peer, newest first, and exchange receipts
    #[command(after_help = "Example:\n  neap sync --group bridge --group engine")]
    Sync(crate::net::sync::Args),
    /// Carry releases to a site without a link, on a stick, and bring back what devices signed
    Stick(crate::stick::Args),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Diff(args) => &args.common,
            Self::Apply(args) => &args.common,
            Self::Inspect(args) => &args.common,
            Self::Verify(args) => &args.common,
            Self::Estimate(args) => &args.common,
            Self::Check(args) => &args.common,
            Self::Key(args) => args.verb.common(),
            Self::Release(args) => args.verb.common(),
            Self::Plan(args) => &args.common,
            Self::Receipt(args) => args.verb.common(),
            Self::Sbom(args) => args.verb.common(),
            Self::Ca(args) => args.verb.common(),
            Self::Repo(args) => args.verb.common(),
            Self::Depot(args) => args.common(),
            Self::Serve(args) => &args.common,
            Self::Fetch(args) => &args.common,
            Self::Peers(args) => &args.common,
            Self::Sync(args) => &args.common,
            Self::Stick(args) => args.common(),
        }
    }
}

/// What every verb takes.
#[derive(Debug, Clone, Copy, Group)]
pub(crate) struct Common {
    /// Print the result, or the error, as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Diff {
    /// The image that devices have: a file or block device
    pub(crate) source: PathBuf,
    /// The image that they shall have: a file or block device
    pub(crate) target: PathBuf,
    /// Where the patch goes; replaced only when the patch is complete
    #[arg(long, short, value_name = "PATCH")]
    pub(crate) output: PathBuf,
    /// The link that the patch is for: it picks --coder and --effort, unless they are given
    #[arg(long = "for", value_enum, value_name = "LINK")]
    pub(crate) link: Option<LinkKind>,
    /// How the patch is coded [default: zstd]
    #[arg(long, value_enum)]
    pub(crate) coder: Option<Coder>,
    /// From 1, fast, to 9, small [default: 6]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = RangedU64ValueParser::<u8>::new().range(1..=9))]
    pub(crate) effort: Option<u8>,
    /// Memory to stay within, such as 512M or 2G; the least is 256M
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = memory)]
    pub(crate) memory: u64,
    /// Threads to use; the patch is the same with any number [default: one a core]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u16>::new().range(1..=512))]
    pub(crate) threads: Option<u16>,
    /// Bytes of patch after which decoding can start afresh; less makes the patch larger
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = restart)]
    pub(crate) restart: u64,
    /// Do not look inside what is packed, or only not inside what these codecs packed: applying
    /// then takes no time for packing it again
    #[arg(long, value_enum, value_name = "CODEC", value_delimiter = ',')]
    #[arg(num_args = 0.., require_equals = true)]
    pub(crate) no_unpack: Option<Vec<Packed>>,
    /// Memory that packing again may take on the device, beside what apply takes anyway
    #[arg(long, value_name = "SIZE", default_value = UNPACK_MEMORY, value_parser = size::parse)]
    pub(crate) unpack_memory: u64,
    /// Parts of the diff to leave out, to see what each is worth
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub(crate) without: Vec<Part>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Diff {
    /// The parts of the diff that are not left out.
    pub(crate) fn parts(&self) -> Parts {
        let has = |part| !self.without.contains(&part);
        Parts {
            unpack: !self.no_unpack.as_ref().is_some_and(Vec::is_empty) && has(Part::Unpack),
            chains: has(Part::Chains),
            refs: has(Part::Refs),
            moves: has(Part::Moves),
            rematch: has(Part::Rematch),
        }
    }

    /// Codecs whose blocks stay packed.
    pub(crate) fn not_unpacked(&self) -> Families {
        self.no_unpack.iter().flatten().map(|packed| packed.family()).collect()
    }

    /// Where bytes cost nothing, the time to pack again counts, beside what the link takes.
    pub(crate) fn link_rate(&self) -> Option<u64> {
        (self.link == Some(LinkKind::Lan)).then_some(LAN_RATE)
    }

    /// The coder and the effort: those asked for, else those for the link, else the defaults.
    pub(crate) fn coder_and_effort(&self) -> (Coder, u8) {
        let (coder, effort) = match self.link {
            None | Some(LinkKind::Lan) => (Coder::Zstd, Options::EFFORT_DEFAULT),
            Some(LinkKind::Port) => (Coder::Zstd, EFFORT_PORT),
            Some(LinkKind::Sat) => (Coder::Cm, Options::EFFORT_DEFAULT),
        };
        (self.coder.unwrap_or(coder), self.effort.unwrap_or(effort))
    }
}

#[derive(Debug, Group)]
pub(crate) struct Apply {
    /// The patch; `-` reads it from standard input
    pub(crate) patch: PathBuf,
    /// The image that the patch starts from: a file or block device, which is only read
    #[arg(long, value_name = "PATH")]
    pub(crate) source: PathBuf,
    /// What is overwritten: a file, made if missing, or a block device nobody uses
    #[arg(long, value_name = "PATH")]
    pub(crate) target: PathBuf,
    /// Folder of the journal that lets a later run go on after a cut
    #[arg(long, value_name = "DIR", default_value = STATE_DIRECTORY)]
    pub(crate) state: PathBuf,
    /// Do not check the source first; a wrong one is found late, but never written
    #[arg(long)]
    pub(crate) no_source_check: bool,
    /// Memory that packing again may take; a patch that needs more is refused
    #[arg(long, value_name = "SIZE", default_value = UNPACK_MEMORY_MAX, value_parser = size::parse)]
    pub(crate) unpack_memory: u64,
    /// Do not read the target back; what a failing device did to it stays unseen
    #[arg(long)]
    pub(crate) no_read_back: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Group)]
pub(crate) struct Inspect {
    /// The patch; `-` reads it from standard input
    pub(crate) patch: PathBuf,
    /// The file is an image: say what is packed in it, and what a device could pack again
    ///
    /// All of it is packed again to find out, which takes as long as making the image took.
    #[arg(long)]
    pub(crate) image: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Group)]
#[command(group = clap::ArgGroup::new("against").required(true))]
pub(crate) struct Verify {
    /// The image or block device to check; it is only read
    pub(crate) image: PathBuf,
    /// Check against this patch; `-` reads it from standard input
    #[arg(long, value_name = "PATCH", group = "against")]
    pub(crate) patch: Option<PathBuf>,
    /// Which side of the patch the image shall be
    #[arg(long = "as", value_enum, default_value_t, requires = "patch", value_name = "SIDE")]
    pub(crate) side: Side,
    /// Check all of the source, not only what the patch uses
    #[arg(long, requires = "patch")]
    pub(crate) full: bool,
    /// Check against this BLAKE3 digest, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", group = "against", value_parser = digest)]
    pub(crate) digest: Option<neap_engine::digest::Digest>,
    /// With --digest: the image is the first SIZE bytes [default: all]
    #[arg(long, value_name = "SIZE", requires = "digest", value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Group)]
#[command(group = clap::ArgGroup::new("tariff").required(true).multiple(true))]
pub(crate) struct Estimate {
    /// The patch, of which only the header is read; `-` reads it from standard input
    pub(crate) patch: PathBuf,
    /// Rate of the link: a number and bit/s, kbit/s, Mbit/s, Gbit/s, B/s, kB/s or MB/s
    #[arg(long, value_name = "RATE", group = "tariff", value_parser = Link::parse)]
    pub(crate) link: Option<Link>,
    /// Price of a megabyte, such as 5.00/MB or '0.80 USD/MB'
    #[arg(long, value_name = "PRICE", group = "tariff", value_parser = Price::parse)]
    pub(crate) price: Option<Price>,
    /// What the protocol sends beside the patch, such as 5% [default: nothing]
    #[arg(long, value_name = "SHARE", default_value = "0%", hide_default_value = true)]
    #[arg(value_parser = Overhead::parse)]
    pub(crate) overhead: Overhead,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Coders that a diff can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Coder {
    /// Fast to apply
    Zstd,
    /// Smallest, and slow to apply: for links where a byte costs more than the device's time
    Cm,
}

/// Parts of the diff that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What is packed is seen as what it was packed from
    Unpack,
    /// Short matches are sought in all of the source
    Chains,
    /// Addresses in executables are rewritten before they are copied
    Refs,
    /// Fields of the target correct where addresses moved
    Moves,
    /// What still differs is matched again with addresses rewritten
    Rematch,
}

/// Bytes a second of a network of 1 Gbit/s.
const LAN_RATE: u64 = 125_000_000;

/// What packed blocks, by the names that people know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packed {
    /// Deflate: gzip, zip, png, squashfs-gzip
    #[value(alias = "gzip", alias = "zlib")]
    Deflate,
    /// lz4 and lz4hc
    #[value(alias = "lz4hc")]
    Lz4,
    /// LZMA and LZMA2
    #[value(alias = "lzma")]
    Xz,
    /// Zstandard
    Zstd,
    /// bzip2
    Bzip2,
}

impl Packed {
    fn family(self) -> Family {
        match self {
            Self::Deflate => Family::Deflate,
            Self::Lz4 => Family::Lz4,
            Self::Xz => Family::Xz,
            Self::Zstd => Family::Zstd,
            Self::Bzip2 => Family::Bzip2,
        }
    }
}

/// Links that a patch can be made for, by the price of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkKind {
    /// Bytes cost nothing: the coder zstd, effort 6, and what would take the device longer to pack
    /// again than 1 Gbit/s takes to bring it stays packed
    Lan,
    /// Bytes cost time: the coder zstd, effort 7
    Port,
    /// Bytes cost money: the coder cm, effort 6
    Sat,
}

/// The two images of a patch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// The image that the patch starts from
    Source,
    /// The image that the patch makes
    #[default]
    Target,
}

pub(crate) fn memory(text: &str) -> Result<u64, String> {
    at_least(text, Options::MEMORY_MIN)
}

fn restart(text: &str) -> Result<u64, String> {
    at_least(text, RESTART_LEN_MIN)
}

fn at_least(text: &str, min: u64) -> Result<u64, String> {
    match size::parse(text)? {
        len if len < min => Err(format!("{} is less than {}", size::human(len), size::human(min))),
        len => Ok(len),
    }
}

fn digest(text: &str) -> Result<neap_engine::digest::Digest, String> {
    let digest = neap_engine::digest::Digest::from_hex(text);
    digest.ok_or_else(|| "expected 64 hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_is_asked_for_wins_over_what_the_link_picks() {
        let picked = |flags: &str| {
            let words = format!("neap diff a b --output c {flags}");
            match Args::try_parse_from(words.split_whitespace()).map(|args| args.verb) {
                Ok(Verb::Diff(diff)) => Some(diff.coder_and_effort()),
                _ => None,
            }
        };
        assert_eq!(picked(""), Some((Coder::Zstd, 6)));
        assert_eq!(picked("--for lan"), Some((Coder::Zstd, 6)));
        assert_eq!(picked("--for port"), Some((Coder::Zstd, 7)));
        assert_eq!(picked("--for sat"), Some((Coder::Cm, 6)));
        assert_eq!(picked("--for sat --coder zstd"), Some((Coder::Zstd, 6)));
        assert_eq!(picked("--effort 3 --for sat"), Some((Coder::Cm, 3)));
        assert_eq!(picked("--coder cm"), Some((Coder::Cm, 6)));
        assert_eq!(picked("--for moon"), None);
    }
}
