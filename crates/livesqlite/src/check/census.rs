//! Counts the rows of each table, and finds the range of one column of one table, from pages in any order.
//!
//! Which page belongs to which table is known only after the last page, and pages of the free list still hold their old
//! content. So each page is recorded with its number of rows and its children, and at the end the trees are walked from
//! the roots that the schema names: pages that are not reached do not count. The schema also says where the column is
//! in a row; it comes early unless a database was altered late. The first pages before it wait; later ones are counted
//! but not examined, and the result says so.
//!
//! Memory: 2 bytes per page, 4 for one that has a parent, 12 for one of the watched table, 4 MiB of pages that wait:
//! for a gigabyte of recorder about 7 MiB, and never more than 52 MiB.

#![expect(clippy::cast_possible_truncation, reason = "pages are numbered by 32 bits, cells in a page by 16")]

use super::page::{Tree, split, varint};
use crate::header::{HEADER_LEN, be16, be32};
use crate::page_set::PageSet;

/// The maximum number of entries of each list; beyond it there is no result.
const MAX_CHILDREN: usize = 4 << 20;
const MAX_INNER: usize = 1 << 18;
const MAX_TABLES: usize = 1000;
/// Bytes of pages that wait for the schema.
const MAX_WAITING: usize = 4 << 20;
/// Tables with longer names are left out.
const MAX_NAME: usize = 200;
/// No table leaf. No page has so many rows.
const NO_LEAF: u16 = u16::MAX;

/// A column of moments, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub column: &'static str,
    /// Moments before this are of a clock that was not set.
    pub since: u32,
}

/// A table and its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableRows {
    /// Its name.
    pub table: String,
    /// Rows that are there.
    pub rows: u64,
}

/// The first and last moment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The earliest, cut to whole seconds.
    pub first: u32,
    /// The latest.
    pub last: u32,
}

/// What is in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All tables by name, but those of SQLite itself and those `WITHOUT ROWID`.
    pub tables: Vec<TableRows>,
    /// Whether every page of them was there.
    pub all_rows: bool,
    /// The span of the watched column, if any row of it has a moment.
    pub span: Option<Span>,
    /// Whether the schema has that column.
    pub has_column: bool,
    /// Whether every row was examined for it.
    pub whole_span: bool,
}

#[derive(Debug)]
struct Inner {
    page: u32,
    first_child: u32,
}

#[derive(Debug)]
struct Stamped {
    page: u32,
    span: Span,
}

/// A row of the schema, and the page it was found in.
#[derive(Debug)]
struct Root {
    found_in: u32,
    table: String,
    page: u32,
    /// The watched column's position in its rows.
    position: Option<usize>,
}

/// Gathers.
#[derive(Debug)]
pub(super) struct Census {
    column: Column,
    usable: usize,
    /// Rows of each page; index 0 is page 1.
    rows: Vec<u16>,
    inner: Vec<Inner>,
    children: Vec<u32>,
    stamped: Vec<Stamped>,
    roots: Vec<Root>,
    /// The position of the watched column.
    watched: Option<usize>,
    /// Leaves from before that was known.
    waiting: Vec<(u32, Vec<u8>)>,
    /// Pages up to here were not examined.
    passed_over: u32,
    overflowed: bool,
}

impl Census {
    pub(super) fn new(column: Column, usable: usize) -> Self {
        Self {
            column,
            usable,
            rows: Vec::new(),
            inner: Vec::new(),
            children: Vec::new(),
            stamped: Vec::new(),
            roots: Vec::new(),
            watched: None,
            waiting: Vec::new(),
            passed_over: 0,
            overflowed: false,
        }
    }

    /// Notes the next page.
    pub(super) fn page(&mut self, number: u32, bytes: &[u8]) {
        let bytes = bytes.get(..self.usable).unwrap_or(bytes);
        let at = if number == 1 { HEADER_LEN } else { 0 };
        let mut rows = NO_LEAF;
        if let Some(tree) = bytes.get(at).and_then(|first| Tree::of(*first)).filter(|tree| tree.table) {
            let cells = usize::from(be16(bytes, at + 3));
            let list = at + if tree.leaf { 8 } else { 12 };
            let cells = bytes.get(list..list + 2 * cells).unwrap_or_default().as_chunks::<2>().0;
            if tree.leaf {
                rows = cells.len() as u16;
                self.leaf(number, bytes, cells);
            } else {
                self.inner(number, bytes, cells, be32(bytes, at + 8));
            }
        }
        self.rows.push(rows);
    }

