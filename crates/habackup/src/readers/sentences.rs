//! Texts for findings and verdicts: what each reader does.

use super::{Defect, Effect, Reader, Stage};

impl Effect {
    /// What a reader does, without naming the reader. A reader that says something while it loses something does not
    /// report success.
    pub fn sentence(&self, says: bool, because: Option<Defect>) -> String {
        match self {
            Self::Refuses(Stage::Password) if because == Some(Defect::PasswordNotGiven) => {
                "asks for its password".to_owned()
            }
            Self::Refuses(Stage::Password) if because == Some(Defect::WrongPassword) => {
                "does not accept this password".to_owned()
            }
            Self::Restores => "restores it".to_owned(),
            Self::Changes(what) => format!("restores it, but: {what}"),
            Self::Unnoticed(what) => format!("restores it without an error, but it may not be whole: {what}"),
            Self::Loses(what) if says => format!("restores the rest, but loses {what}"),
            Self::Loses(what) => format!("reports success, but loses {what}"),
            Self::RefusesUpload => {
                "refuses the upload, but restores it if you put it into the backup folder by hand".to_owned()
            }
            Self::Refuses(Stage::List) => "refuses it".to_owned(),
            Self::Refuses(Stage::ListOfAll) => {
                "refuses it, and lists no backups at all while it is in the backup folder".to_owned()
            }
            Self::Refuses(Stage::Password) => "accepts no password for it".to_owned(),
            Self::Refuses(Stage::Unpack) => "starts to restore, but stops before it changes anything".to_owned(),
            Self::FailsAfterWipe => "EMPTIES the configuration, then fails: the result is incomplete".to_owned(),
        }
    }
}

/// Several readers, as a list.
pub fn named(readers: &[Reader]) -> String {
    match readers {
        [Reader::CoreBefore20263, Reader::CoreSince20263] => "Core since 2025.1".to_owned(),
        [Reader::CoreBefore20263, Reader::CoreSince20263, Reader::Supervisor] => {
            "Core since 2025.1 and Supervisor".to_owned()
        }
        others => others.iter().map(|reader| reader.name()).collect::<Vec<_>>().join(", "),
    }
}

/// What becomes of it with each; readers that do the same share a sentence.
pub fn shared(outcomes: impl Iterator<Item = (Reader, String)>) -> Vec<String> {
    let mut sentences: Vec<(String, Vec<Reader>)> = Vec::new();
    for (reader, does) in outcomes {
        match sentences.iter_mut().find(|(known, _)| *known == does) {
            Some((_, readers)) => readers.push(reader),
            None => sentences.push((does, vec![reader])),
        }
    }
    sentences.into_iter().map(|(does, readers)| format!("{}: {does}", named(&readers))).collect()
}
