//! What a destination holds: thousands of copies, in two pieces of memory. Many small pieces would keep what is between
//! them, needed while the destination was listed, from going back to the system.

use engine::SharedStr;

use super::Copy;

/// The copies at a destination, by their names there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copies(Vec<Copy>);

impl Copies {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|copy| copy.item.name.as_str().cmp(name))
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Copy> {
        self.find(name).ok().map(|at| &self.0[at])
    }

    /// The one of this name, to change anything but the name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Copy> {
        self.find(name).ok().map(|at| &mut self.0[at])
    }

    /// Whether there is one of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Takes the one of this name out.
    pub fn remove(&mut self, name: &str) -> Option<Copy> {
        self.find(name).ok().map(|at| self.0.remove(at))
    }

    /// All, by name.
    pub fn iter(&self) -> std::slice::Iter<'_, Copy> {
        self.0.iter()
    }

    /// All, to change anything but their names.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Copy> {
        self.0.iter_mut()
    }
}

impl FromIterator<Copy> for Copies {
    /// Of several with one name the last one counts.
    fn from_iter<T: IntoIterator<Item = Copy>>(copies: T) -> Self {
        let mut copies: Vec<Copy> = copies.into_iter().collect();
        copies.sort_by(|a, b| a.item.name.cmp(&b.item.name));
        copies.dedup_by(|later, earlier| {
            let is_same = later.item.name == earlier.item.name;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        copies.shrink_to_fit();
        SharedStr::pack(copies.iter_mut().flat_map(Copy::texts).collect());
        Self(copies)
    }
}

impl<'a> IntoIterator for &'a Copies {
    type Item = &'a Copy;
    type IntoIter = std::slice::Iter<'a, Copy>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a mut Copies {
    type Item = &'a mut Copy;
    type IntoIter = std::slice::IterMut<'a, Copy>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}
