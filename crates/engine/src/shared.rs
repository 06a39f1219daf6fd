//! Text of which many pieces are one piece of memory: thousands of archives say the same of themselves, and thousands of
//! small pieces, each made among what was needed for a moment, keep all of that from going back to the system.

use std::{borrow::Borrow, cmp::Ordering, collections::HashMap, fmt, hash, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that may be a part of a larger one.
#[derive(Clone)]
pub struct SharedStr {
    all: Arc<String>,
    start: u32,
    length: u32,
}

impl SharedStr {
    /// The text.
    pub fn as_str(&self) -> &str {
        let start = self.start as usize;
        self.all.get(start..start + self.length as usize).unwrap_or_default()
    }

    /// Makes parts of one piece of them, equal ones the same. More than 4 GiB stay as they are.
    pub fn pack(texts: Vec<&mut Self>) {
        let mut all = String::new();
        let mut starts: HashMap<Self, u32> = HashMap::new();
        for text in &texts {
            if let Ok(start) = u32::try_from(all.len())
                && !starts.contains_key(text.as_str())
            {
                all.push_str(text);
                starts.insert((*text).clone(), start);
            }
        }
        all.shrink_to_fit();
        let all = Arc::new(all);
        for text in texts {
            if let Some(start) = starts.get(text.as_str()) {
                (text.all, text.start) = (Arc::clone(&all), *start);
            }
        }
    }
}

impl Deref for SharedStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for SharedStr {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for SharedStr {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl<T: Into<String>> From<T> for SharedStr {
    fn from(text: T) -> Self {
        let all = Arc::new(text.into());
        // What is longer than 4 GiB comes from nowhere.
        let length = u32::try_from(all.len()).unwrap_or_default();
        Self { all, start: 0, length }
    }
}

impl<T: AsRef<str> + ?Sized> PartialEq<T> for SharedStr {
    fn eq(&self, other: &T) -> bool {
        *self.as_str() == *other.as_ref()
    }
}

impl Eq for SharedStr {}

impl PartialOrd for SharedStr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedStr {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl hash::Hash for SharedStr {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for SharedStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for SharedStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for SharedStr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for SharedStr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
