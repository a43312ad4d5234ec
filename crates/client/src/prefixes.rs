//! Beginnings that prompts have in common: what an edge remembers of the pages that its cloud keeps.
//!
//! A cloud that serves `FEATURE_PREFIXES` names the pages that rows have filled. The names are kept here under the token
//! ids of all rows up to the page's end, the codecs that these were written in, the cloud, and who asked; beside each lies the page
//! of the front layers. A later session whose prompt begins with the same tokens, of the same asker, begins with both
//! halves' pages: nothing of them is computed or sent again, and where rows have the same bits wherever they run, the answer
//! is the one that would have come anyhow.

use crate::metrics::{PREFIX_BYTES, PREFIX_POSITIONS, PREFIX_SAVED_BYTES};
use crate::pool::Asker;
use crate::session_codecs::WrittenRows;
use lru::LruCache;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tandem_engine::{FrameCodec, PageName};
use tandem_model::{KvPage, PAGE_POSITIONS};

/// About what a page takes beside its keys and values.
const ENTRY_BYTES: u64 = 256;

/// What is remembered for all sessions.
#[derive(Debug, Clone)]
pub(crate) struct Prefixes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What tokens are hashed with.
    secret: Secret,
    /// The most bytes.
    limit: u64,
    pages: Mutex<Pages>,
}

struct Secret([u8; 32]);

#[derive(Debug)]
struct Pages {
    known: LruCache<Beginning, Remembered>,
    bytes: u64,
}

/// A hash of an asker and a cloud, and of all tokens and codecs up to the end of a page.
type Beginning = [u8; 16];

/// A page of both halves.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    /// The cloud's.
    pub(crate) name: PageName,
    /// The front's, where there is one.
    pub(crate) front: Option<KvPage>,
    /// Bytes that its rows took on the way up.
    pub(crate) row_bytes: u64,
    /// How its rows were written.
    pub(crate) codec: FrameCodec,
    /// What it takes here.
    bytes: u64,
}

/// The beginnings of one session.
#[derive(Debug)]
pub(crate) struct SessionBeginnings {
    prefixes: Prefixes,
    asker: Beginning,
    /// One a page, as far as they were needed.
    pages: Vec<Beginning>,
}

impl Prefixes {
    /// Remembers pages of at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Shared {
            secret: Secret(rand::random()),
            limit,
            pages: Mutex::new(Pages {
                known: LruCache::unbounded(),
                bytes: 0,
            }),
        }))
    }

    /// Whether anything is remembered.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.limit > 0
    }

    /// The beginnings of a session for somebody, with the cloud behind the link of a number.
    pub(crate) fn of(&self, asker: &Asker, link: u64) -> SessionBeginnings {
        let link = link.to_le_bytes();
        SessionBeginnings {
            prefixes: self.clone(),
            asker: self.hash(&[b"asker", &link, format!("{asker:?}").as_bytes()]),
            pages: Vec::new(),
        }
    }

    fn hash(&self, parts: &[&[u8]]) -> Beginning {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.secret.0);
        for part in parts {
            hasher.update(part);
        }
        let mut half = [0; 16];
        hasher.finalize_xof().fill(&mut half);
        half
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionBeginnings {
    /// The pages that a session for these tokens may begin with. At least one row is left to run. `codec` is how the rows
    /// of a page from a position on are to be written, where all are written alike.
    pub(crate) fn find(
        &mut self,
        tokens: &[u32],
        codec: impl Fn(usize) -> Option<FrameCodec>,
    ) -> Vec<Remembered> {
        let most = tokens.len().saturating_sub(1) / PAGE_POSITIONS;
        let prefixes = self.prefixes.clone();
        let mut pages = prefixes.lock();
        let mut found = Vec::new();
        while found.len() < most {
            let start = found.len() * PAGE_POSITIONS;
            let Some(codec) = codec(start) else {
                break;
            };
            let beginning = self.next(&tokens[start..], codec);
            let Some(page) = pages.known.peek(&beginning) else {
                break;
            };
            found.push(page.clone());
            self.pages.push(beginning);
        }
        pages.touch(&self.pages);
        found
    }

    /// Remembers pages that the session's rows have filled, from the one of number `first` on: their names, and what
    /// the front has.
    pub(crate) fn keep(
        &mut self,
        (tokens, written): (&[u32], &WrittenRows),
        first: usize,
        names: &[PageName],
        (front, row_bytes): (&[KvPage], u64),
        page_bytes: u64,
    ) {
        let codec_of = |number: usize| {
            let start = number * PAGE_POSITIONS;
            let (codec, end) = written.at(start)?;
            (end >= start + PAGE_POSITIONS).then_some(codec)
        };
        while self.pages.len() < first + names.len() {
            let number = self.pages.len();
            let start = number * PAGE_POSITIONS;
            // A page of several codecs is nothing that could be looked for, and neither is what lies behind it.
            let Some(codec) = codec_of(number).filter(|_| start + PAGE_POSITIONS <= tokens.len())
            else {
                break;
            };
            self.pages.push(self.next(&tokens[start..], codec));
        }
        let prefixes = self.prefixes.clone();
        let mut pages = prefixes.lock();
        for (number, name) in (first..self.pages.len()).zip(names) {
            let Some(codec) = codec_of(number) else {
                break;
            };
            let page = Remembered {
                name: *name,
                front: front.get(number).cloned(),
                row_bytes,
                codec,
                bytes: ENTRY_BYTES + page_bytes,
            };
            pages.insert(self.pages[number], page);
        }
        // A page is of no use without those before it, so it goes first.
        pages.touch(&self.pages);
        pages.shrink_to(prefixes.0.limit);
        pages.publish();
    }

    /// Forgets the pages that it was found with, but for the first `kept`: the cloud has them no more.
    pub(crate) fn forget(&mut self, kept: usize) {
        let mut pages = self.prefixes.lock();
        for beginning in self.pages.drain(kept.min(self.pages.len())..) {
            pages.remove(&beginning);
        }
        pages.publish();
    }

    /// Leaves all pages that reach beyond a position.
    pub(crate) fn truncate(&mut self, position: usize) {
        self.pages.truncate(position / PAGE_POSITIONS);
    }

    /// The beginning that goes on behind those there are with a page of these tokens.
    fn next(&self, tokens: &[u32], codec: FrameCodec) -> Beginning {
        let before = self.pages.last().unwrap_or(&self.asker);
        let how = [u8::from(codec.calibrated)];
        let tokens: Vec<[u8; 4]> = tokens[..PAGE_POSITIONS.min(tokens.len())]
            .iter()
            .map(|id| id.to_le_bytes())
            .collect();
        let name = codec.codec.name().as_bytes();
        self.prefixes
            .hash(&[b"page", before, tokens.as_flattened(), &how, name])
    }
}

