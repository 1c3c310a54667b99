//! What a person reads who finds the stick.

/// `README.txt`, in plain language, with the line ends that every editor knows.
#[must_use]
pub fn text(id: &str) -> Vec<u8> {
    TEXT.replace("{id}", id).replace('\n', "\r\n").into_bytes()
}

/// Its name.
pub const FILE: &str = "README.txt";

const TEXT: &str = "This stick carries software updates (stick number {id}).

It was written by neap. Nothing on it starts by itself, and nothing on it is
a program. Devices check every byte before they use it.

What to do on site:
  1. Plug the stick into the device, or into the ship's server.
  2. Run:   neap stick import PATH-OF-THE-STICK
     or, on a device without room for a copy:
            neap stick install PATH-OF-THE-STICK
  3. Read the twelve digits that it shows to the office, over the phone.
  4. Bring the stick back: it carries proof of what was done.

If the stick is pulled out too early, put it back and run the same command
again: it goes on where it stopped.

Please do not rename, change or delete anything in this folder. Copying the
whole folder to another stick is fine. Other files beside it do not matter.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_plain_and_short_lines_end_as_everywhere() {
        let text = String::from_utf8(text("4f1c09ab")).expect("text");
        assert!(text.is_ascii() && text.contains("4f1c09ab"));
        assert!(text.split("\r\n").all(|line| line.len() < 80 && !line.contains('\n')));
    }
}
