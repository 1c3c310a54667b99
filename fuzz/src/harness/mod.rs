//! What each fuzz target does with its bytes, shared by libFuzzer and by the replay of the seeds.
//!
//! A harness panics where a claim of the engine does not hold, and returns otherwise.

pub mod build;
pub mod choices;
pub mod codec;
pub mod decoders;
pub mod depot;
pub mod find;
pub mod identity;
pub mod layers;
pub mod repo;
pub mod roundtrip;
pub mod seal;
pub mod sparse;
pub mod stick;
pub mod swarm;
pub mod trust;
pub mod whole;
pub mod wire;

/// A harness and the name of its target, which is also that of its folder in `seeds/`.
pub type Named = (&'static str, fn(&[u8]));

/// Every harness.
pub const HARNESSES: &[Named] = &[
    ("cm", layers::cm),
    ("config", wire::config),
    ("depot_metadata", depot::depot_metadata),
    ("depot_names", depot::depot_names),
    ("depot_tree", depot::depot_tree),
    ("derived", find::derived),
    ("fast_vs_reference", whole::fast_vs_reference),
    ("frame", decoders::frame),
    ("header", decoders::header),
    ("identity", identity::identity),
    ("journal", decoders::journal),
    ("meter", wire::meter),
    ("notice", wire::notice),
    ("patch_apply", whole::patch_apply),
    ("patch_sealed", whole::patch_sealed),
    ("receipt", identity::receipt),
    ("regions", layers::regions),
    ("request", wire::request),
    ("roundtrip", roundtrip::roundtrip),
    ("signature", repo::signature),
    ("slice", wire::slice),
    ("staged", repo::staged),
    ("stick_approval", stick::approval),
    ("stick_code", stick::code),
    ("stick_json", stick::manifest),
    ("stick_sealed", stick::sealed),
    ("stick_tree", stick::tree),
    ("swarm", swarm::swarm),
    ("trust_metadata", trust::metadata),
    ("trust_signed", trust::signed),
    ("trust_state", trust::state),
    ("unpack_codec", codec::unpack_codec),
    ("unpack_find", find::unpack_find),
    ("varint", decoders::varint),
];