impl Pages {
    fn insert(&mut self, beginning: Beginning, page: Remembered) {
        self.bytes += page.bytes;
        if let Some(before) = self.known.put(beginning, page) {
            self.bytes -= before.bytes;
        }
    }

    fn remove(&mut self, beginning: &Beginning) {
        if let Some(page) = self.known.pop(beginning) {
            self.bytes -= page.bytes;
        }
    }

    /// Notes that pages one behind the other are of use, the first most.
    fn touch(&mut self, beginnings: &[Beginning]) {
        for beginning in beginnings.iter().rev() {
            self.known.promote(beginning);
        }
    }

    fn shrink_to(&mut self, limit: u64) {
        while self.bytes > limit
            && let Some((_, page)) = self.known.pop_lru()
        {
            self.bytes -= page.bytes;
        }
    }

    fn publish(&self) {
        PREFIX_BYTES.gauge(&[]).set(self.bytes as f64);
    }
}

/// Counts what has come of a session's beginning: how many of its pages the cloud had.
pub(crate) fn count(pages: &[Remembered], held: usize) {
    let positions = |pages: usize| (pages * PAGE_POSITIONS) as u64;
    PREFIX_POSITIONS
        .counter(&["kept"])
        .increment(positions(held));
    PREFIX_POSITIONS
        .counter(&["gone"])
        .increment(positions(pages.len() - held));
    let saved = pages[..held].iter().map(|page| page.row_bytes).sum();
    PREFIX_SAVED_BYTES.counter(&[]).increment(saved);
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_codec::Codec;
    use tandem_transport::auth::Owner;

    const F32: FrameCodec = FrameCodec {
        codec: Codec::F32,
        calibrated: false,
    };

    fn asker(salt: &str) -> Asker {
        Asker {
            owner: Owner::Unknown,
            salt: salt.to_owned(),
        }
    }

    fn name(number: usize) -> PageName {
        PageName([number as u8; 16])
    }

    fn tokens(count: usize) -> Vec<u32> {
        (0..count as u32).map(|id| id * 7 % 1000).collect()
    }

    fn found(prefixes: &Prefixes, salt: &str, tokens: &[u32], codec: FrameCodec) -> usize {
        let mut session = prefixes.of(&asker(salt), 0);
        let found = session.find(tokens, |_| Some(codec));
        let names: Vec<PageName> = found.iter().map(|page| page.name).collect();
        let expected: Vec<PageName> = (0..found.len()).map(name).collect();
        assert_eq!(names, expected);
        found.len()
    }

    /// Remembers the pages of some tokens, whose rows were all written in one codec.
    fn remember(prefixes: &Prefixes, salt: &str, tokens: &[u32]) {
        let mut written = WrittenRows::default();
        written.note(0, tokens.len(), F32);
        let names: Vec<PageName> = (0..tokens.len() / PAGE_POSITIONS).map(name).collect();
        let mut session = prefixes.of(&asker(salt), 0);
        // As they come: some pages at a time.
        for (at, names) in names.chunks(3).enumerate() {
            session.keep((tokens, &written), 3 * at, names, (&[], 100), 0);
        }
    }

    #[test]
    fn what_was_remembered_is_found_by_the_same_asker_with_the_same_tokens_and_codec() {
        let prefixes = Prefixes::new(1 << 20);
        let all = tokens(200);
        remember(&prefixes, "a", &all);
        assert_eq!(found(&prefixes, "a", &all, F32), 6);
        assert_eq!(found(&prefixes, "a", &all[..193], F32), 6);
        // A row is left to run.
        assert_eq!(found(&prefixes, "a", &all[..192], F32), 5);
        assert_eq!(found(&prefixes, "a", &[], F32), 0);
        assert_eq!(found(&prefixes, "b", &all, F32), 0);
        let calibrated = FrameCodec {
            calibrated: true,
            ..F32
        };
        assert_eq!(found(&prefixes, "a", &all, calibrated), 0);
        let mut elsewhere = prefixes.of(&asker("a"), 1);
        assert!(elsewhere.find(&all, |_| Some(F32)).is_empty());
        let mut other = all;
        other[70] += 1;
        assert_eq!(found(&prefixes, "a", &other, F32), 2);
    }

    #[test]
    fn rows_of_several_codecs_are_found_up_to_the_first_change_within_a_page() {
        let prefixes = Prefixes::new(1 << 20);
        let all = tokens(200);
        let bf16 = FrameCodec::uncalibrated(Codec::Bf16);
        let mut written = WrittenRows::default();
        written.note(0, 64, F32);
        written.note(64, 50, bf16);
        written.note(114, 86, F32);
        let names: Vec<PageName> = (0..6).map(name).collect();
        let mut session = prefixes.of(&asker(""), 0);
        session.keep((&all, &written), 0, &names, (&[], 0), 0);
        let mut again = prefixes.of(&asker(""), 0);
        assert_eq!(again.find(&all, |at| written.of_page(at, F32)).len(), 3);
        // Also where another session has written the page with the change in one codec.
        let mut alike = WrittenRows::default();
        alike.note(0, 64, F32);
        alike.note(64, 136, bf16);
        session = prefixes.of(&asker(""), 0);
        session.keep((&all, &alike), 0, &names, (&[], 0), 0);
        let mut again = prefixes.of(&asker(""), 0);
        assert_eq!(again.find(&all, |at| written.of_page(at, F32)).len(), 3);
        assert_eq!(found(&prefixes, "", &all, F32), 2);
    }

    #[test]
    fn the_last_pages_of_what_was_used_least_recently_go_first() {
        let prefixes = Prefixes::new(10 * ENTRY_BYTES);
        let (one, two) = (tokens(200), tokens(400)[200..].to_vec());
        remember(&prefixes, "", &one);
        remember(&prefixes, "", &two);
        assert_eq!(found(&prefixes, "", &two, F32), 6);
        assert_eq!(found(&prefixes, "", &one, F32), 4);
        remember(&prefixes, "", &tokens(600)[400..]);
        assert_eq!(found(&prefixes, "", &one, F32), 4);
        assert_eq!(found(&prefixes, "", &two, F32), 0);
        assert_eq!(prefixes.lock().bytes, 10 * ENTRY_BYTES);
    }

    #[test]
    fn what_the_cloud_has_no_more_is_forgotten() {
        let prefixes = Prefixes::new(1 << 20);
        let all = tokens(200);
        remember(&prefixes, "", &all);
        let mut session = prefixes.of(&asker(""), 0);
        assert_eq!(session.find(&all, |_| Some(F32)).len(), 6);
        session.forget(2);
        assert_eq!(found(&prefixes, "", &all, F32), 2);
        session.forget(0);
        assert_eq!(found(&prefixes, "", &all, F32), 0);
        assert_eq!(prefixes.lock().bytes, 0);
    }

    #[test]
    fn nothing_is_remembered_without_memory() {
        let prefixes = Prefixes::new(0);
        assert!(!prefixes.are_kept());
        remember(&prefixes, "", &tokens(200));
        assert_eq!(found(&prefixes, "", &tokens(200), F32), 0);
    }
}
