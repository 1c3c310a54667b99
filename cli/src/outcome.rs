//! What a verb returns, and how it is printed: text for people, one JSON object for programs.

use std::io::{self, Write};

use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

/// The result of a verb that did what it was asked.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Lines for people.
    pub(crate) text: String,
    /// The same facts.
    pub(crate) json: Value,
}

/// Prints what a verb returned and says how the program ends.
pub(crate) fn print(done: Result<Outcome, Failure>, json: bool) -> Exit {
    let (text, exit) = match done {
        Ok(outcome) if json => (format!("{}\n", outcome.json), Exit::Ok),
        Ok(outcome) => (outcome.text, Exit::Ok),
        Err(failure) => {
            // Without stderr there is no one left to tell.
            drop(io::stderr().write_all(failure.text().as_bytes()));
            (if json { format!("{}\n", failure.json()) } else { String::new() }, failure.exit)
        }
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => exit,
        // The work is done, but whoever asked cannot know.
        Err(_) if exit == Exit::Ok => Exit::Error,
        Err(_) => exit,
    }
}
