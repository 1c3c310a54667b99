//! Peers and what people use today, on the same emulated site.
//!
//! In reading order: [`scenario`] (what is asked for), [`commands`] (the command lines of each
//! method, the one place to change when they change), [`run`] (a scenario from beginning to end),
//! [`record`] (what was measured, and how it is shown).

pub mod commands;
pub mod record;
pub mod run;
pub mod scenario;
