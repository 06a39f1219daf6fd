//! Asks file systems what a configuration has to do with them. A dead share never answers: each question has a thread of
//! its own, and what is not answered in time is not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use store::{Address, Cancellation};

use crate::password;

/// All of them together may take so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// Of which instance this config directory is, and whether it can be read.
    Source(PathBuf),
    /// Where this directory really is, whatever links lead there, and what it is on.
    Place(PathBuf),
    /// Whether this file holds a key.
    Key(PathBuf),
}

/// What the file system says.
pub(super) enum Answer {
    Source {
        /// Where it really is.
        real: Option<PathBuf>,
        instance: Option<String>,
        unread: Option<String>,
        /// Which file system it is on.
        disk: Option<u64>,
    },
    Place {
        real: PathBuf,
        disk: Option<u64>,
    },
    /// Why it holds none that can be used.
    Key(Option<String>),
}

/// What was answered in time.
pub(super) type Answers = BTreeMap<Question, Answer>;

impl Question {
    fn answer(&self) -> Answer {
        match self {
            Self::Source(path) => Answer::Source {
                real: path.canonicalize().ok(),
                instance: engine::instance_id(path),
                unread: std::fs::read_dir(path).err().map(|error| engine::plain_reason(&error)),
                disk: disk(path),
            },
            Self::Place(path) => Answer::Place { real: Address::Local(path.clone()).place().into(), disk: disk(path) },
            Self::Key(path) => {
                Answer::Key(password::check(path, &Cancellation::default()).err().map(|failure| failure.message))
            }
        }
    }
}

/// Which file system a directory is on, if it is there.
fn disk(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.dev())
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Looking(Arc<Asked>);

struct Asked {
    /// Of these, one thread waits already.
    unanswered: Mutex<BTreeSet<Question>>,
    /// One was answered when nobody waited any more.
    is_late: AtomicBool,
    when_late: Box<dyn Fn() + Send + Sync>,
}

/// The answers until now; nothing: nobody waits for them any more.
#[derive(Default)]
struct Round {
    answers: Mutex<Option<Answers>>,
    came: Condvar,
}

impl Looking {
    /// `when_late`: something may be known now that was not known in time.
    pub(super) fn new(when_late: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Asked {
            unanswered: Mutex::default(),
            is_late: AtomicBool::new(false),
            when_late: Box::new(when_late),
        }))
    }

    /// Whether that was so since it was asked last.
    pub(super) fn was_late(&self) -> bool {
        self.0.is_late.swap(false, Ordering::Relaxed)
    }

    /// Asks all of this at once.
    pub(super) fn ask(&self, questions: impl IntoIterator<Item = Question>) -> Answers {
        self.ask_within(PATIENCE, questions, Question::answer)
    }

    fn ask_within(
        &self,
        patience: Duration,
        questions: impl IntoIterator<Item = Question>,
        answer: fn(&Question) -> Answer,
    ) -> Answers {
        let round = Arc::new(Round { answers: Mutex::new(Some(Answers::new())), came: Condvar::new() });
        let mut awaited = 0;
        for question in questions {
            if !locked(&self.0.unanswered).insert(question.clone()) {
                continue;
            }
            let (own, round, asked) = (self.clone(), Arc::clone(&round), question.clone());
            let thread = std::thread::Builder::new().name("haul-look".to_owned()).spawn(move || {
                let answer = answer(&asked);
                locked(&own.0.unanswered).remove(&asked);
                if let Some(answers) = &mut *locked(&round.answers) {
                    answers.insert(asked, answer);
                    return round.came.notify_all();
                }
                own.0.is_late.store(true, Ordering::Relaxed);
                (own.0.when_late)();
            });
            if thread.is_ok() {
                awaited += 1;
            } else {
                locked(&self.0.unanswered).remove(&question);
            }
        }
        let some_miss = |answers: &mut Option<Answers>| answers.as_ref().is_some_and(|answers| answers.len() < awaited);
        let answers = round.came.wait_timeout_while(locked(&round.answers), patience, some_miss);
        answers.unwrap_or_else(PoisonError::into_inner).0.take().unwrap_or_default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::mpsc;

    use super::*;

    /// A named pipe answers as soon as somebody writes into it.
    fn read(question: &Question) -> Answer {
        let (Question::Source(path) | Question::Place(path) | Question::Key(path)) = question;
        Answer::Place { real: std::fs::read_to_string(path).unwrap_or_default().into(), disk: None }
    }

    #[test]
    fn what_does_not_answer_holds_up_nothing_is_asked_once_and_heard_when_it_answers() {
        let directory = tempfile::tempdir().unwrap();
        let (dead, alive) = (directory.path().join("dead"), directory.path().join("alive"));
        let fifo = rustix::fs::mknodat(
            rustix::fs::CWD,
            &dead,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        );
        fifo.unwrap();
        std::fs::write(&alive, "here").unwrap();
        let (tell, told) = mpsc::channel();
        let looking = Looking::new(move || tell.send(()).unwrap());
        let all = || [Question::Place(dead.clone()), Question::Place(alive.clone())];
        for _ in 0..2 {
            let answers = looking.ask_within(Duration::from_millis(100), all(), read);
            assert_eq!(answers.keys().collect::<Vec<_>>(), [&Question::Place(alive.clone())]);
            assert_eq!(locked(&looking.0.unanswered).len(), 1);
        }
        assert!(!looking.was_late());
        std::fs::write(&dead, "again").unwrap();
        told.recv().unwrap();
        assert!(looking.was_late() && !looking.was_late());
        std::fs::remove_file(&dead).unwrap();
        assert_eq!(looking.ask_within(Duration::from_mins(1), all(), read).len(), 2);
    }
}
