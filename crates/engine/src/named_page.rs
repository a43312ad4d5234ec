//! Pages of keys and values under names that say what was run for them.
//!
//! A page's name is made, with a secret key, of the rows that entered the first layer at its positions and of the name
//! of the page before it: so it stands for all rows from position 0 on. Rows have the same bits wherever they run, and
//! so has whatever goes on behind them. Nobody without the key can find a name, or two pages of one name.

use crate::kv_budget::Reservation;
use std::fmt;
use std::sync::Arc;
use tandem_model::{KvPage, PAGE_POSITIONS};

/// A page's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PageName(pub [u8; 16]);

/// What names are made with. Pages of different keys have different names.
#[derive(Clone, PartialEq, Eq)]
pub struct PageKey([u8; 32]);

/// What a name is made of: one a row.
type RowDigest = [u8; 16];

/// A page that other sessions may begin with, behind those before it.
#[derive(Debug, Clone)]
pub struct NamedPage {
    /// Its name.
    pub name: PageName,
    /// Its number: it has the positions from [`PAGE_POSITIONS`] times that on.
    pub number: usize,
    rows: Arc<[RowDigest]>,
    /// The tokens of its positions, where those of all positions up to its end are known.
    pub(crate) tokens: Option<Arc<[u32]>>,
    pub(crate) kv: KvPage,
}

/// A page that stays when the session ends that wrote it.
#[derive(Debug)]
pub struct KeptPage {
    /// The page.
    pub page: NamedPage,
    /// Its memory, for as long as anybody has it.
    _reserved: Reservation,
}

/// The names of a session's pages, as far as its rows have come.
#[derive(Debug)]
pub(crate) struct PageNames {
    key: PageKey,
    /// One a position.
    rows: Vec<RowDigest>,
    /// One a whole page.
    names: Vec<PageName>,
}

impl PageKey {
    /// A key that is nobody else's: made of a secret, and of what its names must not have in common with others of that
    /// secret.
    pub fn derive(secret: &[u8; 32], apart: &[u8]) -> Self {
        Self(blake3::keyed_hash(secret, apart).into())
    }

    /// The first half of what the parts hash to under this key.
    fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        let mut half = [0; 16];
        hasher.finalize_xof().fill(&mut half);
        half
    }
}

impl KeptPage {
    /// Keeps a page in memory that was reserved for it.
    pub fn new(page: NamedPage, reserved: Reservation) -> Self {
        Self {
            page,
            _reserved: reserved,
        }
    }
}

impl PageNames {
    /// Of a session that begins with some pages.
    pub(crate) fn new<'a>(key: PageKey, pages: impl Iterator<Item = &'a NamedPage>) -> Self {
        let mut names = Self {
            key,
            rows: Vec::new(),
            names: Vec::new(),
        };
        for page in pages {
            names.rows.extend_from_slice(&page.rows);
            names.names.push(page.name);
        }
        names
    }

    /// Takes note of rows, `[rows, width]`, behind those before. Where they are embeddings, their tokens count too, which
    /// may have them in common.
    pub(crate) fn note(&mut self, hidden: &[f32], width: usize, tokens: &[u32]) {
        for (at, row) in hidden.chunks_exact(width.max(1)).enumerate() {
            let token = tokens.get(at..=at).unwrap_or_default();
            let (row, token) = (bytemuck::cast_slice(row), bytemuck::cast_slice(token));
            let digest = self.key.hash(&[b"row", row, token]);
            self.rows.push(digest);
            if self.rows.len().is_multiple_of(PAGE_POSITIONS) {
                let before = self.names.last().copied().unwrap_or_default();
                let page = self.rows[self.rows.len() - PAGE_POSITIONS..].as_flattened();
                self.names
                    .push(PageName(self.key.hash(&[b"page", &before.0, page])));
            }
        }
    }

    /// Forgets all positions from `position` on.
    pub(crate) fn truncate(&mut self, position: usize) {
        self.rows.truncate(position);
        self.names.truncate(position / PAGE_POSITIONS);
    }

    /// Whole pages.
    pub(crate) fn pages(&self) -> usize {
        self.names.len()
    }

    /// A whole page, with what it holds, in a session whose first tokens are known.
    pub(crate) fn page(&self, number: usize, kv: KvPage, known: &[u32]) -> NamedPage {
        let first = number * PAGE_POSITIONS;
        NamedPage {
            name: self.names[number],
            number,
            rows: self.rows[first..first + PAGE_POSITIONS].into(),
            tokens: known.get(first..first + PAGE_POSITIONS).map(Arc::from),
            kv,
        }
    }
}

impl fmt::Debug for PageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 3;

    fn key(secret: u8, apart: &[u8]) -> PageKey {
        PageKey::derive(&[secret; 32], apart)
    }

    fn rows(count: usize) -> Vec<f32> {
        (0..count * WIDTH).map(|value| value as f32).collect()
    }

    fn names(key: PageKey, rows: &[f32]) -> Vec<PageName> {
        let mut names = PageNames::new(key, std::iter::empty());
        names.note(rows, WIDTH, &[]);
        names.names
    }

    #[test]
    fn a_name_stands_for_the_rows_up_to_it_and_nothing_else() {
        let all = rows(100);
        let found = names(key(1, b"one"), &all);
        assert_eq!(found.len(), 3);
        // However they came.
        let mut one_by_one = PageNames::new(key(1, b"one"), std::iter::empty());
        for row in all.chunks(WIDTH) {
            one_by_one.note(row, WIDTH, &[]);
        }
        assert_eq!(one_by_one.names, found);
        for changed in 0..96 {
            let mut other = all.clone();
            other[changed * WIDTH + 1] += 1.0;
            let other = names(key(1, b"one"), &other);
            let same = found.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert_eq!(same, changed / PAGE_POSITIONS, "row {changed}");
            assert_eq!(found[..same], other[..same]);
        }
        let mut with_tokens = PageNames::new(key(1, b"one"), std::iter::empty());
        with_tokens.note(&all, WIDTH, &[7; 100]);
        assert!(found.iter().all(|name| !with_tokens.names.contains(name)));
        for other in [key(2, b"one"), key(1, b"two")] {
            let other = names(other, &all);
            assert!(found.iter().all(|name| !other.contains(name)));
        }
    }

    #[test]
    fn names_go_on_behind_a_truncation() {
        let all = rows(100);
        let found = names(key(1, b""), &all);
        for kept in [0, 1, 31, 32, 40, 64, 99] {
            let mut again = PageNames::new(key(1, b""), std::iter::empty());
            again.note(&all, WIDTH, &[]);
            again.truncate(kept);
            assert_eq!(again.pages(), kept / PAGE_POSITIONS);
            again.note(&all[kept * WIDTH..], WIDTH, &[]);
            assert_eq!(again.names, found, "{kept} kept");
        }
    }
}
