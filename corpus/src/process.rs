//! Runs the programs that fetch, unpack and assemble. Owns no policy: callers say what to run.

use std::process::{Command, Stdio};

use crate::error::CorpusError;

/// Runs a command to its end and returns what it wrote to standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, CorpusError> {
    let output = plain_environment(command)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| could_not_start(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = last_lines(&output.stderr);
    if said.is_empty() {
        said = last_lines(&output.stdout);
    }
    Err(CorpusError::ToolFailed { command: brief(command), said })
}

/// Runs `first | second`; both must succeed.
pub(crate) fn pipe(first: &mut Command, second: &mut Command) -> Result<(), CorpusError> {
    let mut child = plain_environment(first)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| could_not_start(first, &error))?;
    if let Some(stdout) = child.stdout.take() {
        second.stdin(stdout);
    }
    let taken = plain_environment(second).output().map_err(|error| could_not_start(second, &error));
    // The first child is reaped whatever became of the second.
    let given = child.wait().map_err(|error| could_not_start(first, &error))?;
    let taken = taken?;
    if !taken.status.success() {
        let said = last_lines(&taken.stderr);
        return Err(CorpusError::ToolFailed { command: brief(second), said });
    }
    if !given.success() {
        return Err(CorpusError::ToolFailed { command: brief(first), said: given.to_string() });
    }
    Ok(())
}

/// Names sort the same everywhere, and only our own arguments set the time in an image.
fn plain_environment(command: &mut Command) -> &mut Command {
    command.env("LC_ALL", "C").env_remove("SOURCE_DATE_EPOCH")
}

fn could_not_start(command: &Command, error: &std::io::Error) -> CorpusError {
    let tool = command.get_program().to_string_lossy().into_owned();
    if error.kind() == std::io::ErrorKind::NotFound {
        CorpusError::ToolMissing { tool }
    } else {
        CorpusError::ToolFailed { command: tool, said: error.to_string() }
    }
}

/// The program and its last two arguments, which name the object; apt's settings are left out.
fn brief(command: &Command) -> String {
    let tool = command.get_program().to_string_lossy();
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .filter(|argument| argument != "-o" && !argument.contains("::"))
        .collect();
    let tail = arguments.get(arguments.len().saturating_sub(2)..).unwrap_or_default();
    format!("{tool} … {}", tail.join(" "))
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("neap-no-such-program")).unwrap_err();
        assert!(
            matches!(error, CorpusError::ToolMissing { tool } if tool == "neap-no-such-program")
        );
    }

    #[test]
    fn a_failing_program_hands_back_its_last_words() {
        let error = run(Command::new("sh").args(["-c", "echo lost >&2; exit 3"])).unwrap_err();
        assert!(matches!(error, CorpusError::ToolFailed { said, .. } if said == "lost"));
    }

    #[test]
    fn a_pipe_whose_first_half_fails_is_a_failure() {
        let mut first = Command::new("sh");
        first.args(["-c", "exit 1"]);
        assert!(pipe(&mut first, &mut Command::new("cat")).is_err());
    }
}
