//! A bounded list of the problems found.

/// More problems than this are only counted.
const MAX_PROBLEMS: usize = 20;

#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    list: Vec<String>,
    more: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: String) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.more += other.more;
        other.list.into_iter().for_each(|problem| self.add(problem));
    }

    pub(super) fn count(&self) -> u64 {
        self.list.len() as u64 + self.more
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// At most about twenty.
    pub(crate) fn into_list(mut self) -> Vec<String> {
        if self.more > 0 {
            self.list.push(format!("and {} more problems", self.more));
        }
        self.list
    }
}
