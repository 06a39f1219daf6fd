//! `haul --help` lists the commands by their purpose.

use std::fmt::Write;

use clap::Subcommand;

use super::Command;

const GROUPS: &[(&str, &[&str])] = &[
    ("Make backups", &["backup", "push", "migrate"]),
    ("Back up by itself", &["serve", "app", "run", "status", "jobs", "pause", "resume", "notify"]),
    ("Inspect backups", &["list", "verify", "rehearse", "inspect", "ls", "cat", "diff"]),
    ("Restore and repair", &["restore", "get", "repair"]),
    ("Remove backups", &["prune", "rm", "pin", "unpin"]),
    ("Destinations and other machines", &["destination", "auth", "receive", "peers", "share", "vault"]),
    ("Help", &["demo", "completions", "man", "help"]),
];

/// What `haul --help` prints, in the form of clap's templates.
pub(super) fn template() -> String {
    let commands = Command::augment_subcommands(clap::Command::new("haul"));
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (title, names) in GROUPS {
        let _ = write!(text, "\n{title}:\n");
        for name in *names {
            let about = commands
                .find_subcommand(name)
                .and_then(clap::Command::get_about)
                .map_or_else(|| "Print this message, or the help of a command".to_owned(), ToString::to_string);
            let _ = writeln!(text, "  {name:<12} {about}");
        }
    }
    text + "\nOptions:\n{options}{after-help}"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let mut shown: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| *names).copied().filter(|name| *name != "help").collect();
        shown.sort_unstable();
        let commands = Command::augment_subcommands(clap::Command::new("haul"));
        let there: BTreeSet<&str> =
            commands.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
        assert_eq!(shown, there.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn every_line_fits_on_a_terminal() {
        for line in template().lines() {
            assert!(line.len() <= 100, "{line}");
        }
    }
}
