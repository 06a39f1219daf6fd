//! What the TOML parser says, in words for who writes the file by hand. Values are not repeated: one may be a secret.

use super::File;
use crate::failure::Failure;

/// Quotes that word processors make of straight ones.
const CURLY: [char; 7] = ['“', '”', '„', '«', '»', '‘', '’'];
const LIST: &str = "a list is written [\"a\", \"b\"]";
const LINE: &str = "write key = \"text\", a table's name as [jobs.home], and # before a comment";

/// Where a mistake is, what it is, and what to do.
type Mistake = (usize, String, String);

impl File<'_> {
    /// What is no TOML.
    pub(super) fn unparsed(&self, error: &toml::de::Error) -> Failure {
        let span = error.span().unwrap_or_default();
        let (at, what, hint) = explained(self.text, error.message(), span.start, span.end);
        self.wrong(at, what).hint(hint)
    }
}

fn explained(text: &str, message: &str, start: usize, end: usize) -> Mistake {
    let marked = text.get(start..end).unwrap_or_default();
    // What is not closed is missed at the end of the file.
    let before = text.get(..start).unwrap_or_default();
    let line_start =
        before.trim_end_matches(['\n', '\r']).rfind('\n').filter(|_| marked.is_empty() && end == text.len());
    let line_start = line_start.or_else(|| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let key = key.filter(|key| !key.is_empty() && !key.starts_with(['[', '#', '"', '\'']));
    let assigned = key.map_or_else(|| "\"…\"".to_owned(), |key| format!("{key} = \"…\""));
    let value = key.map_or_else(|| "this text".to_owned(), |key| format!("the value of {key}"));
    let said = |what: &str, hint: String| (start, what.to_owned(), hint);
    // Where the list or text begins that has no end.
    let opened = |sign: &str| before.rfind(sign).unwrap_or(start);
    let is_next_line = |sign: &str| {
        text[opened(sign)..start].trim_end().contains('\n') || key.is_some() && text[opened(sign)..start].contains('\n')
    };
    let is = |known: &str| message.starts_with(known);
    match () {
        () if is("duplicate key") => {
            said(&format!("{marked:?} is there a second time"), "rename one of the two, or remove it".to_owned())
        }
        () if is("cannot extend value") => said(
            &format!("{marked:?} has a value already, so it can't be a table as well"),
            "rename one of the two, or remove it".to_owned(),
        ),
        () if is("string values must be quoted") && marked.is_empty() => {
            said(&value.replace("the value of", "there is no value for"), format!("write {assigned}"))
        }
        () if is("string values must be quoted") && marked.starts_with(CURLY) => {
            said("these are curly quotes", format!("use straight ones: {assigned}"))
        }
        () if is("string values must be quoted") => said(
            &format!("{value} is not in quotes"),
            format!("write {assigned}; only numbers, true and false have no quotes"),
        ),
        () if is("invalid boolean") => said(
            &format!("{value} is neither true nor false"),
            format!("write true or false in small letters, and anything else in quotes: {assigned}"),
        ),
        () if is("invalid multi-line") => {
            let sign = if is("invalid multi-line basic") { "\"\"\"" } else { "'''" };
            let hint = format!("write {sign} once more after its last line");
            (opened(sign), format!("the text that begins here with {sign} has no end"), hint)
        }
        () if message.contains("visible characters") => {
            said("there is an invisible control character in the text", "remove it".to_owned())
        }
        () if is("invalid basic string") || is("invalid literal string") => {
            let quote = if is("invalid literal string") { "'" } else { "\"" };
            let hint = format!("end it with the same quote, in the same line: {}", assigned.replace('"', quote));
            said("the closing quote of the text is missing", hint)
        }
        () if is("missing escaped value") || is("too few unicode") || is("too many unicode") || is("invalid value") => {
            let hint = "write the text in single quotes, '…', or each backslash twice";
            said(
                "a backslash between double quotes begins a special character, and there is none like this",
                hint.to_owned(),
            )
        }
        () if (is("unclosed table") || is("unclosed array table")) && line.contains(']') => said(
            "this name of a table needs quotes",
            "write a name that is not only letters, digits, - and _ like this: [jobs.\"my home\"]".to_owned(),
        ),
        () if is("unclosed table") || is("unclosed array table") => {
            said("the closing ] is missing", "write a table's name like this: [jobs.home]".to_owned())
        }
        () if is("unclosed array") || (message.contains("array") && is_next_line("[") && key.is_some()) => {
            (opened("["), "the list that begins here has no closing ]".to_owned(), LIST.to_owned())
        }
        () if is("missing comma between array") => said("a comma is missing in the list", LIST.to_owned()),
        () if is("unclosed inline table") || (message.contains("key-value pairs") && is_next_line("{")) => {
            let hint = "write all of it like this: keep = { last = 3, daily = 7 }".to_owned();
            (opened("{"), "the table that begins here has no closing }".to_owned(), hint)
        }
        () if is("missing comma between key") => {
            said("a comma is missing in the table", "for example: keep = { last = 3, daily = 7 }".to_owned())
        }
        () if is("key with no value") && line.trim_start().starts_with("- ") => {
            said("a list does not begin with a hyphen here", format!("{LIST}, after the key and ="))
        }
        () if is("key with no value") && key.is_some_and(|key| key.contains(char::is_whitespace)) => {
            said("a key can't contain blanks", "write _ for each, or correct the line".to_owned())
        }
        () if is("key with no value") => match line.split_once(':').filter(|(_, _)| key.is_none()) {
            Some((key, _)) => said("there is a : where = belongs", format!("write {} = \"…\"", key.trim())),
            None => said("this line has no =", LINE.to_owned()),
        },
        () if is("unquoted keys cannot be empty") && line.trim_start().starts_with('[') => {
            said("this table has no name", "write a table's name like this: [jobs.home]".to_owned())
        }
        () if is("unquoted keys cannot be empty") => said("there is no key before the =", LINE.to_owned()),
        () if is("invalid unquoted key") => said(
            "a key consists of letters, digits, - and _",
            "remove everything else, or write it in quotes".to_owned(),
        ),
        () if is("extra `=`") => said("there is one = too many", "remove it".to_owned()),
        () if is("unexpected key or value") && line.trim_start().starts_with('[') => said(
            "something follows the table's name",
            "begin a new line after the ]; a comment begins with #".to_owned(),
        ),
        () if is("unexpected key or value") => said(
            &format!("something follows {value}"),
            "remove it, or begin a new line; a comment begins with #, and a quote between quotes is written \\\""
                .to_owned(),
        ),
        () if ["number", "leading zero", "sign", "date", "time", "only go between digits", "float", "radix"]
            .iter()
            .any(|known| message.contains(known)) =>
        {
            said(&format!("{value} is no number"), format!("if it is text, write it in quotes: {assigned}"))
        }
        () => said(&format!("this line can't be understood ({message})"), LINE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn what_is_no_toml_is_told_in_words() {
        let cases = [
            (
                "[a]\nsource = /config\n",
                "2: the value of source is not in quotes",
                "write source = \"…\"; only numbers",
            ),
            ("every = 30d\n", "1: the value of every is not in quotes", "write every = \"…\""),
            ("schedule = [daily 04:45]\n", "1: the value of schedule is not in quotes", "write"),
            ("schedule = [\n  daily,\n]\n", "2: this text is not in quotes", "write \"…\""),
            ("source = \n", "1: there is no value for source", "write source = \"…\""),
            ("source = “/config”\n", "1: these are curly quotes", "use straight ones: source = \"…\""),
            ("paused = True\n", "1: the value of paused is neither true nor false", "write true or false in small"),
            ("a = 1\nsource = \"/config\nb = 1\n", "2: the closing quote of the text is missing", "source = \"…\""),
            ("source = '/config\n", "1: the closing quote of the text is missing", "source = '…'"),
            (
                "a = 1\nboot = \"\"\"exec\nb = 1\n",
                "2: the text that begins here with \"\"\" has no end",
                "\"\"\" once more",
            ),
            ("a = 'x\u{7}'\n", "1: there is an invisible control character", "remove it"),
            ("source = \"C:\\Users\\x\"\n", "1: a backslash between double quotes", "'…', or each backslash twice"),
            ("source = \"C:\\haul\"\n", "1: a backslash between double quotes", "'…', or each backslash twice"),
            ("source = \"C:\\\"\n", "1: a backslash between double quotes", "'…', or each backslash twice"),
            ("[jobs.home\nsource = \"x\"\n", "1: the closing ] is missing", "[jobs.home]"),
            ("[[jobs\n", "1: the closing ] is missing", "[jobs.home]"),
            ("[jobs.my home]\n", "1: this name of a table needs quotes", "[jobs.\"my home\"]"),
            ("a = [\"x\", \"y\"\nb = 1\n[c]\n", "1: the list that begins here has no closing ]", "[\"a\", \"b\"]"),
            ("\na = [\"x\",\n", "2: the list that begins here has no closing ]", "[\"a\", \"b\"]"),
            ("a = [\"x\" \"y\"]\n", "1: a comma is missing in the list", "[\"a\", \"b\"]"),
            ("keep = { last = 1\nb = 1\n", "1: the table that begins here has no closing }", "keep = { last"),
            ("keep = { within = \"7d\" daily = 2 }\n", "1: a comma is missing in the table", "keep = { last"),
            ("schedule: \"x\"\n", "1: there is a : where = belongs", "write schedule = \"…\""),
            ("- daily\n", "1: a list does not begin with a hyphen", "[\"a\", \"b\"]"),
            ("pass word = 1\n", "1: a key can't contain blanks", "_"),
            ("\nsource\n", "2: this line has no =", "write key = \"text\""),
            ("= 3\n", "1: there is no key before the =", "write key = \"text\""),
            ("[]\n", "1: this table has no name", "[jobs.home]"),
            ("a == 1\n", "1: there is one = too many", "remove it"),
            ("[a] b = 1\n", "1: something follows the table's name", "a new line"),
            ("a = \"x\" // mine\n", "1: something follows the value of a", "a comment begins with #"),
            ("a = \"x\"y\"\n", "1: something follows the value of a", "is written \\\""),
            ("a = 007\n", "1: the value of a is no number", "a = \"…\""),
            ("a = 2026-13-45\n", "1: the value of a is no number", "a = \"…\""),
            ("a = 1\na = 2\n", "2: \"a\" is there a second time", "rename one of the two"),
            ("[a]\n[a]\n", "2: \"a\" is there a second time", "rename one of the two"),
            ("a = 1\n[a.b]\n", "2: \"a\" has a value already", "rename one of the two"),
            ("a*b = 1\n", "1: a key consists of letters", "in quotes"),
        ];
        for (text, message, hint) in cases {
            let failure = Config::parse(Path::new("haul.toml"), text).unwrap_err();
            let said = failure.message.strip_prefix("haul.toml, line ").unwrap();
            assert!(said.starts_with(message), "{text:?}: {said}");
            assert!(failure.hint.as_ref().unwrap().contains(hint), "{text:?}: {:?}", failure.hint);
        }
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_repeated() {
        for line in ["k = hunter2", "k = \"hunter2", "k = 'hunter2", "k = \"hunter2\\\"", "k: hunter2", "k = 0hunter2"]
        {
            let failure = Config::parse(Path::new("haul.toml"), line).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