    fn inner(&mut self, number: u32, bytes: &[u8], cells: &[[u8; 2]], last: u32) {
        if self.inner.len() == MAX_INNER || self.children.len() + cells.len() >= MAX_CHILDREN {
            self.overflowed = true;
            return;
        }
        self.inner.push(Inner { page: number, first_child: self.children.len() as u32 });
        let child = |cell: &[u8; 2]| {
            bytes.get(usize::from(u16::from_be_bytes(*cell))..).filter(|rest| rest.len() >= 4).map(|rest| be32(rest, 0))
        };
        self.children.extend(cells.iter().filter_map(child));
        self.children.push(last);
    }

    fn leaf(&mut self, number: u32, bytes: &[u8], cells: &[[u8; 2]]) {
        let mut rows =
            cells.iter().filter_map(|cell| Row::of(bytes, usize::from(u16::from_be_bytes(*cell)))).peekable();
        if rows.peek().is_some_and(Row::is_of_schema) {
            rows.for_each(|row| self.schema(number, &row));
        } else if let Some(position) = self.watched {
            self.stamp(number, rows, position);
        } else if (self.waiting.len() + 1) * bytes.len() <= MAX_WAITING {
            self.waiting.push((number, bytes.to_vec()));
        } else {
            self.passed_over = number;
        }
    }

    fn stamp<'p>(&mut self, number: u32, rows: impl Iterator<Item = Row<'p>>, position: usize) {
        let since = self.column.since;
        let seconds = rows.filter_map(|row| row.moment(position)).filter(|moment| *moment >= since);
        let span = seconds.fold(None, |span: Option<Span>, moment| {
            Some(span.map_or(Span { first: moment, last: moment }, |span| Span {
                first: span.first.min(moment),
                last: span.last.max(moment),
            }))
        });
        self.stamped.extend(span.map(|span| Stamped { page: number, span }));
    }

    /// From here on, the position of the watched column is known.
    fn watch(&mut self, number: u32, position: usize) {
        if self.watched.is_some() {
            // What was taken for it so far was something else.
            self.stamped.clear();
            self.passed_over = number;
        }
        self.watched = Some(position);
        for (number, bytes) in std::mem::take(&mut self.waiting) {
            let cells = leaf_cells(&bytes);
            self.stamp(
                number,
                cells.iter().filter_map(|cell| Row::of(&bytes, usize::from(u16::from_be_bytes(*cell)))),
                position,
            );
        }
    }

    fn schema(&mut self, number: u32, row: &Row<'_>) {
        let mut fields = row.fields();
        let (
            Some(Field::Bytes(b"table")),
            Some(Field::Bytes(name)),
            _,
            Some(Field::Number(root)),
            Some(Field::Bytes(sql)),
        ) = (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let Some(page) = u32::try_from(root).ok().filter(|page| *page > 0) else { return };
        let has_row_ids = !sql.to_ascii_uppercase().ends_with(b"WITHOUT ROWID");
        if name.starts_with(b"sqlite_") || !has_row_ids || name.len() > MAX_NAME || self.roots.len() == MAX_TABLES {
            return;
        }
        let is_watched = name == self.column.table.as_bytes();
        let position = if is_watched { position(&String::from_utf8_lossy(sql), self.column.column) } else { None };
        if let Some(position) = position
            && self.watched != Some(position)
        {
            self.watch(number, position);
        }
        self.roots.push(Root { found_in: number, table: String::from_utf8_lossy(name).into_owned(), page, position });
    }

    /// The stream has ended: walks the trees. `None` where there was more than can be kept in mind.
    pub(super) fn finish(self) -> Option<Counts> {
        let mut reached = PageSet::new(self.rows.len() as u64).filter(|_| !self.overflowed)?;
        let mut schema = Vec::new();
        let mut counts =
            Counts { all_rows: self.walk(1, &mut reached, |page, _| schema.push(page)), ..Counts::default() };
        for root in self.roots.iter().filter(|root| schema.contains(&root.found_in)) {
            let watched = self.watched.is_some_and(|position| root.position == Some(position));
            let (mut rows, mut looked_at) = (0, true);
            let whole = self.walk(root.page, &mut reached, |page, count| {
                rows += u64::from(count);
                if !watched {
                    return;
                }
                looked_at &= page > self.passed_over || count == 0;
                if let Ok(found) = self.stamped.binary_search_by_key(&page, |stamped| stamped.page) {
                    let Span { first, last } = self.stamped[found].span;
                    counts.span = Some(counts.span.map_or(Span { first, last }, |span| Span {
                        first: span.first.min(first),
                        last: span.last.max(last),
                    }));
                }
            });
            counts.all_rows &= whole;
            if watched {
                counts.has_column = true;
                counts.whole_span = whole && looked_at;
            }
            counts.tables.push(TableRows { table: root.table.clone(), rows });
        }
        counts.tables.sort_by(|one, other| one.table.cmp(&other.table));
        Some(counts)
    }

    /// Hands every leaf below `root` to `leaf`, with its rows; whether all were there, and none twice.
    fn walk(&self, root: u32, reached: &mut PageSet, mut leaf: impl FnMut(u32, u16)) -> bool {
        let (mut open, mut whole) = (vec![root], true);
        while let Some(page) = open.pop() {
            if page == 0 || !reached.insert(page) {
                whole = false;
            } else if let Ok(found) = self.inner.binary_search_by_key(&page, |inner| inner.page) {
                let from = self.inner[found].first_child as usize;
                let to = self.inner.get(found + 1).map_or(self.children.len(), |next| next.first_child as usize);
                open.extend(&self.children[from..to]);
            } else {
                match self.rows.get(page as usize - 1) {
                    Some(&rows) if rows != NO_LEAF => leaf(page, rows),
                    _ => whole = false,
                }
            }
        }
        whole
    }
}

