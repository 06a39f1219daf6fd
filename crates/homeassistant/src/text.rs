//! Makes text from others fit to be shown.

/// Words fit for one line of a terminal.
pub(crate) fn sanitize(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() || reorders(c) { ' ' } else { c }).collect();
    let clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    clean.chars().take(most).collect()
}

/// Reverses the direction of the text beside it.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
