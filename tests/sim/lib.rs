//! A machine that loses power and whose devices fail, to apply patches on; all replayable by seed.
//!
//! [`machine`] is the devices, [`pair`] makes images and the patch between them, [`run`] applies
//! one on the other, and [`chain`] cuts the power until the target is made. [`executable`] and
//! [`layered`] are for patches with the layer `refs` and the coder `cm`, [`packed`] and [`erofs`]
//! for the layer `unpack`, [`derived`] adds hash trees. [`real`] is for tests that take a loop
//! device or a file system instead. [`bed`] is a site behind an emulated satellite link, for tests
//! of peers.

pub mod bed;
pub mod chain;
pub mod derived;
pub mod disk;
pub mod erofs;
pub mod executable;
pub mod kallsyms;
pub mod layered;
pub mod machine;
pub mod packed;
pub mod pair;
pub mod random;
pub mod real;
pub mod run;
pub mod strange;