/// Where the rows of a leaf begin that is not the first page.
fn leaf_cells(bytes: &[u8]) -> &[[u8; 2]] {
    bytes.get(8..8 + 2 * usize::from(be16(bytes, 3))).unwrap_or_default().as_chunks::<2>().0
}

/// The part of a table's row that is in its page.
struct Row<'p> {
    types: &'p [u8],
    body: &'p [u8],
}

enum Field<'p> {
    Null,
    Number(i64),
    Real(f64),
    /// Text or blob, without the part that is in another page.
    Bytes(&'p [u8]),
}

impl<'p> Row<'p> {
    fn of(page: &'p [u8], mut at: usize) -> Option<Self> {
        let payload = u32::try_from(varint(page, &mut at)?).ok()?;
        varint(page, &mut at)?;
        let (kept, _) = split(payload, page.len() as u32, true)?;
        let local = page.get(at..at + kept as usize)?;
        let mut start = 0;
        let length = usize::try_from(varint(local, &mut start)?).ok()?;
        Some(Self { types: local.get(start..length)?, body: &local[length..] })
    }

    fn fields(&self) -> Fields<'p> {
        Fields { types: self.types, at: 0, body: self.body }
    }

    fn is_of_schema(&self) -> bool {
        let known =
            |field: Option<Field<'_>>| matches!(field, Some(Field::Bytes(b"table" | b"index" | b"view" | b"trigger")));
        known(self.fields().next()) && self.fields().count() == 5
    }

    fn moment(&self, position: usize) -> Option<u32> {
        let seconds = match self.fields().nth(position)? {
            Field::Real(seconds) => seconds,
            Field::Number(seconds) => seconds as f64,
            Field::Null | Field::Bytes(_) => return None,
        };
        (0.0..f64::from(u32::MAX)).contains(&seconds).then_some(seconds as u32)
    }
}

/// Format: <https://www.sqlite.org/fileformat2.html#record_format>.
struct Fields<'p> {
    types: &'p [u8],
    at: usize,
    body: &'p [u8],
}

impl<'p> Iterator for Fields<'p> {
    type Item = Field<'p>;

    fn next(&mut self) -> Option<Field<'p>> {
        let kind = varint(self.types, &mut self.at)?;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let (bytes, rest) = self.body.split_at(size.min(self.body.len()));
        self.body = rest;
        Some(match kind {
            0 => Field::Null,
            8 | 9 => Field::Number(kind - 8),
            12.. => Field::Bytes(bytes),
            _ if bytes.len() < size => return None,
            7 => Field::Real(f64::from_bits(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))),
            _ => Field::Number(
                bytes[1..]
                    .iter()
                    .fold(i64::from(bytes[0].cast_signed()), |number, byte| number << 8 | i64::from(*byte)),
            ),
        })
    }
}

/// The position of a column in the rows of a table with this `CREATE` statement.
fn position(sql: &str, column: &str) -> Option<usize> {
    let list = &sql[sql.find('(')? + 1..];
    let (mut depth, mut index, mut start) = (0_u32, 0, 0);
    for (at, character) in list.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ',' | ')' if depth == 0 => {
                if is_called(&list[start..at], column) {
                    return Some(index);
                }
                if character == ')' {
                    return None;
                }
                index += 1;
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

fn is_called(definition: &str, column: &str) -> bool {
    let name = definition.split_whitespace().next().unwrap_or_default();
    name.trim_matches(['"', '`', '[', ']', '\'']).eq_ignore_ascii_case(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_columns_position_is_that_of_its_definition() {
        let sql = "CREATE TABLE states (\n\tid INTEGER NOT NULL, \n\tamount DECIMAL(10, 2), `name` TEXT, last FLOAT, \
            PRIMARY KEY (id), FOREIGN KEY(id) REFERENCES x (last))";
        assert_eq!(position(sql, "id"), Some(0));
        assert_eq!(position(sql, "name"), Some(2));
        assert_eq!(position(sql, "last"), Some(3));
        assert_eq!(position(sql, "x"), None);
        assert_eq!(position("CREATE TABLE t (a, last", "last"), None);
    }
}
